//! Carries events from the outbox to the bus.
//! Invariant: a row is deleted only after the bus acknowledged it; killed in between,
//! the event is published again and the bus or the inbox drops the second one.
//! Refuses to skip: while the bus is away the outbox grows, and drains in order later.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AWAY, Events, bus, outbox};
use crate::{clock, db};

/// Events in one claim: at most 16 MiB, and one round trip to the bus.
const BATCH_MAX: i64 = 128;
/// Looks follow each other at the shortest after a write and slow down to the longest.
const LOOK_SHORTEST: Duration = Duration::from_millis(5);
const LOOK_LONGEST: Duration = Duration::from_millis(500);
/// A bus that took longer does not have it; ends well before the lease does.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error(transparent)]
    Bus(#[from] bus::Error),
}

pub(super) async fn run(events: Events, stop: CancellationToken) {
    let mut failures = 0;
    let mut look = LOOK_SHORTEST;
    while !stop.is_cancelled() {
        let written = outbox::WRITTEN.notified();
        match carry(&events).await {
            Ok(0) => {
                failures = 0;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = written => look = LOOK_SHORTEST,
                    () = tokio::time::sleep(look) => look = (look * 2).min(LOOK_LONGEST),
                }
            }
            Ok(_) => (failures, look) = (0, LOOK_SHORTEST),
            Err(error) => {
                failures += 1;
                let wait = AWAY.after(failures);
                tracing::warn!(
                    %error, service = events.service, failures, wait_ms = wait.as_millis(),
                    "events stay in the outbox"
                );
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// One batch; returns how many the bus took.
async fn carry(events: &Events) -> Result<usize, Error> {
    let (lease, now) = (Uuid::new_v4(), clock::now());
    let until = now + events.settings.lease;
    let batch = outbox::claim(&events.db, lease, now, until, BATCH_MAX).await?;
    if batch.is_empty() {
        return Ok(0);
    }
    let published = tokio::time::timeout(PUBLISH_TIMEOUT, events.bus.publish(&batch, now)).await;
    let published = published.unwrap_or(Err(bus::Error::TimedOut));
    let result = if published.is_ok() { "ok" } else { "failed" };
    let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
    events
        .metrics
        .published
        .with_label_values(&[events.service, result])
        .inc_by(count);
    if let Err(error) = published {
        outbox::release(&events.db, lease, clock::now()).await?;
        return Err(error.into());
    }
    outbox::done(&events.db, lease).await?;
    Ok(batch.len())
}
