//! An event: what a service makes, and what a consumer gets.
//! Invariant: what comes out of `decode` has an id, a type by the rules and a time.
//! Refuses to print `data`: it is what users wrote.

use std::fmt;

use core_proto::platform::v1 as proto;
use prost::{Message, Name};
use uuid::Uuid;

use super::Failure;
use crate::clock::UnixMicros;

/// UUIDv7; also the bus's message id, by which it drops what is published twice.
pub type EventId = Uuid;

/// One event, encoded. Brokers take a megabyte; a longer text belongs into a database.
pub(super) const EVENT_BYTES_MAX: usize = 128 * 1024;
/// Part of subjects and labels.
const TYPE_BYTES_MAX: usize = 64;

/// An event to publish: `NewEvent::new(…).actor(…).data(&message)`.
#[must_use]
pub struct NewEvent {
    event: proto::Event,
    id: EventId,
    pub(super) at: UnixMicros,
}

impl NewEvent {
    /// `source` is the publishing service, `kind` such as `user.created`, `subject` the id
    /// of what it happened to.
    pub fn new(
        source: &str,
        kind: &'static str,
        subject: impl Into<String>,
        now: UnixMicros,
    ) -> Self {
        let id = Uuid::now_v7();
        Self {
            event: proto::Event {
                id: id.to_string(),
                r#type: kind.to_owned(),
                source: source.to_owned(),
                subject: subject.into(),
                time: Some(prost_types::Timestamp {
                    seconds: now.seconds(),
                    nanos: now.subsecond_nanos(),
                }),
                ..proto::Event::default()
            },
            id,
            at: now,
        }
    }

    /// The subject's version after what happened.
    pub fn aggregate_version(mut self, version: i64) -> Self {
        self.event.aggregate_version = version;
        self
    }

    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.event.actor = actor.into();
        self
    }

    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.event.traceparent = traceparent.into();
        self
    }

    pub fn data<M: Message + Name>(mut self, data: &M) -> Self {
        self.event.data = data.encode_to_vec();
        self.event.schema = M::full_name();
        self
    }

    /// For who is told without the bus.
    pub fn into_message(self) -> proto::Event {
        self.event
    }

    pub(super) fn id(&self) -> EventId {
        self.id
    }

    pub(super) fn kind(&self) -> &str {
        &self.event.r#type
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.event.encode_to_vec()
    }
}

/// An event as a consumer gets it.
#[derive(Clone, PartialEq)]
pub struct Event {
    pub id: EventId,
    /// `type` on the wire.
    pub kind: String,
    pub source: String,
    pub subject: String,
    pub aggregate_version: i64,
    pub time: UnixMicros,
    pub traceparent: String,
    pub actor: String,
    pub data: Vec<u8>,
    pub schema: String,
}

/// Bytes on the bus that are no event of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event")]
pub struct Malformed;

impl Event {
    /// # Errors
    /// No protobuf, or without an id, a type or a time.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let event = proto::Event::decode(bytes).map_err(|_| Malformed)?;
        let time = event.time.ok_or(Malformed)?;
        if !is_type(&event.r#type) {
            return Err(Malformed);
        }
        Ok(Self {
            id: event.id.parse().map_err(|_| Malformed)?,
            kind: event.r#type,
            source: event.source,
            subject: event.subject,
            aggregate_version: event.aggregate_version,
            time: UnixMicros(
                time.seconds.saturating_mul(1_000_000) + i64::from(time.nanos / 1_000),
            ),
            traceparent: event.traceparent,
            actor: event.actor,
            data: event.data,
            schema: event.schema,
        })
    }

    /// What it carries.
    ///
    /// # Errors
    /// Another message than `M`, which no later try would change.
    pub fn data<M: Message + Name + Default>(&self) -> Result<M, Failure> {
        if self.schema != M::full_name() {
            let text = format!("carries `{}`, not `{}`", self.schema, M::full_name());
            return Err(Failure::Permanent(text));
        }
        M::decode(&*self.data).map_err(|error| Failure::Permanent(error.to_string()))
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// `user.created`: words of lower-case letters, digits and `_`; at least a domain and one more.
pub(super) fn is_type(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    text.len() <= TYPE_BYTES_MAX && text.contains('.') && text.split('.').all(word)
}

/// The part before the first dot.
pub(super) fn domain(kind: &str) -> &str {
    kind.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn comes_back_as_it_went() {
        let now = UnixMicros(1_700_000_000_123_456);
        let carried = Timestamp {
            seconds: 7,
            nanos: 0,
        };
        let new = NewEvent::new("identity", "user.created", "u1", now)
            .aggregate_version(3)
            .actor("u2")
            .traceparent("00-a-b-01")
            .data(&carried);
        let event = Event::decode(&new.encode()).unwrap();
        assert_eq!((event.id, event.time), (new.id(), now));
        assert_eq!(event.kind, "user.created");
        assert_eq!((event.subject.as_str(), event.aggregate_version), ("u1", 3));
        assert_eq!(
            (event.actor.as_str(), event.source.as_str()),
            ("u2", "identity")
        );
        assert_eq!(event.data::<Timestamp>().unwrap(), carried);
        let other = event.data::<prost_types::Duration>();
        assert!(matches!(other, Err(Failure::Permanent(text)) if text.contains("Timestamp")));
    }

    #[test]
    fn debug_hides_what_it_is_about() {
        let new = NewEvent::new("identity", "user.created", "s3cret", UnixMicros(0))
            .actor("s3cret")
            .data(&"s3cret".to_owned());
        let printed = format!("{:?}", Event::decode(&new.encode()).unwrap());
        assert!(!printed.contains("s3cret"), "{printed}");
    }

    #[test]
    fn types_are_words_with_dots() {
        for good in ["user.created", "a.b.c", "auth.token_reuse_detected"] {
            assert!(is_type(good), "{good}");
        }
        let long = format!("a.{}", "b".repeat(TYPE_BYTES_MAX));
        for bad in [
            "",
            "user",
            "user.",
            ".created",
            "User.created",
            "a b.c",
            "a.>",
            "a.*",
            &long,
        ] {
            assert!(!is_type(bad), "{bad}");
        }
    }

    #[test]
    fn rubbish_is_malformed() {
        let good = NewEvent::new("identity", "user.created", "u1", UnixMicros(0)).event;
        let spoilt = [
            proto::Event {
                id: "7".into(),
                ..good.clone()
            },
            proto::Event {
                r#type: "user".into(),
                ..good.clone()
            },
            proto::Event {
                time: None,
                ..good.clone()
            },
        ];
        for event in spoilt {
            assert_eq!(Event::decode(&event.encode_to_vec()), Err(Malformed));
        }
        assert_eq!(Event::decode(b"\xff\xff"), Err(Malformed));
    }
}
