//! Zone files in, codes with their places out; then what a good file becomes.

use super::check as check_one;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A good zone to add mistakes to; its last line is 4.
const GOOD: &str = "$TTL 1h\n@ SOA ns1 admin 1 2h 15m 1w 5m\n@ NS ns1\nns1 A 192.0.2.1\n";

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

fn found(diagnostics: &[Diagnostic]) -> Vec<String> {
    let at = |d: &Diagnostic| d.span.map_or(String::new(), |span| format!(" {}:{}", span.line, span.column));
    diagnostics.iter().map(|d| format!("{}{}", d.code, at(d))).collect()
}

/// Loads `input` as `zones/z.test.zone` and compares the codes and their places.
#[track_caller]
fn check(input: &str, expected: &[&str]) {
    let (set, diagnostics) = load(&[file("zones/z.test.zone", input)]);
    assert_eq!(found(&diagnostics), expected, "{input}\n{diagnostics:#?}");
    let is_refused = diagnostics.iter().any(Diagnostic::is_error);
    assert_eq!(set.zones.is_empty(), is_refused, "a zone with errors is left out, and no other");
    for diagnostic in &diagnostics {
        assert!(diagnostic.help.as_ref().is_some_and(|help| !help.is_empty()), "{diagnostic:?}");
        let listed = codes::ALL.iter().find(|(code, ..)| *code == diagnostic.code).expect("a listed code");
        assert_eq!(listed.1, diagnostic.severity);
    }
}

/// [`check`] of [`GOOD`] with `lines` after it, which begin at line 5.
#[track_caller]
fn check_with(lines: &str, expected: &[&str]) {
    check(&format!("{GOOD}{lines}"), expected);
}

fn name(text: &str) -> Name {
    Name::parse_text(text).expect("a good name")
}

fn good(text: &str) -> Zone {
    let (set, diagnostics) = load(&[file("zones/z.test.zone", text)]);
    assert_eq!(diagnostics, []);
    set.zones.into_iter().next().expect("one zone")
}

#[test]
fn syntax_is_reported_all_at_once() {
    check_with("", &[]);
    check_with(
        "a AA 1.2.3.4\nb A 1.2.3\nc MX 10\nd TXT \"x\ne..f A 1.2.3.4\n  A 1.2.3.5\n$TTX 5\n$TTL x\ng A 1.2.3.4 )\nh\n",
        &[
            "zone-syntax 5:3",
            "zone-syntax 6:5",
            "zone-syntax 7:6",
            "zone-syntax 8:7",
            "zone-syntax 9:1",
            "zone-syntax 11:1",
            "zone-syntax 12:6",
            "zone-syntax 13:13",
            "zone-syntax 14:1",
        ],
    );
    check("  A 1.2.3.4\n  A 1.2.3.5\n", &["zone-syntax 1:3"]);
    check_with("é A 1.2.3.4\nx TXT é (\n", &["zone-syntax 5:1", "zone-syntax 6:9"]);
    check_with("$ORIGIN\n$ORIGIN a b\n", &["zone-syntax 5:1", "zone-syntax 6:11"]);
}

#[test]
fn what_rhumb_does_not_serve_is_said_so() {
    check_with(
        "a CH TXT x\na CLASS3 TXT x\na NSEC b A\na RRSIG x\na ANY x\n",
        &[
            "zone-unsupported 5:3",
            "zone-unsupported 6:3",
            "zone-unsupported 7:3",
            "zone-unsupported 8:3",
            "zone-unsupported 9:3",
        ],
    );
}

#[test]
fn a_ttl_must_come_from_somewhere() {
    check("@ SOA ns1 admin 1 2h 15m 1w 5m\n@ NS ns1\nns1 A 192.0.2.1\n", &["zone-no-ttl 1:1"]);
    check("@ 60 SOA ns1 admin 1 2h 15m 1w 5m\n@ NS ns1\nns1 A 192.0.2.1\n", &[]);
}

#[test]
fn a_zone_has_one_soa() {
    check("$TTL 60\n@ NS ns1\nns1 A 192.0.2.1\n", &["zone-no-soa 1:1"]);
    check("", &["zone-no-soa 1:1"]);
    check_with(
        "@ SOA ns2 admin 1 2h 15m 1w 5m\nb SOA . . 1 1 1 1 1\n",
        &["zone-two-soa 5:1", "zone-two-soa 6:1"],
    );
}

#[test]
fn a_zone_has_name_servers() {
    check("$TTL 60\n@ SOA . . 1 1 1 1 1\nb NS a.other.\n", &["zone-no-ns 2:1"]);
    check_with("@ NS ns2\n@ NS ns.other.\n", &["zone-ns-address 5:1"]);
    check_with("@ NS any.wild\n*.wild A 192.0.2.7\n", &[]);
}

