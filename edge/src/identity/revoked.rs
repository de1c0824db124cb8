//! What is known of dead tokens: their sessions, their API keys, their users, their signing keys.
//!
//! Invariant: what was taken in is found until no token that it means is valid any more. Requests
//! read without a lock. Refuses more than `ENTRIES_MAX`: then the stream counts as lost, for to
//! forget one would be to believe a dead token.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use palisade_token::Claims;
use prost_types::Timestamp;
use tokio::sync::watch;

use super::dead_keys::DeadKeys;
use super::messages::{Revocation, Revocations};
use super::shards::Shards;
use crate::request_ctx::Now;

/// Sessions, API keys and users together: some 30 MiB.
const ENTRIES_MAX: usize = 250_000;
/// Of a session, an API key, a user, in bytes; usual ones have 36.
const ID_BYTES_MAX: usize = 128;
/// For issuers with the largest `leeway`, whose tokens live so many seconds longer than they say.
const LEEWAY_MAX_S: u64 = 300;
/// Between two looks for what no longer matters: each goes through all entries.
const SWEEP_S: u64 = 10;

/// Of one cluster; outlives reloads.
pub struct Revoked {
    /// Sessions and API keys, which tokens name as `sid`, and when they no longer matter.
    ids: Shards<u64>,
    /// By `sub`.
    users: Shards<Ended>,
    pub(super) signing_keys: DeadKeys,
    /// For the task that is stopped and the one after it; when they looked last for what no longer
    /// matters. A std lock: nothing is awaited under it.
    writing: Mutex<u64>,
    /// The last word, in milliseconds since `epoch`, and one; 0 before the first.
    heard_ms: AtomicU64,
    is_connected: AtomicBool,
    /// Whether the first attempt to listen has come to something, or to nothing.
    attempted: watch::Sender<bool>,
    epoch: Instant,
}

/// Tokens of a user that were issued before.
#[derive(Clone, Copy)]
struct Ended {
    at_s: u64,
    /// Within that second: a token tells no more of its time than the second.
    is_within: bool,
    until_s: u64,
}

impl Ended {
    fn means(self, issued_at_s: u64) -> bool {
        issued_at_s < self.at_s || (issued_at_s == self.at_s && self.is_within)
    }

    fn join(self, other: Self) -> Self {
        let is_later = (other.at_s, other.is_within) > (self.at_s, self.is_within);
        let later = if is_later { other } else { self };
        Self {
            until_s: self.until_s.max(other.until_s),
            ..later
        }
    }
}

impl Revoked {
    pub(super) fn new() -> Self {
        Self {
            ids: Shards::new(),
            users: Shards::new(),
            signing_keys: DeadKeys::default(),
            writing: Mutex::default(),
            heard_ms: AtomicU64::new(0),
            is_connected: AtomicBool::new(false),
            attempted: watch::Sender::new(false),
            epoch: Now::monotonic(),
        }
    }

    /// Whether the token's session, API key or user has ended.
    pub fn is_dead(&self, claims: &Claims) -> bool {
        let sid = claims.raw.get("sid").and_then(|sid| sid.as_str());
        if sid.is_some_and(|sid| self.ids.get(sid).is_some()) {
            return true;
        }
        let user = claims
            .subject
            .as_deref()
            .and_then(|sub| self.users.get(sub));
        user.is_some_and(|ended| {
            let issued_at = claims.raw.get("iat").and_then(whole);
            // Who does not say when it was issued may have been issued before.
            issued_at.is_none_or(|at| ended.means(at))
        })
    }

