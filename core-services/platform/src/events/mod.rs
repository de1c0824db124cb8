//! Events: outbox -> bus -> inbox. What a service publishes in a transaction reaches
//! every consumer of that type, and its effect there happens exactly once.
//! Invariant: an event is in the outbox, on the bus or in a consumer's inbox or dead
//! letters; each step leaves its place only after the next one has it.
//! Refuses to promise order after a failure: who keeps copies compares `aggregate_version`.

mod event;
mod outbox;
mod relay;
pub mod bus;
mod inbox;
mod consumer;
mod replay;
pub mod dead_letters;
mod upkeep;
mod metrics;

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use bus::Bus;
pub use consumer::{Consumer, Failure};
pub use event::{Event, EventId, Malformed, NewEvent};
pub use metrics::EventMetrics;
pub use outbox::{Outgoing, publish, waiting};

use crate::{backoff::Backoff, db::Db};

/// The waits while the bus or the database is away.
const AWAY: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(10),
};

/// What the parts agree on. The defaults are for service; tests shorten the waits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a claim holds when its owner died; longer than a batch takes.
    pub lease: Duration,
    /// The waits between the tries of a handler.
    pub retry: Backoff,
    /// Then the event is a dead letter. With the waits above: after four minutes, eight at most.
    pub tries_max: u32,
    /// How long the bus keeps events: for consumers that are away, and for new ones.
    pub retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            retry: Backoff {
                first: Duration::from_secs(1),
                longest: Duration::from_secs(300),
            },
            tries_max: 10,
            retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// The events of one service: its relay, its consumers, and their upkeep.
#[derive(Clone)]
pub struct Events {
    pub db: Db,
    pub bus: Bus,
    pub metrics: Arc<EventMetrics>,
    /// The service's name, as in its metrics' `service` label.
    pub service: &'static str,
    pub settings: Settings,
}

impl Events {
    /// Runs until `stop`; then claims nothing more, finishes the handler at work in each
    /// consumer (`consumer::HANDLER_TIMEOUT` bounds it), gives the rest back and returns.
    pub async fn run(self, consumers: Vec<Consumer>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        tasks.spawn(relay::run(self.clone(), stop.clone()));
        tasks.spawn(upkeep::run(self.clone(), stop.clone()));
        for consumer in consumers {
            let consumer = Arc::new(consumer);
            tasks.spawn(replay::run(self.clone(), consumer.clone(), stop.clone()));
            for domain in consumer.domains() {
                let run = consumer::run(self.clone(), consumer.clone(), domain, stop.clone());
                tasks.spawn(run);
            }
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, service = self.service, "an event task died");
            }
        }
    }
}
