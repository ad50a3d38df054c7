//! Several hosts at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

/// Calls `work` for each job, with its place among them, at most `parallel` at a time and in their order; gives the results in the
/// order of the jobs. A job that was not begun when `stop` was set has none.
pub fn run_each<J: Sync, R: Send>(
    jobs: &[J],
    parallel: usize,
    stop: &AtomicBool,
    work: impl Fn(usize, &J) -> R + Sync,
) -> Vec<Option<R>> {
    let next = AtomicUsize::new(0);
    let (sender, done) = channel();
    std::thread::scope(|scope| {
        for _ in 0..parallel.clamp(1, jobs.len().max(1)) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(place) else { return };
                    // The receiver outlives every worker.
                    let _ = sender.send((place, work(place, job)));
                }
            });
        }
    });
    drop(sender);
    let mut results: Vec<Option<R>> = jobs.iter().map(|_| None).collect();
    for (place, result) in done {
        if let Some(slot) = results.get_mut(place) {
            *slot = Some(result);
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs_and_none_begins_after_a_stop() {
        let stop = AtomicBool::new(false);
        let all = run_each(&[3, 1, 2], 2, &stop, |place, job| (place, *job));
        assert_eq!(all, [Some((0, 3)), Some((1, 1)), Some((2, 2))]);
        let some = run_each(&[1, 2, 3], 1, &stop, |_, job| {
            stop.store(*job == 2, Ordering::Relaxed);
            *job
        });
        assert_eq!(some, [Some(1), Some(2), None]);
    }
}
