//! The values in Redis, which replicas share.
//! Invariant: who reads a value, is overtaken by a delete and comes back late can't
//! put the old value there: a delete leaves a shadow, and filling never overwrites.
//! Refuses to wait: `ANSWER_TIMEOUT` for each command, and none at all while the
//! breaker is open.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fred::{
    clients::WithOptions,
    prelude::*,
    types::config::{Options, UnresponsiveConfig},
};
use prometheus::IntCounterVec;
use tokio::{sync::broadcast::error::RecvError, time::Instant};

use super::{Error, Sharing, breaker::Breaker, local::Local};
use crate::crypto::Sealer;

/// The database answers in a few milliseconds, so a slower Redis is of no use.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);
/// For connecting, and for what nobody waits for.
const PATIENT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was silent so long after a command is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// First and longest pause between two attempts to connect.
const RECONNECT_MS: (u32, u32) = (100, 2_000);
/// Commands that wait for a connection; fred refuses more.
const COMMANDS_MAX: usize = 10_000;
/// Messages that wait to be heard; whoever is later forgets everything instead.
const MESSAGES_MAX: usize = 10_000;
/// No reader comes back later than this: it gave up waiting for a connection to the
/// database (5 s) or for its answer (10 s).
const SHADOW: Duration = Duration::from_secs(15);
/// Deletes that Redis did not take, kept for when it does. What is beyond is only as old
/// as its time to live.
const PENDING_MAX: usize = 10_000;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What the first byte of a value says. A shadow is empty.
const ABSENT: u8 = 0;
const PLAIN: u8 = 1;
const SEALED: u8 = 2;

pub(super) struct Shared {
    service: &'static str,
    client: WithOptions<Client>,
    /// A connection that subscribes can do nothing else.
    subscriber: Client,
    channel: String,
    sealer: Sealer,
    breaker: Breaker,
    /// With the number of the delete, so that a later one of the same key is not taken for it.
    pending: Mutex<Pending>,
    errors: IntCounterVec,
}

#[derive(Default)]
struct Pending {
    last: u64,
    keys: HashMap<String, (u64, Sharing)>,
}

/// What Redis has.
pub(super) enum Found {
    Value(Option<Bytes>),
    /// To be filled.
    Nothing,
    /// Not to be filled: the value changed a moment ago, or Redis does not answer.
    Barred,
}

impl Shared {
    pub(super) fn connect(
        service: &'static str,
        (url, database): (&str, u8),
        sealer: Sealer,
        errors: IntCounterVec,
    ) -> Result<Self, Error> {
        // fred takes any scheme, and `http` for one without TLS.
        if !url.starts_with("redis") {
            return Err(Error::Url("another scheme".to_owned()));
        }
        let wrong = |error: fred::error::Error| Error::Url(format!("{:?}", error.kind()));
        let mut config = Config::from_url(url).map_err(wrong)?;
        // A cluster has no numbered databases; the keys' prefixes keep services apart anyway.
        config.database = (!config.server.is_clustered()).then_some(database);
        config.fail_fast = false;
        let client = build(config.clone()).map_err(wrong)?;
        let subscriber = build(config).map_err(wrong)?;
        client.connect();
        subscriber.connect();
        Ok(Self {
            service,
            client: client.with_options(&Options {
                max_attempts: Some(1),
                timeout: Some(ANSWER_TIMEOUT),
                fail_fast: true,
                ..Options::default()
            }),
            subscriber,
            channel: format!("cache:deleted:{database}"),
            sealer,
            breaker: Breaker::default(),
            pending: Mutex::default(),
            errors,
        })
    }

    pub(super) async fn read(&self, key: &str) -> Found {
        if self.pending().keys.contains_key(key) {
            return Found::Barred;
        }
        let value: Option<Option<Bytes>> = self.ask("get", self.client.get(key)).await;
        match value {
            None => Found::Barred,
            Some(None) => Found::Nothing,
            Some(Some(bytes)) if bytes.is_empty() => Found::Barred,
            Some(Some(bytes)) => match self.decode(key, &bytes) {
                Some(value) => Found::Value(value),
                None => {
                    self.count("decode");
                    Found::Barred
                }
            },
        }
    }

    pub(super) async fn fill(
        &self,
        key: &str,
        value: Option<&Bytes>,
        sharing: Sharing,
        ttl: Duration,
    ) {
        let Some(bytes) = self.encode(key, value, sharing) else {
            return self.count("encode");
        };
        let expiry = Some(milliseconds(ttl));
        let set = self
            .client
            .set(key, bytes, expiry, Some(SetOptions::NX), false);
        // `OK`, or nothing if there is a value or a shadow.
        let _: Option<Option<String>> = self.ask("set", set).await;
    }

    /// Deletes `key` for all replicas, now or as soon as Redis answers.
    pub(super) async fn delete(&self, key: &str, sharing: Sharing) {
        if self.try_delete(key, sharing).await {
            return;
        }
        let mut pending = self.pending();
        if pending.keys.len() >= PENDING_MAX && !pending.keys.contains_key(key) {
            return self.count("delete_lost");
        }
        pending.last += 1;
        let number = pending.last;
        pending.keys.insert(key.to_owned(), (number, sharing));
    }

