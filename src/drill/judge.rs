//! Whether an answer is right: the judgement of one reply, by policy and what is believed of the nodes.
//!
//! | the answer | is |
//! |---|---|
//! | nothing in time, an error, no address | failed, unless the service sheds newcomers so |
//! | an address that no pool of the service has | failed |
//! | a node that the client's chain does not have | failed, unless it is what shed newcomers get |
//! | a node that the drill has withdrawn | failed |
//! | a node that may not serve the client | failed |
//! | anything else | good |
//!
//! Between asking and answering the table may have been replaced: what either says is right.

use crate::model::clients::ClientGroup;
use crate::model::degradation::ShedTo;
use crate::model::ids::{NodeId, ServiceId};
use crate::model::policy::Policy;
use crate::model::reach::View;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No error; empty: NODATA, or an alias.
    Addresses(Vec<IpAddr>),
    /// A response code that is none of success.
    Refused(String),
    Silence,
}

/// What is thought of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// These nodes, best first.
    Good(Vec<NodeId>),
    /// As newcomers are answered while the service is full.
    Shed,
    /// For people: of few kinds, so that they can be counted.
    Failed(String),
}

/// What answers are judged by.
#[derive(Clone, Debug)]
pub struct Judge {
    policy: Arc<Policy>,
    by_address: BTreeMap<IpAddr, NodeId>,
}

/// Whose answer it is.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    pub service: ServiceId,
    pub group: &'a ClientGroup,
    /// What clients of the group might be given when it was asked, and when it was answered.
    pub views: [&'a View; 2],
    /// By node: the drill had taken it out of the answers before it was asked. Empty: none.
    pub withdrawn: &'a [bool],
}

impl Judge {
    pub fn new(policy: &Arc<Policy>) -> Self {
        let fleet = &policy.fleet;
        let of = |id: NodeId| fleet.addresses(id).map(move |address| (address, id));
        Self { policy: Arc::clone(policy), by_address: fleet.node_ids().flat_map(of).collect() }
    }

    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub fn judge(&self, case: &Case<'_>, answer: &Answer) -> Judged {
        let service = self.policy.service(case.service);
        let shed = service.shed.as_ref().map(|shed| &shed.to);
        let addresses = match answer {
            Answer::Silence => return Judged::Failed("no answer in time".to_owned()),
            Answer::Refused(code) => return Judged::Failed(format!("response code {code}")),
            Answer::Addresses(none) if none.is_empty() => {
                return match shed {
                    Some(ShedTo::Cname(_) | ShedTo::NoData) => Judged::Shed,
                    _ => Judged::Failed("no address".to_owned()),
                };
            }
            Answer::Addresses(some) => some,
        };
        let mut nodes = Vec::with_capacity(addresses.len());
        for address in addresses {
            let Some(&node) = self.by_address.get(address) else {
                return Judged::Failed("an address of no node".to_owned());
            };
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        let has = |pool: &crate::model::service::Pool, node: NodeId| {
            pool.members.binary_search_by_key(&node, |member| member.node).is_ok()
        };
        if let Some(ShedTo::Pool(pool)) = shed
            && nodes.iter().all(|node| has(service.pool(*pool), *node))
        {
            return Judged::Shed;
        }
        let chain = service.chain_for(&case.group.areas).map_or(&[][..], |rule| &rule.pools);
        for &node in &nodes {
            if let Some(why) = self.wrong(case, chain, node) {
                return Judged::Failed(why);
            }
        }
        Judged::Good(nodes)
    }

    fn wrong(&self, case: &Case<'_>, chain: &[crate::model::ids::PoolId], node: NodeId) -> Option<String> {
        let service = self.policy.service(case.service);
        let is_member = |pool: &crate::model::service::Pool| {
            pool.members.binary_search_by_key(&node, |member| member.node).is_ok()
        };
        if !service.pools.iter().any(is_member) {
            return Some("a node of another service".to_owned());
        }
        if !chain.iter().any(|pool| is_member(service.pool(*pool))) {
            return Some("a node outside of the client's chain".to_owned());
        }
        if case.withdrawn.get(node.index()) == Some(&true) {
            return Some("a node that was withdrawn".to_owned());
        }
        let may = |view: &&View| view.may_serve.get(node.index()).copied().unwrap_or(true);
        (!case.views.iter().any(may)).then(|| "a node that may not serve the client".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::testing::{group, policy};
    use crate::model::degradation::Shed;

    fn view(may_serve: [bool; 3]) -> View {
        View { may_serve: may_serve.to_vec(), ..View::default() }
    }

    /// Of nodes n1 and n2 in the client's chain, and n3 in another pool; 127.1.1.9 is nobody's.
    fn check(answer: &Answer, views: [[bool; 3]; 2], withdrawn: &[bool], expected: Result<&[u16], &str>) {
        let views = views.map(view);
        let judge = Judge::new(&Arc::new(policy()));
        let group = group();
        let service = ServiceId(0);
        let case = Case { service, group: &group, views: [&views[0], &views[1]], withdrawn };
        match (judge.judge(&case, answer), expected) {
            (Judged::Good(nodes), Ok(right)) => {
                assert_eq!(nodes, right.iter().map(|&it| NodeId(it)).collect::<Vec<_>>());
            }
            (Judged::Failed(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (found, expected) => panic!("{answer:?}: {found:?}, expected {expected:?}"),
        }
    }

    fn of(octets: &[u8]) -> Answer {
        Answer::Addresses(octets.iter().map(|&it| IpAddr::from([127, 1, 1, it])).collect())
    }

    #[test]
    fn answers_are_judged() {
        let well = [[true; 3]; 2];
        check(&of(&[1]), well, &[], Ok(&[0]));
        check(&of(&[2, 1]), well, &[false, false, true], Ok(&[1, 0]));
        check(&of(&[9]), well, &[], Err("an address of no node"));
        check(&of(&[1, 9]), well, &[], Err("an address of no node"));
        check(&of(&[3]), well, &[], Err("outside of the client's chain"));
        check(&of(&[]), well, &[], Err("no address"));
        check(&of(&[1]), well, &[true, false, false], Err("was withdrawn"));
        check(&of(&[2]), [[true, false, true]; 2], &[], Err("may not serve"));
        check(&of(&[2]), [[true, false, true], [true; 3]], &[], Ok(&[1]));
        check(&of(&[2]), [[true; 3], [true, false, true]], &[], Ok(&[1]));
        check(&Answer::Silence, well, &[], Err("no answer in time"));
        check(&Answer::Refused("SERVFAIL".to_owned()), well, &[], Err("SERVFAIL"));
    }

    #[test]
    fn what_shed_newcomers_get_is_no_failure() {
        let shed = |to| Shed {
            to,
            enter: Shed::ENTER,
            exit: Shed::exit_of(Shed::ENTER),
            dwell: Shed::DWELL,
            remember: Shed::REMEMBER,
        };
        let (view, group) = (view([true; 3]), group());
        let case = Case { service: ServiceId(0), group: &group, views: [&view; 2], withdrawn: &[] };
        let judged = |to: ShedTo, answer: &Answer| {
            let mut policy = policy();
            policy.services[0].shed = Some(shed(to));
            Judge::new(&Arc::new(policy)).judge(&case, answer)
        };
        assert_eq!(judged(ShedTo::NoData, &of(&[])), Judged::Shed);
        assert_eq!(judged(ShedTo::Pool(crate::model::ids::PoolId(1)), &of(&[3])), Judged::Shed);
        assert!(matches!(judged(ShedTo::NoData, &of(&[3])), Judged::Failed(_)));
    }
}
