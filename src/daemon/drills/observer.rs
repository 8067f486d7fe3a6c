//! Asks for many clients over real DNS, at an even pace, and judges what comes back.
//!
//! It asks the address that everybody asks, one question at a time for each client network (as EDNS client subnet), each
//! about once a second and all together no more than [`MOST_A_SECOND`].

use crate::base::clock::{MonoTime, SharedClock};
use crate::base::prefix::{Family, Prefix};
use crate::daemon::answering::Live;
use crate::dns::reserved::{Treatment, treat_v4, treat_v6};
use crate::drill::judge::{Answer, Case, Judge, Judged};
use crate::drill::sample::{self, Client};
use crate::drill::tally::{Asked, Pair};
use crate::geo::GeoTable;
use crate::model::account::Account;
use crate::model::ids::ServiceId;
use crate::model::policy::Policy;
use crate::observe::client::{AskError, DnsClient, Question};
use hickory_proto::op::ResponseCode;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// Questions.
pub const MOST_A_SECOND: usize = 1_000;
/// Between two handfuls of them.
const PACE: Duration = Duration::from_millis(20);
/// Questions that wait for their answer.
const MOST_WAITING: usize = 512;
/// Of one attempt, of which there are two: loopback loses nothing, but a busy machine takes its time.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Everything that is asked, in the order of the tally's pairs.
pub struct Round {
    pub questions: Vec<Asking>,
    pub pairs: Vec<Pair>,
    pub clients: u32,
    pub groups: u32,
}

/// One question, and whose answer it is.
pub struct Asking {
    question: Question,
    service: ServiceId,
    group: u32,
}

/// One judged answer.
pub struct Heard {
    pub pair: usize,
    pub asked: Asked,
    pub judged: Judged,
}

impl Round {
    /// Draws `wanted` clients, each of whom asks for every one of `services`.
    pub fn draw(
        policy: &Policy,
        geo: &GeoTable,
        account: &Account,
        services: &[ServiceId],
        (seed, wanted): (u64, u32),
    ) -> Self {
        let of_group = |group: usize| -> u64 {
            services.iter().map(|id| account.split.fraction(id.index(), group)).sum()
        };
        let weights: Vec<u64> = (0..geo.groups().len()).map(of_group).collect();
        let clients = sample::draw(seed, wanted, &weights, leaves(geo), locates);
        let mut groups: Vec<u32> = clients.iter().map(|client| client.group).collect();
        groups.dedup();
        let mut round = Self {
            questions: Vec::with_capacity(clients.len() * services.len()),
            pairs: Vec::with_capacity(clients.len() * services.len()),
            clients: u32::try_from(clients.len()).unwrap_or(u32::MAX),
            groups: u32::try_from(groups.len()).unwrap_or(u32::MAX),
        };
        for (at, id) in services.iter().enumerate() {
            for client in &clients {
                round.add(policy, account, (at, *id), client);
            }
        }
        round
    }

    fn add(&mut self, policy: &Policy, account: &Account, (at, id): (usize, ServiceId), client: &Client) {
        let service = policy.service(id);
        let Some(name) = service.hostnames.first() else { return };
        let mut members = service.pools.iter().flat_map(|pool| &pool.members);
        let has_v4 = members.any(|member| policy.fleet.node(member.node).has_family(Family::V4));
        let family = if has_v4 { Family::V4 } else { Family::V6 };
        let fraction = account.split.fraction(id.index(), client.group as usize);
        let question = Question { name: name.clone(), family, subnet: Some(client.network) };
        self.questions.push(Asking { question, service: id, group: client.group });
        self.pairs.push(Pair {
            service: u16::try_from(at).unwrap_or(u16::MAX),
            weight: (fraction << 8) / u64::from(client.of.max(1)),
            ttl_ms: u64::from(service.ttl) * 1_000,
            told: format!("{name} for {}", client.network),
        });
    }

    /// Time in which each question is asked once.
    pub fn lasts(&self) -> Duration {
        let seconds = self.questions.len() as f64 / MOST_A_SECOND as f64;
        Duration::from_secs_f64(seconds.max(1.0))
    }
}

/// Every network that lies in one group whole.
fn leaves(geo: &GeoTable) -> impl Iterator<Item = (Prefix, u32)> + '_ {
    Family::BOTH.into_iter().flat_map(move |family| {
        let mut next = Some(0_u128);
        std::iter::from_fn(move || {
            let bits = next?;
            let located = geo.lookup(family, bits);
            let leaf = Prefix::new(family, bits, located.depth);
            let size = 1_u128.checked_shl(128 - u32::from(leaf.len()));
            next = size.and_then(|size| leaf.bits().checked_add(size));
            Some((leaf, located.group.0))
        })
    })
}

