//! Who asked for what how often: the counters of the workers, beside the table whose ids they are by.
//!
//! ```text
//!  Snapshot ─▶ Ledger ─┬─ seat of worker 0: services x groups cells of [forgeable, verified]
//!                      ├─ seat of worker 1                          only its worker adds
//!                      └─ ...           read: sums over all seats, always rising, modulo 2^32
//! ```
//! A worker has a seat to itself, so that counting is an addition to memory that nobody else writes.
//! The counters of a table hang beside it, and tables of the same services and client groups share
//! them: counts of one shape never meet ids of another, however late a worker turns to a new table.
//!
//! *Bounds.* A cell takes 8 octets, a seat at most [`MOST_CELLS`] of them: 50 services x 10,000 groups
//! are 4 MB for each worker. A world that is larger than 8 MiB counts its groups for all services
//! together ([`Ledger::is_by_service`]). The cells for a new shape are made with its table, so that no
//! worker makes them; none frees them either, since the table's owner has the ledger for longer.
//!
//! A count of 32 bits is exact between two readings as long as fewer than 4 billion queries of one
//! group and service lie between them. What the counts mean is not known here (`demand`).

use crate::model::demand::Asked;
use crate::model::ids::{GroupId, ServiceId};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Pairs of a service and a group that are counted apart: 8 MiB for each worker.
pub const MOST_CELLS: usize = 1 << 20;
/// Workers that count; further ones do not.
const MOST_SEATS: usize = 4_096;

/// One service and group at one worker: queries of whose origin nobody is sure, and those of which one is.
pub type Cell = [AtomicU32; 2];

/// Where one worker counts.
type Seat = Arc<[Cell]>;

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    services: usize,
    groups: usize,
    /// Cells from a service to the next; 0: all services share theirs.
    stride: u32,
    /// By number of the worker.
    seats: ArcSwap<Vec<Option<Seat>>>,
}

impl Ledger {
    pub fn new(services: usize, groups: usize) -> Self {
        let is_by_service = services.saturating_mul(groups) <= MOST_CELLS;
        let stride = if is_by_service { u32::try_from(groups).unwrap_or(0) } else { 0 };
        Self { services, groups, stride, seats: ArcSwap::default() }
    }

    /// Of another shape, with cells for the workers that count in this one.
    #[must_use]
    pub fn succeeded(&self, services: usize, groups: usize) -> Self {
        let next = Self::new(services, groups);
        let anew = |seat: &Option<Seat>| seat.as_ref().map(|_| next.furnish());
        next.seats.store(Arc::new(self.seats.load().iter().map(anew).collect()));
        next
    }

    /// Services and groups.
    pub fn shape(&self) -> (usize, usize) {
        (self.services, self.groups)
    }

    /// Whether services are told apart.
    pub fn is_by_service(&self) -> bool {
        self.stride > 0 || self.services <= 1
    }

    /// Position of a cell; past the end for what is not in the shape.
    #[inline(always)]
    pub fn position(&self, service: ServiceId, group: GroupId) -> u32 {
        u32::from(service.0).wrapping_mul(self.stride).wrapping_add(group.0)
    }

    fn furnish(&self) -> Seat {
        let len = self.groups.saturating_mul(if self.stride > 0 { self.services } else { 1 });
        (0..len).map(|_| Cell::default()).collect()
    }

    /// The cells of a worker, whose number no other has; made at its first call unless they came with
    /// the table.
    fn seat(&self, worker: usize) -> Seat {
        if worker >= MOST_SEATS {
            return Arc::default();
        }
        if let Some(seat) = self.seats.load().get(worker).cloned().flatten() {
            return seat;
        }
        let seat = self.furnish();
        self.seats.rcu(|seats| {
            let mut seats = Vec::clone(seats);
            seats.resize(seats.len().max(worker + 1), None);
            if let Some(place) = seats.get_mut(worker) {
                *place = Some(Arc::clone(&seat));
            }
            seats
        });
        seat
    }

    /// Adds what one service was asked for to `sums`, by group. Without counts by service, all that was
    /// asked for.
    pub fn read(&self, service: ServiceId, sums: &mut [Asked]) {
        let from = self.position(service, GroupId(0)) as usize;
        for seat in self.seats.load().iter().flatten() {
            let cells = seat.get(from..).unwrap_or_default();
            for (sum, [forgeable, verified]) in sums.iter_mut().zip(cells.iter().take(self.groups)) {
                let (forgeable, verified) =
                    (forgeable.load(Ordering::Relaxed), verified.load(Ordering::Relaxed));
                *sum = sum.with(Asked { forgeable, verified });
            }
        }
    }
}

/// One worker's end of a ledger: adds, and turns to another ledger when its table does.
#[derive(Debug, Default)]
pub struct Tally {
    cells: Arc<[Cell]>,
    ledger: Option<Arc<Ledger>>,
}

impl Tally {
    /// Counts in `ledger` from here on.
    #[inline]
    pub fn follow(&mut self, ledger: &Arc<Ledger>, worker: usize) {
        if !self.ledger.as_ref().is_some_and(|own| Arc::ptr_eq(own, ledger)) {
            self.turn(ledger, worker);
        }
    }

