//! The nouns every other module speaks in: ids, the fleet, services, observations, verdicts,
//! demand, placements. Plain data with small invariants; no I/O and no algorithms.
//!
//! | file | holds |
//! |---|---|
//! | [`actor`] | who acts on a running rhumb, and what they may do |
//! | [`ids`] | index newtypes, one per table, so that two numbers cannot be swapped silently |
//! | [`fleet`] | regions, sites, nodes, probes, load feeds |
//! | [`probe`] | what a probe asks, by kind |
//! | [`clients`] | lines, areas, overrides, and the client groups geo makes of them |
//! | [`service`] | steered names: profile, pools, chains, answers |
//! | [`records`] | what a service steers besides addresses |
//! | [`policy`] | all of it, as compiled from one policy folder |
//! | [`dnssec`] | which zones are signed, and how |
//! | [`judgement`] | the constants of judgement, and the vantages |
//! | [`observation`] | what a probe or a load feed saw |
//! | [`verdict`] | what health makes of it |
//! | [`overrides`] | what operators have said of nodes, against what is seen of them |
//! | [`reach`] | which clients may be given which node |
//! | [`placement`] | demand in, assignment out: the planner's interface |
//! | [`planner`] | how the planner may move clients, as policy says |
//! | [`placements`] | the distinct ones of a service, shared by generations |
//! | [`demand`] | how demand divides between client groups, as counted |
//! | [`degradation`] | the rungs of the ladder, and what shed newcomers are answered |
//! | [`held_back`] | moves of clients that wait, and the rule that holds each |
//! | [`profile`] | what the users of a service mind most |
//! | [`provenance`] | why a generation exists |
//! | [`canary`] | which clients a policy is in force for first, and how that goes |
//! | [`safety`] | what has to stay true whatever operators do |
//! | [`alert`] | what to tell of, and what is told |
//! | [`incident`] | what went wrong for clients, until all was as before |
//! | [`slo`] | what services promised and what they kept |
//! | [`token`] | what is kept of a secret |
//! | [`transfer`] | which zones go to whom |
//! | [`preflight`] | what an override would do, told before it is done |
//! | [`event`] | hours in which more is asked for than usual |
//! | [`readiness`] | what the fleet would make of losing parts of itself, told |
//! | [`portrait`] | one node, told in full |
//! | [`status`] | what a running instance says of itself |

pub mod account;
pub mod actor;
pub mod alert;
pub mod canary;
pub mod clients;
pub mod demand;
pub mod drill;
pub mod degradation;
pub mod dnssec;
pub mod event;
pub mod fleet;
pub mod held_back;
pub mod ids;
pub mod incident;
pub mod judgement;
pub mod latency;
pub mod observation;
pub mod overrides;
pub mod placement;
pub mod placements;
pub mod planner;
pub mod policy;
pub mod portrait;
pub mod preflight;
pub mod probe;
pub mod profile;
pub mod provenance;
pub mod reach;
pub mod readiness;
pub mod records;
pub mod safety;
pub mod service;
pub mod slo;
pub mod status;
pub mod token;
pub mod transfer;
pub mod verdict;
