//! A family's state as others see it: the held verdict, its evidence, the figures, every vantage's word.

use super::family::{Case, Cause, FamilyState};
use super::reason;
use super::standing::Standing;
use super::track::{Finding, Track};
use crate::base::clock::WallTime;
use crate::model::fleet::Node;
use crate::model::judgement::Vantage;
use crate::model::verdict::{Evidence, FamilyHealth, ScopedHealth, Verdict, Vote};
use std::borrow::Cow;

impl FamilyState {
    /// All there is to tell. Votes are told where there are several vantages.
    pub(super) fn view(&self, case: &Case<'_>, vantages: &[Vantage]) -> FamilyHealth {
        let mut health = self.held.clone();
        if let Some(standing) = self.pricing(case) {
            if let Some(track) = standing.priced() {
                health.rtt = track.latency.rtt();
                health.baseline = track.latency.baseline();
                health.jitter = track.latency.jitter();
            }
            let losses = |of: fn(&Track) -> _| standing.tracks.iter().map(of).max();
            if let Some(loss) = losses(|track| track.loss.loss()) {
                health.loss = if health.observed { loss } else { health.loss.max(loss) };
                health.loss_at_least = losses(|track| track.loss.at_least()).unwrap_or_default();
            }
            health.certificate_days = standing.tracks.iter().filter_map(|track| track.certificate_days).min();
        }
        health.is_failing = health.verdict.may_serve() && self.is_failing(case);
        if health.observed {
            health.evidence = self.evidence(case, vantages);
        }
        if vantages.len() > 1 {
            health.votes = (0..).zip(vantages).map(|(at, vantage)| self.vote(at, vantage, case)).collect();
        }
        health.scoped = self
            .scoped
            .iter()
            .filter_map(|scoped| {
                let (verdict, since, reason) = scoped.held.clone()?;
                Some(ScopedHealth { scope: scoped.scope.clone(), verdict, since, reason })
            })
            .collect();
        health
    }

    /// The vantage by which the node is priced: the first that counts and has seen it answer.
    fn pricing(&self, case: &Case<'_>) -> Option<&Standing> {
        let trusted = case.bench.trusted[case.family.index()];
        let counts = |&(at, standing): &(usize, &Standing)| {
            trusted >> at & 1 == 1 && standing.tracks.iter().any(|track| track.latency.rtt().is_some())
        };
        let mut all = self.standings.iter().enumerate();
        all.find(counts).map(|(_, standing)| standing).or(self.standings.first())
    }

    /// Whether a vantage that counts saw it fail last.
    fn is_failing(&self, case: &Case<'_>) -> bool {
        let trusted = case.bench.trusted[case.family.index()];
        let seen = self.standings.iter().enumerate().filter(|(at, _)| trusted >> at & 1 == 1);
        seen.flat_map(|(_, standing)| &standing.tracks).any(|track| track.counter.is_failing())
    }

    fn vote(&self, at: usize, vantage: &Vantage, case: &Case<'_>) -> Vote {
        let word = self.word(at, case);
        let reason = word.map_or_else(
            || "nothing lately".to_owned(),
            |word| {
                let track = &self.standings[at].tracks[word.track];
                let spec = &case.node.probes[usize::from(track.probe)];
                reason::of_finding(word.finding, track, spec, case.family, None)
            },
        );
        Vote {
            vantage: vantage.name.clone(),
            verdict: word.map_or(Verdict::Unknown, |word| word.verdict()),
            reason,
            rtt: self.standings[at].priced().and_then(|track| track.latency.rtt()),
            is_trusted: case.bench.trusted[case.family.index()] >> at & 1 == 1,
        }
    }

    fn evidence(&self, case: &Case<'_>, vantages: &[Vantage]) -> Evidence {
        let mut evidence = Evidence { rule: self.rule(), since: self.cause_since, ..Evidence::default() };
        let Some(Cause::Check { vantage, probe, finding }) = self.cause else { return evidence };
        let track = self
            .standings
            .get(usize::from(vantage))
            .and_then(|standing| standing.tracks.iter().find(|track| track.probe == probe));
        let (observations, of, first) = track.map_or((0, 0, None), |track| counted(track, finding));
        (evidence.observations, evidence.of, evidence.first) = (observations, of, first);
        evidence.check = kind(case.node, probe);
        if vantages.len() > 1 {
            evidence.vantage = vantages.get(usize::from(vantage)).map(|vantage| vantage.name.clone());
            let trusted = case.bench.trusted[case.family.index()];
            let agrees = |&at: &usize| {
                trusted >> at & 1 == 1
                    && self.word(at, case).is_some_and(|word| word.verdict() == finding.verdict())
            };
            evidence.confirmed = (0..vantages.len()).filter(agrees).count() > 1;
        }
        evidence
    }
}

fn kind(node: &Node, probe: u8) -> Option<Cow<'static, str>> {
    let spec = node.probes.get(usize::from(probe))?;
    Some(spec.name.clone().map_or(Cow::Borrowed(spec.kind.name()), Cow::Owned))
}

/// Observations that speak for the finding, of how many, and when the first was made.
fn counted(track: &Track, finding: Finding) -> (u32, u32, Option<WallTime>) {
    match finding {
        Finding::Failing => {
            let episode = track.counter.episode();
            (episode.failures, episode.observations, track.failing_since())
        }
        Finding::Slow(slowness) => {
            let (slow, of) = track.latency.recent(slowness);
            (slow, of, None)
        }
        Finding::Lossy => {
            let (lost, all) = track.loss.counts();
            (lost, all, None)
        }
        Finding::Answers | Finding::Outlier | Finding::Expiring => {
            let (lost, all) = track.loss.counts();
            (all - lost.min(all), all, None)
        }
    }
}
