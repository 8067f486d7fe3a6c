//! The example policies, and what the lowering makes of small folders.

use super::*;
use crate::base::diagnostic::SourceFile;
use crate::base::hash::SeededRng;
use crate::model::fleet::{FeedSource, Fleet, ProbeKind};
use crate::model::judgement::{Source, Station};
use crate::model::service::{OnAllDown, PoolMember, Profile};
use crate::model::token::TokenHash;
use std::time::Duration;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

fn example() -> Vec<SourceFile> {
    vec![
        file("rhumb.yaml", include_str!("../../policies/rhumb.yaml")),
        file("clients.yaml", include_str!("../../policies/clients.yaml")),
        file("fleet.yaml", include_str!("../../policies/fleet.yaml")),
        file("profiles.yaml", include_str!("../../policies/profiles.yaml")),
        file("services/live.yaml", include_str!("../../policies/services/live.yaml")),
        file("services/rtc.yaml", include_str!("../../policies/services/rtc.yaml")),
        file("services/im.yaml", include_str!("../../policies/services/im.yaml")),
        file("zones/rhumb.test.zone", include_str!("../../policies/zones/rhumb.test.zone")),
        file("alerts.yaml", include_str!("../../policies/alerts.yaml")),
    ]
}

#[test]
fn the_example_is_clean_and_complete() {
    let (policy, problems) = load(&example());
    assert_eq!(problems, []);
    let policy = policy.expect("no errors");
    assert!(policy.fleet.regions.len() >= 3 && policy.fleet.sites.len() >= 6);
    assert!(policy.fleet.nodes.len() >= 14 && policy.clients.lines.len() == 3);
    let live = policy.services.iter().find(|service| service.name == "live").expect("live");
    assert_eq!(live.hostnames, ["live.rhumb.test"]);
    assert!(live.chains.last().is_some_and(|rule| rule.areas.is_empty()));
    let dual = policy.fleet.node_named("tyo-1").expect("tyo-1");
    let probe = &policy.fleet.node(dual).probes[0];
    assert_eq!(probe.targets[0].map(|t| t.to_string()).as_deref(), Some("127.1.3.1:8081"));
    assert_eq!(probe.targets[1].map(|t| t.to_string()).as_deref(), Some("[::1]:18101"));
    let load = policy.fleet.node(dual).load.as_ref().expect("a load feed");
    assert_eq!(load.url(), Some("http://127.1.3.1:8081/load"));
}

#[test]
fn only_zones_is_a_plain_server_and_nothing_is_allowed() {
    for files in [vec![], vec![file("zones/a.test.zone", "anything")]] {
        let (policy, problems) = load(&files);
        assert_eq!(problems, []);
        let policy = policy.expect("a policy");
        assert!(policy.services.is_empty() && policy.fleet.nodes.is_empty());
        assert_eq!(policy.server, crate::model::policy::ServerConfig::default());
    }
}

#[test]
fn rate_limits_are_given_in_part_or_switched_off() {
    use crate::model::policy::{AnswerClass, RateLimit};
    let limits = |text: &str| {
        let text = format!("version: 1\n{text}\n");
        let (policy, problems) = load(&[file("rhumb.yaml", &text)]);
        assert_eq!(problems, [], "{text}");
        policy.expect("a policy").server.rate_limit
    };
    let defaults = RateLimit::default();
    assert_eq!(limits(""), Some(defaults.clone()));
    assert_eq!(limits("rate_limit: none"), None);
    let cases = [
        ("{ errors: 5, slip: 3 }", RateLimit { rates: [50, 50, 50, 50, 5], slip: 3, ..defaults.clone() }),
        ("{ log_only: [] }", RateLimit { log_only: Vec::new(), ..defaults.clone() }),
        ("{ log_only: errors }", RateLimit { log_only: vec![AnswerClass::Error], ..defaults.clone() }),
        ("{ allow: [] }", RateLimit { allow: Vec::new(), ..defaults }),
    ];
    for (text, expected) in cases {
        assert_eq!(limits(&format!("rate_limit: {text}")), Some(expected), "{text}");
    }
    for kind in ["rate_limit", "query_limit"] {
        let many = vec!["192.0.2.0/24"; 257].join(", ");
        let text = format!("version: 1\n{kind}: {{ allow: [{many}] }}\n");
        let (_, problems) = load(&[file("rhumb.yaml", &text)]);
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["too-many"]);
    }
}

