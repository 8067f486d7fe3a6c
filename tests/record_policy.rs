//! `records` of a service: what is understood, as zone text of the records it becomes, and what is refused,
//! with code, place and reason.

use rhumb::base::diagnostic::{Diagnostic, SourceFile};
use rhumb::cli::check::diagnose;
use rhumb::model::ids::NodeId;
use rhumb::policy;
use rhumb::routing::block::Block;
use rhumb::routing::records::{Answered, blocks};
use rhumb::zone::{data_text, is_well_formed};
use std::path::Path;

const FLEET: &str = "\
version: 1
regions: {asia: {}}
sites: {tyo: {region: asia}, hkg: {region: asia}}
defaults: {probes: [{kind: tcp, port: 80}]}
nodes:
  n1: {site: tyo, addresses: [192.0.2.1, '2001:db8::1'], labels: {dc: T}}
  n2: {site: hkg, addresses: [192.0.2.2, 192.0.2.3], labels: {dc: H}}
  n3: {site: hkg, addresses: [192.0.2.4]}
";

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

/// A folder whose service has these lines from its sixth on; its pool lacks n3.
fn folder(hostnames: &str, records: &str) -> Vec<SourceFile> {
    let service = format!(
        "version: 1\nhostnames: {hostnames}\npools: {{all: {{members: [n1, n2]}}}}\nchains: [{{pools: all}}]\nrecords:\n{records}\n"
    );
    vec![file("fleet.yaml", FLEET), file("services/web.yaml", &service)]
}

/// What a client is told whose IPv4 comes from n2 and whose IPv6 comes from n1: a line for each record.
fn told(hostnames: &str, records: &str) -> Vec<String> {
    let (policy, problems) = policy::load(&folder(hostnames, records));
    assert_eq!(problems, [], "{records}");
    let policy = policy.expect("a policy");
    let service = &policy.services[0];
    let a = Block::of(1, 30, [&[192, 0, 2, 2][..], &[192, 0, 2, 3]]);
    let aaaa = Block::of(28, 30, [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..]]);
    let picks = [&[NodeId(1)][..], &[NodeId(0)]];
    let made = blocks(service, Answered { fleet: &policy.fleet, blocks: &[a, aaaa], picks }).expect("some");
    let sets = service.records.iter().zip(made.iter());
    let line = |(set, block): (&rhumb::model::records::RecordSet, &Block)| -> Vec<String> {
        let owner = set.owner.clone().unwrap_or_else(|| "@".to_owned());
        let text = |record: rhumb::routing::block::BlockRecord<'_>| {
            assert!(is_well_formed(record.rtype, record.rdata), "{records}");
            assert_eq!((record.rtype, record.ttl), (set.kind.number(), 30));
            format!("{owner} {} {}", set.kind.name(), data_text(record.rtype, record.rdata))
        };
        block.records().map(text).collect()
    };
    sets.flat_map(line).collect()
}

