//! Several checks of one node make one state: all of them, any, or at least so many have to be well.
//!
//! All three are one rule: order the checks from best to worst and take the `needed`th.
//!
//! ```text
//!   up  up  degraded  down          any = 1 ▶ up   at least 3 ▶ degraded   all = 4 ▶ down
//! ```
//! A check that has seen nothing yet could turn out either way. The state is known only if both ways
//! give the same: so one failure decides `all` at once, one success decides `any`, and else one waits.

/// What a check found, from best to worst, ordered as people would.
pub(super) trait Graded: Copy {
    fn grade(&self) -> u8;
}

/// The position and the finding of the check that decides; `None` while that depends on checks which
/// have seen nothing. Of equals the first is told of, so that a reason names one check while nothing
/// changes. `worst` is the worst grade there is, 0 the best.
pub(super) fn decide<F: Graded>(
    findings: impl Iterator<Item = Option<F>> + Clone,
    needed: usize,
    worst: u8,
) -> Option<(usize, F)> {
    let total = findings.clone().count();
    let seen = findings.clone().flatten().count();
    let pending = total - seen;
    // Those that have seen nothing taken for the best there is, then for the worst.
    let kindly = needed.checked_sub(pending).and_then(|rank| ranked(findings.clone(), rank));
    let unkindly = ranked(findings, needed);
    let grade = |found: Option<(usize, F)>, or| found.map_or(or, |(_, finding)| finding.grade());
    (grade(kindly, 0) == grade(unkindly, worst)).then(|| unkindly.or(kindly)).flatten()
}

/// The `rank`th from the best, one being the best; of equals the first comes last.
fn ranked<F: Graded>(findings: impl Iterator<Item = Option<F>> + Clone, rank: usize) -> Option<(usize, F)> {
    let seen = || findings.clone().enumerate().filter_map(|(at, found)| Some((at, found?)));
    let is_better = |(i, one): (usize, F), (j, other): (usize, F)| {
        (one.grade(), std::cmp::Reverse(i)) < (other.grade(), std::cmp::Reverse(j))
    };
    seen().find(|&found| seen().filter(|&other| is_better(other, found)).count() + 1 == rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Found(u8);

    impl Graded for Found {
        fn grade(&self) -> u8 {
            self.0
        }
    }

    /// Findings as digits (0 well, 9 failing, `?` nothing seen), how many are needed, and the check that
    /// decides: `position:grade`.
    fn check(findings: &str, needed: usize, expected: &str) {
        let read: Vec<Option<Found>> =
            findings.chars().map(|c| c.to_digit(10).map(|grade| Found(grade as u8))).collect();
        let decided = decide(read.iter().copied(), needed, 9);
        let told = decided.map_or("-".to_owned(), |(at, found)| format!("{at}:{}", found.0));
        assert_eq!(told, expected, "{findings}, {needed} needed");
    }

    #[test]
    fn all_takes_the_worst() {
        check("000", 3, "0:0");
        check("050", 3, "1:5");
        check("059", 3, "2:9");
        check("990", 3, "0:9");
    }

    #[test]
    fn any_takes_the_best() {
        check("990", 1, "2:0");
        check("995", 1, "2:5");
        check("999", 1, "2:9");
    }

    #[test]
    fn at_least_two_take_the_second_best() {
        check("0099", 2, "0:0");
        check("0599", 2, "1:5");
        check("0999", 2, "3:9");
    }

    #[test]
    fn what_was_not_seen_may_leave_it_open() {
        check("?", 1, "-");
        check("0?", 2, "-");
        check("5?", 2, "-");
        check("9?", 2, "0:9");
        check("0?", 1, "0:0");
        check("5?", 1, "-");
        check("9?", 1, "-");
        check("9?0", 2, "-");
        check("00?", 2, "0:0");
        check("99?", 2, "0:9");
    }
}
