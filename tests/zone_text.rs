//! Zone text, generated in all its forms: canonical text reads back as the same zone, and `domain`'s
//! reader finds the same records in every text that it can read.

use domain::base::ToName;
use domain::base::iana::Class;
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use proptest::prelude::*;
use rhumb::base::diagnostic::{Diagnostic, SourceFile};
use rhumb::zone::name::Name;
use rhumb::zone::{self, Zone};
use std::collections::BTreeSet;
use std::sync::Arc;

const HEAD: &str = "$TTL 300\n@ IN SOA ns.other. admin.other. 1 2 3 4 60\n@ IN NS ns.other.\n";

/// Owner, type, TTL, data.
type Line = (Name, u16, u32, Vec<u8>);

fn load(text: &str) -> Result<Zone, Vec<Diagnostic>> {
    let file = SourceFile { path: "z.test".to_owned(), text: text.to_owned() };
    let none = |_: &str| Err::<Arc<str>, _>("nothing is included".to_owned());
    let checked = zone::check(&Name::parse_text("z.test").expect("a name"), &file, &none);
    checked.zone.ok_or(checked.diagnostics)
}

fn lines(zone: &Zone) -> BTreeSet<Line> {
    let sets = zone.names.iter().flat_map(|(owner, sets)| sets.iter().map(move |set| (owner, set)));
    let line = |(owner, set): (&Name, &zone::Rrset)| -> Vec<Line> {
        set.rdata.iter().map(|data| (owner.clone(), set.rtype, set.ttl, data.to_vec())).collect()
    };
    sets.flat_map(line).collect()
}

/// What `domain` reads; the error is its own.
fn by_domain(text: &str) -> Result<BTreeSet<Line>, String> {
    let mut file = Zonefile::from(text);
    file.set_origin("z.test.".parse().expect("a name"));
    file.set_default_class(Class::IN);
    let mut lines = BTreeSet::new();
    while let Some(entry) = file.next_entry().map_err(|error| error.to_string())? {
        let Entry::Record(record) = entry else { return Err("an include".to_owned()) };
        let mut data = Vec::new();
        record.data().compose_rdata(&mut data).expect("a vector grows");
        let owner = Name::from_wire(record.owner().to_vec().as_slice()).expect("a name");
        lines.insert((owner, record.rtype().to_int(), record.ttl().as_secs(), data));
    }
    Ok(lines)
}

/// A label as text, with escapes of both kinds.
fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z0-9_-]{1,6}",
        1 => Just("*".to_owned()),
        1 => r"[a-c]\\[.;()@$][a-c]",
        1 => r"x\\0[0-5][0-9]y",
        1 => r"x\\2[0-4][0-9]",
    ]
}

fn relative() -> impl Strategy<Value = String> {
    prop::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => relative(),
        2 => relative().prop_map(|name| format!("{name}.z.test.")),
        2 => relative().prop_map(|name| format!("{name}.")),
        1 => Just(".".to_owned()),
    ]
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        r#""([ !#-\[\]-~]|\\["\\]|\\1[0-9]{2}){0,20}""#.prop_map(|text: String| text),
        "[a-zA-Z0-9=+/.-]{1,12}",
        r"[a-c]\\032[a-c]",
    ]
}

fn hex(octets: usize) -> impl Strategy<Value = String> {
    prop::collection::vec("[0-9a-fA-F]{2}", octets).prop_map(|octets| octets.concat())
}

fn base64() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-zA-Z0-9+/]{4}", 1..9).prop_map(|quads| quads.concat())
}

/// Record types and data that both readers know, in forms that both take.
fn data() -> impl Strategy<Value = String> {
    let small = 0..300_u16;
    prop_oneof![
        any::<[u8; 4]>().prop_map(|it| format!("A {}", std::net::Ipv4Addr::from(it))),
        any::<[u8; 16]>().prop_map(|it| format!("AAAA {}", std::net::Ipv6Addr::from(it))),
        (small.clone(), name()).prop_map(|(number, name)| format!("MX {number} {name}")),
        name().prop_map(|name| format!("PTR {name}")),
        prop::collection::vec(string(), 1..4).prop_map(|strings| format!("TXT {}", strings.join(" "))),
        (string(), string()).prop_map(|(cpu, os)| format!("HINFO {cpu} {os}")),
        (name(), name()).prop_map(|(mailbox, name)| format!("RP {mailbox} {name}")),
        (small.clone(), small.clone(), name()).prop_map(|(a, b, name)| format!("SRV {a} {b} 443 {name}")),
        (small.clone(), string(), string(), name()).prop_map(|(order, flags, services, name)| format!(
            "NAPTR {order} 1 {flags} {services} \"\" {name}"
        )),
        ("[a-z]{1,9}", string()).prop_map(|(tag, value)| format!("CAA 128 {tag} {value}")),
        (small.clone(), hex(32)).prop_map(|(tag, digest)| format!("DS {tag} 13 2 {digest}")),
        (small.clone(), hex(20)).prop_map(|(tag, digest)| format!("CDS {tag} 8 1 {digest}")),
        base64().prop_map(|key| format!("DNSKEY 257 3 13 {key}")),
        base64().prop_map(|key| format!("CDNSKEY 256 3 15 {key}")),
        base64().prop_map(|key| format!("OPENPGPKEY {key}")),
        hex(20).prop_map(|print| format!("SSHFP 4 1 {print}")),
        hex(32).prop_map(|digest| format!("TLSA 3 1 1 {digest}")),
        (1..9_u16, name()).prop_map(|(priority, name)| format!("HTTPS {priority} {name} alpn=h2,h3 port=53")),
        prop::collection::vec(any::<u8>(), 1..20).prop_map(|octets| {
            let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("TYPE65400 \\# {} {digits}", octets.len())
        }),
    ]
}