#[test]
fn the_planner_is_given_in_part_and_within_reason() {
    use crate::model::planner::PlannerRules;
    let read = |text: &str| load(&[file("rhumb.yaml", &format!("version: 1\n{text}\n"))]);
    let rules = |text: &str| read(text).0.expect("a policy").planner;
    let defaults = PlannerRules::default();
    assert_eq!((rules(""), rules("planner: {}")), (defaults, defaults));
    let said = "{change_budget: 20%, change_window: 60s, dwell: 3s, margin: 10ms, margin_share: 15%, ramp: 5m, \
                spill_end: 65%, spill: {enter: 1%, exit: 0.2%, dwell: 30s}}";
    assert_eq!(rules(&format!("planner: {said}")), defaults, "as documented");
    let one = rules("planner: {margin: 25ms, spill: {enter: 5%}}");
    assert_eq!(
        (one.margin.least.0, one.spill.enter.percent(), one.spill.exit),
        (25_000, 5.0, defaults.spill.exit)
    );
    assert_eq!(PlannerRules { margin: defaults.margin, spill: defaults.spill, ..one }, defaults);
    for (text, expect) in [
        ("change_window: 0s", "0s is out of range"),
        ("change_budget: 101%", "101% is out of range"),
        ("change_budget: 0%", "0% is out of range"),
        ("dwell: 0s", "0s is out of range"),
        ("spill: {enter: 0.1%}", "`exit` of 0.2 % is not below `enter` of 0.1 %"),
        ("spill: {exit: 1%}", "`exit` of 1 % is not below `enter` of 1 %"),
        ("change_budgets: 20%", "change_budgets"),
    ] {
        let (policy, problems) = read(&format!("planner: {{{text}}}"));
        assert!(policy.is_none(), "{text}");
        assert!(problems.len() == 1 && problems[0].message.contains(expect), "{text}: {problems:?}");
        assert!(problems[0].place().starts_with("rhumb.yaml:2:"), "{text}");
    }
}

#[test]
fn query_limits_are_given_in_part_or_switched_off() {
    use crate::model::policy::QueryLimit;
    let limit = |text: &str| {
        let (policy, problems) = load(&[file("rhumb.yaml", &format!("version: 1\n{text}\n"))]);
        assert_eq!(problems, [], "{text}");
        policy.expect("a policy").server.query_limit
    };
    let defaults = QueryLimit::default();
    assert_eq!(limit(""), Some(defaults.clone()));
    assert_eq!(limit("query_limit: none"), None);
    let cases = [
        (
            "{ at_least: 20, above: 5000 }",
            QueryLimit { at_least: 20, above: Some(5_000), ..defaults.clone() },
        ),
        ("{ log_only: true, slip: 0 }", QueryLimit { log_only: true, slip: 0, ..defaults.clone() }),
        ("{ allow: [] }", QueryLimit { allow: Vec::new(), ..defaults }),
    ];
    for (text, expected) in cases {
        assert_eq!(limit(&format!("query_limit: {text}")), Some(expected), "{text}");
    }
}

#[test]
fn an_error_in_one_file_hides_none_in_another_and_makes_none() {
    let mut files = example();
    files[2].text.push_str("\n  broken: [\n");
    files[3].text.push_str("\ncolour: red\n");
    let (policy, problems) = load(&files);
    assert!(policy.is_none());
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["yaml-syntax", "unknown-key"]);
}

#[test]
fn norway_is_a_country() {
    let text = "version: 1\nareas:\n  north: {countries: [NO, SE]}\noverrides:\n  - {cidrs: 192.0.2.0/24, country: NO}\n";
    let (policy, problems) = load(&[file("clients.yaml", text)]);
    assert_eq!(problems, []);
    let clients = policy.expect("a policy").clients;
    assert_eq!(clients.areas[0].countries[0].as_str(), "NO");
    assert_eq!(clients.overrides[0].country.expect("a country").as_str(), "NO");
}

/// The fleet of one `nodes:` text under two sites and the given defaults.
fn fleet(defaults: &str, nodes: &str) -> Fleet {
    let text = format!(
        "version: 1\nregions: {{eu: {{}}}}\nsites: {{fra: {{region: eu, location: {{lat: 50.1, lon: 8.7}}}}}}\n\
         defaults: {defaults}\nnodes:\n{nodes}"
    );
    let (policy, problems) = load(&[file("fleet.yaml", &text)]);
    assert_eq!(problems, []);
    policy.expect("no errors").fleet
}

