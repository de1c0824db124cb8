//! Handles events: takes them from the bus, one after the other, and settles each.
//! Invariant: the effect and its mark in the inbox are one transaction, committed
//! before the bus is told; killed anywhere, the event comes again and is handled once.
//! Refuses to lose an event it cannot handle: it becomes a dead letter first.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use tokio_util::sync::CancellationToken;

use super::{
    AWAY, Event, Events,
    bus::{self, Delivery, Subscription, Verdict},
    dead_letters::{self, Death, Reason},
    inbox,
};
use crate::{
    clock,
    db::{self, Tx},
};

/// Deliveries taken at once; with the time-out below rarely slower than a lease.
const BATCH_MAX: usize = 32;
/// A handler holds a transaction, on SQLite the only one.
pub(super) const HANDLER_TIMEOUT: Duration = Duration::from_secs(10);
/// Asking the bus for the lag, in deliveries handled or empty looks.
const MEASURED_EVERY: u32 = 16;

/// Why a handler could not do its work. The text goes to the log and to operators:
/// no secrets, no personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// May pass: tried again later, a bounded number of times.
    #[error("{0}")]
    Transient(String),
    /// Will not pass: a dead letter at once.
    #[error("{0}")]
    Permanent(String),
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        let text = error.to_string();
        match error {
            db::Error::Busy | db::Error::Away(_) | db::Error::Full(_) | db::Error::Collision => {
                Self::Transient(text)
            }
            _ => Self::Permanent(text),
        }
    }
}

type Handler =
    dyn for<'a> Fn(&'a mut Tx, &'a Event) -> BoxFuture<'a, Result<(), Failure>> + Send + Sync;

/// A consumer of some types of events, in the database of the service it belongs to.
pub struct Consumer {
    /// Letters, digits, `-`; its place on the bus hangs on it. A new name sees the whole log.
    pub name: &'static str,
    pub types: &'static [&'static str],
    handler: Box<Handler>,
}

impl Consumer {
    /// The handler writes through `tx` only, which is committed with the mark that it
    /// was handled; a type that is added to a known name is seen from then on.
    pub fn new<H>(name: &'static str, types: &'static [&'static str], handler: H) -> Self
    where
        H: for<'a> Fn(&'a mut Tx, &'a Event) -> BoxFuture<'a, Result<(), Failure>>
            + Send
            + Sync
            + 'static,
    {
        Self {
            name,
            types,
            handler: Box::new(handler),
        }
    }

    /// The domains of its types, each once.
    pub fn domains(&self) -> Vec<&'static str> {
        bus::domains(self.types)
    }

    /// Bounded, and a panic is a failure like others.
    pub(super) async fn call(&self, tx: &mut Tx, event: &Event) -> Result<(), Failure> {
        let handled = AssertUnwindSafe(async { (self.handler)(tx, event).await }).catch_unwind();
        match tokio::time::timeout(HANDLER_TIMEOUT, handled).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::Transient("the handler panicked".to_owned())),
            Err(_) => Err(Failure::Transient("the handler took too long".to_owned())),
        }
    }
}

/// What became of one delivery; the name is the metric's label.
enum Outcome {
    Applied,
    Duplicate,
    Retried { tries: u32 },
    Dead,
}