#[test]
fn owners_are_in_the_zone() {
    check_with(
        "a.other. A 192.0.2.1\ntest. A 192.0.2.1\nxz.test. A 192.0.2.1\n",
        &["zone-out-of-zone 5:1", "zone-out-of-zone 6:1", "zone-out-of-zone 7:1"],
    );
}

#[test]
fn an_alias_stands_alone() {
    check_with("a CNAME b\na A 192.0.2.1\n", &["zone-cname-and-other 5:1"]);
    check_with(
        "a CNAME b\na CNAME c\nd CNAME b\nd CNAME c\n",
        &["zone-cname-and-other 5:1", "zone-cname-and-other 7:1"],
    );
    check_with("@ CNAME b\n", &["zone-cname-and-other 5:1"]);
}

#[test]
fn ttls_of_an_rrset_agree() {
    check_with("a 60 A 192.0.2.1\na 30 A 192.0.2.2\n", &["zone-ttl 6:1"]);
    let (set, _) = load(&[file("zones/z.test.zone", &format!("{GOOD}a 60 A 192.0.2.1\na 30 A 192.0.2.2\n"))]);
    assert_eq!(set.zones[0].rrset(&name("a.z.test"), rtype::A).map(|rrset| rrset.ttl), Some(30));
}

#[test]
fn delegations_have_the_glue_only_we_can_give() {
    check_with("sub NS ns.sub\n", &["zone-missing-glue 5:1"]);
    check_with("sub NS ns.sub\nns.sub AAAA 2001:db8::1\n", &[]);
    check_with("sub NS ns.other.\nsub2 NS ns.sub\nsub3 NS ns1\n", &[]);
    check_with("sub NS nowhere\n", &["zone-ns-address 5:1"]);
}

#[test]
fn what_a_delegation_hides_is_said() {
    check_with(
        "sub NS ns.other.\nsub DS 1 13 2 00\nsub TXT x\na.sub MX 1 .\nb.sub A 192.0.2.1\nsubx TXT x\n",
        &["zone-occluded 7:1", "zone-occluded 8:1"],
    );
}

#[test]
fn two_files_of_one_zone() {
    let other = format!("$ORIGIN z.test.\n{GOOD}");
    let files = [file("zones/z.test.zone", GOOD), file("zones/copy.zone", &other), file("notes/x.zone", "?")];
    let (set, diagnostics) = load(&files);
    assert_eq!(found(&diagnostics), ["zone-duplicate 3:1"]);
    assert_eq!((diagnostics[0].place().as_str(), set.zones.len()), ("zones/copy.zone:3:1", 1));
    assert_eq!(diagnostics[0].related[0].file, "zones/z.test.zone");
}

#[test]
fn what_a_dname_hides_is_said() {
    check_with(
        "d DNAME e\nx.d A 192.0.2.1\ny.x.d TXT x\nd TXT x\n",
        &["zone-occluded 6:1", "zone-occluded 7:1"],
    );
    check_with("@ DNAME other.\n", &["zone-occluded 4:1"]);
}

#[test]
fn a_dname_stands_where_it_works() {
    check_with(
        "a DNAME b\na DNAME c\nd DNAME x.d\ne DNAME f\ne NS ns.other.\n",
        &["zone-dname 5:1", "zone-dname 7:1", "zone-dname 8:1"],
    );
    check_with("a DNAME b\na CNAME b\n", &["zone-cname-and-other 6:1"]);
    check_with("*.a DNAME b\n*.b NS ns1\n", &["zone-wildcard 5:1", "zone-wildcard 6:1"]);
}

#[test]
fn a_record_counts_once() {
    check_with("a A 192.0.2.7\na A 192.0.2.8\na A 192.0.2.7\n", &["zone-repeated 7:1"]);
    let (set, _) = load(&[file("zones/z.test.zone", &format!("{GOOD}ns1 A 192.0.2.1\n"))]);
    assert_eq!(set.zones[0].rrset(&name("ns1.z.test"), rtype::A).map(|rrset| rrset.rdata.len()), Some(1));
}

#[test]
fn targets_are_hosts_and_not_aliases() {
    check_with(
        "a CNAME ns1\n@ NS a\n@ MX 1 a\n_x._tcp SRV 1 1 1 a\n@ MX 2 elsewhere.\n*.w CNAME a\n@ MX 3 x.w\n",
        &[
            "zone-target-alias 6:1",
            "zone-target-alias 7:1",
            "zone-target-alias 8:1",
            "zone-target-alias 11:1",
        ],
    );
}

