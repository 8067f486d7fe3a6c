//! How loaded a lab node is, and how its load feed says so.
//!
//! ```text
//!  amount = trickle + sessions        each client given the node adds its demand to `sessions`,
//!                                     which fades: x e^(-t / session length)
//!  utilisation = amount / capacity    a load fault pins it, and the amount with it
//!  ratios: cpu 0.9 u, memory 0.8 u, anything with `err` in its name 0, others 0.7 u
//! ```
//! The capacity unit binds on purpose: with a ratio above it, a view of the lab would show a number
//! that no fault and no client explains. A feed that reports no amount gives `u` itself as cpu.

use crate::base::hash::mix64;
use crate::base::prefix::Prefix;
use crate::base::units::Ppm;
use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

/// What every node carries before the first client comes, as a share of its capacity.
pub const TRICKLE: Ppm = Ppm::from_percent(3);
/// Sessions are counted in thousandths of the capacity unit, so that fading does not round them off.
const MILLI: f64 = 1_000.0;

/// Sessions are kept in so many parts by client network, so that a change copies few of them.
const PARTS: usize = 64;

/// By client network, in the unit of the capacity.
type Sessions = HashMap<Prefix, f64>;

/// One node's load; written by clients and by the tick, read by the feed.
#[derive(Debug)]
pub struct LoadCell {
    /// In the capacity's unit; `None` counts as utilisation 0.
    capacity: Option<u64>,
    sessions_milli: AtomicU64,
    /// The same by client network; `None`: its feed does not tell of them.
    by_client: Option<Box<[ArcSwap<Sessions>]>>,
}

/// What a node says at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub amount: u64,
    pub utilisation: Ppm,
}

impl LoadCell {
    pub fn new(capacity: Option<u64>) -> Self {
        Self { capacity, sessions_milli: AtomicU64::new(0), by_client: None }
    }

    /// Has sessions told by client network.
    #[must_use]
    pub fn telling_clients(self) -> Self {
        Self { by_client: Some((0..PARTS).map(|_| ArcSwap::default()).collect()), ..self }
    }

    /// A client of a network was given this node: `demand` more, in the capacity's unit.
    pub fn add(&self, demand: f64, client: Prefix) {
        let at = mix64(client.bits() as u64 ^ (client.bits() >> 64) as u64) as usize % PARTS;
        if let Some(part) = self.parts().get(at).filter(|_| demand > 0.0) {
            part.rcu(|sessions| {
                let mut sessions = Sessions::clone(sessions);
                *sessions.entry(client).or_default() += demand;
                sessions
            });
        }
        let milli = (demand * MILLI).clamp(0.0, 1e15) as u64;
        let add = |old: u64| Some(old.saturating_add(milli).min(1 << 62));
        // The closure always gives a value, so the update cannot fail.
        let _ = self.sessions_milli.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Lets sessions end: what remains is `factor` (0 to 1) of what was.
    pub fn fade(&self, factor: f64) {
        let fade = |old: u64| Some((old as f64 * factor.clamp(0.0, 1.0)) as u64);
        let _ = self.sessions_milli.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fade);
        for part in self.parts() {
            let left = |(client, load): (&Prefix, &f64)| (*client, load * factor.clamp(0.0, 1.0));
            let is_left = |(_, load): &(Prefix, f64)| load * MILLI >= 1.0;
            part.rcu(|sessions| sessions.iter().map(left).filter(is_left).collect::<Sessions>());
        }
    }

    fn parts(&self) -> &[ArcSwap<Sessions>] {
        self.by_client.as_deref().unwrap_or_default()
    }

    /// Sessions by client network, as a feed tells them.
    pub fn told_clients(&self) -> Value {
        let mut told = Map::new();
        for part in self.parts() {
            let row = |(network, load): (&Prefix, &f64)| {
                (network.to_string(), Value::from((load * MILLI).round() / MILLI))
            };
            told.extend(part.load().iter().map(row));
        }
        Value::Object(told)
    }

    /// The load now, or as pinned by a fault.
    pub fn read(&self, pinned: Option<Ppm>) -> Reading {
        let Some(capacity) = self.capacity else {
            return Reading { amount: self.sessions(), utilisation: pinned.unwrap_or_default() };
        };
        if let Some(pinned) = pinned {
            return Reading { amount: pinned.of(capacity), utilisation: pinned };
        }
        let amount = TRICKLE.of(capacity) + self.sessions();
        Reading { amount, utilisation: Ppm::ratio(amount, capacity) }
    }

    fn sessions(&self) -> u64 {
        self.sessions_milli.load(Ordering::Relaxed) / 1_000
    }
}

