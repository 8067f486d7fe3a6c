//! Response codes (RFC 1035 4.1.1, RFC 6891 9, RFC 7873 8) and extended errors (RFC 8914 4) that rhumb sends.

/// RCODE, the four bits of the header and the eight of the OPT record in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Rcode {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    YxDomain = 6,
    NotAuth = 9,
    BadVers = 16,
    BadCookie = 23,
}

impl Rcode {
    /// The header's four bits.
    #[inline]
    pub const fn low(self) -> u8 {
        (self as u16 & 0x0f) as u8
    }

    /// The OPT record's eight bits.
    pub const fn high(self) -> u8 {
        (self as u16 >> 4) as u8
    }

    pub const fn name(self) -> &'static str {
        match self {
            Rcode::NoError => "NOERROR",
            Rcode::FormErr => "FORMERR",
            Rcode::ServFail => "SERVFAIL",
            Rcode::NxDomain => "NXDOMAIN",
            Rcode::NotImp => "NOTIMP",
            Rcode::Refused => "REFUSED",
            Rcode::YxDomain => "YXDOMAIN",
            Rcode::NotAuth => "NOTAUTH",
            Rcode::BadVers => "BADVERS",
            Rcode::BadCookie => "BADCOOKIE",
        }
    }
}

/// An extended error: INFO-CODE and EXTRA-TEXT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    pub code: u16,
    pub text: &'static str,
}

impl ExtendedError {
    /// The name is in none of our zones.
    pub const NOT_AUTHORITATIVE: Self = Self { code: 20, text: "" };
    /// Zone transfers are not offered.
    pub const NOT_SUPPORTED: Self = Self { code: 21, text: "" };
    /// A zone transfer that policy grants to others.
    pub const PROHIBITED: Self = Self { code: 18, text: "" };
    /// As many zone transfers as are made at once.
    pub const BUSY: Self = Self { code: 0, text: "too many transfers at once" };
}
