//! NATS JetStream, from server 2.9 on: a stream `EV_<DOMAIN>` for each domain, subjects
//! `ev.<type>.v1`, a durable pull consumer for each name.
//! Invariant: the event's id is the message's, so the server drops repeats within
//! `DUPLICATE_WINDOW`; deliveries are unlimited, dead letters are the consumer's business.
//! Refuses fields that need a newer server (`filter_subjects`, metadata).

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions,
    jetstream::{
        self, AckKind, Context,
        consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
        message::PublishMessage,
        response::Response,
        stream::{Config, StorageType, Stream},
    },
};
use futures::{FutureExt, StreamExt};

use super::{Delivery, Error, Receipt, Verdict};
use crate::{
    backoff::Backoff,
    events::{Settings, event, outbox::Outgoing},
};

/// A relay that died between publish and delete repeats itself after its lease; this is
/// long enough for most. What comes later is dropped by the inbox.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// One look for events; a stop waits for it.
const LOOK: Duration = Duration::from_secs(1);
/// Deliveries of a consumer that may be unsettled at a time, over all its replicas.
const UNSETTLED_MAX: i64 = 1_024;
/// A server that answers slower is away.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries to connect again: short, and not in step with the other processes.
const RECONNECT: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_secs(2),
};

/// Where the server is, and who we are to it.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// `nats://host:4222` or `tls://…`; several by commas.
    pub url: String,
    /// The process's name in the server's lists.
    pub name: String,
    /// The authority that signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Copies of each stream in a cluster of servers.
    pub replicas: usize,
}

/// A connection; clones share it.
#[derive(Clone)]
pub struct Nats {
    context: Context,
    client: Client,
    settings: Settings,
    replicas: usize,
    /// Streams that were seen or made since the last failure.
    streams: Arc<Mutex<HashSet<String>>>,
}

/// One durable consumer.
pub struct Subscription {
    consumer: PullConsumer,
    types: Vec<String>,
    /// The look that goes on.
    batch: Option<pull::Batch>,
}

