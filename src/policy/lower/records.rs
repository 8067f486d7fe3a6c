//! `records` of a service to [`RecordSet`]s: prefixes put before hostnames, templates filled for every
//! node, parameters of HTTPS and SVCB held to RFC 9460.
//!
//! ```text
//!  https, svcb, srv, txt ─▶ drafts by (prefix, type) ─┬ no prefix: one set for all hostnames
//!                           (templates filled)        └ prefix: one set for each hostname, below it
//! ```
//!
//! A record without a target of its own means the hostname, whose addresses are of the same pick: `.` at the
//! hostname itself, its name below it.

use super::binding::{self, Params};
use super::fleet;
use super::selector::Fact;
use crate::base::diagnostic::did_you_mean;
use crate::model::ids::NodeId;
use crate::model::records::{Binding, MAX_RECORD_SETS, NodeText, RecordRule, RecordSet, RecordType, SrvRule};
use crate::model::service::Service;
use crate::policy::codes;
use crate::policy::files::records::{
    BindingFile, Piece, Prefix, RecordsFile, SrvFile, Template, TxtFile, TxtItem,
};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{OneOrMany, Scalar as _, Slot};
use crate::policy::scalars::{Hostname, Whole};
use std::collections::{BTreeMap, BTreeSet};

/// Records that one set declares: each may become one for every picked node.
const MAX_RULES: usize = 4;
/// Octets of a text once it is filled.
const MAX_TEXT: usize = 512;

/// A rule whose target may still be the hostname.
struct Draft {
    rule: RecordRule,
    is_for_host: bool,
    place: Place,
}

type Drafts = BTreeMap<(Option<String>, RecordType), Vec<Draft>>;

/// What becomes of a filled text; the errors are what it is, and the remedy.
type Check<'c> = &'c mut dyn FnMut(&str) -> Result<String, (String, String)>;

/// What rules are made for.
struct Lowering<'a> {
    members: BTreeSet<NodeId>,
    hostnames: &'a [String],
    fleet: &'a fleet::Lowered,
    drafts: Drafts,
}

/// The sets of a service whose hostnames and pools are there. Names below hostnames are not yet held
/// against those of other services.
pub fn lower(
    slot: &Slot<RecordsFile>,
    service: &Service,
    fleet: &fleet::Lowered,
    findings: &mut Findings,
) -> Vec<(RecordSet, Place)> {
    let Some(RecordsFile { place, https, svcb, srv, txt }) = slot.value() else { return Vec::new() };
    let members = service.pools.iter().flat_map(|pool| &pool.members).map(|member| member.node).collect();
    let mut lowering = Lowering { members, hostnames: &service.hostnames, fleet, drafts: Drafts::new() };
    for (kind, list) in [(RecordType::Https, https), (RecordType::Svcb, svcb)] {
        for file in items(list) {
            lowering.binding(kind, &file.value, findings);
        }
    }
    items(srv).iter().for_each(|file| lowering.srv(&file.value, findings));
    items(txt).iter().for_each(|item| lowering.txt(item, findings));
    check_sets(&lowering.drafts, findings);
    let sets = place_sets(lowering.drafts, service, findings);
    if sets.len() > MAX_RECORD_SETS {
        findings
            .report(
                &codes::TOO_MANY,
                *place,
                format!("more than {MAX_RECORD_SETS} sets of records in one service"),
            )
            .help("each prefix counts once for every hostname and type: split the service");
    }
    sets
}

fn items<T>(slot: &Slot<OneOrMany<T>>) -> &[At<T>] {
    slot.value().map_or(&[], |list| &list.0.items)
}

