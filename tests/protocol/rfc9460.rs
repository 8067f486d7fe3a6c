//! RFC 9460 appendix D: the presentation and wire forms of SVCB and HTTPS records, and what is refused.

use rhumb::base::diagnostic::{Diagnostic, SourceFile};
use rhumb::zone::{self, Zone, data_text};

const SVCB: u16 = 64;

/// The test zone `example.com` with one more line.
fn load(line: &str) -> (Option<Zone>, Vec<Diagnostic>) {
    let text = format!("$TTL 60\n@ SOA . . 1 1 1 1 1\n@ NS ns.other.\n{line}\n");
    let file = SourceFile { path: "zones/example.com.zone".to_owned(), text };
    let (set, diagnostics) = zone::load(&[file]);
    (set.zones.into_iter().next(), diagnostics)
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|it| u8::try_from(it).expect("a digit"))
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The data of the only binding record of a line.
fn data(line: &str) -> Vec<u8> {
    let (zone, diagnostics) = load(line);
    assert!(!diagnostics.iter().any(Diagnostic::is_error), "{line}: {diagnostics:?}");
    let zone = zone.expect("a zone");
    let rrset =
        zone.names.values().flatten().find(|rrset| matches!(rrset.rtype, 64 | 65)).expect("a binding");
    rrset.rdata[0].to_vec()
}

/// Names of the vectors, in hexadecimal.
const FOO_EXAMPLE_COM: &str = "03666f6f076578616d706c6503636f6d00";
const FOO_EXAMPLE_ORG: &str = "03666f6f076578616d706c65036f726700";

#[test]
fn good_forms_have_their_wire_form_and_read_back() {
    let com = |priority: &str, params: &str| format!("{priority}{FOO_EXAMPLE_COM}{params}");
    let org = |priority: &str, params: &str| format!("{priority}{FOO_EXAMPLE_ORG}{params}");
    let hints = "0006 0020 20010db8000000000000000000000001 20010db8000000000000000000530001";
    let mapped = "0001 076578616d706c6503636f6d00 0006 0010 20010db8012203440000 0000c0000221".to_owned();
    let escaped = org("0010", "0001 000c 08 665c6f6f2c626172 02 6832");
    for (line, hex) in [
        ("example.com. HTTPS 0 foo.example.com.", com("0000", "")),
        ("example.com. SVCB 1 .", "0001 00".to_owned()),
        ("example.com. SVCB 16 foo.example.com. port=53", com("0010", "0003 0002 0035")),
        ("example.com. SVCB 1 foo.example.com. key667=hello", com("0001", "029b 0005 68656c6c6f")),
        (
            r#"example.com. SVCB 1 foo.example.com. key667="hello\210qoo""#,
            com("0001", "029b 0009 68656c6c6fd2716f6f"),
        ),
        (
            r#"example.com. SVCB 1 foo.example.com. ( ipv6hint="2001:db8::1,2001:db8::53:1" )"#,
            com("0001", hints),
        ),
        (r#"example.com. SVCB 1 example.com. ( ipv6hint="2001:db8:122:344::192.0.2.33" )"#, mapped),
        (
            "example.com. SVCB 16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 )",
            org("0010", "0000 0004 0001 0004  0001 0009 02 6832 05 68332d3139  0004 0004 c0000201"),
        ),
        (r#"example.com. SVCB 16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#, escaped.clone()),
        (r"example.com. SVCB 16 foo.example.org. alpn=f\\\092oo\092,bar,h2", escaped),
    ] {
        let wire = data(line);
        assert_eq!(wire, octets(&hex), "{line}");
        let text = data_text(SVCB, &wire);
        assert_eq!(data(&format!("example.com. SVCB {text}")), wire, "{text}");
    }
}

#[test]
fn forms_that_must_fail_do() {
    for params in [
        "key123=abc key123=def",
        "mandatory",
        "alpn",
        "port",
        "ipv4hint",
        "ipv6hint",
        "no-default-alpn=abc",
        "mandatory=key123",
        "mandatory=mandatory",
        "mandatory=key123,key123 key123=abc",
        // Beyond the appendix.
        "no-default-alpn",
        "key65535=a",
        "key01=a",
        "alpn=",
        "alpn=h2,,h3",
        r"alpn=a\\b",
        "port=65536",
        "key3=abc",
        "key2=a alpn=h2",
        "ipv4hint=192.0.2",
        "ipv4hint=192.0.2.1,",
        "ech=%",
        "nonsense=1",
        "Port=1",
    ] {
        let (zone, diagnostics) = load(&format!("example.com. SVCB 1 foo.example.com. ( {params} )"));
        assert!(zone.is_none(), "{params}");
        assert_eq!(diagnostics.iter().map(|it| it.code).collect::<Vec<_>>(), ["zone-svcb"], "{params}");
    }
}

#[test]
fn known_parameters_may_stand_by_number_and_print_by_name() {
    for (params, printed) in [
        (r"key1=\002h2 key3=\000\053", r#" alpn="h2" port=53"#),
        (r#"alpn="h2" "#, r#" alpn="h2""#),
        ("dohpath=/q{?dns} ohttp key9=", r#" dohpath="/q{?dns}" ohttp key9"#),
        ("ech=AAEC no-default-alpn alpn=x", r#" alpn="x" no-default-alpn ech=AAEC"#),
    ] {
        assert_eq!(
            data_text(SVCB, &data(&format!("a HTTPS 1 . {params}"))),
            format!("1 .{printed}"),
            "{params}"
        );
    }
}
