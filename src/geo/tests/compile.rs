//! Overlays, overrides, aliases, groups, provenance.

use super::mmdb::{Item, Writer};
use super::{asn, countries, country, database, text};
use crate::base::prefix::Prefix;
use crate::base::units::Coordinates;
use crate::geo::{Compiled, Database, compile, embedded_ipv4, facts};
use crate::model::clients::{Area, ClientOverride, Clients, CountryCode, Line};
use crate::model::ids::{AreaId, LineId};
use std::net::IpAddr;

fn code(text: &str) -> CountryCode {
    CountryCode::parse(text).expect("a code")
}

fn prefix(text: &str) -> Prefix {
    Prefix::from(text.parse::<ipnet::IpNet>().expect("a prefix"))
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn blank(net: &str) -> ClientOverride {
    ClientOverride {
        prefix: prefix(net),
        continent: None,
        country: None,
        subdivision: None,
        line: None,
        location: None,
        areas: vec![],
    }
}

fn clients() -> Clients {
    let line = |name: &str, asns: &[u32]| Line { name: name.into(), title: None, asns: asns.to_vec() };
    let area = |name: &str| Area { name: name.into(), ..Area::default() };
    Clients {
        lines: vec![line("telecom", &[4134, 4812]), line("unicom", &[4837])],
        areas: vec![
            Area { countries: vec![code("CN")], ..area("mainland") },
            Area { continents: vec![code("AS")], lines: vec![LineId(1)], ..area("asia-unicom") },
            Area { cidrs: vec![prefix("5.0.0.0/8")], ..area("office") },
        ],
        overrides: vec![],
    }
}

fn built(databases: &[&Database], clients: &Clients) -> Compiled {
    compile(databases, clients, &countries()).expect("compiles")
}

/// `group covering` of each address.
fn check(compiled: &Compiled, cases: &[(&str, &str, &str)]) {
    for (client, key, covering) in cases {
        let located = compiled.table.locate(address(client));
        assert_eq!(compiled.table.groups()[located.group.index()].key, *key, "{client}");
        assert_eq!(compiled.table.covering(address(client)).to_string(), *covering, "{client}");
    }
}

fn by_country() -> Database {
    database(
        "country",
        6,
        &[
            ("1.0.0.0/8", country("CN")),
            ("2.0.0.0/8", country("DE")),
            ("2001:db8::/32", country("JP")),
            ("2001:db9::/33", country("JP")),
            ("2001:db9:8000::/33", country("JP")),
        ],
    )
}

#[test]
fn databases_are_laid_over_each_other_and_merged() {
    let country = by_country();
    let asn = database(
        "asn",
        4,
        &[("1.0.0.0/9", asn(4134)), ("1.128.0.0/16", asn(4837)), ("9.0.0.0/8", asn(4812))],
    );
    let compiled = built(&[&country, &asn], &clients());
    check(
        &compiled,
        &[
            ("1.2.3.4", "CN/line=telecom/areas=mainland", "1.0.0.0/9"),
            ("1.128.3.4", "CN/line=unicom/areas=mainland+asia-unicom", "1.128.0.0/16"),
            ("1.129.0.0", "CN/areas=mainland", "1.129.0.0/16"),
            ("2.1.1.1", "DE", "2.0.0.0/8"),
            ("9.9.9.9", "ZZ/line=telecom", "9.0.0.0/8"),
            ("5.5.5.5", "ZZ/areas=office", "5.0.0.0/8"),
            ("200.0.0.1", "unknown", "128.0.0.0/1"),
            ("2001:db8::1", "JP", "2001:db8::/31"),
            ("2001:dba::1", "unknown", "2001:dba::/31"),
        ],
    );
    let keys: Vec<&str> = compiled.table.groups().iter().map(|group| group.key.as_str()).collect();
    let mut sorted = keys.clone();
    sorted[1..].sort_unstable();
    assert_eq!(keys, sorted, "group 0, then by key");
    let of = |key: &str| compiled.table.groups().iter().find(|group| group.key == key).expect("the group");
    assert_eq!((of("DE").v4_slash24, of("DE").v6_slash48), (65_536, 0));
    assert_eq!((of("JP").v4_slash24, of("JP").v6_slash48), (0, 131_072));
    assert_eq!(of("JP").location, Coordinates::from_degrees(35.7, 139.7));
    assert_eq!(of("unknown").v6_slash48, u32::MAX);
    assert!(compiled.notes.is_empty());
}

#[test]
fn one_group_for_a_whole_family_has_depth_zero() {
    let compiled = built(&[], &Clients::default());
    check(&compiled, &[("1.2.3.4", "unknown", "0.0.0.0/0"), ("2001:db8::1", "unknown", "::/0")]);
}

#[test]
fn the_longest_override_wins_field_by_field() {
    let country = by_country();
    let mut clients = clients();
    clients.overrides = vec![
        ClientOverride { line: Some(LineId(1)), country: Some(code("CN")), ..blank("2.2.2.0/24") },
        ClientOverride { country: Some(code("JP")), areas: vec![AreaId(2)], ..blank("2.2.0.0/16") },
        ClientOverride { location: Coordinates::from_degrees(31.234, 121.474), ..blank("2.2.2.128/25") },
    ];
    let compiled = built(&[&country], &clients);
    check(
        &compiled,
        &[
            ("2.1.0.0", "DE", "2.0.0.0/15"),
            ("2.2.0.0", "JP/areas=office", "2.2.0.0/23"),
            ("2.2.2.1", "CN/line=unicom/areas=mainland+asia-unicom+office", "2.2.2.0/25"),
            (
                "2.2.2.200",
                "CN/at=31.234,121.474/line=unicom/areas=mainland+asia-unicom+office",
                "2.2.2.128/25",
            ),
        ],
    );
    let report = facts(&[&country], &clients, &countries(), &compiled.table, address("2.2.2.200"));
    let sources: Vec<String> =
        report.sources.iter().map(|s| format!("{}={} from {}", s.field.name(), s.value, s.from)).collect();
    assert_eq!(
        sources,
        [
            "continent=AS from country table",
            "country=CN from override 2.2.2.0/24",
            "location=31.234, 121.474 from override 2.2.2.128/25",
        ]
    );
    assert_eq!(report.line.as_deref(), Some("unicom"));
    assert_eq!(report.areas, ["mainland", "asia-unicom", "office"]);
    assert_eq!(report.networks, [("country".to_owned(), prefix("2.0.0.0/8"))]);
    assert_eq!(
        report.group.key,
        compiled.table.groups()[compiled.table.locate(report.address).group.index()].key
    );
}

#[test]
fn aliases_of_the_ipv4_tree_stay_out_of_the_ipv6_table() {
    let mut writer = Writer::new("Test", 6, 24);
    writer.network("1.0.0.0/8", &country("CN"));
    writer.network("2001:db8::/32", &country("JP"));
    writer.alias(0x2002 << 112, 16, 0, 96);
    writer.alias(0xffff << 32, 96, 0, 96);
    let aliased = Database::read("aliased", writer.finish()).expect("a sound database");
    assert!(aliased.contents().shares_subtrees);
    let compiled = built(&[&aliased], &clients());
    check(
        &compiled,
        &[
            ("1.1.1.1", "CN/areas=mainland", "1.0.0.0/8"),
            ("2001:db8::", "JP", "2001:db8::/32"),
            ("2002:101:101::", "unknown", "2002::/15"),
            ("::ffff:1.1.1.1", "unknown", "::/3"),
            ("::1.1.1.1", "unknown", "::/3"),
        ]
        .map(|(a, b, c)| (a, b, if c == "2002::/15" { "2002::/15" } else { c })),
    );
    for inside in ["::ffff:1.1.1.1", "2002:101:101::5", "64:ff9b::101:101", "2001:0:5:5::fefe:fefe"] {
        let IpAddr::V6(v6) = address(inside) else { panic!("IPv6") };
        assert_eq!(embedded_ipv4(v6).map(IpAddr::V4), Some(address("1.1.1.1")), "{inside}");
        let report = facts(&[&aliased], &clients(), &countries(), &compiled.table, address(inside));
        assert_eq!(report.group.key, "CN/areas=mainland", "{inside}");
    }
    assert_eq!(embedded_ipv4("2001:db8::1".parse().expect("an address")), None);
}

#[test]
fn city_locations_are_rounded_to_a_grid() {
    let city = |latitude, longitude| {
        let at = vec![("latitude", Item::Double(latitude)), ("longitude", Item::Double(longitude))];
        Item::Map(vec![("country_code", text("CN")), ("location", Item::Map(at))])
    };
    let cities = database(
        "city",
        4,
        &[
            ("1.0.0.0/16", city(23.1, 113.2)),
            ("1.1.0.0/16", city(22.6, 114.1)),
            ("1.2.0.0/16", city(39.9, 116.4)),
        ],
    );
    let compiled = built(&[&cities], &Clients::default());
    check(
        &compiled,
        &[
            ("1.0.0.1", "CN/at=23.750,113.750", "1.0.0.0/15"),
            ("1.2.0.1", "CN/at=38.750,116.250", "1.2.0.0/16"),
        ],
    );
}

#[test]
fn too_many_groups_coarsen_the_grid_and_say_so() {
    let mut writer = Writer::new("Test", 4, 32);
    for n in 0..70_000_u32 {
        let (row, column, country) = (n / 144 % 72, n % 144, n / (144 * 72));
        let at = vec![
            ("latitude", Item::Double(f64::from(row) * 2.5 - 89.0)),
            ("longitude", Item::Double(f64::from(column) * 2.5 - 179.0)),
        ];
        let code = format!("A{}", char::from(b'A' + country as u8));
        let item = Item::Map(vec![("country_code", text(&code)), ("location", Item::Map(at))]);
        writer.insert(u128::from(n) << 104, 24, &item);
    }
    let database = Database::read("fine", writer.finish()).expect("a sound database");
    let compiled = built(&[&database], &Clients::default());
    assert!(compiled.table.groups().len() <= 60_000);
    assert!(compiled.table.groups().len() > 10_000);
    assert_eq!(compiled.notes.len(), 1);
    assert!(compiled.notes[0].contains("rounded to 5 degrees instead of 2.5"), "{}", compiled.notes[0]);
}

#[test]
fn the_same_input_gives_the_same_table_and_another_another_revision() {
    let country = by_country();
    let (a, b) = (built(&[&country], &clients()), built(&[&country], &clients()));
    assert_eq!(a.table.groups(), b.table.groups());
    assert_eq!(a.table.revision(), b.table.revision());
    assert_eq!(a.table.revision().0.len(), 12);
    assert_ne!(a.table.revision(), built(&[&country], &Clients::default()).table.revision());
}
