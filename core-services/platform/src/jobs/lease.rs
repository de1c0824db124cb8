//! Who runs a job, and when another worker may take it over.
//! Invariant: a lease ends when its heartbeat stood still for the lease's length
//! as measured by the looker's own monotonic clock. A wall clock that is
//! stepped, here or there, neither takes a living worker's job nor keeps a dead one's.

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

/// One attempt's right to commit. Each claim counts the attempt up, so no two are equal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) job: Uuid,
    pub(super) owner: Uuid,
    pub(super) attempt: i64,
}

/// A running job as a looker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pulse {
    pub(super) job: Uuid,
    pub(super) heartbeat: i64,
}

/// What was seen of all running jobs, and since when it is the same.
#[derive(Default)]
pub(super) struct Watch {
    since: HashMap<Uuid, (i64, Duration)>,
}

impl Watch {
    /// Takes note of the pulses at the monotonic time `at`; returns those that stood
    /// still for `length`. What runs no more is forgotten, so the map is as long as the list.
    pub(super) fn look(&mut self, pulses: &[Pulse], at: Duration, length: Duration) -> Vec<Pulse> {
        let mut since = HashMap::with_capacity(pulses.len());
        let mut still = Vec::new();
        for pulse in pulses {
            let first = match self.since.get(&pulse.job) {
                Some((heartbeat, first)) if *heartbeat == pulse.heartbeat => *first,
                _ => at,
            };
            since.insert(pulse.job, (pulse.heartbeat, first));
            if at.saturating_sub(first) >= length {
                still.push(*pulse);
            }
        }
        self.since = since;
        still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(30);

    #[test]
    fn only_a_heart_that_stands_still_is_dead() {
        let (alive, dead) = (Uuid::now_v7(), Uuid::now_v7());
        let mut watch = Watch::default();
        for second in 0..300 {
            let at = Duration::from_secs(second);
            let beats = i64::try_from(second / 10).unwrap();
            let pulse = |job, heartbeat| Pulse { job, heartbeat };
            let still = watch.look(&[pulse(alive, beats), pulse(dead, 7)], at, LENGTH);
            let expected = if second < 30 {
                vec![]
            } else {
                vec![pulse(dead, 7)]
            };
            assert_eq!(still, expected, "{second}");
        }
        assert!(watch.look(&[], Duration::from_secs(300), LENGTH).is_empty());
        assert!(watch.since.is_empty());
    }
}