#[test]
fn nodes_inherit_key_by_key_and_can_opt_out() {
    let defaults = "{probes: [{kind: http, path: /up, port: 81}], capacity: {unit: mbps, cap: 80%}, \
                    load: {port: 82, ratios: {cpu: /cpu}}}";
    let fleet = fleet(
        defaults,
        "  a: {site: fra, addresses: [192.0.2.1], capacity: {amount: 10}, load: {path: /l}}\n\
         \x20 b: {site: fra, addresses: ['2001:db8::1'], capacity: none, load: none, location: {lat: 1, lon: 2}}\n\
         \x20 c: {site: fra, addresses: [192.0.2.3], load: {url: 'https://x.example/l'}, probes: [{kind: tcp, port: 9}]}\n",
    );
    let [a, b, c] = &fleet.nodes[..] else { panic!("three nodes") };
    let capacity = a.capacity.as_ref().expect("a capacity");
    assert_eq!((capacity.unit.as_str(), capacity.amount, capacity.cap.0), ("mbps", 10, 800_000));
    let feed = a.load.as_ref().expect("a feed");
    assert_eq!(feed.url(), Some("http://192.0.2.1:82/l"));
    assert_eq!(feed.ratios["cpu"], "/cpu");
    assert!(b.capacity.is_none() && b.load.is_none());
    assert_eq!(b.location.map(|at| at.degrees()), Some((1.0, 2.0)));
    assert_eq!(a.location.map(|at| at.degrees()), Some((50.1, 8.7)), "the site's");
    assert_eq!(b.probes[0].targets, [None, "[2001:db8::1]:81".parse().ok()]);
    assert_eq!(c.load.as_ref().map(|feed| feed.url().unwrap_or_default()), Some("https://x.example/l"));
    assert_eq!(c.probes.iter().map(|probe| probe.kind.name()).collect::<Vec<_>>(), ["tcp"]);
}

#[test]
fn a_feed_is_pulled_or_pushed() {
    let hash = |token| TokenHash::of(token).to_string();
    let defaults = format!(
        "{{probes: [{{kind: tcp, port: 80}}], load: {{push: {{token: '{}'}}, amount: /a}}}}",
        hash("all")
    );
    let nodes = format!(
        "  a: {{site: fra, addresses: [192.0.2.1]}}\n\
         \x20 b: {{site: fra, addresses: [192.0.2.2], load: {{push: {{token: '{}'}}}}}}\n\
         \x20 c: {{site: fra, addresses: [192.0.2.3], load: {{port: 9}}}}\n",
        hash("b's")
    );
    let fleet = fleet(&defaults, &nodes);
    let source = |at: usize| fleet.nodes[at].load.as_ref().map(|feed| feed.source.clone());
    let pushed = |token| Some(FeedSource::Pushed { token: TokenHash::of(token) });
    assert_eq!((source(0), source(1)), (pushed("all"), pushed("b's")));
    assert!(matches!(source(2), Some(FeedSource::Pulled { url, .. }) if url == "http://192.0.2.3:9/load"));
}

#[test]
fn vantages_are_here_or_elsewhere_and_can_report() {
    let hash = TokenHash::of("t");
    let load_with = |vantages: &str, reports: &str| {
        let text = format!("version: 1\nvantages: {{{vantages}}}\n");
        let server = format!("version: 1\n{reports}\n");
        let (policy, found) = load(&[file("fleet.yaml", &text), file("rhumb.yaml", &server)]);
        (policy, found.into_iter().map(|finding| finding.message).collect::<Vec<_>>().join("; "))
    };
    let reports = "reports: {listen: '127.0.0.1:1', certificate: c, key: k}";
    let (policy, found) = load_with(&format!("gz: {{token: '{hash}'}}, ct: {{source: 192.0.2.7}}"), reports);
    assert_eq!(found, "");
    let stations: Vec<Station> =
        policy.expect("a policy").fleet.judgement.vantages.into_iter().map(|it| it.station).collect();
    let ct = Source { address: "192.0.2.7".parse().ok(), interface: None };
    let gz = Station::Remote { token: Some(hash) };
    assert_eq!(stations, [Station::Here(Source::default()), gz, Station::Here(ct)]);
    for (vantages, reports, told) in [
        ("gz: {}", reports, "vantage `gz` cannot show who it is"),
        ("gz: {}", "", "vantage `gz` has nowhere to report"),
        ("gz: {}", "reports: {listen: '127.0.0.1:1', certificate: c, key: k, client_ca: a}", ""),
        ("gz: {interface: eth0}", "", ""),
        ("gz: {interface: 'no interface'}", "", "is not an interface"),
        ("gz: {token: my-secret}", reports, "not the hash of a token"),
        (
            &format!("local: {{token: '{hash}'}}"),
            reports,
            "`token` means nothing for a vantage of this process",
        ),
        (&format!("gz: {{source: 192.0.2.7, token: '{hash}'}}"), reports, "`token` means nothing"),
    ] {
        let (_, found) = load_with(vantages, reports);
        assert!(found.contains(told) && found.is_empty() == told.is_empty(), "{vantages}: {found}");
        assert!(!found.contains("my-secret"), "what may be a secret is not repeated: {found}");
    }
}

