//! Recorded requests, decided by two policies: which of them would meet other rules.
//!
//! The log has no query, no headers and no tokens. So what is compared is the route that a request
//! comes to, by the stages themselves, and all that holds there: a scope more is a difference
//! whatever the token. Requests that came to another route than the old policy says are counted
//! apart. Memory does not grow with the log.

mod batches;
mod comparison;
mod entry;
mod tally;

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use batches::{Batch, Batches};
use entry::Entry;
use tally::Tally;

pub use comparison::{Comparison, Reached, Side};
pub use tally::{Complaint, Example, Group, Logged, Report, Unlike};

/// Batches that wait for each worker.
const BATCHES_AHEAD: usize = 2;
/// More workers than this wait for the one thread that reads and unpacks.
const WORKERS_MAX: usize = 8;

/// Judge every line of a log, plain or unpacked already.
///
/// # Errors
/// The log cannot be read to its end.
pub fn replay(comparison: &Comparison, log: impl Read) -> io::Result<Report> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let workers = workers.clamp(1, WORKERS_MAX);
    let (sender, receiver) = sync_channel(workers * BATCHES_AHEAD);
    let receiver = Arc::new(Mutex::new(receiver));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                let batches = receiver.clone();
                scope.spawn(move || work(comparison, &batches))
            })
            .collect();
        // The workers' alone: without one of them, sending fails.
        drop(receiver);
        let mut failed = None;
        for batch in Batches::new(log) {
            match batch {
                // Workers end after the channel does, or all of them by a panic, which `join` passes on.
                Ok(batch) => {
                    if sender.send(batch).is_err() {
                        break;
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        drop(sender);
        let mut total = Tally::default();
        for worker in workers {
            match worker.join() {
                Ok(tally) => total.merge(tally),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(total.report(comparison)),
        }
    })
}

fn work(comparison: &Comparison, batches: &Mutex<Receiver<Batch>>) -> Tally {
    let mut tally = Tally::default();
    let next = || {
        let batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.recv()
    };
    while let Ok(batch) = next() {
        for (number, line) in batch.lines() {
            match Entry::read(line) {
                Ok(Some(entry)) => tally.count(number, &entry, comparison),
                Ok(None) => tally.other(),
                Err(reason) => tally.complain(number, reason.to_owned()),
            }
        }
    }
    tally
}
