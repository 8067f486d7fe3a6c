//! What a node costs a client group, in integer microseconds, and when a difference matters.
//!
//! The planner and `explain` both price through [`terms`], so that what is told is what decided.
//!
//! | term | what it is |
//! |---|---|
//! | distance | estimated round trip from the group to the node's site: prior and what is measured |
//! | excess | how much slower the node is than it usually is for its prober (never the prober's own round trip: it does not stand for the group) |
//! | curve | what the profile makes of that delay; 0 for `cdn` and `im` |
//! | jitter | what the delay's wavering costs; 0 for `cdn` and `im` |
//! | loss | what the lost packets cost |
//! | load | dislike of nodes that say they are busy, beyond the price of congestion; 0 for `cdn` and `rtc` |
//! | verdict | degraded: half as much again and 20 ms; unknown: 30 ms |
//! | line | the service's penalty for another carrier line, when both lines are known; gone once the distance is measured |
//! | money | `cost_per_unit` of the node times the service's `money_weight` |
//! | bias | what the rule of a chain adds for some nodes, or takes away; never below nothing in all |
//! | congestion | convex price above the node's target; see [`congestion_price`] |
//!
//! ```text
//! curve rtt  rtt + 2*jitter + 10 ms per % of loss
//! curve cdn  rtt * (1 + 10 * loss) + 2*jitter
//! curve rtc  L = rtt/2 + 2*jitter + 10 ms
//!            impairment I(L) = L/40 below 160 ms, (L-120)/10 above; + 2.5 per % of loss
//!            the delay L' with I(L') = I, and + 1 per ms of rtt above 300 ms, + 2 above 500 ms
//! ```
//! A profile names its curve and weighs jitter, loss, load, line and money ([`Weights`]): `cdn` and `im`
//! have the curve cdn, `rtc` its own.
//!
//! Jitter and loss are what the group's clients measured, n of them, pulled towards what probes see of
//! the node: `(n * median + 20 * probed) / (n + 20)`, each for itself.
//!
//! I is kept times 40,000, which makes both slopes of the curve integers: J = L (us) below 160,000,
//! 4*L - 480,000 above, and 10 per ppm of loss.

use super::divisor::Divisor;
use crate::base::units::{Micros, Money, Ppm};
use crate::model::placement::{Latencies, Quality};
use crate::model::planner::Margin;
use crate::model::profile::{Curve, Shape, Weights};
use crate::model::verdict::{NodeHealth, Verdict};
use serde::{Deserialize, Serialize};

/// Costs saturate here, so that sums of a few stay far from overflow.
const CEILING_US: u64 = 60_000_000;
/// A prior that geo could not give: a client of whom nothing is known.
pub(super) const PRIOR_DEFAULT: Micros = Micros::from_millis(150);
const UNKNOWN_US: u64 = 30_000;
const DEGRADED_US: u64 = 20_000;
/// Price of a node that says it is exactly full, linear from the utilisation at which nodes are
/// at ease. Were it to begin at idle, clients would wander from node to node as the day goes.
const FULL_US: u64 = 40_000;
const AT_EASE_PPM: u64 = 750_000;
/// Congestion price at the cap.
pub(super) const CAP_PRICE_US: u64 = 100_000;
const CONGESTION_CEILING_US: u64 = 2_000_000;
/// Congestion moves in whole steps, so that small changes of load change no cost.
const CONGESTION_STEP_US: u64 = 1_000;
const NEARNESS_US: u32 = 3_000;
/// Confidences that differ by less are alike.
const GAP_PPM: u32 = 400_000;

/// What health says of a node, as the cost functions want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSignal {
    pub may_serve: bool,
    pub verdict: Verdict,
    pub excess_us: u32,
    pub jitter_us: u32,
    pub loss_ppm: u32,
    /// As reported; 0 without a report.
    pub utilisation_ppm: u32,
}

impl NodeSignal {
    /// `None`: health has no entry for the node yet. A node that is down carries no evidence about
    /// the path: it is priced only for `on_all_down: all`, which asks for "as if up".
    pub fn of(health: Option<&NodeHealth>) -> Self {
        let mut signal = Self {
            may_serve: true,
            verdict: Verdict::Unknown,
            excess_us: 0,
            jitter_us: 0,
            loss_ppm: 0,
            utilisation_ppm: 0,
        };
        let Some(health) = health else { return signal };
        signal.may_serve = health.may_serve();
        signal.verdict = health.priced_as();
        signal.utilisation_ppm = health.load.as_ref().map_or(0, |load| load.utilisation.0);
        if let Some(best) = health.best().filter(|best| best.verdict.may_serve()) {
            signal.excess_us = best.excess().0;
            signal.jitter_us = best.jitter.unwrap_or_default().0;
            signal.loss_ppm = best.loss.0.min(1_000_000);
        }
        signal
    }
}

