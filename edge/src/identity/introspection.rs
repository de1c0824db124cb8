//! API keys that only an identity service knows, traded for access tokens.
//!
//! Invariant: a key is remembered by its SHA-256 and printed nowhere; what is remembered is what the
//! service said, for `KEPT_MAX` or as long as the token holds. Whoever asks about a key that is being
//! asked about waits for that answer. Refuses to guess: no answer is neither a yes nor a no.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::uri::PathAndQuery;
use moka::Expiry;
use moka::sync::Cache;
use palisade_token::TOKEN_BYTES_MAX;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tracing::{info, warn};

use super::messages::{INTROSPECT, IntrospectRequest, IntrospectResponse};
use crate::request_ctx::Now;

/// How long a yes is believed without asking again; the token may be over sooner.
const KEPT_MAX: Duration = Duration::from_secs(60);
/// How long a no is: a key that was made just now must not stay unknown.
const UNKNOWN_KEPT: Duration = Duration::from_secs(5);
/// Keys remembered, of either kind. A token is 1 KiB or so, and never over 8.
const KEYS_MAX: u64 = 10_000;
/// Keys asked about at once: made-up ones must not become a flood behind the edge.
const ASKED_MAX: usize = 100;
/// For all endpoints together; somebody waits for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Endpoints that are tried for one key.
const TRIES_MAX: usize = 2;
/// Longest key that is asked about, in bytes; usual ones have some 70.
const KEY_BYTES_MAX: usize = 512;
/// Of an answer: a token, and scopes that are not read.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// SHA-256 of a key.
pub type Digest = [u8; 32];

/// What a service said of a key.
#[derive(Debug, Clone)]
pub enum Introspected {
    Key(Arc<Key>),
    Unknown,
    /// Nothing.
    Unavailable,
}

/// What stands for an API key.
pub struct Key {
    /// The access token, which is to be verified like any other.
    pub token: String,
    /// `Bearer` with the token, marked as sensitive.
    pub authorization: HeaderValue,
    kept: Duration,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// The keys of one cluster. Outlives reloads while reaching it stays the same.
pub struct Introspector {
    cluster: Arc<str>,
    pub fingerprint: u64,
    channels: Vec<Channel>,
    next: AtomicUsize,
    keys: Cache<Digest, Arc<Key>, ahash::RandomState>,
    /// Apart: made-up keys must not push out real ones.
    unknown: Cache<Digest, (), ahash::RandomState>,
    asked: Semaphore,
    /// No more than are asked about. A std lock: nothing is awaited under it.
    under_way: Mutex<HashMap<Digest, Weak<Answer>>>,
    is_failing: AtomicBool,
}

type Answer = OnceCell<Introspected>;

struct KeepFor;

impl Expiry<Digest, Arc<Key>> for KeepFor {
    fn expire_after_create(&self, _: &Digest, key: &Arc<Key>, _: Instant) -> Option<Duration> {
        Some(key.kept)
    }

    fn expire_after_update(
        &self,
        _: &Digest,
        key: &Arc<Key>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(key.kept)
    }
}

impl Introspector {
    /// Connects when the first key is asked about, on the runtime this is called on.
    pub fn new(cluster: Arc<str>, fingerprint: u64, endpoints: &[Endpoint]) -> Self {
        let keys = Cache::builder()
            .max_capacity(KEYS_MAX)
            .expire_after(KeepFor);
        let unknown = Cache::builder()
            .max_capacity(KEYS_MAX)
            .time_to_live(UNKNOWN_KEPT);
        Self {
            cluster,
            fingerprint,
            channels: endpoints.iter().map(Endpoint::connect_lazy).collect(),
            next: AtomicUsize::new(0),
            keys: keys.build_with_hasher(ahash::RandomState::new()),
            unknown: unknown.build_with_hasher(ahash::RandomState::new()),
            asked: Semaphore::new(ASKED_MAX),
            under_way: Mutex::default(),
            is_failing: AtomicBool::new(false),
        }
    }

    /// What was said of a key not long ago.
    pub fn known(&self, digest: &Digest) -> Option<Introspected> {
        if let Some(key) = self.keys.get(digest) {
            return Some(Introspected::Key(key));
        }
        self.unknown.get(digest).map(|()| Introspected::Unknown)
    }

    /// Asks about a key, whatever was said of it before.
    pub async fn ask(&self, digest: Digest, key: &str) -> Introspected {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Introspected::Unknown;
        }
        let turn = self.turn(digest);
        let answer = turn.answer.get_or_init(|| self.answer(digest, key)).await;
        answer.clone()
    }

    fn turn(&self, digest: Digest) -> Turn<'_> {
        let mut under_way = self.under_way();
        let known = under_way.get(&digest).and_then(Weak::upgrade);
        let answer = known.unwrap_or_else(|| {
            let answer = Arc::<Answer>::default();
            under_way.insert(digest, Arc::downgrade(&answer));
            answer
        });
        Turn {
            introspector: self,
            digest,
            answer,
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Digest, Weak<Answer>>> {
        // Whole after every statement that could panic.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, digest: Digest, key: &str) -> Introspected {
        let Ok(_place) = self.asked.try_acquire() else {
            return Introspected::Unavailable;
        };
        let answered = timeout(ANSWER_TIMEOUT, self.call(key)).await;
        let answered = answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
        let read = answered.and_then(|answer| read(answer, Now::read().unix_seconds()));
        self.note(read.as_ref().err());
        match read {
            Ok(Some(key)) => {
                let key = Arc::new(key);
                self.unknown.invalidate(&digest);
                self.keys.insert(digest, key.clone());
                Introspected::Key(key)
            }
            Ok(None) => {
                self.keys.invalidate(&digest);
                self.unknown.insert(digest, ());
                Introspected::Unknown
            }
            Err(_) => Introspected::Unavailable,
        }
    }

    /// One endpoint, and another one where that has no word about the key.
    async fn call(&self, key: &str) -> Result<IntrospectResponse, Status> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut last = Status::unavailable("no endpoint");
        for step in 0..TRIES_MAX.min(self.channels.len()) {
            let index = start.wrapping_add(step) % self.channels.len();
            let Some(channel) = self.channels.get(index) else {
                break;
            };
            match introspect(channel.clone(), key).await {
                Ok(answer) => return Ok(answer),
                // Not even the form of a key.
                Err(status) if status.code() == Code::InvalidArgument => {
                    return Ok(IntrospectResponse::default());
                }
                Err(status) => last = status,
            }
        }
        Err(last)
    }

