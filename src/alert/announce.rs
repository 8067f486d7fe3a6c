//! When an alert is told.
//!
//! ```text
//!  nodes of a region fall   x x   x  x
//!  wait since the last      └──┴───┴──┴──────┐ group_wait, or five times that since the first
//!  told                                      └─▶ one message
//! ```
//! Only the message waits: verdicts, tables and what a status shows do not. An alert that gains members
//! after it was told is told again, no more often than [`AGAIN`]; one that loses some is not. What began and
//! ended within the wait is not told at all.

use super::group::{Announced, Board, Group};
use crate::base::clock::MonoTime;
use crate::model::alert::{Alert, Bulletin, MOST_ALERTS, Told};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two messages of one alert that grows.
const AGAIN: Duration = Duration::from_secs(30);
/// Waits that are waited for at most.
const LONGEST_WAITS: u32 = 5;

/// What waits together: the rule and the region, or a group that is in none.
type Wave<'a> = (&'a str, &'a str);

impl Board {
    /// Tells of what has waited long enough, as long as there is room.
    pub fn announce(&mut self, wait: Duration, now: MonoTime) {
        let due: Vec<String> = self
            .waves(wait)
            .into_iter()
            .filter(|(_, at)| *at <= now)
            .map(|(group, _)| group.key.clone())
            .collect();
        let mut room = MOST_ALERTS.saturating_sub(self.groups().filter(|it| it.announced.is_some()).count());
        let mut due_groups: Vec<&mut Group> =
            self.groups_mut().filter(|group| due.contains(&group.key)).collect();
        due_groups.sort_by_key(|group| std::cmp::Reverse(group.severity));
        for group in due_groups {
            let revision = match group.announced {
                Some(before) => before.revision + 1,
                None if room == 0 => continue,
                None => {
                    room -= 1;
                    1
                }
            };
            let (members, severity) = (group.members.len(), group.severity);
            group.announced = Some(Announced { revision, at: now, members, severity });
        }
    }

    /// When something is next to be told.
    pub fn due(&self, wait: Duration) -> Option<MonoTime> {
        self.waves(wait).into_iter().map(|(_, at)| at).min()
    }

    /// Every group that is to be told of, and from when on.
    fn waves(&self, wait: Duration) -> Vec<(&Group, MonoTime)> {
        let mut waves: BTreeMap<Wave<'_>, (MonoTime, MonoTime)> = BTreeMap::new();
        for group in self.groups().filter(|group| group.announced.is_none()) {
            let (born, grown) = waves.entry(wave(group)).or_insert((group.born, group.grown));
            (*born, *grown) = ((*born).min(group.born), (*grown).max(group.grown));
        }
        let at = |group: &'_ Group| match group.announced {
            None => {
                let (born, grown) = waves.get(&wave(group))?;
                Some((*grown + wait).min(*born + wait * LONGEST_WAITS))
            }
            Some(told) if told.members < group.members.len() || told.severity != group.severity => {
                Some((group.grown + wait).max(told.at + AGAIN))
            }
            Some(_) => None,
        };
        self.groups().filter_map(|group| Some((group, at(group)?))).collect()
    }

    /// What is to be known of all that was told.
    pub fn bulletin(&self, tell: impl Fn(&Group) -> Alert) -> Bulletin {
        let told = |group: &Group| {
            let revision = group.announced?.revision;
            Some(Told { alert: Arc::new(tell(group)), revision })
        };
        Bulletin {
            firing: self.groups().filter_map(told).collect(),
            ended: self.ended.iter().cloned().collect(),
            ..Bulletin::default()
        }
    }
}

fn wave(group: &Group) -> Wave<'_> {
    (&group.rule, group.region.as_deref().unwrap_or(&group.key))
}
