//! Index newtypes. An id is a position in one compiled policy's table; names are what survives an
//! edit, so anything written to disk uses names; what is kept together with its policy may use ids.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The position in its table.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// The id of position `index`; saturates, which loading forbids by bounding tables.
            pub fn from_index(index: usize) -> Self {
                Self(<$inner>::try_from(index).unwrap_or(<$inner>::MAX))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Position in [`Fleet::regions`](super::fleet::Fleet::regions).
    RegionId(u16)
);
id!(
    /// Position in [`Fleet::sites`](super::fleet::Fleet::sites).
    SiteId(u16)
);
id!(
    /// Position in [`Fleet::nodes`](super::fleet::Fleet::nodes).
    NodeId(u16)
);
id!(
    /// Position in [`Clients::lines`](super::clients::Clients::lines).
    LineId(u16)
);
id!(
    /// Position in [`Clients::areas`](super::clients::Clients::areas).
    AreaId(u16)
);
id!(
    /// Position in [`Policy::services`](super::policy::Policy::services).
    ServiceId(u16)
);
id!(
    /// Position in [`Service::pools`](super::service::Service::pools) of one service.
    PoolId(u8)
);
id!(
    /// Position in [`Judgement::vantages`](super::judgement::Judgement::vantages).
    VantageId(u8)
);
id!(
    /// Position in the client groups of one compiled geo table. Group 0 is "nothing known".
    GroupId(u32)
);

impl VantageId {
    /// This process itself.
    pub const LOCAL: Self = Self(0);
}

/// Number of a table, rising by one with each one published; survives restarts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Content hash of a set of policy files: the first 12 hex digits of a SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