    /// Since the last word; none before the first.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        let heard_ms = self.heard_ms.load(Ordering::Acquire).checked_sub(1)?;
        let heard = self.epoch + Duration::from_millis(heard_ms);
        Some(now.saturating_duration_since(heard))
    }

    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    pub fn entries(&self) -> usize {
        self.ids.len() + self.users.len() + self.signing_keys.len()
    }

    /// All of a batch, or nothing of it; what no longer matters is forgotten.
    pub(super) fn take_in(&self, batch: &Revocations, now: Now) -> Result<(), String> {
        let mut swept_s = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now_s = now.unix_seconds();
        let (mut ids, mut users, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for one in &batch.revocations {
            let (at, until_s) = times(one)?;
            let id: Box<str> = one.id.as_str().into();
            match one.kind.as_str() {
                "session" | "api_key" => ids.push((id, until_s)),
                "user" => users.push((id, Ended { until_s, ..at })),
                "signing_key" => keys.push((id, until_s)),
                // Of a later version, which must be able to tell its edges of more.
                kind => tracing::debug!(kind, "a revocation of an unknown kind"),
            }
        }
        if now_s >= swept_s.saturating_add(SWEEP_S) {
            *swept_s = now_s;
            self.ids.keep(|until_s| *until_s > now_s);
            self.users.keep(|ended| ended.until_s > now_s);
            self.signing_keys.sweep(now_s);
        }
        let is_full = self.entries() + ids.len() + users.len() > ENTRIES_MAX;
        if is_full || !self.signing_keys.have_room(&keys) {
            return Err("more revocations matter than there is room for".to_owned());
        }
        self.ids.put(ids, u64::max);
        self.users.put(users, Ended::join);
        self.signing_keys.put(keys);
        let heard = now.monotonic.saturating_duration_since(self.epoch);
        let heard_ms = u64::try_from(heard.as_millis()).unwrap_or(u64::MAX);
        self.heard_ms
            .fetch_max(heard_ms.saturating_add(1), Ordering::AcqRel);
        self.connected(true);
        Ok(())
    }

    /// An attempt to listen has come to something, or to nothing.
    pub(super) fn connected(&self, is_connected: bool) {
        self.is_connected.store(is_connected, Ordering::Relaxed);
        self.attempted
            .send_if_modified(|attempted| !std::mem::replace(attempted, true));
    }

    pub(super) async fn first_attempt(&self) {
        // The sender is ours, so it cannot be gone.
        let _ = self
            .attempted
            .subscribe()
            .wait_for(|attempted| *attempted)
            .await;
    }
}

/// When it came into force, and until when it matters.
fn times(one: &Revocation) -> Result<(Ended, u64), String> {
    if one.id.is_empty() || one.id.len() > ID_BYTES_MAX {
        return Err(format!("an id of `{}` bytes", one.id.len()));
    }
    let (Some(at), Some(until)) = (&one.at, &one.until) else {
        return Err("a revocation without its times".to_owned());
    };
    let until_s = seconds(until).saturating_add(LEEWAY_MAX_S);
    let ended = Ended {
        at_s: seconds(at),
        is_within: at.nanos > 0,
        until_s,
    };
    Ok((ended, until_s))
}

fn seconds(at: &Timestamp) -> u64 {
    u64::try_from(at.seconds).unwrap_or(0)
}

