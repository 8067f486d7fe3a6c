//! The module as a whole: databases of our own making in, groups out.

#[path = "../../../tests/support/mmdb.rs"]
pub(crate) mod mmdb;

mod compile;
mod frozen;
mod table;

use super::countries::Countries;
use super::database::Database;
use mmdb::{Item, Writer};

fn text(text: &str) -> Item {
    Item::Text(text.to_owned())
}

fn country(code: &str) -> Item {
    Item::Map(vec![("country", Item::Map(vec![("iso_code", text(code))]))])
}

fn asn(number: u32) -> Item {
    Item::Map(vec![("autonomous_system_number", Item::Number(number))])
}

/// A database of the given networks, shorter prefixes first.
fn database(name: &str, ip_version: u32, networks: &[(&str, Item)]) -> Database {
    let mut writer = Writer::new("Test", ip_version, 28);
    for (net, item) in networks {
        writer.network(net, item);
    }
    Database::read(name, writer.finish()).expect("a sound database")
}

fn countries() -> Countries {
    let text =
        "CN,AS,China,Beijing,39.9,116.4\nDE,EU,Germany,Berlin,52.5,13.4\nJP,AS,Japan,Tokyo,35.7,139.7\n";
    Countries::parse("countries.csv", text).expect("a sound table")
}
