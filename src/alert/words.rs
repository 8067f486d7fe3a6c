//! Keys, labels and summaries: how an alert is named, told apart and told.

use super::group::Group;
use crate::model::alert::{Alert, AlertMember, AlertScope};
use std::collections::BTreeMap;

/// Members told of one alert.
const MOST_MEMBERS: usize = 100;
/// Members named in a summary.
const MOST_NAMED: usize = 4;

/// Stable across restarts: what is the matter, and with what.
pub(super) fn key(rule: &str, scope: AlertScope, subject: &str) -> String {
    format!("{rule}/{}/{subject}", scope.name())
}

/// The alert as it is now.
pub(super) fn alert(group: &Group, instance: &str) -> Alert {
    let members: Vec<AlertMember> = group.members.values().take(MOST_MEMBERS).cloned().collect();
    Alert {
        key: group.key.clone(),
        rule: group.rule.clone(),
        severity: group.severity,
        scope: group.scope,
        subject: group.subject.clone(),
        labels: labels(group, instance),
        summary: summary(group, instance),
        runbook: group.runbook.clone(),
        since: group.since,
        ended: None,
        replaces: group.replaces.clone(),
        replaced_by: None,
        members,
        member_count: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
    }
}

/// Of the fleet's alerts the instance is no label: several that watch one fleet tell of the same alert.
fn labels(group: &Group, instance: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut put = |name: &str, value: &str| labels.insert(name.to_owned(), value.to_owned());
    if let Some(region) = &group.region {
        put("region", region);
    }
    if let Some(site) = &group.site {
        put("site", site);
    }
    match group.scope {
        AlertScope::Node => drop(put("node", &group.subject)),
        AlertScope::Service => drop(put("service", &group.subject)),
        AlertScope::Instance => {
            put("instance", instance);
            put("matter", &group.subject);
        }
        AlertScope::Site | AlertScope::Region => {}
    }
    labels
}

fn summary(group: &Group, instance: &str) -> String {
    let what = &group.summary;
    let first = || group.members.values().next().map_or("", |member| member.evidence.as_str());
    match group.scope {
        AlertScope::Node | AlertScope::Service => {
            format!("{} {}: {what}: {}", group.scope.name(), group.subject, first())
        }
        AlertScope::Instance => format!("{instance}: {what}: {}", first()),
        AlertScope::Site | AlertScope::Region => {
            let mut names: Vec<&str> = group.members.keys().take(MOST_NAMED).map(String::as_str).collect();
            if group.members.len() > MOST_NAMED {
                names.push("...");
            }
            let (count, of) = (group.members.len(), group.of);
            format!(
                "{} {}: {what}: {count} of {of} nodes ({})",
                group.scope.name(),
                group.subject,
                names.join(", ")
            )
        }
    }
}