#[test]
fn probes_have_the_defaults_of_their_class() {
    let ms = Duration::from_millis;
    for (keys, interval, timeout) in [
        ("", ms(2_000), ms(1_000)),
        (", class: fast", ms(200), ms(200)),
        (", class: fast, timeout: 500ms", ms(200), ms(500)),
        (", interval: 500ms", ms(500), ms(500)),
        (", interval: 1h, timeout: 3s", ms(3_600_000), ms(3_000)),
    ] {
        let fleet = fleet(
            &format!("{{probes: [{{kind: https{keys}}}]}}"),
            "  a: {site: fra, addresses: [192.0.2.1]}\n",
        );
        let probe = &fleet.nodes[0].probes[0];
        assert_eq!((probe.interval, probe.timeout), (interval, timeout), "{keys}");
        assert_eq!((probe.rise, probe.fall, probe.ok), (5, 3, 5));
        assert_eq!(probe.targets[0], "192.0.2.1:443".parse().ok());
        assert!(
            matches!(&probe.kind, ProbeKind::Http(http) if http.tls && http.verify && http.status == [(200, 299)])
        );
    }
}

#[test]
fn services_are_lowered_with_weights_members_and_defaults() {
    let nodes = "version: 1\nregions: {eu: {}}\nsites: {fra: {region: eu}}\ndefaults: {probes: [{kind: tcp, port: 80}]}\nnodes:\n\
                 \x20 a: {site: fra, addresses: [192.0.2.1], labels: {role: edge}}\n\
                 \x20 b: {site: fra, addresses: [192.0.2.2], labels: {role: edge}}\n\
                 \x20 c: {site: fra, addresses: [192.0.2.3], labels: {role: spare}}\n";
    let service = "version: 1\nhostnames: WWW.Example.com.\non_all_down: {fallback: 192.0.2.9}\npools:\n\
                   \x20 p:\n    select: {role: edge}\n    members: c\n    weights:\n\
                   \x20     - {select: {node: a}, weight: 10}\n      - {select: {role: [edge, spare]}, weight: 0}\n\
                   chains: [{area: '*', pools: p}]\n";
    let (policy, problems) = load(&[file("fleet.yaml", nodes), file("services/web.yaml", service)]);
    assert_eq!(problems, []);
    let service = policy.expect("no errors").services.remove(0);
    let weights: Vec<u16> =
        service.pools[0].members.iter().map(|PoolMember { weight, .. }| *weight).collect();
    assert_eq!(weights, [10, 0, 0], "the first matching rule counts");
    assert_eq!((service.name.as_str(), service.hostnames[0].as_str()), ("web", "www.example.com"));
    assert_eq!((service.ttl, service.answers, service.profile), (30, 1, Profile::CDN));
    assert_eq!(service.tier.name, "2h");
    assert!(matches!(&service.on_all_down, OnAllDown::Fallback(list) if list.len() == 1));
}

/// Which rules of a chain over `areas` are reported as shadowed.
fn shadowed(areas: &str, chain: &[&str]) -> Vec<String> {
    let clients = format!("version: 1\nlines: {{ct: {{asns: 1}}, cu: {{asns: 2}}}}\n{areas}");
    let fleet = "version: 1\nregions: {eu: {}}\nsites: {fra: {region: eu}}\nnodes:\n  a: {site: fra, addresses: [192.0.2.1], probes: [{kind: tcp, port: 80}]}\n";
    let rules: String = chain.iter().map(|area| format!("  - {{area: '{area}', pools: p}}\n")).collect();
    let service = format!(
        "version: 1\nhostnames: a.example\npools: {{p: {{members: a}}}}\nchains:\n{rules}  - pools: p\n"
    );
    let files =
        [file("clients.yaml", &clients), file("fleet.yaml", fleet), file("services/s.yaml", &service)];
    let (_, problems) = load(&files);
    let name = |d: &Diagnostic| {
        assert_eq!(d.code, "shadowed-rule", "{d:?}");
        let line = d.span.map_or(0, |span| span.line as usize);
        chain.get(line - 5).map_or("the last".to_owned(), |area| (*area).to_owned())
    };
    problems.iter().map(name).collect()
}