pub(super) async fn run(
    events: Events,
    consumer: Arc<Consumer>,
    domain: &'static str,
    stop: CancellationToken,
) {
    let mut failures = 0;
    while !stop.is_cancelled() {
        let subscribed = events.bus.subscribe(consumer.name, domain, consumer.types);
        let ended = match subscribed.await {
            Ok(mut subscription) => {
                let lane = Lane {
                    events: &events,
                    consumer: &consumer,
                    domain,
                };
                lane.consume(&mut subscription, &mut failures, &stop).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            failures += 1;
            let wait = AWAY.after(failures);
            tracing::warn!(
                %error, consumer = consumer.name, domain, failures, wait_ms = wait.as_millis(),
                "the bus is away"
            );
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// One consumer in one domain.
struct Lane<'a> {
    events: &'a Events,
    consumer: &'a Consumer,
    domain: &'static str,
}

impl Lane<'_> {
    async fn consume(
        &self,
        subscription: &mut Subscription,
        failures: &mut u32,
        stop: &CancellationToken,
    ) -> Result<(), bus::Error> {
        let mut rounds: u32 = 0;
        while !stop.is_cancelled() {
            if rounds.is_multiple_of(MEASURED_EVERY) {
                let pending = subscription.pending().await?;
                let labels = [self.consumer.name, self.domain];
                let gauge = &self.events.metrics.pending;
                gauge.with_label_values(&labels).set(pending);
            }
            rounds = rounds.wrapping_add(1);
            let batch = subscription.next(BATCH_MAX).await?;
            *failures = 0;
            if !batch.is_empty() {
                let settled = self.settle(batch, stop).await;
                subscription.settle(settled).await?;
            }
        }
        subscription.release().await
    }

    /// Handles a batch in order. After a stop, or once the database is away, the
    /// rest goes back untouched.
    async fn settle(
        &self,
        batch: Vec<Delivery>,
        stop: &CancellationToken,
    ) -> Vec<(Delivery, Verdict)> {
        let mut given_back = None;
        let mut settled = Vec::with_capacity(batch.len());
        for delivery in batch {
            if stop.is_cancelled() {
                given_back = Some(Duration::ZERO);
            }
            let verdict = match given_back {
                Some(wait) => Verdict::Again(wait),
                None => match self.deliver(&delivery).await {
                    Ok(verdict) => verdict,
                    Err(error) => {
                        // Not the event's fault, so it isn't counted as a try.
                        let wait = AWAY.after(delivery.deliveries);
                        tracing::warn!(%error, consumer = self.consumer.name, "events wait");
                        self.count("unavailable");
                        given_back = Some(wait);
                        Verdict::Again(wait)
                    }
                },
            };
            settled.push((delivery, verdict));
        }
        settled
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<Verdict, db::Error> {
        let Ok(event) = Event::decode(&delivery.body) else {
            tracing::error!(
                consumer = self.consumer.name,
                "what the bus delivered is no event"
            );
            self.count("malformed");
            return Ok(Verdict::Drop);
        };
        let outcome = self.handle(&event, delivery).await?;
        let (label, verdict) = match outcome {
            Outcome::Applied => ("applied", Verdict::Done),
            Outcome::Duplicate => ("duplicate", Verdict::Done),
            Outcome::Dead => ("dead", Verdict::Drop),
            Outcome::Retried { tries } => {
                let settings = &self.events.settings;
                let wait = settings.retry.after(tries);
                ("retried", Verdict::Again(wait))
            }
        };
        self.count(label);
        Ok(verdict)
    }

    /// A try is written down before it is made, so that an event that kills the process
    /// dies, too. Not the first one: most events need no second.
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<Outcome, db::Error> {
        let tries_max = self.events.settings.tries_max;
        let mut tries = None;
        if delivery.deliveries > 1 {
            let Some(counted) = self.count_try(event).await? else {
                return Ok(Outcome::Duplicate);
            };
            if counted > tries_max {
                let error = "no try came to an end";
                return self
                    .bury(event, delivery, counted - 1, Reason::Exhausted, error)
                    .await;
            }
            tries = Some(counted);
        }
        let failure = match self.apply(event).await? {
            Ok(true) => return Ok(Outcome::Applied),
            Ok(false) => return Ok(Outcome::Duplicate),
            Err(failure) => failure,
        };
        let tries = match tries {
            Some(tries) => tries,
            None => match self.count_try(event).await? {
                Some(tries) => tries,
                None => return Ok(Outcome::Duplicate),
            },
        };
        let (reason, error) = match failure {
            Failure::Permanent(error) => (Reason::Permanent, error),
            Failure::Transient(error) if tries >= tries_max => (Reason::Exhausted, error),
            Failure::Transient(error) => {
                tracing::warn!(
                    error, tries, consumer = self.consumer.name, event = %event.id,
                    kind = event.kind, "an event was not handled and will be tried again"
                );
                return Ok(Outcome::Retried { tries });
            }
        };
        self.bury(event, delivery, tries, reason, &error).await
    }

    /// The effect and its mark; false if the mark was there.
    async fn apply(&self, event: &Event) -> Result<Result<bool, Failure>, db::Error> {
        let mut tx = self.events.db.begin().await?;
        if !inbox::handle(&mut tx, self.consumer.name, event.id, clock::now()).await? {
            return Ok(Ok(false));
        }
        if let Err(failure) = self.consumer.call(&mut tx, event).await {
            return Ok(Err(failure));
        }
        tx.commit().await?;
        Ok(Ok(true))
    }

    async fn count_try(&self, event: &Event) -> Result<Option<u32>, db::Error> {
        inbox::count_try(&self.events.db, self.consumer.name, event.id, clock::now()).await
    }

    async fn bury(
        &self,
        event: &Event,
        delivery: &Delivery,
        tries: u32,
        reason: Reason,
        error: &str,
    ) -> Result<Outcome, db::Error> {
        let death = Death {
            consumer: self.consumer.name,
            event,
            body: &delivery.body,
            tries,
            reason,
            error,
            now: clock::now(),
        };
        dead_letters::bury(&self.events.db, death).await?;
        tracing::error!(
            error, tries, reason = reason.text(), consumer = self.consumer.name,
            event = %event.id, kind = event.kind, "an event became a dead letter"
        );
        Ok(Outcome::Dead)
    }

    fn count(&self, result: &str) {
        let labels = [self.consumer.name, result];
        self.events
            .metrics
            .consumed
            .with_label_values(&labels)
            .inc();
    }
}