/// Where in its JSON a feed puts what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedShape {
    /// JSON pointer (RFC 6901).
    pub amount: Option<String>,
    /// JSON pointers by resource name.
    pub ratios: BTreeMap<String, String>,
    /// JSON pointer to what is said of client networks.
    pub clients: Option<String>,
}

impl FeedShape {
    /// The document, or the pointer that cannot stand beside the others.
    pub fn document(&self, reading: Reading, clients: Value) -> Result<Value, String> {
        let mut document = Value::Object(Map::new());
        if let Some(pointer) = &self.clients {
            put(&mut document, pointer, clients)?;
        }
        if let Some(pointer) = &self.amount {
            put(&mut document, pointer, reading.amount.into())?;
        }
        for (name, pointer) in &self.ratios {
            put(&mut document, pointer, self.ratio(name, reading.utilisation.fraction()).into())?;
        }
        Ok(document)
    }

    fn ratio(&self, name: &str, utilisation: f64) -> f64 {
        let share = match name {
            "cpu" if self.amount.is_none() => 1.0,
            "cpu" => 0.9,
            "memory" => 0.8,
            error if error.contains("err") => 0.0,
            _ => 0.7,
        };
        (utilisation * share * 1e6).round() / 1e6
    }
}

/// Sets `pointer` in `document`, making the objects on the way.
fn put(document: &mut Value, pointer: &str, value: Value) -> Result<(), String> {
    let taken = || format!("JSON pointer `{pointer}` collides with another of the same feed");
    let path = pointer
        .strip_prefix('/')
        .ok_or_else(|| format!("JSON pointer `{pointer}` does not start with `/`"))?;
    let tokens: Vec<_> = path.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
    let (last, parents) = tokens.split_last().ok_or_else(taken)?;
    let mut at = document;
    for token in parents {
        let object = at.as_object_mut().ok_or_else(taken)?;
        at = object.entry(token.clone()).or_insert_with(|| Value::Object(Map::new()));
    }
    match at.as_object_mut().ok_or_else(taken)?.insert(last.clone(), value) {
        Some(_) => Err(taken()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(second: u8) -> Prefix {
        Prefix::of(std::net::IpAddr::from([10, second, 0, 0]), 16)
    }

    #[test]
    fn clients_add_and_fade_and_a_pin_outranks_them() {
        let cell = LoadCell::new(Some(1_000)).telling_clients();
        assert_eq!(cell.read(None), Reading { amount: 30, utilisation: Ppm::from_percent(3) });
        cell.add(40.5, network(1));
        cell.add(59.5, network(2));
        assert_eq!(cell.read(None).amount, 130);
        cell.fade(0.5);
        assert_eq!(cell.read(None).amount, 80);
        let told = serde_json::json!({ "10.1.0.0/16": 20.25, "10.2.0.0/16": 29.75 });
        assert_eq!(cell.told_clients(), told);
        let pinned = Some(Ppm::from_percent(95));
        assert_eq!(cell.read(pinned), Reading { amount: 950, utilisation: Ppm::from_percent(95) });
        cell.add(f64::NAN, network(1));
        cell.add(-5.0, network(1));
        assert_eq!((cell.read(None).amount, cell.told_clients()), (80, told), "nonsense adds nothing");
        cell.fade(0.0);
        assert_eq!(cell.told_clients(), serde_json::json!({}));
    }

    #[test]
    fn a_feed_stands_where_the_pointers_say() {
        let ratios = [("cpu", "/host/cpu"), ("errors", "/a~1b")];
        let ratios = ratios.map(|(name, pointer)| (name.to_owned(), pointer.to_owned())).into();
        let shape = FeedShape {
            amount: Some("/host/mbps".to_owned()),
            ratios,
            clients: Some("/by/client".to_owned()),
        };
        let reading = Reading { amount: 7, utilisation: Ppm::from_percent(50) };
        let document = shape.document(reading, "who".into()).expect("fits");
        assert_eq!(document.pointer("/by/client"), Some(&"who".into()));
        assert_eq!(document.pointer("/host/mbps"), Some(&7.into()));
        assert_eq!(document.pointer("/host/cpu"), Some(&0.45.into()));
        assert_eq!(document.pointer("/a~1b"), Some(&0.0.into()));
    }

    #[test]
    fn pointers_that_collide_are_refused() {
        for pointer in ["/load", "/load/cpu", "cpu"] {
            let ratios = BTreeMap::from([("cpu".to_owned(), pointer.to_owned())]);
            let shape = FeedShape { amount: Some("/load".to_owned()), ratios, clients: None };
            assert!(shape.document(Reading::default(), Value::Null).is_err(), "{pointer}");
        }
    }
}