/// The parts of a cost; they sum to `total_us`, up to the ceiling of a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CostTerms {
    pub distance_us: u32,
    pub excess_us: u32,
    pub curve_us: i64,
    #[serde(default)]
    pub jitter_us: u32,
    pub loss_us: u32,
    pub load_us: u32,
    pub verdict_us: u32,
    pub line_us: u32,
    /// What `line_us` would be more if the distance were not measured; no part of the sum.
    #[serde(default)]
    pub line_waived_us: u32,
    #[serde(default)]
    pub money_us: u32,
    /// Of what is stated, as much as the other terms but congestion leave room for.
    #[serde(default)]
    pub bias_us: i32,
    pub congestion_us: u32,
    pub total_us: u32,
}

impl CostTerms {
    /// Adds the penalty for another line, of which `waived_us` is no longer due.
    pub fn with_line(mut self, line_us: u32, waived_us: u32) -> Self {
        (self.line_us, self.line_waived_us) = (line_us, waived_us);
        self.total_us = self.total_us.saturating_add(line_us);
        self
    }

    /// Adds what the node costs, in money and by its planned load; between them the bias of the rule.
    pub fn with_price(mut self, money_us: u32, bias_us: i32, congestion_us: u32) -> Self {
        (self.money_us, self.congestion_us) = (money_us, congestion_us);
        let plain = self.total_us.saturating_add(money_us);
        let biased = biased(plain, bias_us);
        self.bias_us = i32::try_from(i64::from(biased) - i64::from(plain)).unwrap_or(bias_us);
        self.total_us = biased.saturating_add(congestion_us);
        self
    }
}

/// The way from a client group to a node's site, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    pub distance: Micros,
    pub quality: Quality,
}

impl Path {
    /// What the clients see of a node there: what they measured, pulled towards what probes of the node
    /// see. Jitter (us), loss (ppm).
    pub fn seen(self, node: &NodeSignal) -> (u32, u32) {
        (self.quality.jitter.with(node.jitter_us), self.quality.loss.with(node.loss_ppm))
    }
}

/// Prices a node at the end of a path: everything but line, money and congestion.
#[inline]
pub fn terms(shape: Shape, path: Path, node: &NodeSignal) -> CostTerms {
    let rtt = u64::from(path.distance.0) + u64::from(node.excess_us);
    let (jitter, loss) = path.seen(node);
    let (jitter, loss) = (weigh(2 * u64::from(jitter), shape.jitter), weigh(loss.into(), shape.loss));
    let (still, clean, lossy) = match shape.curve {
        // 10 ms for each 10,000 ppm.
        Curve::Rtt => (rtt, rtt + jitter, rtt + jitter + loss),
        Curve::Cdn => (rtt, rtt + jitter, rtt + jitter + rtt.saturating_mul(loss) / 100_000),
        Curve::Rtc => {
            let delay = rtt / 2 + 10_000;
            let unsteady = delay + jitter;
            let steep = rtt.saturating_sub(300_000) + 2 * rtt.saturating_sub(500_000);
            let equivalents = [(delay, 0), (unsteady, 0), (unsteady, loss)];
            equivalents.map(|(delay, loss)| equivalent_delay(delay, loss) + steep).into()
        }
    };
    let above = u64::from(node.utilisation_ppm).saturating_sub(AT_EASE_PPM);
    let load = weigh(FULL_US * above / (1_000_000 - AT_EASE_PPM), shape.load);
    let verdict = match node.verdict {
        Verdict::Up | Verdict::Down => 0,
        Verdict::Unknown => UNKNOWN_US,
        Verdict::Degraded => lossy / 2 + DEGRADED_US,
    };
    CostTerms {
        distance_us: path.distance.0,
        excess_us: node.excess_us,
        curve_us: i64::try_from(still).unwrap_or(i64::MAX) - i64::try_from(rtt).unwrap_or(i64::MAX),
        jitter_us: bounded(clean - still),
        loss_us: bounded(lossy - clean),
        load_us: bounded(load),
        verdict_us: bounded(verdict),
        total_us: bounded(lossy + load + verdict),
        ..CostTerms::default()
    }
}