    #[cold]
    fn turn(&mut self, ledger: &Arc<Ledger>, worker: usize) {
        self.cells = ledger.seat(worker);
        self.ledger = Some(Arc::clone(ledger));
    }

    /// Counts one answer, at a [position](Ledger::position) of the ledger followed. No other worker
    /// writes here, so that this need not be one step to be exact.
    #[inline(always)]
    pub fn count(&self, position: u32, is_verified: bool) {
        if let Some(cell) = self.cells.get(position as usize) {
            let count = &cell[usize::from(is_verified)];
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }
}

/// Another worker's: it counts nowhere until it is told to.
impl Clone for Tally {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Where something is counted is no part of what is counted.
impl PartialEq for Tally {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Tally {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ledger: &Ledger, service: u16) -> Vec<(u32, u32)> {
        let mut sums = vec![Asked::default(); ledger.shape().1];
        ledger.read(ServiceId(service), &mut sums);
        sums.iter().map(|sum| (sum.forgeable, sum.verified)).collect()
    }

    fn count(tally: &Tally, ledger: &Ledger, service: u16, group: u32, is_verified: bool) {
        tally.count(ledger.position(ServiceId(service), GroupId(group)), is_verified);
    }

    #[test]
    fn workers_add_up_and_what_is_not_in_the_shape_counts_nowhere() {
        let ledger = Arc::new(Ledger::new(2, 3));
        let (mut one, mut other) = (Tally::default(), Tally::default());
        count(&one, &ledger, 0, 0, true);
        one.follow(&ledger, 0);
        other.follow(&ledger, 1);
        count(&one, &ledger, 0, 1, false);
        count(&one, &ledger, 0, 1, true);
        count(&other, &ledger, 1, 2, false);
        count(&other, &ledger, 1, 2, true);
        count(&other, &ledger, 2, 0, true);
        assert_eq!(read(&ledger, 0), [(0, 0), (1, 1), (0, 0)]);
        assert_eq!(read(&ledger, 1), [(0, 0), (0, 0), (1, 1)]);
        let clone = one.clone();
        count(&clone, &ledger, 0, 1, false);
        assert_eq!(read(&ledger, 0)[1], (1, 1), "a copy is not the worker");
    }

    #[test]
    fn a_world_too_large_counts_its_groups_for_all_services() {
        let (services, groups) = (MOST_CELLS / 100, 101);
        let ledger = Arc::new(Ledger::new(services, groups));
        assert!(!ledger.is_by_service());
        let mut tally = Tally::default();
        tally.follow(&ledger, 0);
        count(&tally, &ledger, 7, 100, false);
        count(&tally, &ledger, 9, 100, false);
        assert_eq!(read(&ledger, 8)[100], (2, 0));
        assert_eq!(tally.cells.len(), groups);
    }

    #[test]
    fn counts_wrap_instead_of_ending() {
        let ledger = Arc::new(Ledger::new(1, 1));
        let mut tally = Tally::default();
        tally.follow(&ledger, 0);
        tally.cells[0][0].store(u32::MAX, Ordering::Relaxed);
        count(&tally, &ledger, 0, 0, false);
        assert_eq!(read(&ledger, 0), [(0, 0)]);
    }

    /// Workers count while tables of two shapes take turns: every query is counted once, where it belongs.
    #[test]
    fn counts_are_exact_under_concurrent_workers_and_across_tables() {
        const ROUNDS: u32 = 20_000;
        let small = Arc::new(Ledger::new(2, 3));
        let large = Arc::new(small.succeeded(3, 5));
        let live = Arc::new(ArcSwap::from(Arc::clone(&small)));
        let worker = |number: usize| {
            let live = Arc::clone(&live);
            move || {
                let (mut tally, mut by_shape) = (Tally::default(), [0_u32; 2]);
                for round in 0..ROUNDS {
                    let ledger = live.load_full();
                    tally.follow(&ledger, number);
                    // The last cell of its shape: in the other it is another's, or none.
                    let (services, groups) = ledger.shape();
                    count(&tally, &ledger, services as u16 - 1, groups as u32 - 1, round.is_multiple_of(2));
                    by_shape[usize::from(services == 3)] += 1;
                }
                by_shape
            }
        };
        let workers: Vec<_> = (0..4).map(|number| std::thread::spawn(worker(number))).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            live.store(Arc::clone(&large));
            std::thread::yield_now();
            live.store(Arc::clone(&small));
        }
        let counted = workers.into_iter().map(|worker| worker.join().expect("counts"));
        let [in_small, in_large] = counted.fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
        assert_eq!(in_small + in_large, 4 * ROUNDS);
        for (ledger, expected) in [(&small, in_small), (&large, in_large)] {
            let (services, groups) = ledger.shape();
            let sums: Vec<_> = (0..services as u16).map(|service| read(ledger, service)).collect();
            let all: u32 = sums.iter().flatten().map(|(forgeable, verified)| forgeable + verified).sum();
            let (forgeable, verified) = sums[services - 1][groups - 1];
            assert_eq!((forgeable + verified, all), (expected, expected));
        }
    }
}