#[test]
fn shadowing_is_by_place_line_network_and_override() {
    let areas = "areas:\n  asia: {continents: AS}\n  cn: {countries: CN}\n  cn-ct: {countries: CN, lines: ct}\n\
                 \x20 ct: {lines: ct}\n  gd: {subdivisions: CN-GD}\n  jp: {countries: JP}\n  mixed: {countries: [CN, DE]}\n\
                 \x20 wide: {cidrs: 192.0.2.0/24}\n  tight: {cidrs: 192.0.2.128/25}\n  office: {}\n  branch: {countries: JP}\n\
                 overrides: [{cidrs: 192.0.2.128/26, areas: [office, branch]}]\n";
    for (chain, expect) in [
        (&["cn-ct", "cn", "asia", "jp"][..], &["jp"][..]),
        (&["asia", "cn", "gd", "jp", "cn-ct"], &["cn", "gd", "jp", "cn-ct"]),
        (&["ct", "cn-ct", "cn"], &["cn-ct"]),
        (&["cn", "mixed", "gd"], &["gd"]),
        (&["cn-ct", "ct", "cn"], &[]),
        (&["wide", "tight", "office"], &["tight", "office"]),
        (&["tight", "wide"], &[]),
        (&["jp", "branch"], &[]),
        (&["jp", "office", "branch"], &["branch"]),
        (&["*", "cn"], &["cn", "the last"]),
        (&["cn", "cn"], &["cn"]),
    ] {
        assert_eq!(shadowed(areas, chain), expect, "{chain:?}");
    }
}

#[test]
fn no_text_makes_it_panic_and_every_place_is_in_its_file() {
    let seed = 0x5eed;
    let mut rng = SeededRng::new(seed);
    let pieces = [
        "\n",
        "  ",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "'",
        "\"",
        "é",
        "\t",
        "\0",
        "99999999999999999999",
        "-",
        "%",
        "ms",
        "/33",
    ];
    for round in 0..600 {
        let mut files = example();
        for _ in 0..=rng.below(3) {
            let at = rng.below(6) as usize;
            let text = &mut files[at].text;
            let mut from = rng.below(text.len() as u64) as usize;
            while !text.is_char_boundary(from) {
                from -= 1;
            }
            let piece = pieces[rng.below(pieces.len() as u64) as usize];
            match rng.below(3) {
                0 => text.insert_str(from, piece),
                1 => text.truncate(from),
                _ => {
                    text.remove(from);
                }
            }
        }
        for problem in load(&files).1 {
            let text = &files.iter().find(|file| file.path == problem.file).expect("a known file").text;
            let span = problem.span.expect("a place");
            let counted = crate::base::diagnostic::Span::in_text(text, span.offset, span.len);
            assert!(span.offset + span.len <= text.len(), "seed {seed} round {round}: {problem:?}");
            assert_eq!(
                (counted.line, counted.column),
                (span.line, span.column),
                "round {round}: {problem:?}"
            );
        }
    }
}

#[test]
fn mistakes_without_end_are_counted_not_kept() {
    let text = "version: 1\n".to_owned() + &(0..5_000).map(|n| format!("key-{n}: x\n")).collect::<String>();
    let (policy, problems) = load(&[file("rhumb.yaml", &text)]);
    assert!(policy.is_none());
    assert_eq!(problems.len(), 1_001);
    let last = problems.iter().find(|problem| problem.code == "too-many").expect("a count");
    assert!(last.message.starts_with("4000 more"), "{}", last.message);
}

/// The one probe of a node whose probe has these keys.
fn probe_of(keys: &str) -> ProbeKind {
    let fleet = fleet(
        &format!("{{probes: [{{{keys}}}]}}"),
        "  a: {site: fra, addresses: [192.0.2.1, '2001:db8::1']}\n",
    );
    fleet.nodes[0].probes[0].kind.clone()
}

