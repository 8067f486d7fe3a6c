//! The default databases, embedded: a single binary knows roughly where clients are.
//!
//! They are built by `rhumb geo build` from the IPFire Location Database (CC BY-SA 4.0, see
//! `geo-data/README.md` for attribution, dates and recipe). `geo:` in `rhumb.yaml` replaces them.

use super::{Countries, Database, GeoError};
use std::sync::LazyLock;

const COUNTRY: &[u8] = include_bytes!("../../geo-data/country.mmdb");
const ASN: &[u8] = include_bytes!("../../geo-data/asn.mmdb");
const COUNTRIES: &str = include_str!("../../geo-data/countries.csv");

/// What to say wherever the shipped data is shown.
pub const ATTRIBUTION: &str = "IPFire Location Database, CC BY-SA 4.0";

static SHIPPED_COUNTRIES: LazyLock<Countries> = LazyLock::new(|| {
    Countries::parse("geo-data/countries.csv", COUNTRIES).expect("the embedded file is checked by a test")
});

/// The embedded country and ASN databases, in overlay order.
pub fn databases() -> Result<Vec<Database>, GeoError> {
    let read = |name: &str, bytes: &[u8]| Database::read(name, bytes.to_vec());
    Ok(vec![read("geo-data/country.mmdb (shipped)", COUNTRY)?, read("geo-data/asn.mmdb (shipped)", ASN)?])
}

/// The files themselves, in the same order, for [`Key::of`](super::frozen::Key::of).
pub const fn files() -> [&'static [u8]; 2] {
    [COUNTRY, ASN]
}

impl Countries {
    /// The embedded `countries.csv`.
    pub fn shipped() -> &'static Countries {
        &SHIPPED_COUNTRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_files_are_sound() {
        assert!(Countries::shipped().len() > 240);
        assert_eq!(databases().expect("sound").len(), 2);
    }
}
