//! Callers that go on for a while: how many answers, how late, for how much CPU time.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::{task::JoinSet, time::Instant};
use tonic::Status;
use tonic_types::StatusExt;

use crate::{
    people::People,
    service::{Service, Used},
    worker::{Kind, Worker},
};

/// Sign-ins at a time before a measurement: what a queue of passwords takes.
const AT_ONCE: usize = 16;

/// What the callers got.
#[derive(Default)]
pub(crate) struct Answers {
    /// Of good answers, in microseconds, in order once all are there.
    latencies: Vec<u32>,
    /// By code and reason.
    pub(crate) refused: BTreeMap<String, u64>,
    length: Duration,
}

pub(crate) struct Measured {
    pub(crate) callers: usize,
    pub(crate) answers: Answers,
    /// With what the calls left behind to be done.
    pub(crate) used: Used,
}

pub(crate) async fn measure(
    service: &Service,
    people: &People,
    kind: Kind,
    callers: usize,
    length: Duration,
) -> anyhow::Result<Measured> {
    let workers = ready(service, people, kind, callers).await?;
    service.settle().await?;
    let before = service.used()?;
    let answers = call(workers, length).await?;
    service.settle().await?;
    let after = service.used()?;
    let used = Used {
        service: after.service.saturating_sub(before.service),
        database: after.database.saturating_sub(before.database),
    };
    Ok(Measured {
        callers,
        answers,
        used,
    })
}

pub(crate) async fn ready(
    service: &Service,
    people: &People,
    kind: Kind,
    callers: usize,
) -> Result<Vec<Worker>, Status> {
    let workers = stream::iter(0..callers)
        .map(|number| Worker::ready(service, people, kind, (number, callers)));
    workers.buffered(AT_ONCE).try_collect().await
}

/// All of them call, each as soon as it has its answer; who is refused comes back when told.
pub(crate) async fn call(workers: Vec<Worker>, length: Duration) -> anyhow::Result<Answers> {
    let begun = Instant::now();
    let until = begun + length;
    let mut calling = JoinSet::new();
    for mut worker in workers {
        calling.spawn(async move {
            let mut answers = Answers::default();
            while Instant::now() < until {
                let asked = Instant::now();
                match worker.call().await {
                    Ok(()) => answers.good(asked.elapsed()),
                    Err(status) => {
                        tokio::time::sleep(answers.refused(&status)).await;
                    }
                }
            }
            answers
        });
    }
    let mut all = Answers::default();
    while let Some(answers) = calling.join_next().await {
        all.join(answers?);
    }
    all.latencies.sort_unstable();
    all.length = begun.elapsed();
    Ok(all)
}

impl Answers {
    fn good(&mut self, after: Duration) {
        let micros = u32::try_from(after.as_micros()).unwrap_or(u32::MAX);
        self.latencies.push(micros);
    }

    /// Returns how long the caller was told to stay away.
    fn refused(&mut self, status: &Status) -> Duration {
        let details = status.get_error_details();
        let reason = details.error_info().map_or("", |info| &info.reason);
        let name = format!("{:?} {reason}", status.code());
        *self.refused.entry(name).or_default() += 1;
        let told = details.retry_info().and_then(|info| info.retry_delay);
        told.unwrap_or_default()
    }

    fn join(&mut self, others: Self) {
        self.latencies.extend(others.latencies);
        for (name, count) in others.refused {
            *self.refused.entry(name).or_default() += count;
        }
    }

    /// Good ones.
    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.count() as f64 / self.length.as_secs_f64()
    }

    /// In milliseconds; 0.5 is the median.
    pub(crate) fn latency(&self, share: f64) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        let at = (share * last as f64).round() as usize;
        self.latencies
            .get(at)
            .map(|micros| f64::from(*micros) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn refusals_are_counted_apart_by_code_and_reason() {
        let mut answers = Answers::default();
        for millis in 1..=101 {
            answers.good(Duration::from_millis(millis));
        }
        let mut others = Answers::default();
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
        details.set_error_info("FULL", "test", []);
        let full = Status::with_error_details(Code::Unavailable, "", details);
        for (status, pause) in [(&full, 1), (&Status::internal(""), 0), (&full, 1)] {
            assert_eq!(others.refused(status), Duration::from_secs(pause));
        }
        answers.join(others);
        assert_eq!(answers.count(), 101);
        assert_eq!(answers.latency(0.5), Some(51.0));
        assert_eq!(answers.latency(0.99), Some(100.0));
        assert_eq!(answers.latency(1.0), Some(101.0));
        let expected = [("Internal ", 1), ("Unavailable FULL", 2)];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert!(answers.refused.into_iter().eq(expected));
        assert_eq!(Answers::default().latency(0.5), None);
    }
}
