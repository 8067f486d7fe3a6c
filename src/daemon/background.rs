//! Threads whose work may take milliseconds let those that answer go first.
//!
//! Where workers share a processor with the writer or with the reading of an edit, the kernel gives each its
//! slice, and a query waits for the end of a table's. A thread of lower priority is interrupted as soon as a
//! query comes in; what workers leave over, which is most of a processor, is its own as before.

/// By how much (`nice`): a quarter to a third of the weight of a worker.
const NICENESS: i32 = 5;

/// Lowers the priority of this thread and of those that it starts from now on. Where that is not permitted
/// nothing changes.
pub fn let_answers_go_first() {
    // On Linux this is the calling thread's, not the process's (setpriority(2), "C library/kernel differences").
    // One that was started lower still is not raised.
    if rustix::process::getpriority_process(None).is_ok_and(|own| own < NICENESS) {
        let _ = rustix::process::setpriority_process(None, NICENESS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_of_the_thread_and_of_its_children_alone() {
        let niceness = || rustix::process::getpriority_process(None).expect("of ourselves");
        let before = niceness();
        let inside = std::thread::spawn(move || {
            let_answers_go_first();
            (niceness(), std::thread::spawn(niceness).join().expect("a child"))
        });
        let (own, child) = inside.join().expect("a thread");
        assert_eq!((own, child, niceness()), (NICENESS.max(before), NICENESS.max(before), before));
    }
}
