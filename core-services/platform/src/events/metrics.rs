//! What operators see of events: what waits, for how long, and what became of the rest.
//! Invariant: labels are services, consumers and results, all named in code.

use crate::metrics::{CounterOf, GaugesOf, Metrics};

/// One per process; services differ by label.
pub struct EventMetrics {
    pub(super) outbox_pending: GaugesOf,
    pub(super) outbox_oldest_seconds: GaugesOf,
    pub(super) pending: GaugesOf,
    pub(super) dead_letters: GaugesOf,
    pub(super) published: CounterOf,
    pub(super) consumed: CounterOf,
}

impl EventMetrics {
    /// What `consumer` had not settled of `domain` when it last looked.
    pub fn pending(&self, consumer: &str, domain: &str) -> i64 {
        self.pending.with_label_values(&[consumer, domain]).get()
    }

    /// Nobody can say what waits in `service`: no number is better than an old one.
    pub(super) fn unknown(&self, service: &str) {
        for gauges in [
            &self.outbox_pending,
            &self.outbox_oldest_seconds,
            &self.dead_letters,
        ] {
            // Fails where there is none, which is what it is for.
            let _ = gauges.remove_label_values(&[service]);
        }
    }

    /// # Errors
    /// A second call on the same registry.
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Ok(Self {
            outbox_pending: metrics.gauges(
                "outbox_pending",
                "Events in the outbox that the bus does not have yet.",
                &["service"],
            )?,
            outbox_oldest_seconds: metrics.gauges(
                "outbox_oldest_seconds",
                "How long the oldest event of the outbox has been waiting.",
                &["service"],
            )?,
            pending: metrics.gauges(
                "events_pending",
                "Events on the bus that the consumer has not settled.",
                &["consumer", "domain"],
            )?,
            dead_letters: metrics.gauges(
                "dead_letters",
                "Events that were given up and wait for an operator.",
                &["service"],
            )?,
            published: metrics.counter(
                "events_published_total",
                "Events handed to the bus: ok, failed.",
                &["service", "result"],
            )?,
            consumed: metrics.counter(
                "events_consumed_total",
                "Deliveries by what became of them: applied, duplicate, retried, dead, \
                 unavailable, malformed.",
                &["consumer", "result"],
            )?,
        })
    }
}