/// Whether a server locates clients by it.
fn locates(network: Prefix) -> bool {
    let treatment = match network.family() {
        Family::V4 => treat_v4((network.bits() >> 96) as u32),
        Family::V6 => treat_v6(network.bits()),
    };
    matches!(treatment, Treatment::Global { .. })
}

/// Where to ask a server that listens there.
pub fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// Asks and judges until nobody listens any more.
pub struct Observer {
    pub server: SocketAddr,
    pub live: Live,
    pub judge: Judge,
    pub clock: SharedClock,
    /// When the drill began.
    pub start: MonoTime,
    /// By node: taken out of the answers by the drill. Empty: none.
    pub withdrawn: watch::Receiver<Arc<Vec<bool>>>,
    pub heard: mpsc::Sender<Heard>,
}

impl Observer {
    pub async fn run(self, questions: Vec<Asking>) {
        let observer = Arc::new(self);
        let (count, questions) = (questions.len(), Arc::new(questions));
        let waiting = Arc::new(Semaphore::new(MOST_WAITING));
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let a_second = count.min(MOST_A_SECOND) as f64;
        let (mut due, mut at) = (0.0, 0);
        let mut last = observer.clock.mono();
        while count > 0 && !observer.heard.is_closed() {
            pace.tick().await;
            let now = observer.clock.mono();
            // Never a burst: after a pause it goes on at its pace.
            due = (due + a_second * now.since(last).as_secs_f64()).min(a_second / 4.0 + 1.0);
            last = now;
            while due >= 1.0 {
                due -= 1.0;
                let Ok(permit) = Arc::clone(&waiting).acquire_owned().await else { return };
                let (observer, questions, pair) = (Arc::clone(&observer), Arc::clone(&questions), at);
                tokio::spawn(async move {
                    observer.ask(pair, &questions[pair]).await;
                    drop(permit);
                });
                at = (at + 1) % count;
            }
        }
    }

    async fn ask(&self, pair: usize, asking: &Asking) {
        let before = self.live.load_full();
        let withdrawn_before = Arc::clone(&self.withdrawn.borrow());
        let at_ms = self.now_ms();
        let client = DnsClient { server: self.server, timeout: TIMEOUT, retries: 1 };
        let answer = answer(client.ask(&asking.question).await);
        let answered_ms = self.now_ms();
        let after = self.live.load_full();
        let withdrawn = in_both(&withdrawn_before, &self.withdrawn.borrow());
        let group = asking.group as usize;
        let Some(of) = before.geo.groups().get(group) else { return };
        // Ids are of the policy that the drill began with; the run ends when there is another.
        if !Arc::ptr_eq(&before.policy, self.judge.policy()) || !Arc::ptr_eq(&after.policy, &before.policy) {
            return;
        }
        let views = [before.reach().view(group), after.reach().view(group)];
        let case = Case { service: asking.service, group: of, views, withdrawn: &withdrawn };
        let judged = self.judge.judge(&case, &answer);
        let _ = self.heard.send(Heard { pair, asked: Asked { at_ms, answered_ms }, judged }).await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.mono().since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Nodes that were taken out all the while that a question was under way.
fn in_both(before: &[bool], after: &[bool]) -> Vec<bool> {
    before.iter().zip(after).map(|(before, after)| *before && *after).collect()
}

fn answer(asked: Result<crate::observe::client::Reply, AskError>) -> Answer {
    match asked {
        Ok(reply) if reply.rcode == ResponseCode::NoError => Answer::Addresses(reply.addresses),
        Ok(reply) => Answer::Refused(reply.rcode.to_string()),
        Err(_) => Answer::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_where_it_can_be_reached() {
        for (listening, asked) in [
            ("0.0.0.0:53", "127.0.0.1:53"),
            ("[::]:5300", "[::1]:5300"),
            ("127.0.0.9:53", "127.0.0.9:53"),
            ("[2001:db8::1]:53", "[2001:db8::1]:53"),
        ] {
            let listening = listening.parse().expect("an address");
            assert_eq!(reachable(listening).to_string(), asked);
        }
    }

    #[test]
    fn a_node_given_back_meanwhile_is_no_wrong_answer() {
        for (before, after, expected) in [
            (&[true, true, false][..], &[true, false, true][..], &[true, false, false][..]),
            (&[true], &[], &[]),
            (&[], &[true], &[]),
        ] {
            assert_eq!(in_both(before, after), expected);
        }
    }

    #[test]
    fn networks_that_locate_nobody_are_not_asked_for() {
        for (network, is_asked) in [
            ("10.1.2.0", false),
            ("127.0.0.0", false),
            ("192.0.2.0", false),
            ("8.8.8.0", true),
            ("2001:db8::", false),
            ("2a00::", true),
            ("fe80::", false),
        ] {
            let network: IpAddr = network.parse().expect("an address");
            let prefix = Prefix::of(network, if network.is_ipv4() { 24 } else { 56 });
            assert_eq!(locates(prefix), is_asked, "{network}");
        }
    }
}
