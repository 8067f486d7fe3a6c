//! How much more is asked for than usual.

use crate::base::units::Ppm;

/// How much some clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Of what they ask for now.
    Factor(Ppm),
    /// Capacity units, of each service.
    Units(u64),
}
