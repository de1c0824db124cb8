//! Numbers for operators every few seconds, and old rows deleted every few minutes.
//! Invariant: nothing here is needed for an event to arrive.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Events, bus, dead_letters, inbox, outbox};
use crate::{clock, clock::UnixMicros, db};

const MEASURED_EVERY: Duration = Duration::from_secs(5);
/// Measurements between two sweeps: ten minutes.
const SWEPT_EVERY: u32 = 120;
/// An inbox row must outlive the last delivery the bus can make; twice is ample.
const INBOX_RETENTIONS: u32 = 2;

pub(super) async fn run(events: Events, stop: CancellationToken) {
    let mut round: u32 = 0;
    while !stop.is_cancelled() {
        if let Err(error) = measure(&events).await {
            tracing::debug!(%error, service = events.service, "the outbox was not measured");
            events.metrics.unknown(events.service);
        }
        if round.is_multiple_of(SWEPT_EVERY)
            && let Err(error) = sweep(&events, clock::now(), &stop).await
        {
            tracing::warn!(%error, service = events.service, "old events stay for now");
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(MEASURED_EVERY) => {}
        }
    }
}

async fn measure(events: &Events) -> Result<(), db::Error> {
    let (pending, oldest) = outbox::waiting(&events.db).await?;
    let dead = dead_letters::count(&events.db).await?;
    let age = oldest.map_or(0, |oldest| clock::now().seconds() - oldest.seconds());
    let label = [events.service];
    let metrics = &events.metrics;
    metrics
        .outbox_pending
        .with_label_values(&label)
        .set(pending);
    metrics
        .outbox_oldest_seconds
        .with_label_values(&label)
        .set(age.max(0));
    metrics.dead_letters.with_label_values(&label).set(dead);
    Ok(())
}

async fn sweep(
    events: &Events,
    now: UnixMicros,
    stop: &CancellationToken,
) -> Result<(), bus::Error> {
    let retention = events.settings.retention;
    let before = now - retention * INBOX_RETENTIONS;
    while !stop.is_cancelled() && inbox::sweep(&events.db, before).await? {}
    while !stop.is_cancelled() && events.bus.sweep(now - retention).await? {}
    Ok(())
}
