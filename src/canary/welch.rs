//! Welch's t-test: whether one mean is above another, of samples whose variances may differ.
//!
//! ```text
//!        mean1 - mean2                      (v1/n1 + v2/n2)^2
//!  t = ──────────────────      df = ─────────────────────────────────      p = P(T > t), T of df degrees of freedom
//!      sqrt(v1/n1 + v2/n2)          (v1/n1)^2/(n1-1) + (v2/n2)^2/(n2-1)
//! ```
//! Welch 1947, Satterthwaite 1946. The tail of Student's t is half of the regularised incomplete beta function
//! I_x(df/2, 1/2) at x = df / (df + t^2), by its continued fraction (Lentz's method; Numerical Recipes 6.4). It is
//! written out here since it is one formula: crates of statistics bring linear algebra with it. Its tests are
//! published tables. No placement depends on these floating-point numbers; at most a canary is given up.

use serde::{Deserialize, Serialize};

/// One sample, as far as the test needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    pub count: u32,
    pub mean: f64,
    /// Of the sample, by count - 1.
    pub variance: f64,
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welch {
    /// `None`: neither sample varies at all.
    pub t: Option<f64>,
    /// Degrees of freedom.
    pub df: Option<f64>,
    /// Probability of a difference like this, or a larger one, if there is none: one-sided.
    pub p: f64,
}

impl Arm {
    /// By Welford's method, so that large values with small differences stay exact.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let (mut count, mut mean, mut squares) = (0_u32, 0.0, 0.0);
        for value in values {
            count += 1;
            let from_before: f64 = value - mean;
            mean += from_before / f64::from(count);
            squares += from_before * (value - mean);
        }
        let variance = if count > 1 { squares / f64::from(count - 1) } else { 0.0 };
        Self { count, mean, variance }
    }

    /// Of the mean, squared.
    fn error(&self) -> f64 {
        self.variance / f64::from(self.count.max(1))
    }
}

/// Whether the mean of `one` is above that of `other`; `None`: one of them has fewer than two values.
pub fn welch(one: &Arm, other: &Arm) -> Option<Welch> {
    if one.count < 2 || other.count < 2 {
        return None;
    }
    let (a, b) = (one.error(), other.error());
    let difference = one.mean - other.mean;
    let spread = a + b;
    if spread <= 0.0 {
        let p = if difference > 0.0 { 0.0 } else { 1.0 };
        return Some(Welch { t: None, df: None, p });
    }
    let t = difference / spread.sqrt();
    let freedom = |error: f64, arm: &Arm| error * error / f64::from(arm.count - 1);
    let df = spread * spread / (freedom(a, one) + freedom(b, other));
    Some(Welch { t: Some(t), df: Some(df), p: upper_tail(t, df) })
}

/// P(T > t) of Student's t.
fn upper_tail(t: f64, df: f64) -> f64 {
    let half = 0.5 * incomplete_beta(0.5 * df, 0.5, df / (df + t * t));
    if t >= 0.0 { half } else { 1.0 - half }
}

/// I_x(a, b), regularised.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction is quick on this side of the mean; the other is its mirror image.
    match x < (a + 1.0) / (a + b + 2.0) {
        true => front * fraction(a, b, x) / a,
        false => 1.0 - front * fraction(b, a, 1.0 - x) / b,
    }
}

/// The continued fraction of the incomplete beta function.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const MOST_STEPS: u32 = 10_000;
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut sum = d;
    for step in 1..=MOST_STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            sum *= d * c;
        }
        if (d * c - 1.0).abs() < 1e-14 {
            break;
        }
    }
    sum
}