impl Nats {
    /// Connects in the background: a server that is away now may come later.
    ///
    /// # Errors
    /// An address or a certificate that cannot be used.
    pub async fn connect(nats: &NatsSettings, settings: &Settings) -> Result<Self, Error> {
        let mut options = ConnectOptions::new()
            .name(&nats.name)
            .retry_on_initial_connect()
            .connection_timeout(TIMEOUT)
            .request_timeout(Some(TIMEOUT))
            .reconnect_delay_callback(|attempts| {
                let failures = u32::try_from(attempts).unwrap_or(u32::MAX);
                RECONNECT.after(failures)
            });
        if let Some(ca) = &nats.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let Some((certificate, key)) = &nats.identity {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let servers: Vec<&str> = nats.url.split(',').collect();
        let client = options
            .connect(servers)
            .await
            .map_err(failed("connecting"))?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(TIMEOUT);
        Ok(Self {
            context,
            client,
            settings: settings.clone(),
            replicas: nats.replicas,
            streams: Arc::default(),
        })
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        // Not `query_account`: it wants fields that 2.9 does not send.
        let asked = self.context.request("INFO", &serde_json::json!({})).await;
        let answer: Response<serde_json::Value> =
            asked.map_err(failed("asking for the account"))?;
        if let Response::Err { error } = answer {
            return Err(failed("asking for the account")(error));
        }
        Ok(())
    }

    pub(super) async fn publish(&self, events: &[Outgoing]) -> Result<(), Error> {
        let published = self.publish_all(events).await;
        if published.is_err() {
            // It may have lost its streams: look again before the next try.
            self.seen().clear();
        }
        published
    }

    async fn publish_all(&self, events: &[Outgoing]) -> Result<(), Error> {
        let mut acks = Vec::with_capacity(events.len());
        for event in events {
            let domain = event::domain(&event.kind);
            if !self.seen().contains(domain) {
                self.stream(domain).await?;
            }
            let message = PublishMessage::build()
                .message_id(event.id.to_string())
                .payload(event.body.clone().into());
            let ack = self
                .context
                .send_publish(subject(&event.kind), message)
                .await;
            acks.push(ack.map_err(failed("publishing"))?);
        }
        for ack in acks {
            ack.await.map_err(failed("waiting for the stream"))?;
        }
        Ok(())
    }

    /// The stream of a domain, made if it is not there. What an operator changed stays.
    async fn stream(&self, domain: &str) -> Result<Stream, Error> {
        let config = Config {
            name: format!("EV_{}", domain.to_ascii_uppercase()),
            subjects: vec![format!("ev.{domain}.>")],
            max_age: self.settings.retention,
            duplicate_window: DUPLICATE_WINDOW.min(self.settings.retention),
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..Config::default()
        };
        let stream = self.context.get_or_create_stream(config).await;
        let stream = stream.map_err(failed("making the stream"))?;
        self.seen().insert(domain.to_owned());
        Ok(stream)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn subscribe(
        &self,
        consumer: &str,
        domain: &str,
        types: Vec<String>,
    ) -> Result<Subscription, Error> {
        // One place for the whole domain keeps its events in order; a server before 2.10
        // cannot filter by several subjects, so what is not ours is settled unread.
        let filter_subject = match types.as_slice() {
            [only] => subject(only),
            _ => format!("ev.{domain}.>"),
        };
        let config = pull::Config {
            durable_name: Some(consumer.to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.settings.lease,
            // Without a limit: JetStream has no dead letters, it would only fall silent.
            max_deliver: -1,
            max_ack_pending: UNSETTLED_MAX,
            filter_subject,
            ..pull::Config::default()
        };
        let stream = self.stream(domain).await?;
        let consumer = stream.create_consumer(config).await;
        Ok(Subscription {
            consumer: consumer.map_err(failed("making the consumer"))?,
            types,
            batch: None,
        })
    }

    /// Sends what is buffered and ends the connection.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::debug!(%error, "the connection to NATS was gone");
        }
    }
}

impl Subscription {
    pub(super) async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => {
                let looking = self.consumer.batch().max_messages(max).expires(LOOK);
                let looking = looking.messages().await;
                looking.map_err(failed("asking for events"))?
            }
        };
        let mut deliveries = Vec::new();
        // One is waited for, the others are those that have come with it.
        let mut found = batch.next().await;
        while let Some(message) = found {
            let message = message.map_err(failed("receiving"))?;
            if let Some(delivery) = self.delivery(message).await? {
                deliveries.push(delivery);
            }
            if deliveries.len() >= max {
                self.batch = Some(batch);
                return Ok(deliveries);
            }
            match batch.next().now_or_never() {
                Some(more) => found = more,
                None => {
                    self.batch = Some(batch);
                    return Ok(deliveries);
                }
            }
        }
        Ok(deliveries)
    }

    /// Nothing for an event of a type that is not asked for.
    async fn delivery(&self, message: jetstream::Message) -> Result<Option<Delivery>, Error> {
        let ours = self
            .types
            .iter()
            .any(|kind| subject(kind) == *message.subject);
        if !ours {
            message.ack().await.map_err(failed("settling"))?;
            return Ok(None);
        }
        let info = message.info().map_err(failed("reading the delivery"))?;
        let deliveries = u32::try_from(info.delivered).unwrap_or(u32::MAX);
        let (message, acker) = message.split();
        Ok(Some(Delivery {
            body: message.payload.into(),
            deliveries,
            receipt: Receipt::Nats(Box::new(acker)),
        }))
    }

    pub(super) async fn release(&mut self) -> Result<(), Error> {
        let Some(mut batch) = self.batch.take() else {
            return Ok(());
        };
        // The look ends by itself, and what still comes in until then goes back.
        while let Some(Ok(message)) = batch.next().await {
            let back = message.ack_with(AckKind::Nak(None)).await;
            back.map_err(failed("giving back"))?;
        }
        Ok(())
    }

    pub(super) async fn pending(&mut self) -> Result<i64, Error> {
        let info = self
            .consumer
            .info()
            .await
            .map_err(failed("asking for the lag"))?;
        let unsettled = u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
        Ok(i64::try_from(info.num_pending.saturating_add(unsettled)).unwrap_or(i64::MAX))
    }
}

pub(super) async fn settle(settled: &[(Delivery, Verdict)]) -> Result<(), Error> {
    for (delivery, verdict) in settled {
        let Receipt::Nats(acker) = &delivery.receipt else {
            continue;
        };
        let kind = match *verdict {
            Verdict::Done => AckKind::Ack,
            Verdict::Again(Duration::ZERO) => AckKind::Nak(None),
            Verdict::Again(wait) => AckKind::Nak(Some(wait)),
            Verdict::Drop => AckKind::Term,
        };
        acker.ack_with(kind).await.map_err(failed("settling"))?;
    }
    Ok(())
}

/// `user.created` is `ev.user.created.v1`.
fn subject(kind: &str) -> String {
    format!("ev.{kind}.v1")
}

fn failed<E: Into<async_nats::Error>>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::Nats {
        what,
        source: error.into(),
    }
}
