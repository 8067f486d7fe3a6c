//! One client's whole decision, told: what it is answered, from which slot, and why the other nodes
//! lost.
//!
//! ```text
//!  name, client, type ─▶ a real query packet ─▶ dns::decide (the live snapshot) ─▶ the answer
//!                                              schedule::explain (the live plan) ─▶ the reasons
//! ```
//! Nothing is decided here. The packet goes through the functions that answer queries, so that what
//! is told is what is answered; the reasons come from the functions that plan.

use crate::base::clock::{MonoTime, WallTime};
use crate::base::prefix::Prefix;
use crate::base::units::Ppm;
use crate::dns::code::Rcode;
use crate::dns::{self, Ctx, Transport};
use crate::model::demand::DemandView;
use crate::model::ids::Generation;
use crate::routing::Snapshot;
use crate::routing::block::{BlockRecord, Records};
use crate::routing::guard::Asker;
use crate::schedule::{self, PlanInput};
use crate::zone::name::Name;
use crate::zone::{data_text, rtype};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub name: Name,
    pub client: IpAddr,
    pub qtype: u16,
}

impl Request {
    /// The error is a sentence for whoever typed it.
    pub fn parse(name: &str, client: IpAddr, qtype: &str) -> Result<Self, String> {
        let parsed = Name::parse_text(name).map_err(|error| format!("`{name}` is not a name: {error}"))?;
        let known = rtype::parse(&qtype.to_ascii_uppercase());
        let qtype =
            known.ok_or_else(|| format!("`{qtype}` is not a record type, such as A, AAAA or HTTPS"))?;
        Ok(Self { name: parsed, client, qtype })
    }
}

/// The whole story, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub name: String,
    #[serde(rename = "type")]
    pub qtype: String,
    pub client: IpAddr,
    /// The picked node; `None` when the name is not steered or nobody may be picked.
    pub node: Option<String>,
    pub rcode: String,
    pub addresses: Vec<IpAddr>,
    /// Records of other types, as zone files have them: their data.
    #[serde(default)]
    pub records: Vec<String>,
    /// Seconds.
    pub ttl: Option<u32>,
    /// What an ECS answer to this client says.
    pub scope: Option<u8>,
    /// Extended DNS error, if the answer carries one (RFC 8914).
    pub warning: Option<String>,
    pub generation: Generation,
    pub published_at: WallTime,
    pub cause: String,
    pub policy: String,
    pub steering: Option<Steering>,
}

/// How a steered name came to its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    pub group: String,
    /// The longest network around the client in which every address is of the group.
    pub covering_prefix: String,
    pub slot: u32,
    pub slots: u32,
    /// Every node in the answer, best first.
    pub nodes: Vec<String>,
    /// Of a service that sheds newcomers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateView>,
    pub plan: schedule::Explanation,
    /// How much of the service's demand the group is; who counts it puts it in.
    #[serde(default)]
    pub demand: Option<DemandView>,
}

/// How the client fares where newcomers may be shed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateView {
    /// Of the newcomers of its rule.
    pub share: Ppm,
    /// It is answered what newcomers are.
    pub is_shed: bool,
    /// Its network was answered with a node lately.
    pub is_known: bool,
    pub because: String,
}

/// Tells what `request` is answered now. The error is a sentence.
pub fn explain(
    snapshot: &Snapshot,
    plan: &PlanInput<'_>,
    request: &Request,
    now: MonoTime,
) -> Result<Explanation, String> {
    let packet = query_packet(request);
    let ctx = Ctx::new(request.client, request.client, Transport::Udp, now);
    let ctx = Ctx { is_rehearsal: true, ..ctx };
    let query = dns::parse(&packet).map_err(|_| format!("{} cannot be asked", request.name))?;
    let decision = dns::decide(snapshot, &ctx, &query);
    if decision.rcode == Rcode::Refused {
        let zones: Vec<String> = snapshot.zones.zones.iter().map(|zone| zone.origin.to_string()).collect();
        return Err(format!("{} is in no zone of this server, which has {}", request.name, zones.join(", ")));
    }
    let records = || decision.answers().flat_map(|piece| Records::of(piece.bytes));
    let steering =
        decision.steering.as_ref().map(|found| tell_steering(snapshot, plan, request, found)).transpose()?;
    let provenance = &snapshot.provenance;
    Ok(Explanation {
        name: request.name.to_string(),
        qtype: rtype::text(request.qtype),
        client: request.client,
        node: steering.as_ref().and_then(|steering| steering.nodes.first().cloned()),
        rcode: decision.rcode.name().to_owned(),
        addresses: records().filter_map(|record| address(&record)).collect(),
        records: records().filter(|record| address(record).is_none()).map(|record| told(&record)).collect(),
        ttl: records().next().map(|record| record.ttl),
        scope: query.ecs().map(|_| decision.scope),
        warning: decision.error.map(|error| error.text.to_owned()),
        generation: provenance.generation,
        published_at: provenance.published_at,
        cause: provenance.cause.to_string(),
        policy: provenance.policy.to_string(),
        steering,
    })
}

