//! Load feeds: inherited key by key from the defaults, and made concrete for every node.

use super::probe::Ends;
use crate::model::fleet::{FeedSource, LoadFeed};
use crate::policy::codes;
use crate::policy::files::fleet::{FormatWord, LoadFile, PushFile};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::Slot;
use crate::policy::scalars::{FeedPlace, Name, json_pointer, metric_selector};
use std::net::SocketAddr;
use std::time::Duration;

/// A load feed, key by key from the node and then from the defaults.
pub fn lower(own: Option<&LoadFile>, defaults: Option<&LoadFile>, ends: &Ends) -> Option<LoadFeed> {
    let absent = LoadFile::absent();
    let own = own.unwrap_or(&absent);
    let inherited = defaults.unwrap_or(&absent);
    let LoadFile { max_age, stale, amount, ratios, clients, .. } = inherited;
    let or = |slot: Option<Duration>, default_ms| slot.unwrap_or(Duration::from_millis(default_ms));
    Some(LoadFeed {
        source: lower_source(own, inherited, ends)?,
        max_age: or(own.max_age.or(max_age).value().map(|span| span.0), 30_000),
        stale: super::health::stale(own.stale.or(stale)),
        amount: own.amount.or(amount).value().map(|pointer| pointer.0.clone()),
        clients: own.clients.or(clients).value().map(|place| place.0.clone()),
        ratios: own.ratios.or(ratios).value().map_or_else(Default::default, |table| {
            let row = |(name, place): &(At<Name>, Option<FeedPlace>)| {
                Some((name.value.0.clone(), place.as_ref()?.0.clone()))
            };
            table.rows.iter().filter_map(row).collect()
        }),
    })
}

/// A node that says where it is asked is not one that pushes, whatever the defaults say.
fn lower_source(own: &LoadFile, inherited: &LoadFile, ends: &Ends) -> Option<FeedSource> {
    let is_asked = [own.port.is_absent(), own.path.is_absent(), own.url.is_absent()].contains(&false);
    let push = if is_asked { &own.push } else { own.push.or(&inherited.push) };
    if let Some(PushFile { place: _, token }) = push.value() {
        return Some(FeedSource::Pushed { token: token.value()?.0 });
    }
    let LoadFile { port, path, url, interval, timeout, .. } = inherited;
    let or = |slot: Option<Duration>, default_ms| slot.unwrap_or(Duration::from_millis(default_ms));
    let port = own.port.or(port).value();
    let path = own.path.or(path).value().map_or("/load", |path| path.0.as_str());
    // A node's own port or path outranks a URL of the defaults.
    let url = match own.port.is_absent() && own.path.is_absent() {
        true => own.url.or(url),
        false => &own.url,
    };
    let url = match (url.value(), port, ends.first) {
        (Some(url), _, _) => url.0.clone(),
        (None, Some(port), Some(ip)) => {
            format!("http://{}{path}", SocketAddr::new(ip, u16::try_from(port.0).unwrap_or(u16::MAX)))
        }
        _ => return None,
    };
    Some(FeedSource::Pulled {
        url,
        interval: or(own.interval.or(interval).value().map(|span| span.0), 5_000),
        timeout: or(own.timeout.or(timeout).value().map(|span| span.0), 1_000),
    })
}

impl LoadFile {
    /// A feed that says nothing.
    fn absent() -> Self {
        Self {
            place: Place::default(),
            port: Slot::Absent,
            path: Slot::Absent,
            url: Slot::Absent,
            push: Slot::Absent,
            interval: Slot::Absent,
            timeout: Slot::Absent,
            max_age: Slot::Absent,
            stale: Slot::Absent,
            format: Slot::Absent,
            amount: Slot::Absent,
            ratios: Slot::Absent,
            clients: Slot::Absent,
        }
    }
}

/// Reports a feed that says neither where it is nor inherits it.
pub fn check(own: &LoadFile, defaults: Option<&LoadFile>, findings: &mut Findings) {
    check_places(own, defaults, findings);
    check_push(own, findings);
    let silent = |load: &LoadFile| load.port.is_absent() && load.url.is_absent() && load.push.is_absent();
    if silent(own) && defaults.is_none_or(silent) {
        findings
            .report(&codes::MISSING_KEY, own.place, "`port` is missing")
            .help("add `port: …` for a feed on the node's first address, or `url: …`, or `push: …`");
    }
    if let (Some(_), Some(port)) = (own.url.given(), own.port.given()) {
        findings
            .report(&codes::WRONG_VALUE, port.place, "`port` means nothing beside `url`")
            .help("keep one of the two");
    }
}