#[test]
fn aliases_of_services_stand_alone() {
    check_with(
        "a HTTPS 0 b alpn=h2\nc SVCB 0 b\nc SVCB 1 . port=53\nd HTTPS 0 b\n",
        &["zone-svcb-alias 5:1", "zone-svcb-alias 6:1"],
    );
    check_with("a HTTPS 1 . no-default-alpn\nb HTTPS 1 . apln=h2\n", &["zone-svcb 5:11", "zone-svcb 6:13"]);
}

/// [`GOOD`] with `lines`, and other files of the folder.
#[track_caller]
fn check_folder(lines: &str, others: &[(&str, &str)], expected: &[&str]) -> Option<Zone> {
    let main = file("zones/z.test.zone", &format!("{GOOD}{lines}"));
    let others = others.iter().map(|(path, text)| file(path, text));
    let (set, diagnostics) = load(&[main].into_iter().chain(others).collect::<Vec<_>>());
    let found: Vec<String> = diagnostics.iter().map(|it| format!("{} {}", it.code, it.place())).collect();
    assert_eq!(found, expected, "{diagnostics:#?}");
    set.zones.into_iter().next()
}

fn owners(zone: &Zone) -> Vec<String> {
    zone.names.keys().map(Name::to_string).collect()
}

#[test]
fn includes_are_read_in_their_place() {
    let zone = check_folder(
        "$INCLUDE hosts.inc sub\n TXT still-of-ns1\n$INCLUDE deep/more.inc\nlast 60 A 192.0.2.9\n",
        &[
            ("zones/hosts.inc", "$ORIGIN x\na A 192.0.2.1\n@ A 192.0.2.2\n"),
            ("zones/deep/more.inc", "$TTL 5\nb A 192.0.2.1\n$INCLUDE ../hosts.inc\n"),
        ],
        &[],
    )
    .expect("a zone");
    let expected = [
        "z.test",
        "b.z.test",
        "last.z.test",
        "ns1.z.test",
        "x.sub.z.test",
        "a.x.sub.z.test",
        "x.z.test",
        "a.x.z.test",
    ];
    assert_eq!(owners(&zone), expected);
    assert!(zone.rrset(&name("ns1.z.test"), rtype::TXT).is_some(), "the owner is what it was");
    assert_eq!(zone.rrset(&name("a.x.z.test"), rtype::A).map(|rrset| rrset.ttl), Some(5));
}

#[test]
fn includes_that_cannot_be_read_are_refused() {
    check_folder(
        "$INCLUDE none.inc\n$INCLUDE ../fleet.yaml\n$INCLUDE /etc/passwd\n$INCLUDE\n$INCLUDE a b c\n",
        &[("zones/a", ""), ("fleet.yaml", "")],
        &[
            "zone-include zones/z.test.zone:5:10",
            "zone-include zones/z.test.zone:6:10",
            "zone-include zones/z.test.zone:7:10",
            "zone-syntax zones/z.test.zone:8:1",
            "zone-syntax zones/z.test.zone:9:14",
        ],
    );
    check_folder(
        "$INCLUDE a.inc\n",
        &[("zones/a.inc", "\n$INCLUDE a.inc\n")],
        &["zone-include zones/a.inc:2:10"],
    );
    check_folder("$INCLUDE z.test.zone\n", &[], &["zone-include zones/z.test.zone:5:10"]);
    let names: Vec<String> = (0..10).map(|at| format!("zones/{at}.inc")).collect();
    let texts: Vec<String> = (1..11).map(|at| format!("$INCLUDE {at}.inc\n")).collect();
    let chain: Vec<(&str, &str)> = names.iter().zip(&texts).map(|(name, text)| (&**name, &**text)).collect();
    check_folder("$INCLUDE 0.inc\n", &chain, &["zone-include zones/7.inc:1:10"]);
}

#[test]
fn a_mistake_in_an_include_tells_who_included_it() {
    let main = file("zones/z.test.zone", &format!("{GOOD}$INCLUDE a.inc\n$INCLUDE a.inc\n"));
    let (_, diagnostics) = load(&[main, file("zones/a.inc", "\nx A 1.2.3\n")]);
    assert_eq!(diagnostics.len(), 1, "{diagnostics:#?}");
    assert_eq!(diagnostics[0].place(), "zones/a.inc:2:5");
    let from = &diagnostics[0].related[0];
    assert_eq!((from.file.as_str(), from.span.map(|span| span.line)), ("zones/z.test.zone", Some(5)));
}