impl Lowering<'_> {
    fn add(&mut self, prefix: &Slot<Prefix>, kind: RecordType, draft: Draft) {
        let prefix = match prefix {
            Slot::Absent => None,
            Slot::Given(at) => Some(at.value.0.clone()),
            Slot::Broken => return,
        };
        self.drafts.entry((prefix, kind)).or_default().push(draft);
    }

    fn binding(&mut self, kind: RecordType, file: &BindingFile, findings: &mut Findings) {
        let priority = number(&file.priority, 1);
        let target = match file.target.given() {
            Some(At { value, .. }) if value.plain() == Some(".") => None,
            Some(target) => match self.fill(target, &mut target_name, findings) {
                Some(text) => Some(text),
                None => return,
            },
            None => None,
        };
        let params = Params::of(file, findings);
        let is_followed = match &target {
            Some(NodeText::Same(name)) => self.hostnames.contains(name),
            Some(NodeText::ByNode(_)) | None => true,
        };
        let hints = binding::hints(file, priority, is_followed, findings);
        if priority == 0 {
            binding::check_alias(file, target.is_some(), &params, findings);
        }
        let rule = RecordRule::Binding(Binding {
            priority,
            target: target.clone().unwrap_or_else(|| NodeText::Same(".".to_owned())),
            params: params.into_list(),
            has_hints: hints,
        });
        self.add(&file.prefix, kind, Draft { rule, is_for_host: target.is_none(), place: file.place });
    }

    fn srv(&mut self, file: &SrvFile, findings: &mut Findings) {
        let SrvFile { place, prefix, priority, weight, port, target } = file;
        let Some(target) = target.given() else { return };
        let Some(target) = self.fill(target, &mut target_name, findings) else { return };
        let rule = RecordRule::Srv(SrvRule {
            priority: number(priority, 0),
            weight: number(weight, 0),
            port: number(port, 0),
            target,
        });
        self.add(prefix, RecordType::Srv, Draft { rule, is_for_host: false, place: *place });
    }

    fn txt(&mut self, item: &At<TxtItem>, findings: &mut Findings) {
        let absent = Slot::Absent;
        let (prefix, text) = match &item.value {
            TxtItem::Plain(text) => (&absent, At { value: text.clone(), place: item.place }),
            TxtItem::Placed(TxtFile { place: _, prefix, text }) => match text.given() {
                Some(text) => (prefix, text.clone()),
                None => return,
            },
        };
        let mut check = |text: &str| match text.len() {
            1..=MAX_TEXT => Ok(text.to_owned()),
            _ => {
                Err((format!("has more than {MAX_TEXT} bytes"), "shorten the text or the labels".to_owned()))
            }
        };
        let Some(text) = self.fill(&text, &mut check, findings) else { return };
        let draft = Draft { rule: RecordRule::Txt(text), is_for_host: false, place: item.place };
        self.add(prefix, RecordType::Txt, draft);
    }

    /// The template's text, or that of every node; `None` after reporting why not.
    fn fill(&self, template: &At<Template>, check: Check<'_>, findings: &mut Findings) -> Option<NodeText> {
        let At { value, place } = template;
        let mut check =
            |text: &str, of: &str| check(text).map_err(|(why, help)| (format!("`{text}`{of} {why}"), help));
        let filled = match value.plain() {
            Some(text) => check(text, "").map(NodeText::Same),
            None => {
                let of_node = |node: &NodeId| {
                    let text = self.text_of(value, *node).transpose()?;
                    let name = &self.fleet.fleet.node(*node).name;
                    let checked = text.and_then(|text| check(&text, &format!(" for node `{name}`")));
                    Some(checked.map(|text| (*node, text)))
                };
                self.members.iter().filter_map(of_node).collect::<Result<_, _>>().map(NodeText::ByNode)
            }
        };
        filled
            .map_err(|(message, help)| {
                findings.report(&codes::BAD_TEMPLATE, *place, message).help(help);
            })
            .ok()
    }

    /// `None`: something of the node could not be read, which has been reported.
    fn text_of(&self, template: &Template, node: NodeId) -> Result<Option<String>, (String, String)> {
        let Some(facts) = self.fleet.facts.get(node.index()) else { return Ok(None) };
        let mut text = String::new();
        for piece in &template.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Label(label) => match facts.get(label) {
                    Some(Fact::Is(value)) => text.push_str(value),
                    Some(Fact::Unknown) => return Ok(None),
                    None if facts.may_have_more() => return Ok(None),
                    None => {
                        let name = &self.fleet.fleet.node(node).name;
                        let help = match did_you_mean(label, facts.labels()) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => format!(
                                "give `{label}` to every node of the service's pools, or leave it out"
                            ),
                        };
                        return Err((format!("node `{name}` has no label `{label}`"), help));
                    }
                },
            }
        }
        Ok(Some(text))
    }
}

