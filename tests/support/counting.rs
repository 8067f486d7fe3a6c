//! An allocator that counts, for programs that show what they allocate or hold.
//!
//! It counts by thread, so that tests of one program do not see each other; what one thread allocates and
//! another frees is held by the first for ever. Counted are the octets asked for, not what the system's
//! allocator makes of them: fragmentation is not seen.

#![allow(dead_code, reason = "each program uses its own part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// Allocations of this thread so far, those that only grew included.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// Octets that this thread has allocated and not freed.
pub fn held() -> i64 {
    HELD.get()
}

fn note(allocations: u64, octets: i64) {
    // A thread that ends frees what it has after its counts are gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + allocations));
    let _ = HELD.try_with(|held| held.set(held.get() + octets));
}

const fn octets(size: usize) -> i64 {
    size.cast_signed() as i64
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it, and neither
// allocates nor needs a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, octets(layout.size()));
        // SAFETY: the caller keeps the promises of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(0, -octets(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, octets(size) - octets(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}