#[test]
fn what_is_written_becomes_records() {
    const HINTS: &str = "ipv4hint=192.0.2.2,192.0.2.3";
    let cases: [(&str, &[&str]); 15] = [
        ("  https: {}", &["@ HTTPS 1 . HINTS ipv6hint=2001:db8::1"]),
        ("  https: {alpn: [h2, h3], port: 8443, hints: false}", &[r#"@ HTTPS 1 . alpn="h2,h3" port=8443"#]),
        (
            "  https: {no_default_alpn: true, alpn: h3, mandatory: [no-default-alpn, alpn], ech: AAEC, ohttp: true}",
            &[
                r#"@ HTTPS 1 . mandatory=alpn,no-default-alpn alpn="h3" no-default-alpn HINTS ech=AAEC ipv6hint=2001:db8::1 ohttp"#,
            ],
        ),
        (
            r"  svcb: {priority: 2, keys: {key667: 'hello\210qoo', key9: x}, mandatory: key9}",
            &[r#"@ SVCB 2 . mandatory=key9 HINTS ipv6hint=2001:db8::1 key9="x" key667="hello\210qoo""#],
        ),
        (
            "  svcb: {prefix: _dns, alpn: h2, dohpath: '/q{?dns}'}",
            &[r#"_dns.a.test SVCB 1 a.test. alpn="h2" HINTS ipv6hint=2001:db8::1 dohpath="/q{?dns}""#],
        ),
        ("  svcb: {prefix: _x, target: A.test}", &["_x.a.test SVCB 1 a.test. HINTS ipv6hint=2001:db8::1"]),
        ("  svcb: {target: other.test, port: 1}", &["@ SVCB 1 other.test. port=1"]),
        (
            "  svcb: {target: '{node}.x.{region}.test.'}",
            &["@ SVCB 1 n2.x.asia.test. HINTS", "@ SVCB 1 n1.x.asia.test. ipv6hint=2001:db8::1"],
        ),
        ("  https: {priority: 0, target: '{dc}.cdn.test'}", &["@ HTTPS 0 h.cdn.test."]),
        (
            "  https: [{alpn: h3}, {priority: 2, target: b.test}]",
            &[r#"@ HTTPS 1 . alpn="h3" HINTS ipv6hint=2001:db8::1"#, "@ HTTPS 2 b.test."],
        ),
        (
            "  srv: {prefix: _SIP._udp, port: 5060, priority: 3, weight: 4, target: '{node}.a.test'}",
            &["_sip._udp.a.test SRV 3 4 5060 n2.a.test.", "_sip._udp.a.test SRV 3 4 5060 n1.a.test."],
        ),
        ("  srv: {port: 1, target: '{region}.a.test'}", &["@ SRV 0 0 1 asia.a.test."]),
        ("  txt: '{{{node}}} of {site}'", &[r#"@ TXT "{n2} of hkg""#, r#"@ TXT "{n1} of tyo""#]),
        ("  txt: [plain, {prefix: _x, text: 12}]", &[r#"@ TXT "plain""#, r#"_x.a.test TXT "12""#]),
        (
            "  txt: {prefix: _x, text: a}\n  https: {prefix: _x, hints: false}",
            &[r#"_x.a.test TXT "a""#, "_x.a.test HTTPS 1 a.test."],
        ),
    ];
    for (records, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|line| line.replace("HINTS", HINTS)).collect();
        assert_eq!(told("a.test", records), expected, "{records}");
    }
    let both = told("[a.test, b.test]", "  svcb: {prefix: _dns, hints: false}");
    assert_eq!(both, ["_dns.a.test SVCB 1 a.test.", "_dns.b.test SVCB 1 b.test."]);
}

/// Hostnames, records, code, place, and a part of the message.
const REFUSED: &[(&str, &str, &str, &str, &str)] = &[
    // Shape.
    ("a.test", "  https: {prot: 1}", "unknown-key", "6:11", "unknown key `prot`"),
    ("a.test", "  srv: {target: a.test}", "missing-key", "6:9", "`port` is missing"),
    ("a.test", "  https: {port: 0}", "wrong-value", "6:17", "out of range"),
    ("a.test", "  txt: {prefix: x, text: y}", "bad-hostname", "6:17", "`x` is not a prefix"),
    ("a.test", "  txt: '{node'", "bad-template", "6:8", "a brace without its other"),
    ("a.test", "  txt: '{no de}'", "bad-template", "6:8", "what is no label"),
    // Templates and the fleet.
    ("a.test", "  txt: 'x {nod}'", "bad-template", "6:8", "node `n1` has no label `nod`"),
    (
        "a.test",
        "  srv: {port: 1, target: '{node}'}",
        "bad-template",
        "6:26",
        "`n1` for node `n1` is no host name",
    ),
    ("a.test", "  srv: {port: 1, target: '*.a.test'}", "bad-template", "6:26", "is a wildcard and no target"),
    ("a.test", "  https: {target: 'a b.test'}", "bad-template", "6:19", "`a b.test` is no host name"),
    // RFC 9460 7.1.1, 8, 14.3.
    ("a.test", "  https: {no_default_alpn: true}", "bad-binding", "6:11", "stands without `alpn`"),
    ("a.test", "  https: {alpn: []}", "bad-binding", "6:17", "`alpn` without a protocol"),
    ("a.test", "  https: {mandatory: [port]}", "bad-binding", "6:23", "`port` is mandatory and absent"),
    ("a.test", "  https: {port: 1, mandatory: [port, port]}", "bad-binding", "6:38", "mandatory twice"),
    ("a.test", "  https: {port: 1, mandatory: [port, key3]}", "bad-binding", "6:38", "mandatory twice"),
    ("a.test", "  https: {mandatory: mandatory}", "bad-binding", "6:22", "lists itself"),
    ("a.test", "  https: {mandatory: ipv4hint}", "bad-binding", "6:22", "cannot be mandatory"),
    ("a.test", "  https: {mandatory: aplm}", "bad-binding", "6:22", "`aplm` is no parameter"),
    ("a.test", "  https: {keys: {key3: x}}", "bad-binding", "6:18", "`key3` is no parameter to be written"),
    ("a.test", "  https: {keys: {key4: x}}", "bad-binding", "6:18", "`key4`"),
    ("a.test", "  https: {keys: {key09: x}}", "bad-binding", "6:18", "`key09`"),
    ("a.test", "  https: {keys: {key65535: x}}", "bad-binding", "6:18", "`key65535`"),
    ("a.test", "  https: {keys: {port: x}}", "bad-binding", "6:18", "`port`"),
    ("a.test", r"  https: {keys: {key99: '\25'}}", "bad-binding", "6:18", "`key99`"),
    ("a.test", "  https: {keys: {key99: x, key99: y}}", "duplicate-key", "6:28", "key99"),
    ("a.test", "  https: {ech: '%'}", "bad-binding", "6:16", "`ech` is not base64"),
    ("a.test", "  https: {dohpath: /q}", "bad-binding", "6:20", "`dohpath`"),
    ("a.test", "  https: {target: b.test, hints: true}", "bad-binding", "6:34", "hints for a target"),
    // Aliases (RFC 9460 2.4).
    ("a.test", "  https: {priority: 0}", "bad-binding", "6:11", "an alias (priority 0) for its own name"),
    ("a.test", "  https: {priority: 0, target: b.test, port: 1}", "bad-binding", "6:46", "no parameters"),
    (
        "a.test",
        "  https: {priority: 0, target: '{node}.b.test', hints: true}",
        "bad-binding",
        "6:56",
        "hints",
    ),
    (
        "a.test",
        "  https: [{alpn: h2}, {priority: 0, target: b.test}]",
        "bad-binding",
        "6:24",
        "an alias beside other records",
    ),
    // Names.
    (
        "'*.a.test'",
        "  txt: {prefix: _x, text: y}",
        "wrong-value",
        "6:9",
        "`*.a.test` has no name `_x` below it",
    ),
    (
        "[a.test, _x.a.test]",
        "  txt: {prefix: _x, text: y}",
        "duplicate-hostname",
        "6:9",
        "`_x.a.test` is listed twice",
    ),
    ("a.test", "  txt: [a, b, c, d, e]", "too-many", "6:21", "more than 4 records"),
];

#[test]
fn what_contradicts_itself_is_refused_at_its_place() {
    for &(hostnames, records, code, place, message) in REFUSED {
        let (policy, problems) = policy::load(&folder(hostnames, records));
        assert!(policy.is_none(), "{records}");
        assert_eq!(problems.len(), 1, "{records}: {problems:?}");
        let span = problems[0].span.expect("a place");
        let at = format!("{}:{}", span.line, span.column);
        assert_eq!(
            (problems[0].code, at.as_str(), &*problems[0].file),
            (code, place, "services/web.yaml"),
            "{records}"
        );
        assert!(problems[0].message.contains(message), "{records}: {}", problems[0].message);
        assert!(problems[0].help.is_some(), "{records}");
    }
}

#[test]
fn bounds_are_held() {
    let long = format!("  https: {{keys: {{key99: '{}'}}}}", "x".repeat(510));
    assert_eq!(codes(&policy::load(&folder("a.test", &long)).1), ["bad-binding"]);
    let names: Vec<String> = (0..65).map(|at| format!("h{at}.test")).collect();
    let many = folder(&format!("[{}]", names.join(", ")), "  txt: {prefix: _x, text: y}");
    assert_eq!(codes(&policy::load(&many).1), ["too-many"]);
    let deep = format!("{}.test", ["x".repeat(60), "y".repeat(60), "z".repeat(60), "w".repeat(60)].join("."));
    assert_eq!(codes(&policy::load(&folder(&deep, "  txt: {prefix: _long, text: y}")).1), ["bad-hostname"]);
}

fn codes(problems: &[Diagnostic]) -> Vec<&'static str> {
    problems.iter().map(|problem| problem.code).collect()
}

const ZONE: &str = "$TTL 60\n@ SOA ns1 admin 1 1h 1h 1w 60\n@ NS ns1\nns1 A 192.0.2.53\n";

#[test]
fn names_and_types_are_held_against_the_zones() {
    for (records, lines, expected) in [
        ("  https: {}", "a TXT fine\na MX 1 ns1\n", &[][..]),
        ("  srv: {prefix: _x, port: 1, target: n.test}", "_x.a A 192.0.2.1\n_x.a TXT beside\n", &[]),
        ("  https: {}", "a HTTPS 1 . alpn=h2\n", &["steered-and-static 6:10"]),
        ("  txt: x\n  https: {}", "a HTTPS 1 . alpn=h2\n", &["steered-and-static 7:10"]),
        ("  txt: {prefix: _x, text: y}", "_x.a TXT z\n", &["steered-and-static 6:9"]),
        ("  txt: {prefix: _x, text: y}", "_x.a CNAME ns1\n", &["steered-and-static 6:9"]),
        ("  txt: {prefix: _x._y, text: y}", "_y.a NS ns1\n", &["steered-below-delegation 6:9"]),
        ("  txt: {prefix: _x._y, text: y}", "_y.a DNAME ns1\n", &["steered-below-dname 6:9"]),
    ] {
        let mut files = folder("a.test", records);
        files.push(file("zones/test.zone", &format!("{ZONE}{lines}")));
        let found = diagnose(&files, Path::new("policies"));
        let told = |it: &Diagnostic| it.span.map(|span| format!("{} {}:{}", it.code, span.line, span.column));
        let found: Vec<_> = found.iter().filter(|it| it.is_error()).filter_map(told).collect();
        assert_eq!(found, expected, "{records} {lines}");
    }
}
