//! What chains come to with services in them, and what is said of mistakes, from the text of small folders.

use crate::base::diagnostic::SourceFile;
use crate::model::policy::Policy;
use crate::model::service::Service;

const FLEET: &str = "version: 1\nregions: {eu: {}, na: {}}\n\
                     sites: {fra: {region: eu}, nyc: {region: na}}\n\
                     defaults: {probes: [{kind: tcp, port: 80}]}\n\
                     nodes:\n  f1: {site: fra, addresses: [192.0.2.1]}\n  \
                     f2: {site: fra, addresses: [192.0.2.2]}\n  \
                     n1: {site: nyc, addresses: [192.0.2.3]}\n";
const CLIENTS: &str =
    "version: 1\nareas: {europe: {continents: EU}, mobile: {cidrs: 198.51.100.0/24}, de: {countries: DE}}\n";

/// Services by name and the rest of their file; what is made of them, and what is said.
fn load(services: &[(&str, &str)]) -> (Option<Policy>, Vec<String>) {
    let file = |path: &str, text: String| SourceFile { path: path.to_owned(), text };
    let mut files = vec![file("fleet.yaml", FLEET.to_owned()), file("clients.yaml", CLIENTS.to_owned())];
    for (name, text) in services {
        let text = format!("version: 1\nhostnames: {name}.test\n{text}");
        files.push(file(&format!("services/{name}.yaml"), text));
    }
    let (policy, found) = crate::policy::load(&files);
    let tell = |found: &crate::base::diagnostic::Diagnostic| {
        format!(
            "{} {}: {}; {}",
            found.place(),
            found.code,
            found.message,
            found.help.as_deref().unwrap_or("")
        )
    };
    (policy, found.iter().map(tell).collect())
}

/// Each rule as `europe+mobile: edge im/eu`, with what is biased.
fn rules(policy: &Policy, service: &Service) -> Vec<String> {
    let tell = |rule: &crate::model::service::ChainRule| {
        let area = rule.area_name(&policy.clients).unwrap_or_else(|| "*".to_owned());
        let pools: Vec<&str> = rule.pools.iter().map(|&pool| service.pool(pool).name.as_str()).collect();
        let bias = rule
            .bias
            .iter()
            .map(|bias| format!(" {}{:+}", policy.fleet.node(bias.node).name, bias.by_us / 1_000));
        format!("{area}: {}{}", pools.join(" "), bias.collect::<String>())
    };
    service.chains.iter().map(tell).collect()
}

fn of(services: &[(&str, &str)], name: &str) -> Vec<String> {
    let (policy, said) = load(services);
    let policy = policy.unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(said, [""; 0]);
    let service = policy.services.iter().find(|service| service.name == name).expect("it is there");
    rules(&policy, service)
}

const IM: (&str, &str) = (
    "im",
    "pools: {eu: {select: {region: eu}, min_alive: 30%}, us: {select: {region: na}}}\n\
     chains: [{area: europe, pools: [eu, us]}, {pools: us}]\n",
);

#[test]
fn a_pool_that_is_a_service_is_its_chain_for_each_client() {
    let live = "pools: {edge: {members: f2}, rest: {service: im}}\n\
                chains: [{area: mobile, pools: [edge, rest]}, {pools: rest}]\n";
    assert_eq!(
        of(&[IM, ("live", live)], "live"),
        ["europe+mobile: edge im/eu im/us", "mobile: edge im/us", "europe: im/eu im/us", "*: im/us"]
    );
    let (policy, _) = load(&[IM, ("live", live)]);
    let policy = policy.expect("no error");
    let live = &policy.services[1];
    let eu = live.pools.iter().find(|pool| pool.name == "im/eu").expect("it is spliced");
    assert_eq!((eu.members.len(), eu.min_alive.percent()), (2, 30.0));
    assert_eq!(rules(&policy, &policy.services[0]), ["europe: eu us", "*: us"], "the other is as it was");
}

