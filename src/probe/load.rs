//! Load feeds: a document per node, JSON read by JSON pointers (RFC 6901) or Prometheus' text by metrics.
//!
//! A resource that cannot be read is left out and logged once; a reading in which nothing can be read is a
//! failed one. Names are not resolved: a feed is asked at an address.

use super::ask::Call;
use super::failure::Fault;
use super::grid::Grid;
use super::http::{Question, fetch};
use super::tls::{Config, Configs, Protocol, Wanted};
use super::{Bench, ProbeEvent, client_load};
use crate::base::metrics_text::Selector;
use crate::base::units::Ppm;
use crate::model::fleet::{FeedSource, Fleet, LoadFeed};
use crate::model::ids::NodeId;
use crate::model::observation::{ClientLoad, LoadReport, LoadSample, Measured};
use crate::model::probe::Method;
use hyper::Uri;
use serde_json::Value;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// Of a document, pulled or pushed: 10,000 client networks have room in it.
pub const DOCUMENT_BYTES: usize = 1024 * 1024;

/// One node's feed.
pub(super) struct Feed {
    node: NodeId,
    spec: LoadFeed,
    url: String,
    interval: Duration,
    timeout: Duration,
    /// `None`: the feed is not https.
    tls: Option<Config>,
}

impl Feed {
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

pub(super) fn feeds_of(fleet: &Fleet, configs: &mut Configs) -> Vec<Feed> {
    let mut with_feed = |(node, spec): (NodeId, &Option<LoadFeed>)| {
        let spec = spec.clone()?;
        let FeedSource::Pulled { url, interval, timeout } = spec.source.clone() else { return None };
        let verified = || Wanted { verify: true, ca: None, protocol: Protocol::Http1 };
        let tls = url.starts_with("https:").then(|| configs.pick(verified()));
        Some(Feed { node, spec, url, interval, timeout, tls })
    };
    fleet.node_ids().zip(&fleet.nodes).filter_map(|(id, node)| with_feed((id, &node.load))).collect()
}

pub(super) async fn read_on_grid(feed: Feed, mut grid: Grid, bench: Arc<Bench>) {
    let mut complained = false;
    loop {
        grid.tick().await;
        let Ok(permit) = bench.permits.acquire().await else { return };
        let result = feed.read(&bench).await;
        drop(permit);
        let result = result.map(|(sample, missing)| {
            if !missing.is_empty() && !complained {
                warn!(url = %feed.url, "load feed lacks {}; correct its places", missing.join(", "));
            }
            complained = !missing.is_empty();
            sample
        });
        (bench.sink)(ProbeEvent::Load(LoadReport { node: feed.node, at: bench.clock.mono(), result }));
    }
}

impl Feed {
    async fn read(&self, bench: &Bench) -> Result<(LoadSample, Vec<String>), String> {
        let told = |what: &str| format!("load feed {}: {what}", self.url);
        let (target, path) = place_of(&self.url).map_err(|problem| told(&problem))?;
        let question = Question {
            method: Method::Get,
            path: &path,
            host: None,
            headers: &[],
            tls: self.tls.as_ref(),
            until: None,
            most: DOCUMENT_BYTES,
        };
        let source = Arc::clone(&bench.source);
        let call = Call { target, timeout: self.timeout, source, clock: Arc::clone(&bench.clock) };
        let mut unused = Measured::default();
        let answer = match tokio::time::timeout(self.timeout, fetch(&question, &call, &mut unused)).await {
            Err(_) => Err(Fault::timeout(self.timeout)),
            Ok(answer) => answer,
        };
        let answer = answer.map_err(|fault| told(&fault.detail))?;
        if !(200..300).contains(&answer.status) {
            return Err(told(&format!("status {}", answer.status)));
        }
        if answer.cut {
            return Err(told(&format!("the document is larger than {} KiB", DOCUMENT_BYTES / 1024)));
        }
        sample_of(&answer.body, &self.spec).map_err(|problem| told(&problem))
    }
}

/// Where to connect and what to ask for.
fn place_of(url: &str) -> Result<(SocketAddr, String), String> {
    let uri: Uri = url.parse().map_err(|error| format!("not a url: {error}"))?;
    let port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err("the scheme must be http or https".to_owned()),
    };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = host.parse().map_err(|_| format!("{host:?} must be an address, not a name"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((SocketAddr::new(address, uri.port_u16().unwrap_or(port)), path.to_owned()))
}

/// What the document says, and which places in it lack a number.
///
/// A place that begins with `/` is a JSON pointer, any other a metric of Prometheus' text format: policy
/// has held them to the feed's format.
///
/// # Errors
/// One sentence: no document of this format, or one in which none of the places has a number.
pub fn sample_of(body: &[u8], spec: &LoadFeed) -> Result<(LoadSample, Vec<String>), String> {
    let document = Document::of(body, spec)?;
    let mut missing = Vec::new();
    let mut number = |place: &String| {
        let value = document.number(place).filter(|value| *value >= 0.0);
        if value.is_none() {
            missing.push(format!("a number at {place:?}"));
        }
        value
    };
    let amount = spec.amount.as_ref().and_then(&mut number).map(|value| value.round() as u64);
    let ratio = |(name, place): (&String, &String)| Some((name.clone(), Ppm::from_fraction(number(place)?)));
    let ratios: Vec<(String, Ppm)> = spec.ratios.iter().filter_map(ratio).collect();
    let clients = spec.clients.as_ref().and_then(|place| {
        let read = document.clients(place);
        if read.is_none() {
            missing.push(format!("client networks at {place:?}"));
        }
        read.map(Arc::new)
    });
    // A load that is missing is not zero because clients are told.
    let is_of_clients = spec.amount.is_none() && spec.ratios.is_empty() && clients.is_some();
    if amount.is_none() && ratios.is_empty() && !is_of_clients {
        return Err(format!("the document lacks {}", missing.join(", ")));
    }
    Ok((LoadSample { amount, ratios, clients }, missing))
}

enum Document<'a> {
    Json(Value),
    Metrics(Cow<'a, str>),
}

impl<'a> Document<'a> {
    fn of(body: &'a [u8], spec: &LoadFeed) -> Result<Self, String> {
        let places = spec.amount.iter().chain(&spec.clients).chain(spec.ratios.values());
        if places.into_iter().any(|place| place.starts_with('/')) {
            let read = serde_json::from_slice(body).map(Document::Json);
            return read.map_err(|error| format!("not json: {error}"));
        }
        Ok(Document::Metrics(String::from_utf8_lossy(body)))
    }

    fn number(&self, place: &str) -> Option<f64> {
        match self {
            Document::Json(document) => document.pointer(place).and_then(Value::as_f64),
            Document::Metrics(text) => Selector::parse(place).ok()?.sum(text),
        }
    }

    fn clients(&self, place: &str) -> Option<ClientLoad> {
        match self {
            Document::Json(document) => client_load::of_json(document.pointer(place)?),
            Document::Metrics(text) => client_load::of_metrics(text, &Selector::parse(place).ok()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::judgement::StaleLoad;
    use std::collections::BTreeMap;

    fn spec() -> LoadFeed {
        LoadFeed {
            source: FeedSource::Pulled {
                url: "http://127.0.0.1:80/load".to_owned(),
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
            },
            max_age: Duration::from_secs(5),
            stale: StaleLoad::Ignore,
            amount: Some("/egress/mbps".to_owned()),
            ratios: BTreeMap::from([("cpu".to_owned(), "/cpu/0".to_owned())]),
            clients: None,
        }
    }

    fn check(body: &str, expected: Result<(Option<u64>, Vec<u32>), &str>) {
        let seen = sample_of(body.as_bytes(), &spec());
        match (seen, expected) {
            (Ok((sample, _)), Ok((amount, ratios))) => {
                let seen: Vec<u32> = sample.ratios.iter().map(|(_, ratio)| ratio.0).collect();
                assert_eq!((sample.amount, seen), (amount, ratios), "{body}");
            }
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{body}: {problem}"),
            (seen, _) => panic!("{body}: {seen:?}"),
        }
    }

    #[test]
    fn documents_are_read_by_pointer() {
        check(r#"{"egress":{"mbps":412.6},"cpu":[0.31]}"#, Ok((Some(413), vec![310_000])));
        check(r#"{"egress":{"mbps":412}}"#, Ok((Some(412), vec![])));
        check(r#"{"cpu":[1.5]}"#, Ok((None, vec![1_500_000])));
        check(r#"{"egress":{"mbps":"412"},"cpu":[-1]}"#, Err("lacks a number at \"/egress/mbps\""));
        check("{}", Err("\"/cpu/0\""));
        check("ok", Err("not json"));
    }

    #[test]
    fn feeds_are_asked_at_addresses() {
        let place = place_of("http://[::1]:8080/a?b=c").expect("a literal");
        assert_eq!((place.0.to_string().as_str(), place.1.as_str()), ("[::1]:8080", "/a?b=c"));
        assert_eq!(place_of("https://127.0.0.1").expect("a literal").0.port(), 443);
        assert!(place_of("http://node.example/").expect_err("a name").contains("must be an address"));
        assert!(place_of("ftp://127.0.0.1/").is_err());
        assert!(place_of("").is_err());
    }

    #[test]
    fn metrics_are_read_by_selector() {
        let spec = LoadFeed {
            amount: Some("egress_mbps{dir=\"out\"}".to_owned()),
            ratios: BTreeMap::from([("cpu".to_owned(), "cpu_ratio".to_owned())]),
            ..spec()
        };
        let body = "# TYPE cpu_ratio gauge\ncpu_ratio 0.5\negress_mbps{dir=\"in\"} 7\negress_mbps{dir=\"out\"} 412.6\n";
        let read = |body: &str| sample_of(body.as_bytes(), &spec);
        let (sample, missing) = read(body).expect("both are there");
        assert_eq!((sample.amount, missing.len()), (Some(413), 0));
        assert_eq!(sample.ratios, [("cpu".to_owned(), Ppm(500_000))]);
        assert_eq!(
            read("cpu_ratio 0.5").expect("one is there").1,
            ["a number at \"egress_mbps{dir=\\\"out\\\"}\""]
        );
        assert!(read("nothing").expect_err("none").contains("the document lacks"));
    }
}
