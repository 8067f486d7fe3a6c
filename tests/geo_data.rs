//! The files that `geo-data/` ships: sound, within their size, complete, and described truly.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{Reader, WithinOptions, geoip2};

fn shipped(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("geo-data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(name: &str) -> String {
    String::from_utf8(shipped(name)).expect("UTF-8")
}

fn rows(csv: &str) -> impl Iterator<Item = Vec<&str>> {
    csv.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| line.split(',').collect())
}

/// Country codes and continents of the distinct records of the shipped country file.
fn country_records() -> BTreeSet<(Option<String>, Option<String>)> {
    let reader = Reader::from_source(shipped("country.mmdb")).expect("opens");
    let mut offsets = BTreeSet::new();
    let mut records = BTreeSet::new();
    for network in reader.networks(WithinOptions::default()).expect("walks") {
        let network = network.expect("a network");
        if network.offset().is_some_and(|offset| offsets.insert(offset)) {
            let record: geoip2::Country<'_> = network.decode().expect("decodes").expect("has data");
            records.insert((
                record.country.iso_code.map(str::to_owned),
                record.continent.code.map(str::to_owned),
            ));
        }
    }
    records
}

#[test]
fn databases_verify_and_keep_their_size() {
    for (name, most_bytes) in [("country.mmdb", 4 << 20), ("asn.mmdb", 8 << 20)] {
        let bytes = shipped(name);
        assert!(bytes.len() < most_bytes, "{name} has {} bytes", bytes.len());
        let reader = Reader::from_source(bytes).expect("opens");
        reader.verify().unwrap_or_else(|error| panic!("{name}: {error}"));
        let about = &reader.metadata().description["en"];
        assert!(
            about.contains("IPFire Location Database") && about.contains("CC BY-SA 4.0"),
            "{name}: {about}"
        );
    }
}

#[test]
fn every_country_of_the_database_has_a_row() {
    let csv = text("countries.csv");
    let known: BTreeSet<(&str, &str)> = rows(&csv).map(|row| (row[0], row[1])).collect();
    let records = country_records();
    assert!(records.len() > 200, "only {} records", records.len());
    for (code, continent) in &records {
        let continent = continent.as_deref().expect("every record has a continent");
        if let Some(code) = code {
            assert!(known.contains(&(code.as_str(), continent)), "{code} on {continent} has no row");
        }
    }
}

#[test]
fn rows_are_whole_and_on_the_globe() {
    let csv = text("countries.csv");
    let mut codes = BTreeSet::new();
    for row in rows(&csv) {
        assert_eq!(row.len(), 6, "{row:?}");
        assert!(codes.insert(row[0].to_owned()), "{} stands twice", row[0]);
        let (latitude, longitude): (f64, f64) =
            (row[4].parse().expect("a latitude"), row[5].parse().expect("a longitude"));
        assert!(latitude.abs() <= 90.0 && longitude.abs() <= 180.0, "{row:?}");
        assert!(row.iter().all(|field| !field.is_empty()), "{row:?}");
    }
    assert_eq!(codes.len(), 249);
}

#[test]
fn well_known_networks_are_where_everyone_knows_them_to_be() {
    let country = Reader::from_source(shipped("country.mmdb")).expect("opens");
    let asn = Reader::from_source(shipped("asn.mmdb")).expect("opens");
    let known = [
        ("114.114.114.114", "CN", None),
        ("202.12.27.33", "JP", None),
        ("8.8.8.8", "US", Some(15_169)),
        ("2a02:2e0::1", "DE", Some(12_306)),
        ("2001:200::1", "JP", Some(2_500)),
        ("240e::1", "CN", None),
    ];
    let mut named = 0;
    for (address, code, number) in known {
        let at: IpAddr = address.parse().expect("an address");
        let record: geoip2::Country<'_> =
            country.lookup(at).expect("looks up").decode().expect("decodes").expect("known");
        assert_eq!(record.country.iso_code, Some(code), "{address}");
        if let Some(number) = number {
            let record: geoip2::Asn<'_> =
                asn.lookup(at).expect("looks up").decode().expect("decodes").expect("known");
            assert_eq!(record.autonomous_system_number, Some(number), "{address}");
            named += usize::from(record.autonomous_system_organization.is_some_and(|name| !name.is_empty()));
        }
    }
    assert!(named > 0, "no autonomous system has a name");
}

#[test]
fn the_readme_states_the_dates_the_files_carry() {
    let readme = text("README.md");
    for name in ["country.mmdb", "asn.mmdb"] {
        let reader = Reader::from_source(shipped(name)).expect("opens");
        let epoch_s = i64::try_from(reader.metadata().build_epoch).expect("a date");
        let date = jiff::Timestamp::from_second(epoch_s).expect("a date").strftime("%Y-%m-%d").to_string();
        let row = readme.lines().find(|line| line.contains(name)).expect("a row");
        assert!(row.contains(&date), "{name} is dated {date}, README says: {row}");
    }
    assert!(text("LICENSE").contains("CC BY-SA 4.0"));
}