/// Types that only we read, or forms that only we take.
fn own_data() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("LOC 31 14 0.5 N 121 28 7 E 4m 1m 100m".to_owned()),
        (0..90_u8, 0..60_u8, 0..180_u8).prop_map(|(a, b, c)| format!("LOC {a} {b} S {c} W -{b}.25m")),
        r#"([ !#-\[\]-~]|\\1[0-9]{2}){1,20}"#.prop_map(|uri: String| format!("URI 1 2 \"{uri}\"")),
        hex(9).prop_map(|data| format!("SMIMEA 3 0 0 {data}")),
        hex(9).prop_map(|data| format!("ZONEMD 7 1 1 {data}")),
        (1..9_u16, r#"([ !#-\[\]-~]|\\["\\]|\\1[0-9]{2}){0,20}"#)
            .prop_map(|(priority, value)| format!("SVCB {priority} . key{priority}00=\"{value}\"")),
        // `domain` takes this `@` for a label.
        Just("MX 1 @".to_owned()),
        Just(
            "HTTPS 3 svc mandatory=alpn,ipv4hint ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1 alpn=h2"
                .to_owned()
        ),
        Just(r"MX \# 3 000100".to_owned()),
    ]
}

/// A record in one of the ways it can be laid out. All records of a name and type have one TTL.
fn record(data: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let lead = prop_oneof![
        4 => relative(),
        2 => relative().prop_map(|name| format!("{name}.z.test.")),
        1 => relative().prop_map(|name| format!("{}.z.test.", name.to_ascii_uppercase().replace("\\X", "\\x"))),
        2 => Just(" ".to_owned()),
    ];
    let class = prop::sample::select(vec!["", "IN", "300", "IN 300", "300 IN", "in"]);
    (lead, class, data, 0..4).prop_map(|(lead, class, data, layout)| match layout {
        0 => format!("{lead} {class} {data} ; a comment ( \"\n"),
        1 => format!("{lead}\t{class}\t({data})\n\n"),
        2 => format!("{lead} {class} ( {data}\n ; within\n )\n"),
        _ => format!("{lead} {class} {data}\n"),
    })
}

/// Records that do not end up below a cut; nothing here makes one.
fn text(data: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let directive = prop_oneof![
        relative().prop_map(|name| format!("$ORIGIN {name}.z.test.\n")),
        Just("$TTL 300\n".to_owned())
    ];
    let entry = prop_oneof![9 => record(data), 1 => directive];
    prop::collection::vec(entry, 0..25).prop_map(|entries| HEAD.to_owned() + &entries.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn domain_reads_the_same_records(text in text(data())) {
        let ours = load(&text);
        let theirs = by_domain(&text);
        match (&ours, &theirs) {
            (Ok(zone), Ok(theirs)) => prop_assert_eq!(&lines(zone), theirs, "{}", text),
            _ => prop_assert!(false, "{:?}\n{:?}\n{}", ours.err(), theirs.err(), text),
        }
    }

    #[test]
    fn canonical_text_reads_back_as_the_same_zone(text in text(prop_oneof![data(), own_data()])) {
        let zone = match load(&text) {
            Ok(zone) => zone,
            Err(diagnostics) => return Err(TestCaseError::fail(format!("{diagnostics:#?}\n{text}"))),
        };
        let canonical = zone.to_text();
        prop_assert_eq!(canonical.lines().count(), lines(&zone).len(), "one record a line");
        let again = load(&canonical);
        prop_assert_eq!(again.as_ref(), Ok(&zone), "{}", canonical);
        prop_assert_eq!(again.expect("as above").to_text(), canonical);
    }
}
