//! What a load feed says of client networks, read out of its document.
//!
//! ```text
//!  json         {"198.51.100.0/24": 12.5, "2001:db8::/48": 3}            of all that the node serves
//!               {"live": {"198.51.100.0/24": 12.5}, "rtc": {}}           by service
//!  prometheus   client_mbps{prefix="198.51.100.0/24"} 12.5               of all
//!               client_mbps{prefix="198.51.100.0/24",service="live"} 9   by service
//! ```
//! Both may be mixed. Samples of one network are added up, whatever other labels tell them apart. What cannot
//! be read is left out and told with an example; of more than [`ClientLoad::MOST_ROWS`] the largest are kept.

use crate::base::metrics_text::Selector;
use crate::base::prefix::Prefix;
use crate::model::observation::{ClientLoad, ClientRow};
use ipnet::IpNet;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Parts of a unit that are kept.
const MILLI: f64 = 1_000.0;
/// Of what cannot be read, so much is shown.
const SHOWN: usize = 64;

/// What stands at the place of a JSON document; `None`: no object, or one in which nothing can be read.
pub(super) fn of_json(value: &Value) -> Option<ClientLoad> {
    let mut reader = Reader::default();
    for (key, value) in value.as_object()? {
        let Some(networks) = value.as_object() else {
            reader.add(key, None, value.as_f64());
            continue;
        };
        let service = reader.service(key);
        networks.iter().for_each(|(network, value)| reader.add(network, Some(service), value.as_f64()));
    }
    reader.finish()
}

/// The samples of a metric; `None`: the document knows none of that name, or none can be read.
pub(super) fn of_metrics(document: &str, metric: &Selector) -> Option<ClientLoad> {
    let (mut reader, mut any) = (Reader::default(), false);
    for sample in metric.samples(document) {
        any = true;
        let service = sample.label("service").filter(|name| !name.is_empty());
        let service = service.map(|name| reader.service(name));
        reader.add(sample.label("prefix").unwrap_or_default(), service, Some(sample.value));
    }
    if any || metric.is_declared(document) { reader.finish() } else { None }
}

#[derive(Default)]
struct Reader {
    rows: BTreeMap<(Option<u32>, Prefix), u64>,
    services: BTreeMap<String, u32>,
    read: usize,
    left_out: usize,
    /// The first that was left out, and why.
    example: Option<String>,
}

impl Reader {
    fn service(&mut self, name: &str) -> u32 {
        if let Some(&known) = self.services.get(name) {
            return known;
        }
        let next = u32::try_from(self.services.len()).unwrap_or(u32::MAX);
        self.services.insert(name.to_owned(), next);
        next
    }

    fn add(&mut self, network: &str, service: Option<u32>, value: Option<f64>) {
        self.read += 1;
        let milli = match value {
            Some(value) if value.is_finite() && value >= 0.0 => (value * MILLI).round() as u64,
            Some(value) => return self.leave_out(network, &format!("{value} is no load")),
            None => return self.leave_out(network, "no number stands there"),
        };
        let Some(prefix) = network_of(network) else { return self.leave_out(network, "not a network") };
        let sum = self.rows.entry((service, prefix)).or_default();
        *sum = sum.saturating_add(milli);
    }

    fn leave_out(&mut self, network: &str, why: &str) {
        self.left_out += 1;
        self.example.get_or_insert_with(|| {
            let shown: String = network.chars().take(SHOWN).collect();
            format!("{shown:?}: {why}")
        });
    }

    /// Unreadable is not empty: an exporter that writes numbers as texts still has its clients.
    fn finish(self) -> Option<ClientLoad> {
        if self.left_out > 0 && self.rows.is_empty() {
            return None;
        }
        let mut told = Vec::new();
        if let Some(example) = &self.example {
            told.push(format!("{} of {} left out, such as {example}", self.left_out, self.read));
        }
        let named = |((service, prefix), milli)| ClientRow { prefix, service, milli };
        let mut rows: Vec<ClientRow> = self.rows.into_iter().map(named).collect();
        let surplus = rows.len().saturating_sub(ClientLoad::MOST_ROWS);
        if surplus > 0 {
            rows.sort_by_key(|row| (Reverse(row.milli), row.service, row.prefix));
            rows.truncate(ClientLoad::MOST_ROWS);
            told.push(format!("the {surplus} smallest left out: {} are the most", ClientLoad::MOST_ROWS));
        }
        let mut services = vec![String::new(); self.services.len()];
        for (name, at) in self.services {
            services[at as usize] = name;
        }
        Some(ClientLoad { rows, services, left_out: (!told.is_empty()).then(|| told.join("; ")) })
    }
}