fn tell_steering(
    snapshot: &Snapshot,
    plan: &PlanInput<'_>,
    request: &Request,
    found: &dns::decide::Steering<'_>,
) -> Result<Steering, String> {
    let fleet = &snapshot.policy.fleet;
    let picks = found.set.zip(found.part).into_iter().flat_map(|(set, part)| set.nodes(part));
    let group = snapshot.geo.group(found.group).map_or_else(String::new, |group| group.key.clone());
    let located = Prefix::new(found.client.family, found.client.bits, found.depth);
    let plan = schedule::explain(plan, found.service, found.group)
        .ok_or_else(|| format!("the plan for {} is being rebuilt; ask again", request.name))?;
    Ok(Steering {
        group,
        covering_prefix: located.to_string(),
        slot: found.slot,
        slots: u32::try_from(found.distribution.slots.len()).unwrap_or(u32::MAX),
        nodes: picks.map(|node| fleet.node(node).name.clone()).collect(),
        gate: tell_gate(snapshot, found),
        plan,
        demand: None,
    })
}

fn tell_gate(snapshot: &Snapshot, found: &dns::decide::Steering<'_>) -> Option<GateView> {
    let policy = snapshot.policy.service(found.service).shed.as_ref()?;
    let table = snapshot.service_table(found.service);
    let (family, upper) = (found.client.family, (found.client.bits >> 64) as u64);
    let shed_to = snapshot.policy.service(found.service).shed_rule()?;
    let is_known = table.knows(&Asker { family, upper, is_one_network: true, is_rehearsal: true });
    let is_shed = found.shed > Ppm::ZERO;
    let share = if is_shed { found.shed } else { found.distribution.gate?.share };
    let minutes = policy.remember.as_secs().div_ceil(60);
    let because = match (is_shed, is_known, share) {
        (true, ..) => format!(
            "a newcomer, not answered within {minutes} min: {:.0} % of them are answered {}, by hash of the network",
            share.percent(),
            shed_to
        ),
        (false, true, _) => format!("answered with a node within {} min: it keeps its node", 2 * minutes),
        (false, false, Ppm(0)) => "a newcomer; nobody is shed".to_owned(),
        (false, false, _) => {
            format!(
                "a newcomer that is let in: its hash is not in the {:.0} % that are shed",
                share.percent()
            )
        }
    };
    Some(GateView { share, is_shed, is_known, because })
}

fn address(record: &BlockRecord<'_>) -> Option<IpAddr> {
    match record.rtype {
        rtype::A => <[u8; 4]>::try_from(record.rdata).map(IpAddr::from).ok(),
        rtype::AAAA => <[u8; 16]>::try_from(record.rdata).map(IpAddr::from).ok(),
        _ => None,
    }
}

fn told(record: &BlockRecord<'_>) -> String {
    format!("{} {}", rtype::text(record.rtype), data_text(record.rtype, record.rdata))
}

/// The query a resolver would send for this client: one question, EDNS, and the whole address as
/// client subnet (RFC 7871 6).
fn query_packet(request: &Request) -> Vec<u8> {
    let (family, octets) = match request.client {
        IpAddr::V4(v4) => (1_u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let len = octets.len() as u8;
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(request.name.as_wire());
    packet.extend_from_slice(&request.qtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, len + 8]);
    packet.extend_from_slice(&[0, 8, 0, len + 4, 0, family, len * 8, 0]);
    packet.extend_from_slice(&octets);
    packet
}
