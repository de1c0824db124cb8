//! The bus between services: a broker kept in SQL, or NATS JetStream.
//! Invariant: `publish` returns when the event survives the broker's death; a delivery
//! that is not settled comes again; a new consumer sees all that is kept.
//! Refuses to promise single delivery, or order after a failure.

mod embedded;
mod nats;

use std::time::Duration;

use uuid::Uuid;

pub use embedded::Embedded;
pub use nats::{Nats, NatsSettings};

use super::{event, outbox::Outgoing};
use crate::{clock::UnixMicros, db};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("bus: {0}")]
    Db(#[from] db::Error),
    /// NATS refused or did not answer.
    #[error("bus: {what}: {source}")]
    Nats {
        what: &'static str,
        source: async_nats::Error,
    },
    #[error("bus: no answer in time")]
    TimedOut,
    #[error("bus: `{0}` is no name for a consumer\nhint: 1 to 64 letters, digits and `-`")]
    Name(String),
}

/// A handle; clones share the connection.
#[derive(Clone)]
pub enum Bus {
    Embedded(Embedded),
    /// Boxed: it is large.
    Nats(Box<Nats>),
}

/// Something the bus delivered.
pub struct Delivery {
    /// An encoded event, unless someone else writes to the bus.
    pub body: Vec<u8>,
    /// How often it was delivered, this one included.
    pub deliveries: u32,
    receipt: Receipt,
}

enum Receipt {
    Embedded { seq: i64, lease: Uuid },
    Nats(Box<async_nats::jetstream::message::Acker>),
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Handled; never again.
    Done,
    /// Not handled; again after this wait.
    Again(Duration),
    /// Given up; never again.
    Drop,
}

/// One consumer's place in the events of one domain.
pub enum Subscription {
    Embedded(embedded::Subscription),
    Nats(Box<nats::Subscription>),
}

/// Letters of a consumer's name.
const NAME_BYTES_MAX: usize = 64;

impl Bus {
    /// Keeps the events for every consumer of their types. An event that was
    /// published lately is not kept twice.
    ///
    /// # Errors
    /// The bus may have any part of them then; publish all again.
    pub async fn publish(&self, events: &[Outgoing], now: UnixMicros) -> Result<(), Error> {
        match self {
            Self::Embedded(bus) => bus.publish(events, now).await,
            Self::Nats(bus) => bus.publish(events).await,
        }
    }

    /// The place of `consumer` among the `types` of `domain`, made if it is new; then it
    /// starts with the oldest event that is kept. Those with one name share its events.
    ///
    /// # Errors
    /// A bus that is away, or a name that is none.
    pub async fn subscribe(
        &self,
        consumer: &str,
        domain: &str,
        types: &[&str],
    ) -> Result<Subscription, Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if consumer.is_empty() || consumer.len() > NAME_BYTES_MAX || !consumer.bytes().all(plain) {
            return Err(Error::Name(consumer.to_owned()));
        }
        let types = types.iter().filter(|kind| event::domain(kind) == domain);
        let types: Vec<String> = types.map(|kind| (*kind).to_owned()).collect();
        Ok(match self {
            Self::Embedded(bus) => {
                Subscription::Embedded(bus.subscribe(consumer, domain, types).await?)
            }
            Self::Nats(bus) => {
                Subscription::Nats(Box::new(bus.subscribe(consumer, domain, types).await?))
            }
        })
    }

    /// Answers when the bus does.
    ///
    /// # Errors
    /// Whatever kept it from answering.
    pub async fn ping(&self) -> Result<(), Error> {
        match self {
            Self::Embedded(bus) => bus.ping().await,
            Self::Nats(bus) => bus.ping().await,
        }
    }

    /// Forgets some of what was published before `before`; true if there may be more.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn sweep(&self, before: UnixMicros) -> Result<bool, Error> {
        match self {
            Self::Embedded(bus) => bus.sweep(before).await,
            // The server does it by the stream's `max_age`.
            Self::Nats(_) => Ok(false),
        }
    }
}

impl Subscription {
    /// The next deliveries, at most `max`; none if nothing came for a short while.
    ///
    /// # Errors
    /// See [`Error`]; subscribe again.
    pub async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        match self {
            Self::Embedded(subscription) => subscription.next(max).await,
            Self::Nats(subscription) => subscription.next(max).await,
        }
    }

    /// Tells the bus what became of deliveries.
    ///
    /// # Errors
    /// Some of them will come again then.
    pub async fn settle(&mut self, settled: Vec<(Delivery, Verdict)>) -> Result<(), Error> {
        match self {
            Self::Embedded(subscription) => subscription.settle(settled).await,
            Self::Nats(_) => nats::settle(&settled).await,
        }
    }

    /// Gives back what was fetched and not handed out.
    ///
    /// # Errors
    /// It comes back by itself then, when its lease ends.
    pub async fn release(&mut self) -> Result<(), Error> {
        match self {
            // Hands out all that it claims.
            Self::Embedded(_) => Ok(()),
            Self::Nats(subscription) => subscription.release().await,
        }
    }

    /// How many events wait for this consumer or are being handled.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn pending(&mut self) -> Result<i64, Error> {
        match self {
            Self::Embedded(subscription) => subscription.pending().await,
            Self::Nats(subscription) => subscription.pending().await,
        }
    }
}

/// The domains of some types, each once.
pub(super) fn domains(types: &'static [&'static str]) -> Vec<&'static str> {
    let mut domains: Vec<_> = types.iter().map(|kind| event::domain(kind)).collect();
    domains.sort_unstable();
    domains.dedup();
    domains
}