/// A network, or an address as one.
fn network_of(text: &str) -> Option<Prefix> {
    match text.parse::<IpNet>() {
        Ok(network) => Some(network.into()),
        Err(_) => text.parse::<IpAddr>().ok().map(|address| Prefix::from(IpNet::from(address))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(load: &ClientLoad) -> Vec<(Option<&str>, String, u64)> {
        let service = |row: &ClientRow| row.service.map(|at| load.services[at as usize].as_str());
        load.rows.iter().map(|row| (service(row), row.prefix.to_string(), row.milli)).collect()
    }

    fn json(text: &str) -> ClientLoad {
        of_json(&serde_json::from_str(text).expect("JSON")).expect("an object")
    }

    #[test]
    fn networks_are_of_all_services_or_of_those_that_are_named() {
        let all = json(r#"{"198.51.100.7/24": 12.5, "2001:db8::/48": 3, "192.0.2.1": 0.0004}"#);
        let expected = [("192.0.2.1/32", 0), ("198.51.100.0/24", 12_500), ("2001:db8::/48", 3_000)];
        assert_eq!(told(&all), expected.map(|(network, milli)| (None, network.to_owned(), milli)));
        assert!(all.is_of_all() && all.left_out.is_none());
        let named = json(r#"{"live": {"198.51.100.0/24": 1}, "rtc": {}}"#);
        assert_eq!(told(&named), [(Some("live"), "198.51.100.0/24".to_owned(), 1_000)]);
        assert_eq!((named.services.len(), named.is_of_all()), (2, false));
        assert!(json("{}").is_of_all(), "nobody is there");
        assert!(json(r#"{"live": {}, "10.0.0.0/8": 1}"#).is_of_all());
        assert_eq!(of_json(&Value::from(7)), None);
        assert_eq!(of_json(&serde_json::json!([{"10.0.0.0/8": 1}])), None);
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_told_with_its_first() {
        let odd = json(r#"{"10.0.0.0/33": 1, "10.0.0.0/8": -1, "a": {"b": 1, "10.0.0.0/8": 2}, "c": "1"}"#);
        assert_eq!(told(&odd), [(Some("a"), "10.0.0.0/8".to_owned(), 2_000)]);
        assert_eq!(odd.left_out.as_deref(), Some("4 of 5 left out, such as \"10.0.0.0/33\": not a network"));
        assert_eq!(of_json(&serde_json::json!({"10.0.0.0/8": "12.5"})), None, "which is not nobody");
        let huge = json(r#"{"10.0.0.0/8": 1e300}"#);
        assert_eq!(huge.rows[0].milli, u64::MAX);
    }

    #[test]
    fn of_too_many_the_largest_are_kept() {
        let row = |at: usize| (format!("10.{}.{}.0/24", at / 256, at % 256), Value::from(at));
        let many = of_json(&(0..ClientLoad::MOST_ROWS + 5).map(row).collect()).expect("an object");
        assert_eq!(many.rows.len(), ClientLoad::MOST_ROWS);
        assert_eq!(many.rows.iter().map(|row| row.milli).min(), Some(5_000));
        assert!(many.left_out.expect("told").contains("the 5 smallest left out"));
    }

    #[test]
    fn metrics_say_the_same_by_labels() {
        let document = "# TYPE mbps gauge\nmbps{prefix=\"10.1.0.0/16\",proto=\"tcp\"} 1\n\
            mbps{prefix=\"10.1.0.0/16\",proto=\"udp\"} 2\nmbps{prefix=\"10.2.0.0/16\",service=\"live\"} 0.5\n\
            mbps{prefix=\"10.3.0.0/16\"} NaN\nmbps 7\n# HELP idle Nobody.\n";
        let read = |metric: &str| of_metrics(document, &Selector::parse(metric).expect("a selector"));
        let load = read("mbps").expect("it is there");
        let expected =
            [(None, "10.1.0.0/16".to_owned(), 3_000), (Some("live"), "10.2.0.0/16".to_owned(), 500)];
        assert_eq!(told(&load), expected);
        assert_eq!(
            load.left_out.as_deref(),
            Some("2 of 5 left out, such as \"10.3.0.0/16\": NaN is no load")
        );
        assert!(read("mbps{service=\"live\"}").is_some_and(|load| load.rows.len() == 1));
        assert_eq!(read("idle"), Some(ClientLoad::default()), "nobody is there");
        assert_eq!(read("other"), None);
    }
}