#[test]
fn every_kind_of_probe_is_lowered() {
    use crate::model::probe::{DnsProbe, GrpcProbe, HttpProbe, Method, PacketProbe};
    let http =
        probe_of("kind: https, method: HEAD, headers: {X-A: b, X-C: 1}, matches: 'a+', ca: certs/ca.pem");
    let expected = HttpProbe {
        tls: true,
        method: Method::Head,
        headers: vec![("X-A".to_owned(), "b".to_owned()), ("X-C".to_owned(), "1".to_owned())],
        matches: crate::base::pattern::Pattern::new("a+").ok(),
        ca: Some("certs/ca.pem".into()),
        ..HttpProbe::default()
    };
    assert_eq!(http, ProbeKind::Http(expected));
    assert_eq!(probe_of("kind: icmp"), ProbeKind::Icmp(PacketProbe { packets: 1 }));
    assert_eq!(probe_of("kind: stun, packets: 5"), ProbeKind::Stun(PacketProbe { packets: 5 }));
    let dns = |record, rcode, answer: Option<&str>| {
        let (query, answer) = ("www.example.com".to_owned(), answer.map(str::to_owned));
        ProbeKind::Dns(DnsProbe { query, record, rcode, answer })
    };
    assert_eq!(probe_of("kind: dns, query: WWW.example.com."), dns(1, 0, None));
    let all = "kind: dns, query: www.example.com, record: TXT, rcode: NXDOMAIN, answer: here";
    assert_eq!(probe_of(all), dns(16, 3, Some("here")));
    let grpc = GrpcProbe { service: "a.B".to_owned(), tls: true, verify: false, ..GrpcProbe::default() };
    assert_eq!(
        probe_of("kind: grpc, port: 443, service: a.B, tls: true, verify: false"),
        ProbeKind::Grpc(grpc)
    );
}

#[test]
fn kinds_have_their_usual_ports() {
    for (keys, port) in [
        ("kind: stun", 3478),
        ("kind: dns, query: a.example", 53),
        ("kind: http", 80),
        ("kind: icmp", 0),
        ("kind: stun, port: 7", 7),
    ] {
        let fleet = fleet(
            &format!("{{probes: [{{{keys}}}]}}"),
            "  a: {site: fra, addresses: [192.0.2.1, '2001:db8::1']}\n",
        );
        let ports = fleet.nodes[0].probes[0].targets.map(|target| target.map(|target| target.port()));
        assert_eq!(ports, [Some(port), Some(port)], "{keys}");
    }
}

#[test]
fn keys_of_other_kinds_and_missing_ones_are_reported() {
    let nodes = "version: 1\nregions: {eu: {}}\nsites: {fra: {region: eu}}\nnodes:\n  a: {site: fra, addresses: [192.0.2.1], probes: [{PROBE}]}\n";
    for (keys, expected) in [
        ("kind: tcp, port: 80, matches: a", "`matches` means nothing for probes of kind tcp"),
        ("kind: icmp, port: 80", "`port` means nothing for probes of kind icmp"),
        ("kind: http, packets: 3", "`packets` means nothing for probes of kind http"),
        ("kind: stun, query: a.example", "`query` means nothing for probes of kind stun"),
        ("kind: grpc", "`port` is missing"),
        ("kind: dns", "`query` is missing"),
        ("kind: command", "`command` is missing"),
        ("kind: command, command: [x]", "this instance runs no programs"),
        ("kind: https, verify: false, ca: x.pem", "`ca` means nothing beside `verify: false`"),
        ("kind: http, headers: {Host: a}", "`Host` is not the policy's to set"),
        ("kind: http, headers: {X-A: \"a\\nb\"}", "the value of `X-A` is not plain ASCII"),
        ("kind: http, headers: {'X A': b}", "`X A` is not the name of a header"),
        ("kind: http, matches: '(?=a)'", "is not a regular expression: look-around"),
    ] {
        let (_, problems) = load(&[file("fleet.yaml", &nodes.replace("PROBE", keys))]);
        let seen: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert!(seen.iter().any(|seen| seen.contains(expected)), "{keys}: {seen:?}");
    }
}

#[test]
fn commands_run_where_the_instance_allows_them() {
    let nodes = "version: 1\nregions: {eu: {}}\nsites: {fra: {region: eu}}\nnodes:\n  a: {site: fra, addresses: [192.0.2.1], probes: [{kind: command, command: [x, '{address}', 5]}]}\n";
    let allowed = file("rhumb.yaml", "version: 1\ncommands: true\n");
    let (policy, problems) = load(&[file("fleet.yaml", nodes), allowed]);
    assert_eq!(problems, []);
    let kind = policy.expect("no errors").fleet.nodes.remove(0).probes.remove(0).kind;
    let command = ["x", "{address}", "5"].map(str::to_owned).to_vec();
    assert_eq!(kind, ProbeKind::Command(crate::model::probe::CommandProbe { command }));
}