#[test]
fn generate_writes_many_records() {
    let zone = check_folder(
        "$GENERATE 1-3 h$ A 192.0.2.$\n$GENERATE 0-4/2 ${0,2}.x 60 IN MX \"${10} m$.other.\"\n\
         $GENERATE 1-2 t$ TXT \\$$ \"a b\"\n$GENERATE 18-19 ${0,3,n}.r PTR p$\n",
        &[],
        &[],
    )
    .expect("a zone");
    let text = zone.to_text();
    for line in [
        "h2.z.test. 3600 IN A 192.0.2.2",
        "04.x.z.test. 60 IN MX 14 m4.other.",
        "t2.z.test. 3600 IN TXT \"$2\" \"a b\"",
        "2.1.r.z.test. 3600 IN PTR p18.z.test.",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} in\n{text}");
    }
    assert_eq!(text.lines().count(), 3 + 3 + 3 + 2 + 2);
}

#[test]
fn generate_says_what_is_wrong() {
    check_with(
        "$GENERATE 3-1 a A 192.0.2.1\n$GENERATE 1-3 a\n$GENERATE 1-3\n$GENERATE 254-256 a$ A 192.0.2.$\n\
         $GENERATE 1-2 a${-2} A 192.0.2.1\n$GENERATE 1-2 ${ A 192.0.2.1\n$GENERATE 1-2 a$ NSEC x\n",
        &[
            "zone-syntax 5:11",
            "zone-syntax 6:15",
            "zone-syntax 7:11",
            "zone-syntax 8:24",
            "zone-syntax 9:15",
            "zone-syntax 10:15",
            "zone-unsupported 11:18",
        ],
    );
    check_with("$GENERATE 0-2000000000 a$ A 192.0.2.1\n", &["zone-too-large 5:24"]);
    check_with("$GENERATE 0-100000 ${0,255}${0,255} TXT ${0,255}\n", &["zone-syntax 5:20"]);
}

#[test]
fn a_single_file_is_checked_for_its_origin() {
    let none = |path: &str| Err(format!("there is no {path}"));
    let checked = check_one(&name("z.test"), &file("dir/any", GOOD), &none);
    assert_eq!((found(&checked.diagnostics), checked.zone.is_some()), (vec![], true));
    let text = GOOD.replace('@', "other.test.") + "$INCLUDE x\n";
    let checked = check_one(&name("z.test"), &file("dir/any", &text), &none);
    assert_eq!(found(&checked.diagnostics)[..2], ["zone-no-soa 2:1", "zone-out-of-zone 4:1"]);
    assert_eq!(checked.diagnostics[2].message, "there is no dir/x");
    assert!(checked.zone.is_none());
}

#[test]
fn an_rrset_fits_a_message() {
    let mut lines = String::new();
    for index in 0..300 {
        lines.push_str(&format!("a TXT \"{index:0>240}\"\n"));
    }
    check_with(&lines, &["zone-rrset-size 5:1"]);
}

#[test]
fn every_code_has_a_case_above() {
    let source = include_str!("tests.rs");
    let listed: BTreeSet<&str> = codes::ALL.iter().map(|(code, ..)| *code).collect();
    assert_eq!(listed.len(), codes::ALL.len(), "no code twice");
    for code in listed {
        assert!(source.contains(&format!("\"{code} ")), "{code}");
    }
}

#[test]
fn a_file_of_nonsense_is_bounded() {
    let (set, diagnostics) = load(&[file("zones/z.test.zone", &"x ? y\n".repeat(5_000))]);
    assert_eq!((set.zones.len(), diagnostics.len()), (0, 1_000));
}

#[test]
fn a_good_file_becomes_a_zone() {
    let zone = good(
        "$ORIGIN Z.test. ; apex\n$TTL 300\n@ 60 IN SOA ns1 admin.z.test. (\n 2026110101 ; serial\n 2h 15m\n 1w 10m )\n \
         IN NS ns1\n 300 NS ns2.other.\nns1 A 192.0.2.2\n A 192.0.2.1\n in 60 AAAA 2001:db8::1\n\
         *.w 5 A 192.0.2.9\n$ORIGIN deep.a\nx TXT one \"two ; three\"\n TYPE65280 \\# 2 beef\n\
         \\@\\.y A 192.0.2.5\nns1.z.test. A 192.0.2.3\n",
    );
    assert_eq!((zone.origin.to_string(), zone.negative_ttl()), ("z.test".to_owned(), 60));
    let owners: Vec<String> = zone.names.keys().map(Name::to_string).collect();
    assert_eq!(owners, ["z.test", r"\@\.y.deep.a.z.test", "x.deep.a.z.test", "ns1.z.test", "*.w.z.test"]);
    let a = zone.rrset(&name("ns1.z.test"), rtype::A).expect("addresses");
    assert_eq!((a.ttl, a.rdata.len()), (300, 3));
    assert!(a.rdata.is_sorted());
    assert_eq!(
        zone.rrset(&name("x.deep.a.z.test"), 65_280).map(|rrset| &*rrset.rdata[0]),
        Some(&[0xbe, 0xef][..])
    );
    assert!(
        zone.has_name(&name("a.z.test"))
            && zone.has_name(&name("w.z.test"))
            && zone.has_name(&name("z.test"))
    );
    assert!(!zone.has_name(&name("b.z.test")) && !zone.has_name(&name("deep.z.test")));
}