fn number<const MIN: u64, const MAX: u64>(slot: &Slot<Whole<MIN, MAX>>, default: u16) -> u16 {
    slot.value().map_or(default, |number| u16::try_from(number.0).unwrap_or(default))
}

fn target_name(text: &str) -> Result<String, (String, String)> {
    match Hostname::parse(text, true) {
        Ok(Hostname(name)) if !name.starts_with('*') => Ok(name),
        Ok(_) => Err(("is a wildcard and no target".to_owned(), "name one host".to_owned())),
        Err(bad) => Err(("is no host name".to_owned(), bad.help)),
    }
}

/// What the records of one set demand of each other.
fn check_sets(drafts: &Drafts, findings: &mut Findings) {
    for drafts in drafts.values() {
        if let Some(draft) = drafts.get(MAX_RULES) {
            findings
                .report(
                    &codes::TOO_MANY,
                    draft.place,
                    format!("more than {MAX_RULES} records of one type at one name"),
                )
                .help("one record with a template stands for every picked node");
        }
        let is_alias =
            |draft: &&Draft| matches!(&draft.rule, RecordRule::Binding(binding) if binding.priority == 0);
        if let Some(alias) = drafts.iter().find(is_alias).filter(|_| drafts.len() > 1) {
            findings
                .report(&codes::BAD_BINDING, alias.place, "an alias beside other records of its type")
                .help("an alias (priority 0) stands alone: clients ignore the others (RFC 9460 2.4.1)");
        }
    }
}

fn place_sets(drafts: Drafts, service: &Service, findings: &mut Findings) -> Vec<(RecordSet, Place)> {
    let mut sets = Vec::new();
    for ((prefix, kind), drafts) in drafts {
        let Some(place) = drafts.first().map(|draft| draft.place) else { continue };
        let Some(prefix) = prefix else {
            let rules = drafts.into_iter().map(|draft| draft.rule).collect();
            sets.push((RecordSet { owner: None, kind, rules, span: place.span }, place));
            continue;
        };
        for hostname in &service.hostnames {
            if hostname.starts_with('*') {
                findings
                    .report(
                        &codes::WRONG_VALUE,
                        place,
                        format!("`{hostname}` has no name `{prefix}` below it"),
                    )
                    .help("a wildcard covers such names by itself: leave out `prefix`");
                continue;
            }
            let owner = format!("{prefix}.{hostname}");
            if let Err(bad) = Hostname::parse(&owner, true) {
                findings.report(bad.code, place, bad.message).help("shorten the prefix or the hostname");
                continue;
            }
            let rules = drafts.iter().map(|draft| for_host(draft, hostname)).collect();
            sets.push((RecordSet { owner: Some(owner), kind, rules, span: place.span }, place));
        }
    }
    sets.sort_by(|(a, _), (b, _)| (&a.owner, a.kind).cmp(&(&b.owner, b.kind)));
    sets
}

/// Below a hostname: what is not said otherwise leads to it.
fn for_host(draft: &Draft, hostname: &str) -> RecordRule {
    match &draft.rule {
        RecordRule::Binding(binding) if draft.is_for_host => {
            RecordRule::Binding(Binding { target: NodeText::Same(hostname.to_owned()), ..binding.clone() })
        }
        rule => rule.clone(),
    }
}