/// The weighted part of a term; saturates. Asked for every path of every plan, so in 64 bits.
#[inline]
const fn weigh(us: u64, weight: Ppm) -> u64 {
    if weight.0 == Ppm::WHOLE.0 { us } else { us.saturating_mul(weight.0 as u64) / 1_000_000 }
}

/// What the service's penalty for crossing a carrier border is to the users of a profile, us.
pub fn line_us(weights: &Weights, penalty: Micros) -> u32 {
    bounded(weigh(penalty.0.into(), weights.line))
}

/// What money counts for, us.
pub fn money_us(weights: &Weights, cost_per_unit: Money) -> u32 {
    bounded(cost_per_unit.0.saturating_mul(weights.money_us.into()) / 1_000_000)
}

/// The delay (us) that without loss is as bad as this delay with `loss_ppm`.
fn equivalent_delay(delay_us: u64, loss_ppm: u64) -> u64 {
    let impairment = delay_us.max((4 * delay_us).saturating_sub(480_000)) + 10 * loss_ppm;
    if impairment < 160_000 { impairment } else { (impairment + 480_000) / 4 }
}

/// A cost as the rule of a chain has it.
#[inline]
pub const fn biased(cost_us: u32, bias_us: i32) -> u32 {
    cost_us.saturating_add_signed(bias_us)
}

fn bounded(us: u64) -> u32 {
    us.min(CEILING_US) as u32
}

/// Price of a node at a utilisation: nothing up to the target, then the square of the way from
/// target to cap, 100 ms at the cap. All in parts per million.
pub fn congestion_price(utilisation_ppm: u64, target_ppm: u64, cap_ppm: u64) -> u32 {
    let span = Divisor::new(price_span(target_ppm, cap_ppm));
    price_above(utilisation_ppm.saturating_sub(target_ppm), &span)
}

/// From target to cap, as [`congestion_price`] has it, ppm.
pub(super) fn price_span(target_ppm: u64, cap_ppm: u64) -> u64 {
    cap_ppm.saturating_sub(target_ppm).max(10_000)
}

/// [`congestion_price`] so far (ppm) above the target.
#[inline]
pub(super) fn price_above(above_ppm: u64, span: &Divisor) -> u32 {
    // Ten times the way: beyond all that is priced, and below what the division takes.
    let way = span.divide(above_ppm.min(1 << 50) * 1_000).min(10_000);
    let price = CAP_PRICE_US * way * way / 1_000_000;
    (price / CONGESTION_STEP_US * CONGESTION_STEP_US).min(CONGESTION_CEILING_US) as u32
}

/// Below which difference nodes are equally near and share a group: 3 ms or 10 %, whichever is more.
#[inline]
pub const fn nearness(cost_us: u32) -> u32 {
    let relative = cost_us / 10;
    if relative > NEARNESS_US { relative } else { NEARNESS_US }
}

/// What a challenger has to be cheaper by, on top of the margin, for being less surely known than what a
/// group has: up to a quarter of its distance, which is about what a great circle errs by. Votes are the
/// measurements behind the two distances.
pub fn doubt(distance: Micros, votes: u16, surest: u16) -> u32 {
    let gap = Latencies::confidence(surest).0.saturating_sub(Latencies::confidence(votes).0);
    if gap < GAP_PPM {
        return 0;
    }
    (u64::from(distance.0) * u64::from(gap) / 4_000_000) as u32
}