#[test]
fn the_closest_zone_is_found() {
    let text = "$TTL 60\n@ SOA . . 1 1 1 1 1\n@ NS a.else.\n";
    let paths = ["zones/test.zone", "zones/a.test.zone", "zones/b.a.test.zone", "zones/other.zone"];
    let (set, diagnostics) = load(&paths.map(|path| file(path, text)));
    assert_eq!(diagnostics, []);
    let origin_of = |text: &str| set.find(&name(text)).map(|zone| zone.origin.to_string());
    assert_eq!(origin_of("x.b.a.test").as_deref(), Some("b.a.test"));
    assert_eq!(origin_of("xb.a.test").as_deref(), Some("a.test"));
    assert_eq!(origin_of("test").as_deref(), Some("test"));
    assert_eq!(origin_of("nowhere"), None);
}

#[test]
fn the_dumped_form_of_other_servers_is_read() {
    let zone = good(
        "$ORIGIN .\n$TTL 60\nz.test IN SOA ns.else. a.else. (\n\t1\n\t2\n\t3\n\t4\n\t5\n\t)\n\t\t\tNS\tns.else.\n\
         $ORIGIN z.test.\nwww\t\t\tCNAME\tz.test.\n",
    );
    assert_eq!((zone.origin.clone(), zone.names.len()), (name("z.test"), 2));
}

/// What zone files are made of, in any order.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "\n",
        "\n ",
        "\n@ ",
        " ",
        "(",
        ")",
        "\"",
        ";",
        "$TTL 5\n",
        "$ORIGIN a\n",
        "$ORIGIN .\n",
        "IN ",
        "60 ",
        "SOA ",
        "NS ",
        "A 192.0.2.1",
        "CNAME b",
        "TXT ",
        "MX 1 ",
        "\\# 1 00",
        "\\",
        "\\300",
        "ns ",
        "sub.ns ",
        ". ",
        "*",
        "é",
        "1 2 3 4 5",
        "DS 1 2 3 00",
        "TYPE99 ",
        "$INCLUDE z.test.zone\n",
        "$INCLUDE a.inc b\n",
        "\n$GENERATE 1-3 ",
        "a$ ",
        "${1,2,x}",
        "DNAME ",
        "SVCB 1 . alpn=",
        "LOC 1 N 1 E 1",
        "SOA . . 1 1 1 1 1\n",
        "NS ns\n",
    ];
    prop_oneof![4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => ".{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_file_panics_and_every_zone_has_its_soa(pieces in prop::collection::vec(piece(), 0..60)) {
        let include = file("zones/a.inc", &pieces[pieces.len() / 2..].concat());
        let (set, diagnostics) = load(&[file("zones/z.test.zone", &pieces.concat()), include]);
        prop_assert_eq!(set.zones.is_empty(), diagnostics.iter().any(Diagnostic::is_error));
        for zone in &set.zones {
            prop_assert_eq!(zone.soa().rdata.len(), 1);
            prop_assert!(zone.negative_ttl() <= zone.soa().ttl);
            for rrset in zone.names.values().flatten() {
                prop_assert!(rrset.rdata.is_sorted() && !rrset.rdata.is_empty());
            }
            let text = file("zones/z.test.zone", &zone.to_text());
            let again = check_one(&zone.origin, &text, &|path| Err(format!("{path} is included")));
            prop_assert_eq!(again.zone.as_ref(), Some(zone), "{:?}", again.diagnostics);
        }
    }
}

#[test]
fn a_large_broken_file_is_read_in_one_pass() {
    // Each would take minutes if a broken entry were read again to the file's end.
    for text in ["a (\n", "a \"\n", "a )\n", "( (\n", "x A 1.2.3.4\n"] {
        let (set, _) = load(&[file("zones/z.test.zone", &text.repeat(200_000))]);
        assert!(set.zones.is_empty());
    }
}