    /// Once for each time that it is away.
    fn note(&self, failure: Option<&Status>) {
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        let cluster = &*self.cluster;
        match failure {
            Some(status) if !was_failing => {
                let (code, error) = (status.code(), status.message());
                warn!(cluster, ?code, error, "api keys cannot be introspected");
            }
            None if was_failing => info!(cluster, "api keys are introspected again"),
            _ => {}
        }
    }
}

/// One of those who wait for the same answer.
struct Turn<'a> {
    introspector: &'a Introspector,
    digest: Digest,
    answer: Arc<Answer>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut under_way = self.introspector.under_way();
        let ours = Arc::downgrade(&self.answer);
        // With an answer it is over for the others, too: the next one asks anew.
        let is_over = self.answer.initialized() || Arc::strong_count(&self.answer) == 1;
        let known = under_way.get(&self.digest);
        if is_over && known.is_some_and(|known| known.ptr_eq(&ours)) {
            under_way.remove(&self.digest);
        }
    }
}

async fn introspect(channel: Channel, key: &str) -> Result<IntrospectResponse, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(IntrospectRequest {
        token: key.to_owned(),
    });
    request.set_timeout(ANSWER_TIMEOUT);
    let path = PathAndQuery::from_static(INTROSPECT);
    let codec: ProstCodec<IntrospectRequest, IntrospectResponse> = ProstCodec::default();
    let answer = grpc.unary(request, path, codec).await?;
    Ok(answer.into_inner())
}

/// None for what is no API key, or not any more: a token is none either.
fn read(answer: IntrospectResponse, now_s: u64) -> Result<Option<Key>, Status> {
    if !answer.active || answer.kind != "api_key" {
        return Ok(None);
    }
    let ends = answer.access_token_expires_at;
    let ends_s = ends.and_then(|ends| u64::try_from(ends.seconds).ok());
    let token = answer.access_token;
    let authorization = HeaderValue::try_from(format!("Bearer {token}"));
    let (Some(ends_s), Ok(mut authorization)) = (ends_s, authorization) else {
        return Err(Status::internal("an answer that cannot be used"));
    };
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(Status::internal("an answer without a token"));
    }
    authorization.set_sensitive(true);
    let left = Duration::from_secs(ends_s.saturating_sub(now_s));
    Ok(Some(Key {
        token,
        authorization,
        kept: KEPT_MAX.min(left),
    }))
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn answer(ends_s: i64) -> IntrospectResponse {
        IntrospectResponse {
            active: true,
            kind: "api_key".to_owned(),
            access_token: "a.b.c".to_owned(),
            access_token_expires_at: Some(Timestamp {
                seconds: ends_s,
                nanos: 0,
            }),
        }
    }

    #[test]
    fn a_yes_ends_with_its_token() {
        let kept = |ends_s| {
            let key = read(answer(ends_s), 1_000).unwrap().unwrap();
            key.kept.as_secs()
        };
        assert_eq!([5_000, 1_030, 1_000, 1].map(kept), [60, 30, 0, 0]);
        let key = read(answer(5_000), 1_000).unwrap().unwrap();
        assert_eq!(key.authorization, "Bearer a.b.c");
        assert!(!format!("{:?}", key.authorization).contains("a.b.c"));
    }

    #[test]
    fn a_no_and_what_is_neither() {
        let with = |change: fn(&mut IntrospectResponse)| {
            let mut changed = answer(5_000);
            change(&mut changed);
            read(changed, 1_000).map(|key| key.is_some())
        };
        assert!(matches!(with(|_| {}), Ok(true)));
        assert!(matches!(with(|it| it.active = false), Ok(false)));
        assert!(matches!(
            with(|it| it.kind = "session".to_owned()),
            Ok(false)
        ));
        assert!(with(|it| it.access_token.clear()).is_err());
        assert!(with(|it| it.access_token = "a\nb".to_owned()).is_err());
        assert!(with(|it| it.access_token = "x".repeat(TOKEN_BYTES_MAX + 1)).is_err());
        assert!(with(|it| it.access_token_expires_at = None).is_err());
    }

    #[tokio::test]
    async fn nobody_answers() {
        let endpoint = Endpoint::from_static("http://127.0.0.1:1");
        let introspector = Introspector::new("identity".into(), 1, &[endpoint]);
        let asked = introspector.ask([1; 32], "pk_1").await;
        assert!(matches!(asked, Introspected::Unavailable));
        assert!(introspector.known(&[1; 32]).is_none());
        assert!(introspector.under_way().is_empty());
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        let asked = introspector.ask([2; 32], &long).await;
        assert!(matches!(asked, Introspected::Unknown));
    }
}
