//! Load feeds: inherited key by key from the defaults, and made concrete for every node.

use super::probe::Ends;
use crate::model::fleet::LoadFeed;
use crate::policy::codes;
use crate::policy::files::fleet::{FormatWord, LoadFile};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::Slot;
use crate::policy::scalars::{FeedPlace, Name, json_pointer, metric_selector};
use std::net::SocketAddr;
use std::time::Duration;

/// A load feed, key by key from the node and then from the defaults.
pub fn lower(own: Option<&LoadFile>, defaults: Option<&LoadFile>, ends: &Ends) -> Option<LoadFeed> {
    let absent = LoadFile::absent();
    let own = own.unwrap_or(&absent);
    let LoadFile { place: _, port, path, url, interval, timeout, max_age, stale, format: _, amount, ratios } =
        defaults.unwrap_or(&absent);
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
    let or = |slot: Option<Duration>, default_ms| slot.unwrap_or(Duration::from_millis(default_ms));
    Some(LoadFeed {
        url,
        interval: or(own.interval.or(interval).value().map(|span| span.0), 5_000),
        timeout: or(own.timeout.or(timeout).value().map(|span| span.0), 1_000),
        max_age: or(own.max_age.or(max_age).value().map(|span| span.0), 30_000),
        stale: super::health::stale(own.stale.or(stale)),
        amount: own.amount.or(amount).value().map(|pointer| pointer.0.clone()),
        ratios: own.ratios.or(ratios).value().map_or_else(Default::default, |table| {
            let row = |(name, place): &(At<Name>, Option<FeedPlace>)| {
                Some((name.value.0.clone(), place.as_ref()?.0.clone()))
            };
            table.rows.iter().filter_map(row).collect()
        }),
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
            interval: Slot::Absent,
            timeout: Slot::Absent,
            max_age: Slot::Absent,
            stale: Slot::Absent,
            format: Slot::Absent,
            amount: Slot::Absent,
            ratios: Slot::Absent,
        }
    }
}

/// Reports a feed that says neither where it is nor inherits it.
pub fn check(own: &LoadFile, defaults: Option<&LoadFile>, findings: &mut Findings) {
    check_places(own, defaults, findings);
    let silent = |load: &LoadFile| load.port.is_absent() && load.url.is_absent();
    if silent(own) && defaults.is_none_or(silent) {
        findings
            .report(&codes::MISSING_KEY, own.place, "`port` is missing")
            .help("add `port: …` for a feed on the node's first address, or `url: …`");
    }
    if let (Some(_), Some(port)) = (own.url.given(), own.port.given()) {
        findings
            .report(&codes::WRONG_VALUE, port.place, "`port` means nothing beside `url`")
            .help("keep one of the two");
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
    if let Some(At { value, place }) = own.amount.given() {
        judge(value, *place);
    }
    for (name, text) in own.ratios.value().map_or(&[][..], |table| &table.rows) {
        if let Some(text) = text {
            judge(text, name.place);
        }
    }
}