/// What a doubtful challenger bids against the cheapest node of a group. Unless it wins outright it stays
/// out: were it to join as a peer, it would be one of the group's own next time, and win without a doubt.
pub const fn bid(cost_us: u32, doubt_us: u32, own_us: u32, margin: Margin) -> u32 {
    let bid = cost_us.saturating_add(doubt_us);
    if bid.saturating_add(margin.of(bid)) <= own_us {
        return bid;
    }
    bid.saturating_add(margin.of(own_us)).saturating_add(nearness(own_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::placement::Measured;
    use crate::model::profile::Profile;

    fn up() -> NodeSignal {
        NodeSignal { verdict: Verdict::Up, ..NodeSignal::of(None) }
    }

    fn far(distance: Micros) -> Path {
        Path { distance, ..Path::default() }
    }

    fn total(profile: &Profile, ms: u32, node: NodeSignal) -> u32 {
        terms(profile.weights.shape, far(Micros::from_millis(ms)), &node).total_us
    }

    #[test]
    fn cdn_is_the_round_trip_stretched_by_loss() {
        assert_eq!(total(&Profile::CDN, 50, up()), 50_000);
        assert_eq!(total(&Profile::CDN, 50, NodeSignal { loss_ppm: 20_000, ..up() }), 60_000);
        assert_eq!(total(&Profile::CDN, 50, NodeSignal { excess_us: 150_000, ..up() }), 200_000);
    }

    #[test]
    fn rtc_follows_the_curve_and_inverts_it() {
        // Below the knee the delay is itself: 100/2 + 10.
        assert_eq!(total(&Profile::RTC, 100, up()), 60_000);
        // Above the knee too, without loss (I rises by 1/10 and is inverted by 10): 340/2 + 10 = 180,
        // and 40 more for the slope from 300 ms of round trip.
        assert_eq!(total(&Profile::RTC, 340, up()), 220_000);
        // 1 % of loss costs R 2.5, which is 100 ms of delay below the knee.
        let lossy = NodeSignal { loss_ppm: 10_000, ..up() };
        assert_eq!(total(&Profile::RTC, 60, lossy), 40_000 + 100_000);
        // and 25 ms where the curve is already steep.
        assert_eq!(total(&Profile::RTC, 300, lossy), 160_000 + 25_000);
    }

    #[test]
    fn what_clients_measure_is_priced_by_its_confidence() {
        let loss = |value, votes| Quality { loss: Measured { value, votes }, ..Quality::default() };
        let priced = |quality, node: &NodeSignal| {
            terms(Profile::CDN.weights.shape, Path { distance: Micros(50_000), quality }, node).loss_us
        };
        // 50 ms at 2 % cost 10 ms; 20 votes are worth as much as the probes, which see none.
        assert_eq!([0, 20, 60].map(|votes| priced(loss(20_000, votes), &up())), [0, 5_000, 7_500]);
        // Nor do clients that see none make probes unseen.
        let lossy = NodeSignal { loss_ppm: 20_000, ..up() };
        assert_eq!(priced(loss(0, 20), &lossy), 5_000);
        let jitter = Quality { jitter: Measured { value: 20_000, votes: 60 }, ..Quality::default() };
        let path = Path { distance: Micros(60_000), quality: jitter };
        let call = terms(Profile::RTC.weights.shape, path, &up());
        assert_eq!((call.jitter_us, call.total_us), (30_000, 40_000 + 30_000));
        assert_eq!(
            terms(Profile::CDN.weights.shape, path, &up()).total_us,
            60_000,
            "jitter is nothing to a broadcast"
        );
    }

    #[test]
    fn a_bias_takes_away_no_more_than_there_is_but_congestion() {
        let of = |bias_us| {
            let t =
                terms(Profile::CDN.weights.shape, far(Micros(20_000)), &up()).with_price(1_000, bias_us, 500);
            (t.bias_us, t.total_us)
        };
        assert_eq!([5_000, -5_000, -30_000].map(of), [(5_000, 26_500), (-5_000, 16_500), (-21_000, 500)]);
        assert_eq!((biased(u32::MAX, 1), biased(0, i32::MIN), biased(7, 0)), (u32::MAX, 0, 7));
    }

    #[test]
    fn verdicts_have_a_price_and_terms_add_up() {
        let degraded = NodeSignal { verdict: Verdict::Degraded, loss_ppm: 10_000, ..up() };
        let unknown = NodeSignal { verdict: Verdict::Unknown, ..up() };
        assert_eq!(total(&Profile::CDN, 40, NodeSignal { loss_ppm: 0, ..degraded }), 80_000);
        assert_eq!(total(&Profile::CDN, 40, unknown), 70_000);
        for profile in Profile::ALL {
            let node = NodeSignal { jitter_us: 4_000, utilisation_ppm: 500_000, ..degraded };
            let t = terms(profile.weights.shape, far(Micros(333_333)), &node)
                .with_line(40_000, 0)
                .with_price(7_000, -3_000, 25_000);
            let sum = i64::from(t.distance_us) + i64::from(t.excess_us) + t.curve_us + i64::from(t.loss_us);
            let sum = sum + i64::from(t.bias_us);
            let more = t.jitter_us + t.load_us + t.verdict_us + t.line_us + t.money_us + t.congestion_us;
            assert_eq!(sum + i64::from(more), i64::from(t.total_us), "{profile:?}");
        }
    }

    #[test]
    fn congestion_is_free_to_the_target_and_convex_above() {
        let price = |percent: u64| congestion_price(percent * 10_000, 750_000, 900_000);
        assert_eq!((price(75), price(90)), (0, 100_000));
        assert!(price(80) - price(75) < price(85) - price(80));
        assert!(price(85) - price(80) < price(90) - price(85));
        assert_eq!(congestion_price(u64::MAX / 2_000, 750_000, 900_000), 2_000_000);
    }

    #[test]
    fn doubt_is_of_what_is_less_surely_known() {
        let far = Micros(80_000);
        // 60 votes are a confidence of 75 %, 5 of 20 %, 20 of 50 %, which is near enough.
        assert_eq!([0, 5, 20, 60].map(|votes| doubt(far, votes, 60)), [15_000, 11_000, 0, 0]);
        assert_eq!([doubt(far, 0, 0), doubt(far, 60, 0)], [0, 0]);
        assert!(doubt(Micros(u32::MAX), 0, u16::MAX) < u32::MAX / 4);
        // Past the margin of 12 it wins; else it is dearer than any peer, in the order of costs.
        let bid = |cost, doubt, own| bid(cost, doubt, own, Margin::default());
        assert_eq!(bid(66_000, 14_000, 92_000), 80_000);
        let out = [bid(60_000, 14_000, 80_000), bid(70_000, 14_000, 80_000)];
        assert!(out[0] > 80_000 + nearness(80_000) && out[1] == out[0] + 10_000, "{out:?}");
        assert_eq!(bid(u32::MAX, 1, 5), u32::MAX);
    }

    #[test]
    fn busy_nodes_cost_im_more_but_not_below_the_target() {
        let busy = |percent: u32| NodeSignal { utilisation_ppm: percent * 10_000, ..up() };
        assert_eq!([0, 40, 75].map(|percent| total(&Profile::IM, 50, busy(percent))), [50_000; 3]);
        assert_eq!(total(&Profile::IM, 50, busy(100)), 90_000);
        assert_eq!(total(&Profile::CDN, 50, busy(100)), 50_000);
    }

    #[test]
    fn an_own_profile_weighs_the_same_terms() {
        let shape = |curve: Curve, jitter, loss, load| {
            let [jitter, loss, load] = [jitter, loss, load].map(Ppm::from_percent);
            Shape { curve, jitter, loss, load }
        };
        let node = NodeSignal { jitter_us: 5_000, loss_ppm: 20_000, utilisation_ppm: 1_000_000, ..up() };
        let price = |shape| {
            let t = terms(shape, far(Micros(50_000)), &node);
            (t.jitter_us, t.loss_us, t.load_us, t.total_us)
        };
        assert_eq!(price(shape(Curve::Rtt, 0, 0, 0)), (0, 0, 0, 50_000));
        assert_eq!(price(shape(Curve::Rtt, 100, 50, 25)), (10_000, 10_000, 10_000, 80_000));
        assert_eq!(price(shape(Curve::Cdn, 200, 300, 100)), (20_000, 30_000, 40_000, 140_000));
        // Built-in weights are nothing else.
        assert_eq!(shape(Curve::Cdn, 0, 100, 100), Profile::IM.weights.shape);
        assert_eq!(shape(Curve::Rtc, 100, 100, 0), Profile::RTC.weights.shape);
        let half = Weights { line: Ppm::from_percent(50), money_us: 200_000, ..Profile::CDN.weights };
        assert_eq!(line_us(&half, Micros(40_000)), 20_000);
        // 0.085 a unit, and a unit counts for 200 ms.
        assert_eq!(money_us(&half, Money(85_000)), 17_000);
        assert_eq!(money_us(&half, Money(u64::MAX)), CEILING_US as u32);
    }

    #[test]
    fn no_input_overflows() {
        let worst = NodeSignal {
            may_serve: true,
            verdict: Verdict::Degraded,
            excess_us: u32::MAX,
            jitter_us: u32::MAX,
            loss_ppm: 1_000_000,
            utilisation_ppm: u32::MAX,
        };
        for profile in Profile::ALL {
            assert_eq!(terms(profile.weights.shape, far(Micros(u32::MAX)), &worst).total_us, 60_000_000);
        }
        for curve in [Curve::Rtt, Curve::Cdn, Curve::Rtc] {
            let [jitter, loss, load] = [Ppm(u32::MAX); 3];
            let most = Shape { curve, jitter, loss, load };
            assert_eq!(terms(most, far(Micros(u32::MAX)), &worst).total_us, 60_000_000);
        }
    }
}