/// Lanczos, g = 7, nine terms: fifteen digits for what is positive.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let mut sum = 0.999_999_999_999_809_9;
    for (at, term) in (1_u32..).zip(TERMS) {
        sum += term / (x + f64::from(at));
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::SeededRng;

    /// Critical values of Student's t, one-sided, as tables print them (NIST/SEMATECH handbook, 1.3.6.7.2).
    #[test]
    fn tails_are_those_of_published_tables() {
        for (df, p, t) in [
            (1.0, 0.05, 6.314),
            (1.0, 0.001, 318.313),
            (2.0, 0.025, 4.303),
            (5.0, 0.05, 2.015),
            (5.0, 0.01, 3.365),
            (10.0, 0.10, 1.372),
            (10.0, 0.005, 3.169),
            (30.0, 0.05, 1.697),
            (30.0, 0.001, 3.385),
            (100.0, 0.025, 1.984),
            (1e7, 0.05, 1.645),
            (1e7, 0.001, 3.090),
        ] {
            let found = upper_tail(t, df);
            assert!((found - p).abs() < 0.002 * p + 2e-6, "df {df}, t {t}: {found}, not {p}");
            assert!((upper_tail(-t, df) - (1.0 - found)).abs() < 1e-12);
        }
        assert!((upper_tail(0.0, 7.0) - 0.5).abs() < 1e-12);
        // Closed forms: one degree of freedom is Cauchy's, two an algebraic one.
        for t in [0.1_f64, 1.0, 3.0, 40.0] {
            let cauchy = 0.5 - t.atan() / std::f64::consts::PI;
            assert!((upper_tail(t, 1.0) - cauchy).abs() < 1e-12, "{t}");
            let two = 0.5 - t / (2.0 * (2.0 + t * t).sqrt());
            assert!((upper_tail(t, 2.0) - two).abs() < 1e-12, "{t}");
        }
    }

    /// A worked example that many texts give: t = -2.46, 25.0 degrees of freedom, p = 0.021378 (two-sided).
    #[test]
    fn a_worked_example_comes_out() {
        let one = Arm::of([
            27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4,
        ]);
        let other = Arm::of([
            27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4,
        ]);
        let told = welch(&other, &one).expect("enough values");
        let (t, df) = (told.t.expect("it varies"), told.df.expect("it varies"));
        assert!((2.45..2.47).contains(&t) && (24.98..25.0).contains(&df), "{t} {df}");
        assert!((told.p * 2.0 - 0.021_378).abs() < 0.000_3, "{}", told.p);
        let back = welch(&one, &other).expect("enough values");
        assert!((back.p + told.p - 1.0).abs() < 1e-12);
    }

    #[test]
    fn without_a_difference_it_is_wrong_as_often_as_it_says() {
        let mut rng = SeededRng::new(11);
        // The sum of twelve uniform numbers is about normal.
        let mut value = |spread: f64| {
            let sum: f64 = (0..12).map(|_| rng.next_u64() as f64 / u64::MAX as f64).sum();
            (sum - 6.0) * spread
        };
        let (rounds, mut wrong) = (4_000, 0);
        for _ in 0..rounds {
            let one = Arm::of((0..8).map(|_| value(5.0)).collect::<Vec<_>>());
            let other = Arm::of((0..40).map(|_| value(1.0)).collect::<Vec<_>>());
            wrong += u32::from(welch(&one, &other).is_some_and(|told| told.p < 0.05));
        }
        let part = f64::from(wrong) / f64::from(rounds);
        assert!((0.04..0.06).contains(&part), "{part}");
    }

    #[test]
    fn what_does_not_vary_or_is_too_little_is_no_test() {
        let same = |value: f64| Arm::of([value; 4]);
        assert_eq!(welch(&same(2.0), &same(1.0)).map(|told| told.p), Some(0.0));
        assert_eq!(welch(&same(1.0), &same(1.0)).map(|told| told.p), Some(1.0));
        assert_eq!(welch(&Arm::of([1.0]), &same(1.0)), None);
        assert_eq!(welch(&Arm::of([]), &same(1.0)), None);
        for (mean, count) in [(1e9, 3_u32), (0.0, 100_000)] {
            let arm = Arm { count, mean, variance: 1e-6 };
            let p = welch(&arm, &same(0.0)).expect("enough").p;
            assert!((0.0..=1.0).contains(&p), "{p}");
        }
    }
}