#[test]
fn probes_are_combined_as_node_or_defaults_say() {
    use crate::model::judgement::Combine;
    let probes = "probes: [{kind: tcp, port: 1}, {kind: icmp}]";
    let fleet = fleet(
        &format!("{{{probes}, combine: any}}"),
        "  a: {site: fra, addresses: [192.0.2.1]}\n  b: {site: fra, addresses: [192.0.2.2], combine: {at_least: 2}}\n\
         \x20 c: {site: fra, addresses: [192.0.2.3], combine: all}\n",
    );
    let seen: Vec<Combine> = fleet.nodes.iter().map(|node| node.combine).collect();
    assert_eq!(seen, [Combine::Any, Combine::AtLeast(2), Combine::All]);
    let named = fleet_of_named("login", "database").expect("no problems");
    let labels: Vec<&str> = named.nodes[0].probes.iter().map(|probe| probe.label()).collect();
    assert_eq!(labels, ["login", "database", "icmp"]);
    assert_eq!(fleet_of_named("login", "login"), Err(vec!["two probes are called `login`".to_owned()]));
    let nodes = format!(
        "version: 1\nregions: {{eu: {{}}}}\nsites: {{fra: {{region: eu}}}}\nnodes:\n  a: {{site: fra, addresses: [192.0.2.1], {probes}, combine: {{at_least: 3}}}}\n"
    );
    let (_, problems) = load(&[file("fleet.yaml", &nodes)]);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].message, "3 of 2 probes can never be well");
}

#[test]
fn the_circuit_of_a_region_leaves_a_gap_between_its_bounds() {
    use crate::base::units::Ppm;
    use crate::model::degradation::Bounds;
    let of = |circuit: &str| {
        let text = format!("version: 1\nregions: {{eu: {{circuit: {{{circuit}}}}}}}\n");
        let (policy, problems) = load(&[file("fleet.yaml", &text)]);
        let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        policy.map(|policy| policy.fleet.circuits[0].1).ok_or(messages)
    };
    let bounds =
        |enter, exit| Some(Bounds { enter: Ppm::from_percent(enter), exit: Ppm::from_percent(exit) });
    let usual = of("errors: 50%, loss: 30%").expect("no errors");
    assert_eq!((usual.errors, usual.loss), (bounds(50, 25), bounds(30, 15)));
    let own = of("errors: 50%, errors_exit: 49%, loss: 3%, loss_exit: 0%").expect("no errors");
    assert_eq!((own.errors, own.loss), (bounds(50, 49), bounds(3, 0)));
    for (circuit, message) in [
        ("errors: 20%, errors_exit: 30%", "`errors_exit` of 30 % is not below `errors` of 20 %"),
        ("loss: 20%, loss_exit: 20%", "`loss_exit` of 20 % is not below `loss` of 20 %"),
        ("errors: 20%, loss_exit: 5%", "`loss_exit` means nothing without `loss`"),
    ] {
        assert_eq!(of(circuit), Err(vec![message.to_owned()]));
    }
}

fn fleet_of_named(first: &str, second: &str) -> Result<Fleet, Vec<String>> {
    let probes = format!(
        "{{kind: tcp, port: 1, name: {first}}}, {{kind: tcp, port: 2, name: {second}}}, {{kind: icmp}}"
    );
    let nodes = format!(
        "version: 1\nregions: {{eu: {{}}}}\nsites: {{fra: {{region: eu}}}}\nnodes:\n  a: {{site: fra, addresses: [192.0.2.1], probes: [{probes}]}}\n"
    );
    let (policy, problems) = load(&[file("fleet.yaml", &nodes)]);
    policy.map(|policy| policy.fleet).ok_or(problems.into_iter().map(|problem| problem.message).collect())
}

/// A folder of one node and one service, with what is to be said in each file.
fn priced(profiles: &str, node: &str, service: &str) -> (Option<Policy>, Vec<Diagnostic>) {
    let fleet = format!(
        "version: 1\nregions: {{r: {{}}}}\nsites: {{s: {{region: r}}}}\n\
         defaults: {{probes: [{{kind: tcp, port: 80}}], cost_per_unit: 0.085}}\n\
         nodes: {{a: {{site: s, addresses: [192.0.2.1]{node}}}, b: {{site: s, addresses: [192.0.2.2]}}}}\n"
    );
    let service = format!(
        "version: 1\nhostnames: a.test.\n{service}\npools: {{all: {{members: [a, b]}}}}\nchains: [{{pools: all}}]\n"
    );
    load(&[
        file("fleet.yaml", &fleet),
        file("profiles.yaml", &format!("version: 1\n{profiles}\n")),
        file("services/x.yaml", &service),
    ])
}