/// `iat`, which was checked to be a whole number.
fn whole(value: &serde_json::Value) -> Option<u64> {
    let float = || value.as_f64().map(|float| float as u64);
    value.as_u64().or_else(float)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn now(after_s: u64) -> Now {
        Now {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + after_s),
            monotonic: Now::monotonic(),
        }
    }

    fn timestamp(seconds: u64, nanos: i32) -> Option<Timestamp> {
        let seconds = i64::try_from(seconds).unwrap();
        Some(Timestamp { seconds, nanos })
    }

    fn one(kind: &str, id: &str) -> Revocation {
        Revocation {
            kind: kind.to_owned(),
            id: id.to_owned(),
            at: timestamp(NOW, 500),
            until: timestamp(NOW + 900, 0),
        }
    }

    fn told(revocations: Vec<Revocation>) -> Revoked {
        let revoked = Revoked::new();
        revoked.tell(revocations, 0).unwrap();
        revoked
    }

    impl Revoked {
        fn tell(&self, revocations: Vec<Revocation>, after_s: u64) -> Result<(), String> {
            let batch = Revocations {
                cursor: 1,
                revocations,
            };
            self.take_in(&batch, now(after_s))
        }

        fn check(&self, claims: serde_json::Value, is_dead: bool) {
            let serde_json::Value::Object(raw) = claims.clone() else {
                panic!("no object")
            };
            let found = self.is_dead(&Claims::assumed(raw).unwrap());
            assert_eq!(found, is_dead, "{claims}");
        }
    }

    #[test]
    fn sessions_and_keys_by_sid() {
        let revoked = told(vec![one("session", "s1"), one("api_key", "k1")]);
        revoked.check(json!({"sub": "u1", "sid": "s1", "iat": NOW + 100}), true);
        revoked.check(json!({"sub": "u1", "sid": "k1"}), true);
        revoked.check(json!({"sub": "u1", "sid": "s2", "iat": 1}), false);
        revoked.check(json!({"sub": "s1", "sid": 7}), false);
        revoked.check(json!({}), false);
    }

    #[test]
    fn users_by_when_a_token_was_issued() {
        let revoked = told(vec![one("user", "u1")]);
        revoked.check(json!({"sub": "u1", "iat": NOW - 1}), true);
        revoked.check(json!({"sub": "u1", "iat": NOW}), true);
        revoked.check(json!({"sub": "u1", "iat": NOW + 1}), false);
        revoked.check(json!({"sub": "u1"}), true);
        revoked.check(json!({"sub": "u2", "iat": NOW - 1}), false);
        // The later one counts, whichever came first.
        let later = Revocation {
            at: timestamp(NOW + 10, 0),
            ..one("user", "u1")
        };
        revoked.tell(vec![later, one("user", "u1")], 0).unwrap();
        revoked.check(json!({"sub": "u1", "iat": NOW + 9}), true);
        revoked.check(json!({"sub": "u1", "iat": NOW + 10}), false);
    }

    #[test]
    fn forgotten_when_no_token_is_left() {
        let revoked = told(vec![one("session", "s1"), one("user", "u1")]);
        let last_moment = 900 + LEEWAY_MAX_S - 1;
        revoked
            .tell(vec![one("session", "s2")], last_moment)
            .unwrap();
        assert_eq!(revoked.entries(), 3);
        let later = Revocation {
            until: timestamp(NOW + 5_000, 0),
            ..one("session", "s2")
        };
        revoked.tell(vec![later], last_moment + SWEEP_S).unwrap();
        assert_eq!(revoked.entries(), 1);
        revoked.check(json!({"sid": "s1"}), false);
        revoked.check(json!({"sid": "s2"}), true);
    }

    #[test]
    fn what_cannot_be_kept_is_no_word() {
        let revoked = Revoked::new();
        let long = "x".repeat(ID_BYTES_MAX + 1);
        let timeless = Revocation {
            until: None,
            ..one("session", "s1")
        };
        for bad in [one("session", ""), one("session", &long), timeless] {
            assert!(revoked.tell(vec![one("session", "s0"), bad], 0).is_err());
        }
        let all = (0..=ENTRIES_MAX).map(|id| one("session", &id.to_string()));
        assert!(revoked.tell(all.collect(), 0).is_err());
        let keys = (0..=32).map(|kid| one("signing_key", &kid.to_string()));
        assert!(revoked.tell(keys.collect(), 0).is_err());
        assert_eq!((revoked.entries(), revoked.is_connected()), (0, false));
        assert_eq!(revoked.silence(Now::monotonic()), None);
        revoked.tell(vec![one("device", "d1")], 0).unwrap();
        assert_eq!((revoked.entries(), revoked.is_connected()), (0, true));
        assert!(revoked.silence(Now::monotonic()).is_some());
    }
}