    async fn try_delete(&self, key: &str, sharing: Sharing) -> bool {
        if sharing != Sharing::Local {
            let shadow = Some(milliseconds(SHADOW));
            let set = self.client.set(key, Bytes::new(), shadow, None, false);
            let set: Option<Option<String>> = self.ask("delete", set).await;
            if set.is_none() {
                return false;
            }
        }
        let told = self.client.publish(self.channel.as_str(), key);
        let told: Option<i64> = self.ask("publish", told).await;
        told.is_some()
    }

    /// Follows the deletes of all replicas. Does not end.
    pub(super) async fn listen(&self, local: &Local) {
        let mut messages = self.subscriber.message_rx();
        let mut connects = self.subscriber.reconnect_rx();
        let mut ticks = tokio::time::interval(RETRY_INTERVAL);
        // The first connection may be older than `connects`.
        let mut is_subscribed = false;
        loop {
            let mut is_connecting = false;
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) => match message.value.as_str() {
                        Some(key) => local.delete(&key).await,
                        None => local.delete_all(),
                    },
                    Err(RecvError::Lagged(_)) => local.delete_all(),
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                _ = connects.recv() => (is_subscribed, is_connecting) = (false, true),
                _ = ticks.tick() => self.retry_deletes().await,
            }
            if !is_subscribed && (is_connecting || self.subscriber.is_connected()) {
                is_subscribed = self.subscribe().await;
                if is_subscribed {
                    // Whatever was deleted before was not heard.
                    local.delete_all();
                }
            }
        }
    }

    async fn subscribe(&self) -> bool {
        let done = self.subscriber.subscribe(self.channel.as_str()).await;
        if done.is_err() {
            self.count("subscribe");
        }
        done.is_ok()
    }

    async fn retry_deletes(&self) {
        let waiting: Vec<_> = {
            let pending = self.pending();
            pending
                .keys
                .iter()
                .map(|(key, of)| (key.clone(), *of))
                .collect()
        };
        for (key, (number, sharing)) in waiting {
            if !self.try_delete(&key, sharing).await {
                return;
            }
            let mut pending = self.pending();
            if pending
                .keys
                .get(&key)
                .is_some_and(|found| found.0 == number)
            {
                pending.keys.remove(&key);
            }
        }
    }

    pub(super) async fn ping(&self) -> Result<(), String> {
        let answer: Result<String, _> = self.client.ping(None).await;
        answer.map(|_| ()).map_err(|error| error.to_string())
    }

    pub(super) async fn close(&self) {
        for client in [&*self.client, &self.subscriber] {
            // Only says good-bye: nothing is lost if Redis does not hear it.
            let _ = tokio::time::timeout(ANSWER_TIMEOUT, client.quit()).await;
        }
    }

    /// The answer, or nothing if there is none in time.
    async fn ask<T>(
        &self,
        operation: &'static str,
        command: impl Future<Output = Result<T, fred::error::Error>>,
    ) -> Option<T> {
        if !self.breaker.admits(Instant::now()) {
            return None;
        }
        match command.await {
            Ok(answer) => {
                self.breaker.answered();
                Some(answer)
            }
            Err(error) => {
                tracing::debug!(operation, kind = ?error.kind(), "redis does not answer");
                self.count(operation);
                self.breaker.failed(Instant::now());
                None
            }
        }
    }

    fn encode(&self, key: &str, value: Option<&Bytes>, sharing: Sharing) -> Option<Bytes> {
        let Some(value) = value else {
            return Some(Bytes::from_static(&[ABSENT]));
        };
        let (kind, value) = match sharing {
            Sharing::Plain => (PLAIN, value.to_vec()),
            Sharing::Sealed => (SEALED, self.sealer.seal(key, value).ok()?),
            Sharing::Local => return None,
        };
        Some([&[kind], value.as_slice()].concat().into())
    }

    /// Nothing for what another version wrote, or a stranger.
    fn decode(&self, key: &str, bytes: &Bytes) -> Option<Option<Bytes>> {
        match bytes.split_first()? {
            (&ABSENT, []) => Some(None),
            (&PLAIN, _) => Some(Some(bytes.slice(1..))),
            (&SEALED, sealed) => Some(Some(self.sealer.open(key, sealed)?.into())),
            _ => None,
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Nothing that holds it can panic half way.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, operation: &str) {
        let labels = [self.service, operation];
        self.errors.with_label_values(&labels).inc();
    }
}

fn build(config: Config) -> Result<Client, fred::error::Error> {
    let (first, longest) = RECONNECT_MS;
    Builder::from_config(config)
        .with_connection_config(|connection| {
            connection.connection_timeout = PATIENT_TIMEOUT;
            connection.internal_command_timeout = PATIENT_TIMEOUT;
            connection.max_command_buffer_len = COMMANDS_MAX;
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(SILENCE_MAX),
                interval: SILENCE_MAX / 4,
            };
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = PATIENT_TIMEOUT;
            performance.broadcast_channel_capacity = MESSAGES_MAX;
        })
        // No attempt is the last.
        .set_policy(ReconnectPolicy::new_exponential(0, first, longest, 2))
        .build()
}

fn milliseconds(ttl: Duration) -> Expiration {
    Expiration::PX(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1))
}
