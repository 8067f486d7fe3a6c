//! The only place that wires: start-up, the one writer, the tasks around it.
//!
//! ```text
//!  store::watch, SIGHUP ─▶ reload ─┐                       ┌─▶ live: ArcSwap<Snapshot> ─▶ answering
//!  probe ──────────────────────────┼─▶ queue ─▶ writer ────┼─▶ status: watch ─▶ control, lab
//!  control (explain) ──────────────┘   (one thread)        └─▶ keeper ─▶ state/
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`start`] | the order in which everything comes up and goes down |
//! | `recover` | what it begins with |
//! | [`supervisor`] | systemd: what it is told, what it opened |
//! | `takeover` | what goes from one process to the next |
//! | `door` | the admin address: where it listens, who is let in |
//! | `admin` | what its routes may see |
//! | [`alerting`] | the status, watched for what people are to be told of |
//! | `certificates` | renewed certificates for DNS over TLS |
//! | [`inputs`] | policy folder and geo files to one checked set of inputs, or the reasons why not |
//! | [`writer`] | the event loop: health, plan, publish |
//! | [`first`] | the table a process begins with |
//! | [`publish`] | lint, sign, swap, retire |
//! | [`foresight`] | signing ahead for the loss of any one node |
//! | [`signing`] | signatures beside tables, renewed in time |
//! | [`serials`] | the serials of transferred zones |
//! | [`notify`] | telling secondaries, and the keys of transfers |
//! | [`pulse`] | whether the writer lives |
//! | [`saved`] | placements and verdicts to and from the last good table |
//! | [`keeper`] | writes the last good state without holding the writer up |
//! | [`journal`] | what was decided, at the admin address |
//! | `geo_keeper` | writes the compiled geo table beside it |
//! | `overrides` | the overrides in force, and when each ends |
//! | `preflight` | what an override would do |
//! | `events` | what comes of events, beforehand and after |
//! | [`readiness`] | what would become of every loss |
//! | [`planning`], [`offline`] | what other policy files would do |
//! | `portrait` | one node told in full |
//! | `troubles` | probes that this machine cannot make |
//! | `counting` | what workers counted, to the shares of the next plan |
//! | `client_loads` | what nodes report by client network, to sums that replace counts |
//! | [`report`] | the status an instance shows |
//! | [`answering`] | `dns::answer` over the live snapshot, for the socket workers |
//! | [`cookies`] | the secrets of DNS cookies |
//! | [`querylog`], [`dnstap`] | logs of queries, off the workers' threads |
//! | `reports` | what vantages and nodes report, to events |
//! | `drills` | faults on purpose, measured from outside and always restored |
//! | [`reload`] | edits and SIGHUP to events |
//! | `rails` | orders and edits against guardrails |
//! | `policies` | policies put into force by order, and their history |
//! | `canary` | policies for a share of the clients first |
//! | `audit_sending` | the audit log, on to a webhook |
//! | `incidents`, `clientele`, `slo` | what goes wrong for clients, watched and kept; what was promised them |
//! | `status_page` | the listener of the page that says so to everybody |

mod admin;
mod client_loads;
mod clientele;
mod incidents;
mod slo;
mod status_page;
pub mod alerting;
pub mod answering;
mod audit_sending;
mod background;
mod canary;
pub mod certificates;
mod descriptors;
mod encrypted;
mod events;
pub mod first;
pub mod cookies;
mod counting;
pub mod dnstap;
mod door;
mod drills;
pub mod foresight;
mod geo_keeper;
pub mod inputs;
pub mod journal;
pub mod keeper;
pub(crate) mod portrait;
mod preflight;
pub mod publish;
pub mod measuring;
pub mod notify;
pub mod offline;
pub mod overrides;
pub mod paths;
pub mod planning;
mod policies;
pub mod pulse;
pub mod querylog;
mod rails;
pub mod readiness;
mod recover;
mod reports;
pub mod reload;
pub mod report;
mod rungs;
pub mod saved;
pub mod serials;
mod secret_file;
pub mod signing;
pub mod start;
pub mod supervisor;
mod takeover;
mod troubles;
mod trust;
pub mod writer;

#[cfg(test)]
mod tests;