#[test]
fn own_profiles_and_prices_reach_the_model() {
    use crate::base::units::{Money, Ppm};
    use crate::model::profile::{Curve, Shape, Weights};
    let profiles =
        "money_weight: 200\nprofiles:\n  game: {curve: rtc, loss: 0.25, load: 2, money: 1.5, burst: 40%}";
    let (policy, problems) = priced(profiles, ", cost_per_unit: 1.25", "profile: game");
    assert_eq!(problems, []);
    let policy = policy.expect("no errors");
    assert_eq!(
        policy.fleet.nodes.iter().map(|node| node.cost_per_unit).collect::<Vec<_>>(),
        [Money(1_250_000), Money(85_000)]
    );
    let game = &policy.services[0].profile;
    let percent = Ppm::from_percent;
    let shape = Shape { curve: Curve::Rtc, jitter: percent(100), loss: percent(25), load: percent(200) };
    assert_eq!(game.weights, Weights { shape, line: Ppm::WHOLE, money_us: 300_000 });
    assert_eq!((game.name(), game.session, game.burst), ("game", Duration::from_secs(300), percent(40)));
    // A service outweighs the folder, and a built-in profile is as documented.
    for (service, money_us) in [("profile: rtc\nmoney_weight: 0.5", 500), ("profile: rtc", 200_000)] {
        let (policy, problems) = priced("money_weight: 200", "", service);
        assert_eq!(problems, []);
        let profile = policy.expect("no errors").services.remove(0).profile;
        assert_eq!(profile.weights, Weights { money_us, ..Profile::RTC.weights });
        assert_eq!(profile.session, Profile::RTC.session);
    }
}

#[test]
fn mistakes_in_profiles_and_prices_are_told() {
    let many: String = (0..17).map(|at| format!("\n  p{at}: {{curve: rtt}}")).collect();
    let many = format!("profiles:{many}");
    let cases = [
        ("", "", "profile: rct", "there is no profile `rct`", "known are cdn, rtc, im;"),
        (
            "profiles: {game: {curve: rtt}}",
            "",
            "profile: gane",
            "there is no profile `gane`",
            "did you mean `game`?",
        ),
        (
            "",
            "",
            "profile: quick",
            "there is no profile `quick`",
            "known are cdn, rtc, im; or add it to `profiles` of profiles.yaml",
        ),
        (
            "profiles: {im: {curve: rtt}}",
            "",
            "",
            "`im` is a profile that rhumb comes with",
            "choose another name",
        ),
        ("profiles: {a: {curve: rtt, loss: 101}}", "", "", "101 is out of range", "0 to 100"),
        ("profiles: {a: {curve: rtt, loss: -1}}", "", "", "-1 is negative", "0 to 100"),
        ("profiles: {a: {curve: rtt, burst: 2000%}}", "", "", "2000% is out of range", "0% to 1000%"),
        ("profiles: {a: {loss: 1}}", "", "", "`curve` is missing", "add `curve: …`"),
        ("profiles: {a: {curve: ctc}}", "", "", "`ctc` is not one of", "one of: rtt, cdn, rtc"),
        (&many, "", "", "more than 16 profiles", "join"),
        ("money_weight: 60001", "", "", "60001 is out of range", "0 to 60000"),
        ("", "", "money_weight: \"3\"", "`3` is not a number", "write it plainly"),
        ("", ", cost_per_unit: -0.5", "", "-0.5 is negative", "0 to 1000000"),
        ("", ", cost_per_unit: 0.1234567", "", "more than six decimals", "round it"),
        ("", ", cost_per_unit: 99999999999999999999", "", "is out of range", "0 to 1000000"),
        (
            "",
            ", cost_per_unit: 2000",
            "",
            "a unit of node `a` counts for service `x` as much as 2 s",
            "no distance",
        ),
    ];
    for (profiles, node, service, message, help) in cases {
        let (policy, problems) = priced(profiles, node, service);
        let [problem] = &problems[..] else { panic!("{message}: {problems:?}") };
        assert!(problem.message.contains(message), "{problem:?}");
        assert!(problem.help.as_ref().is_some_and(|told| told.starts_with(help)), "{problem:?}");
        assert_eq!(policy.is_some(), problem.code == "money-outweighs", "{problem:?}");
    }
}