#[test]
fn what_nobody_reaches_is_left_out_and_a_pool_stands_once() {
    // Whoever is in Europe has the first of im's rules: the second is for nobody there.
    let live = "pools: {rest: {service: im}, again: {service: im}}\n\
                chains: [{area: europe, pools: [rest, again]}, {pools: again}]\n";
    assert_eq!(of(&[IM, ("live", live)], "live"), ["europe: im/eu im/us", "*: im/us"]);
}

#[test]
fn services_nest_and_each_is_put_together_once() {
    let a = "pools: {b: {service: b}}\nchains: [{pools: b}]\n";
    let b = "pools: {own: {members: n1}, im: {service: im}}\n\
             chains: [{area: de, pools: [own, im]}, {pools: im}]\n";
    let services = [("a", a), ("b", b), IM];
    assert_eq!(
        of(&services, "a"),
        ["de+europe: b/own im/eu im/us", "de: b/own im/us", "europe: im/eu im/us", "*: im/us"]
            .map(|rule| rule.replace("de+europe", "europe+de"))
    );
}

#[test]
fn a_bias_comes_along_for_the_nodes_that_its_rule_brings() {
    let im = "pools: {all: {select: {region: [eu, na]}}}\n\
              chains: [{pools: all, bias: [{select: {node: f1}, by: 20ms}, {select: {region: eu}, by: -5ms}]}]\n";
    let live = "pools: {edge: {members: [f2, n1]}, rest: {service: im}}\n\
                chains: [{pools: [edge, rest], bias: [{select: {region: eu}, by: 7ms}, \
                {select: {node: f1}, by: 1s}]}]\n";
    assert_eq!(of(&[("im", im)], "im"), ["*: all f1+20 f2-5"], "the first match counts");
    // f2 is the edge's own; f1 is im's, and both biases add up.
    let (policy, said) = load(&[("im", im), ("live", live)]);
    let policy = policy.expect("no error");
    assert_eq!(rules(&policy, &policy.services[1]), ["*: edge im/all f1+27 f2+7"]);
    assert_eq!(said, [""; 0]);
}

#[test]
fn loops_are_told_with_their_way_and_nothing_else_is_hidden() {
    let to = |other: &str| format!("pools: {{p: {{service: {other}}}}}\nchains: [{{pools: p}}]\n");
    let (policy, said) = load(&[("im", &to("rtc")), ("live", &to("im")), ("rtc", &to("live"))]);
    assert!(policy.is_none());
    assert_eq!(
        said,
        ["services/live.yaml:3:22 service-loop: services lead back to themselves: \
          `im -> rtc -> live -> im`; give pool `p` of service `live` nodes of its own, or another \
          service that does not lead here"]
    );
    let (_, said) = load(&[("im", &to("im")), ("live", "pools: {}\nchains: []\nbogus: 1\n")]);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("`im -> im`"), "{said:?}");
}

#[test]
fn unknown_services_are_suggested_unless_a_file_could_not_be_read() {
    let live = "pools: {p: {service: imm}}\nchains: [{pools: p}]\n";
    let (_, said) = load(&[IM, ("live", live)]);
    assert_eq!(
        said,
        ["services/live.yaml:3:22 unknown-service: there is no service `imm`; did you mean `im`?"]
    );
    let (_, said) = load(&[("broken", "pools: ["), ("live", live)]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("yaml-syntax"), "{said:?}");
}

#[test]
fn what_stands_on_pools_sees_those_of_other_services() {
    let check = |more: &str, expected: &[&str]| {
        let live = format!("pools: {{own: {{members: n1}}, rest: {{service: im}}}}\n{more}\n");
        let im = "pools: {eu: {select: {region: eu}}}\nchains: [{pools: eu}]\n";
        let (_, said) = load(&[("im", im), ("live", &live)]);
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.contains(expected), "{said}");
        }
    };
    let both = "chains: [{pools: [own, rest]}]";
    check(both, &[]);
    // Templates are filled for their nodes, recovery is judged by their probes.
    let txt = format!("{both}\nrecords: {{txt: {{prefix: _at, text: 'at {{carrier}}'}}}}");
    check(&txt, &["bad-template"]);
    let slow = format!("{both}\ntier: 5m\nttl: 300");
    check(&slow, &["recovery-too-slow"]);
    // Newcomers are sent to nodes of the service's own.
    check("chains: [{pools: own}]\nshed: {pool: rest}", &["bad-shed: pool `rest` is another"]);
}

