//! Why geo data could not be used: narrow, and each with the remedy in its message.

/// What [`Database::read`](super::Database::read), [`Countries::parse`](super::Countries::parse) and
/// [`compile`](super::compile()) refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeoError {
    /// A file that is not a sound MMDB database.
    #[error("geo database {file} refused: {reason}; {remedy}")]
    Refused { file: String, reason: String, remedy: &'static str },
    /// A line of the country table.
    #[error(
        "country table {file}, line {line}: {reason}; a line reads code,continent,name,city,latitude,longitude"
    )]
    Countries { file: String, line: usize, reason: String },
    /// Inputs that are each sound but too fine together.
    #[error("geo data with {networks} networks and more is past the limit; use fewer or coarser databases")]
    TooManyNetworks { networks: u64 },
    /// Groups alternate so finely over the address space that the flat table would not fit.
    #[error("the lookup table would pass {limit_mib} MiB; use databases without cities, or fewer of them")]
    TableTooLarge { limit_mib: usize },
    /// More client groups than the table can number, even on the coarsest location grid.
    #[error(
        "{groups} client groups are more than {limit}: clients.yaml tells too many clients apart; name fewer areas or give fewer overrides a location of their own"
    )]
    TooManyGroups { groups: usize, limit: usize },
}

/// For a file that is damaged or cut short.
pub(super) const FETCH_AGAIN: &str = "the file is damaged: fetch it again and compare its checksum";
/// For a file that is something else.
pub(super) const NOT_MMDB: &str =
    "give an uncompressed MMDB file (GeoLite2, GeoIP2, DB-IP, IPinfo or `rhumb geo build`)";

/// `Refused` without its file name, which only [`Database::read`](super::Database::read) knows.
#[derive(Debug)]
pub(super) struct Refusal {
    pub reason: String,
    pub remedy: &'static str,
}

impl Refusal {
    pub fn damaged(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: FETCH_AGAIN }
    }

    pub fn named(self, file: &str) -> GeoError {
        GeoError::Refused { file: file.to_owned(), reason: self.reason, remedy: self.remedy }
    }
}
