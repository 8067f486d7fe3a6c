//! The JSON that receivers get. `docs/alerts.md` documents it: change neither without the other.

use super::letter::Letter;
use crate::base::clock::WallTime;
use crate::model::alert::{Alert, Bulletin};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Of the webhook's format.
const VERSION: u32 = 1;
/// An Alertmanager takes an alert for over that it did not hear of for so many repeats: a process that ends
/// does not leave its alerts standing.
const REPEATS_TO_LIVE: u32 = 5;
const LEAST_TO_LIVE: Duration = Duration::from_secs(300);

/// The body of `POST /api/v2/alerts`.
pub(super) fn for_alertmanager(
    letters: &[Letter],
    bulletin: &Bulletin,
    repeat: Duration,
    now: WallTime,
) -> Value {
    let lives = (repeat * REPEATS_TO_LIVE).max(LEAST_TO_LIVE);
    let lives_until = WallTime(now.0.saturating_add(u64::try_from(lives.as_millis()).unwrap_or(u64::MAX)));
    let one = |letter: &Letter| {
        let alert = &*letter.alert;
        let ends = if letter.is_firing() { lives_until } else { alert.ended.unwrap_or(now) };
        json!({
            "labels": labels(alert),
            "annotations": annotations(alert, bulletin),
            "startsAt": moment(alert.since),
            // One that ends as it begins would be taken for one without end.
            "endsAt": moment(ends.max(WallTime(alert.since.0 + 1))),
            "generatorURL": status_url(bulletin),
        })
    };
    letters.iter().map(one).collect()
}

fn labels(alert: &Alert) -> Map<String, Value> {
    let mut labels = Map::new();
    let own = [
        ("alertname", alert.rule.as_str()),
        ("severity", alert.severity.name()),
        ("scope", alert.scope.name()),
        ("source", "rhumb"),
    ];
    let all = own.into_iter().chain(alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    labels.extend(all.map(|(name, value)| (name.to_owned(), value.into())));
    labels
}

fn annotations(alert: &Alert, bulletin: &Bulletin) -> Value {
    let firing: Vec<&str> =
        alert.members.iter().filter(|member| member.firing).map(|member| member.name.as_str()).collect();
    let lines: Vec<String> =
        alert.members.iter().map(|member| format!("{}: {}", member.name, member.evidence)).collect();
    let mut told = json!({
        "summary": alert.summary,
        "description": lines.join("\n"),
        "members": firing.join(", "),
        "key": alert.key,
        "told_by": bulletin.instance,
    });
    // What is empty is left out: annotations are texts, and templates ask whether one is there.
    if let Some(runbook) = &alert.runbook {
        told["runbook"] = runbook.as_str().into();
    }
    told
}

/// The body of a webhook's POST.
pub(super) fn for_webhook(letter: &Letter, bulletin: &Bulletin) -> Value {
    let alert = &*letter.alert;
    let status = |is_firing: bool| if is_firing { "firing" } else { "resolved" };
    let member = |member: &crate::model::alert::AlertMember| {
        json!({
            "name": member.name,
            "status": status(member.firing),
            "since": moment(member.since),
            "evidence": member.evidence,
        })
    };
    json!({
        "version": VERSION,
        "status": status(letter.is_firing()),
        "group_key": alert.key,
        "revision": letter.revision,
        "rule": alert.rule,
        "severity": alert.severity.name(),
        "scope": alert.scope.name(),
        "subject": alert.subject,
        "summary": alert.summary,
        "runbook": alert.runbook,
        "labels": alert.labels,
        "since": moment(alert.since),
        "ended": alert.ended.map(moment),
        "replaces": alert.replaces,
        "replaced_by": alert.replaced_by,
        "instance": bulletin.instance,
        "status_url": status_url(bulletin),
        "alerts": alert.members.iter().map(member).collect::<Vec<_>>(),
        "alerts_total": alert.member_count,
    })
}

fn status_url(bulletin: &Bulletin) -> String {
    format!("http://{}/status", bulletin.admin)
}

/// RFC 3339, in UTC.
fn moment(at: WallTime) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(jiff::Timestamp::MAX).to_string()
}