#[test]
fn what_grows_beyond_bounds_is_refused() {
    // Each service divides by 20 areas of its own: 8,000 rules.
    let areas: String = (0..60).map(|at| format!("a{at}: {{cidrs: 10.{at}.0.0/16}}, ")).collect();
    let file = |path: &str, text: String| SourceFile { path: path.to_owned(), text };
    let mut files = vec![
        file("fleet.yaml", FLEET.to_owned()),
        file("clients.yaml", format!("version: 1\nareas: {{{areas}}}\n")),
    ];
    for service in 0..3 {
        let own: String = (0..20).map(|at| format!("{{area: a{}, pools: p}}, ", service * 20 + at)).collect();
        let text = format!(
            "version: 1\nhostnames: s{service}.test\npools: {{p: {{members: f1}}}}\nchains: [{own}{{pools: p}}]\n"
        );
        files.push(file(&format!("services/s{service}.yaml"), text));
    }
    let text = "version: 1\nhostnames: all.test\n\
                pools: {a: {service: s0}, b: {service: s1}, c: {service: s2}}\nchains: [{pools: [a, b, c]}]\n";
    files.push(file("services/all.yaml", text.to_owned()));
    let (_, found) = crate::policy::load(&files);
    let codes: Vec<_> = found.iter().map(|found| (found.code, found.file.as_str())).collect();
    assert_eq!(codes, [("too-many", "services/all.yaml")], "{found:?}");
}

#[test]
fn mistakes_of_pools_and_biases_are_told() {
    let check = |pool: &str, chain: &str, expected: &str| {
        let live = format!(
            "pools: {{all: {{select: {{region: [eu, na]}}}}, p: {{{pool}}}}}\nchains: [{{{chain}}}]\n"
        );
        let (_, said) = load(&[IM, ("live", &live)]);
        assert_eq!(said.len(), 1, "{pool} {chain}: {said:?}");
        assert!(said[0].starts_with(expected), "{pool} {chain}: {said:?}");
    };
    let both = "pools: [all, p]";
    let place = "services/live.yaml";
    check(
        "service: im, min_alive: 20%",
        both,
        &format!("{place}:3:57 wrong-value: `service` beside `min_alive`"),
    );
    check("members: f1, method: load", both, &format!("{place}:3:69 bad-method: node `f1`"));
    check("members: f1, method: loads", both, &format!("{place}:3:69 wrong-value"));
    let biased = |bias: &str| format!("pools: [all, p], bias: [{{{bias}}}]");
    let none = "bias-without-effect";
    check(
        "members: f1",
        &biased("select: {region: eu}, by: 0ms"),
        &format!("{place}:4:62 {none}: a bias of"),
    );
    check("members: f1", &biased("select: {region: ue}, by: 1ms"), &format!("{place}:4:53 selector-matches"));
    check(
        "members: f1",
        &biased("select: {region: eu}, by: 11s"),
        &format!("{place}:4:62 wrong-value: 11s is"),
    );
    check("members: f1", &biased("select: {region: eu}, by: 5"), &format!("{place}:4:62 wrong-value"));
    let all = "select: {region: [eu, na]}, by: -5ms";
    check("members: f1", &biased(all), &format!("{place}:4:34 {none}: all nodes"));
    let live =
        "pools: {p: {members: [f1, f2]}}\nchains: [{pools: p, bias: [{select: {node: n1}, by: 5ms}]}]\n";
    let (_, said) = load(&[("live", live)]);
    assert!(
        said.len() == 1 && said[0].starts_with("services/live.yaml:4:29 bias-without-effect: no pool"),
        "{said:?}"
    );
    let live = "pools: {p: {members: [f1, n1], method: weights}}\n\
                chains: [{pools: p, bias: [{select: {node: n1}, by: 5ms}]}]\n";
    let (_, said) = load(&[("live", live)]);
    assert!(
        said.len() == 1
            && said[0].starts_with("services/live.yaml:4:27 bias-without-effect: no pool of this rule goes"),
        "{said:?}"
    );
}
