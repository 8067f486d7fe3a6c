//! A key's life in five moments, as BIND's tools keep them in the private key file.
//!
//! ```text
//!  Created ── Publish ══ in DNSKEY ═══════════════════════════════════ Delete ── gone
//!                     Activate ══ signs the zone ══ Inactive
//!             SyncPublish ══ in CDS, CDNSKEY ══════ SyncDelete
//! ```
//!
//! Moments are seconds since 1970, written `YYYYMMDDHHMMSS` in UTC. A moment that is not there never
//! comes. Keys that sign keys sign DNSKEY as long as they are published.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Seconds since 1970-01-01T00:00:00Z.
pub type Moment = u64;

/// When a key does what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyTimes {
    pub created: Option<Moment>,
    pub publish: Option<Moment>,
    pub activate: Option<Moment>,
    pub inactive: Option<Moment>,
    pub delete: Option<Moment>,
    pub sync_publish: Option<Moment>,
    pub sync_delete: Option<Moment>,
}

/// Where a key stands at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// Made, in no answer yet.
    Generated,
    /// In DNSKEY, so that caches know it before it signs.
    Published,
    /// Signs.
    Active,
    /// Signs no more; in DNSKEY for what caches still hold.
    Retired,
    Removed,
}

impl KeyState {
    pub const fn name(self) -> &'static str {
        match self {
            KeyState::Generated => "generated",
            KeyState::Published => "published",
            KeyState::Active => "active",
            KeyState::Retired => "retired",
            KeyState::Removed => "removed",
        }
    }
}

impl KeyTimes {
    pub fn state(&self, now: Moment) -> KeyState {
        let has_come = |moment: Option<Moment>| moment.is_some_and(|moment| moment <= now);
        if has_come(self.delete) {
            KeyState::Removed
        } else if has_come(self.inactive) {
            KeyState::Retired
        } else if has_come(self.activate) {
            KeyState::Active
        } else if has_come(self.publish) {
            KeyState::Published
        } else {
            KeyState::Generated
        }
    }

    /// In DNSKEY.
    pub fn is_published(&self, now: Moment) -> bool {
        matches!(self.state(now), KeyState::Published | KeyState::Active | KeyState::Retired)
    }

    /// In CDS and CDNSKEY (RFC 7344): what the parent's DS should be.
    pub fn is_synced(&self, now: Moment) -> bool {
        let has_come = |moment: Option<Moment>| moment.is_some_and(|moment| moment <= now);
        self.is_published(now) && has_come(self.sync_publish) && !has_come(self.sync_delete)
    }

    /// The next state after `now` and when it comes.
    pub fn next(&self, now: Moment) -> Option<(KeyState, Moment)> {
        let steps = [
            (KeyState::Published, self.publish),
            (KeyState::Active, self.activate),
            (KeyState::Retired, self.inactive),
            (KeyState::Removed, self.delete),
        ];
        let state = self.state(now);
        let to_come = steps.into_iter().filter_map(|(next, moment)| Some((next, moment?)));
        to_come.filter(|(next, moment)| *next > state && *moment > now).min_by_key(|(_, moment)| *moment)
    }

    /// Name in the key file, and place, of every moment.
    pub fn fields(&mut self) -> [(&'static str, &mut Option<Moment>); 7] {
        [
            ("Created", &mut self.created),
            ("Publish", &mut self.publish),
            ("Activate", &mut self.activate),
            ("Inactive", &mut self.inactive),
            ("Delete", &mut self.delete),
            ("SyncPublish", &mut self.sync_publish),
            ("SyncDelete", &mut self.sync_delete),
        ]
    }
}

const FORM: &str = "%Y%m%d%H%M%S";

/// As key files write it.
pub fn text(moment: Moment) -> String {
    zoned(moment).map_or_else(|| "00000000000000".to_owned(), |at| at.strftime(FORM).to_string())
}

/// For people: `2026-11-21 05:09 UTC`.
pub fn readable(moment: Moment) -> String {
    zoned(moment).map_or_else(|| moment.to_string(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

fn zoned(moment: Moment) -> Option<DateTime> {
    let at = Timestamp::from_second(i64::try_from(moment).ok()?).ok()?;
    Some(TimeZone::UTC.to_datetime(at))
}

pub fn parse(text: &str) -> Option<Moment> {
    let at = DateTime::strptime(FORM, text.trim()).ok()?;
    let at = TimeZone::UTC.to_timestamp(at).ok()?;
    u64::try_from(at.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_is_written() {
        assert_eq!(text(1_795_237_779), "20261121050939");
        assert_eq!(parse("20261121050939"), Some(1_795_237_779));
        for bad in ["", "2026", "20261321050939", "20261121050939 ", "x"] {
            let expected = bad.ends_with(' ').then_some(1_795_237_779);
            assert_eq!(parse(bad), expected, "{bad}");
        }
    }

    #[test]
    fn a_key_goes_from_state_to_state() {
        let times = KeyTimes {
            publish: Some(10),
            activate: Some(20),
            inactive: Some(30),
            delete: Some(40),
            ..KeyTimes::default()
        };
        for (now, state, next) in [
            (5, KeyState::Generated, Some((KeyState::Published, 10))),
            (10, KeyState::Published, Some((KeyState::Active, 20))),
            (29, KeyState::Active, Some((KeyState::Retired, 30))),
            (30, KeyState::Retired, Some((KeyState::Removed, 40))),
            (40, KeyState::Removed, None),
        ] {
            assert_eq!((times.state(now), times.next(now)), (state, next), "at {now}");
        }
    }
}