/// Reports what a feed that is pushed has no use for.
pub fn check_push(load: &LoadFile, findings: &mut Findings) {
    if load.push.is_absent() {
        return;
    }
    let place = |name: &'static str, place: Option<Place>| place.map(|place| (name, place));
    let useless = [
        place("port", load.port.given().map(|at| at.place)),
        place("path", load.path.given().map(|at| at.place)),
        place("url", load.url.given().map(|at| at.place)),
        place("interval", load.interval.given().map(|at| at.place)),
        place("timeout", load.timeout.given().map(|at| at.place)),
    ];
    for (name, place) in useless.into_iter().flatten() {
        findings
            .report(&codes::WRONG_VALUE, place, format!("`{name}` means nothing beside `push`"))
            .help("the node is not asked: remove it, or remove `push`");
    }
}

/// Reports places that a feed of this format does not have. Those of the defaults are judged by the format
/// that the defaults say.
pub fn check_places(own: &LoadFile, defaults: Option<&LoadFile>, findings: &mut Findings) {
    let absent = Slot::Absent;
    let format = own.format.or(defaults.map_or(&absent, |defaults| &defaults.format)).value();
    let check = match format {
        Some(FormatWord::Prometheus) => metric_selector,
        Some(FormatWord::Json) | None => json_pointer,
    };
    let mut judge = |text: &FeedPlace, place: Place| {
        if let Err(bad) = check(&text.0) {
            findings.report(bad.code, place, bad.message).help(bad.help);
        }
    };
    for At { value, place } in [own.amount.given(), own.clients.given()].into_iter().flatten() {
        judge(value, *place);
    }
    for (name, text) in own.ratios.value().map_or(&[][..], |table| &table.rows) {
        if let Some(text) = text {
            judge(text, name.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::base::diagnostic::SourceFile;
    use crate::policy::load;

    /// Where the two nodes' feeds tell of clients, or the codes of what is wrong with that.
    fn clients(defaults: &str, own: &str) -> Result<[Option<String>; 2], Vec<String>> {
        let text = format!(
            "version: 1\nregions: {{ ea: {{}} }}\nsites: {{ tyo: {{ region: ea }} }}\n\
             defaults: {{ probes: [{{ kind: tcp, port: 80 }}], load: {{ port: 81, {defaults} }} }}\n\
             nodes:\n  a: {{ site: tyo, addresses: [192.0.2.1], load: {{ {own} }} }}\n\
             \x20 b: {{ site: tyo, addresses: [192.0.2.2] }}\n"
        );
        let (policy, problems) = load(&[SourceFile { path: "fleet.yaml".to_owned(), text }]);
        let Some(policy) = policy else {
            return Err(problems.into_iter().map(|problem| problem.code.to_owned()).collect());
        };
        let feeds = ["a", "b"].map(|name| {
            let id = policy.fleet.node_named(name).expect("it is there");
            policy.fleet.node(id).load.clone().expect("a feed").clients
        });
        Ok(feeds)
    }

    #[test]
    fn a_place_for_clients_is_inherited_and_of_the_format() {
        let place = |text: &str| Some(text.to_owned());
        assert_eq!(clients("", "path: /l"), Ok([None, None]));
        assert_eq!(clients("clients: /c", "path: /l"), Ok([place("/c"), place("/c")]));
        assert_eq!(clients("clients: /c", "clients: /d"), Ok([place("/d"), place("/c")]));
        let metric = "format: prometheus, clients: 'mbps{dir=\"out\"}'";
        assert_eq!(clients("", metric), Ok([place("mbps{dir=\"out\"}"), None]));
        assert_eq!(clients("", "clients: mbps"), Err(vec!["bad-json-pointer".to_owned()]));
        assert_eq!(clients("format: prometheus", "clients: /c"), Err(vec!["bad-metric".to_owned()]));
    }
}
