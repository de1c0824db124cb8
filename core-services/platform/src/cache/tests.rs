use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use core_testing::{Redis, eventually};
use fred::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{clock::UnixMicros, crypto::KeyRing, db::Db, db::Location};

const PROFILE: Space = Space {
    prefix: "user:profile",
    ttl: Duration::from_secs(600),
    absent_ttl: Duration::from_secs(60),
    sharing: Sharing::Sealed,
};
const PLAIN: Space = Space {
    prefix: "product:details",
    sharing: Sharing::Plain,
    ..PROFILE
};
const HERE: Space = Space {
    prefix: "user:session",
    sharing: Sharing::Local,
    ..PROFILE
};

/// Where values are kept, and how often they were read there.
#[derive(Default)]
struct Kept {
    value: Mutex<Option<&'static str>>,
    reads: AtomicUsize,
}

impl Kept {
    fn set(&self, value: Option<&'static str>) {
        *self.value.lock().unwrap() = value;
    }

    async fn load(&self) -> Result<Option<Bytes>, String> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let value = *self.value.lock().unwrap();
        tokio::task::yield_now().await;
        Ok(value.map(|text| Bytes::from_static(text.as_bytes())))
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

/// Replicas of one service with one Redis.
struct Replicas {
    vault: Vault,
    metrics: Metrics,
    id: String,
}

impl Replicas {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = Location::Directory(dir.path().join("data"));
        let db = Db::open(&at, "t").await.unwrap();
        db.migrate(&[], None).await.unwrap();
        let ring = KeyRing::open(None, dir.path()).unwrap();
        Self {
            vault: Vault::start(&db, ring, UnixMicros(1)).await.unwrap(),
            metrics: Metrics::new().unwrap(),
            // The shared Redis holds other tests' keys, too.
            id: Uuid::now_v7().to_string(),
        }
    }

    async fn start(&self, redis: &Redis) -> Cache {
        let url = redis.url();
        let at = (url.as_str(), 0);
        let cache = Cache::before_redis("identity", at, &self.vault, &self.metrics).unwrap();
        tokio::spawn(cache.clone().run(CancellationToken::new()));
        cache
    }

    /// One that hears what others delete.
    async fn joined(&self, redis: &Redis) -> Cache {
        let cache = self.start(redis).await;
        let probe = client(redis).await;
        hears(&cache, &probe).await;
        cache
    }

    async fn get(&self, cache: &Cache, space: &Space, kept: &Kept) -> Option<String> {
        let value = cache.get(space, &self.id, || kept.load()).await.unwrap();
        value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn errors(&self, operation: &str) -> u64 {
        let errors = &self.metrics.cache_errors;
        errors.with_label_values(&["identity", operation]).get()
    }
}

async fn client(redis: &Redis) -> Client {
    let config = Config::from_url(&redis.url()).unwrap();
    let client = Builder::from_config(config).build().unwrap();
    client.init().await.unwrap();
    client
}

/// Waits until a message to the replicas reaches this one.
async fn hears(cache: &Cache, probe: &Client) {
    let key = Uuid::now_v7().to_string();
    let before = cache.0.local.deletes(&key);
    eventually("the subscription", async || {
        let told: Result<i64, _> = probe.publish("cache:deleted:0", key.as_str()).await;
        told.unwrap();
        (cache.0.local.deletes(&key) > before).then_some(())
    })
    .await;
    eventually("an answer to ping", async || cache.ping().await.ok()).await;
}

#[tokio::test]
async fn without_redis_a_value_is_read_once_and_again_after_a_delete() {
    let replicas = Replicas::new().await;
    let cache = Cache::local("identity", &replicas.metrics);
    let kept = Kept::default();
    for (value, reads) in [(None, 1), (Some("Ada"), 2), (Some("Bob"), 3)] {
        kept.set(value);
        cache.delete(&PROFILE, &replicas.id).await;
        for _ in 0..3 {
            let got = replicas.get(&cache, &PROFILE, &kept).await;
            assert_eq!(got.as_deref(), value);
        }
        assert_eq!(kept.reads(), reads, "also that there is none is remembered");
    }
    assert!(cache.ping().await.is_ok());
    let text = String::from_utf8(replicas.metrics.render().unwrap()).unwrap();
    let local = r#"cache_lookups_total{cache="user:profile",result="local",service="identity"} 6"#;
    assert!(text.contains(local), "{text}");
}

#[tokio::test]
async fn many_readers_cause_one_read() {
    let replicas = Replicas::new().await;
    let cache = Cache::local("identity", &replicas.metrics);
    let kept = Kept::default();
    kept.set(Some("Ada"));
    let readers = (0..100).map(|_| replicas.get(&cache, &PROFILE, &kept));
    let all = futures::future::join_all(readers).await;
    assert!(all.iter().all(|value| value.as_deref() == Some("Ada")));
    assert_eq!(kept.reads(), 1);
}

#[tokio::test]
async fn an_error_is_not_remembered() {
    let replicas = Replicas::new().await;
    let cache = Cache::local("identity", &replicas.metrics);
    let failed = cache
        .get(&PROFILE, "1", async || Err::<Option<Bytes>, _>("away"))
        .await;
    assert_eq!(*failed.unwrap_err(), "away");
    let kept = Kept::default();
    kept.set(Some("Ada"));
    let value = cache.get(&PROFILE, "1", || kept.load()).await.unwrap();
    assert_eq!(value.unwrap(), "Ada");
}

/// The reader has the old value in hand when it changes: it may answer with it, but
/// nobody else may get it.
#[tokio::test]
async fn a_read_that_a_delete_overtakes_is_not_kept() {
    for redis in [None, Some(core_testing::redis())] {
        let replicas = Replicas::new().await;
        let cache = match redis {
            Some(redis) => replicas.joined(redis).await,
            None => Cache::local("identity", &replicas.metrics),
        };
        let (in_hand, go) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let slow = cache.get(&PROFILE, &replicas.id, async || {
            in_hand.notify_one();
            go.notified().await;
            Ok::<_, String>(Some(Bytes::from_static(b"old")))
        });
        let kept = Kept::default();
        let change = async {
            in_hand.notified().await;
            kept.set(Some("new"));
            cache.delete(&PROFILE, &replicas.id).await;
            go.notify_one();
        };
        let (old, ()) = tokio::join!(slow, change);
        assert_eq!(old.unwrap().unwrap(), "old");
        let got = replicas.get(&cache, &PROFILE, &kept).await;
        assert_eq!(got.as_deref(), Some("new"));
        if let Some(redis) = redis {
            let other = replicas.joined(redis).await;
            let got = replicas.get(&other, &PROFILE, &kept).await;
            assert_eq!(got.as_deref(), Some("new"), "nor from Redis");
        }
    }
}

#[tokio::test]
async fn replicas_share_values_and_deletes() {
    let redis = core_testing::redis();
    for space in [PROFILE, PLAIN] {
        let replicas = Replicas::new().await;
        let (one, two) = (replicas.joined(redis).await, replicas.joined(redis).await);
        let kept = Kept::default();
        kept.set(Some("Ada Lovelace"));
        for cache in [&one, &two] {
            let got = replicas.get(cache, &space, &kept).await;
            assert_eq!(got.as_deref(), Some("Ada Lovelace"));
        }
        assert_eq!(kept.reads(), 1, "the second had it from Redis");

        let raw: Bytes = client(redis)
            .await
            .get(space.key(&replicas.id))
            .await
            .unwrap();
        let shows = raw.windows(3).any(|part| part == b"Ada");
        assert_eq!(shows, space.sharing == Sharing::Plain);

        kept.set(Some("Bob"));
        one.delete(&space, &replicas.id).await;
        let got = replicas.get(&one, &space, &kept).await;
        assert_eq!(got.as_deref(), Some("Bob"));
        eventually("the other replica", async || {
            let got = replicas.get(&two, &space, &kept).await;
            (got.as_deref() == Some("Bob")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_stays_local_is_deleted_everywhere_and_never_in_redis() {
    let redis = core_testing::redis();
    let replicas = Replicas::new().await;
    let (one, two) = (replicas.joined(redis).await, replicas.joined(redis).await);
    let kept = Kept::default();
    kept.set(Some("alive"));
    for cache in [&one, &two] {
        replicas.get(cache, &HERE, &kept).await;
    }
    assert_eq!(kept.reads(), 2);
    kept.set(None);
    one.delete(&HERE, &replicas.id).await;
    eventually("the other replica", async || {
        replicas
            .get(&two, &HERE, &kept)
            .await
            .is_none()
            .then_some(())
    })
    .await;
    let exists: i64 = client(redis)
        .await
        .exists(HERE.key(&replicas.id))
        .await
        .unwrap();
    assert_eq!(exists, 0);
}

#[tokio::test]
async fn a_value_that_was_tampered_with_is_read_anew() {
    let redis = core_testing::redis();
    let replicas = Replicas::new().await;
    let kept = Kept::default();
    kept.set(Some("Ada"));
    let redis_client = client(redis).await;
    for planted in [&b"\x02junk"[..], b"\x07", b"\x00x"] {
        let cache = replicas.joined(redis).await;
        let key = PROFILE.key(&replicas.id);
        let set: Result<(), _> = redis_client.set(key, planted, None, None, false).await;
        set.unwrap();
        let got = replicas.get(&cache, &PROFILE, &kept).await;
        assert_eq!(got.as_deref(), Some("Ada"));
    }
    assert_eq!(replicas.errors("decode"), 3);
}

#[tokio::test]
async fn a_paused_redis_costs_little_and_forgets_nothing() {
    let redis = Redis::start();
    let replicas = Replicas::new().await;
    let (one, two) = (replicas.joined(&redis).await, replicas.joined(&redis).await);
    let kept = Kept::default();
    kept.set(Some("old"));
    replicas.get(&one, &PROFILE, &kept).await;

    redis.pause();
    // The breaker opens; what it lets through is one command a second.
    eventually("the breaker", async || {
        one.delete(&PROFILE, "another").await;
        (replicas.errors("delete") >= 3).then_some(())
    })
    .await;
    kept.set(Some("new"));
    one.delete(&PROFILE, &replicas.id).await;
    let failed = replicas.errors("get");
    for _ in 0..200 {
        let got = replicas.get(&one, &PROFILE, &kept).await;
        assert_eq!(got.as_deref(), Some("new"));
    }
    assert_eq!(
        replicas.errors("get"),
        failed,
        "nobody asked for what Redis was not told"
    );

    redis.resume();
    eventually("the delete that Redis missed", async || {
        let got = replicas.get(&two, &PROFILE, &kept).await;
        (got.as_deref() == Some("new")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_stops_starts_or_forgets_is_not_missed() {
    let redis = Redis::start();
    let replicas = Replicas::new().await;
    let (one, two) = (replicas.joined(&redis).await, replicas.joined(&redis).await);
    let kept = Kept::default();
    kept.set(Some("1"));
    for cache in [&one, &two] {
        replicas.get(cache, &PROFILE, &kept).await;
    }
    redis.kill();
    kept.set(Some("2"));
    one.delete(&PROFILE, &replicas.id).await;
    let got = replicas.get(&one, &PROFILE, &kept).await;
    assert_eq!(got.as_deref(), Some("2"));
    eventually("ping to fail", async || one.ping().await.err()).await;

    redis.restart();
    eventually("the replica that missed the delete", async || {
        let got = replicas.get(&two, &PROFILE, &kept).await;
        (got.as_deref() == Some("2")).then_some(())
    })
    .await;
    let probe = client(&redis).await;
    for cache in [&one, &two] {
        hears(cache, &probe).await;
    }

    let flushed: Result<(), _> = probe.flushall(false).await;
    flushed.unwrap();
    for (cache, value) in [(&one, "3"), (&two, "4")] {
        kept.set(Some(value));
        cache.delete(&PROFILE, &replicas.id).await;
        for cache in [&one, &two] {
            eventually("both replicas", async || {
                let got = replicas.get(cache, &PROFILE, &kept).await;
                (got.as_deref() == Some(value)).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn redis_may_come_later() {
    let redis = Redis::start();
    redis.kill();
    let replicas = Replicas::new().await;
    let cache = replicas.start(&redis).await;
    let kept = Kept::default();
    kept.set(Some("Ada"));
    let got = replicas.get(&cache, &PROFILE, &kept).await;
    assert_eq!(got.as_deref(), Some("Ada"));
    redis.restart();
    hears(&cache, &client(&redis).await).await;
}

#[tokio::test]
async fn a_wrong_url_is_not_shown() {
    let Replicas { vault, metrics, .. } = Replicas::new().await;
    for wrong in ["", "redis", "http://:secret@host", "redis://:secret@"] {
        let refused = Cache::before_redis("identity", (wrong, 0), &vault, &metrics);
        let message = refused.err().expect(wrong).to_string();
        assert!(message.contains("hint: redis://"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn lifetimes_differ_by_a_tenth() {
    let ttl = Duration::from_secs(100);
    let all: Vec<Duration> = (0..1_000).map(|_| jittered(ttl)).collect();
    let bounds = Duration::from_secs(90)..=Duration::from_secs(110);
    assert!(all.iter().all(|one| bounds.contains(one)));
    assert!(all.iter().any(|one| *one < ttl) && all.iter().any(|one| *one > ttl));
}

#[test]
fn a_secret_in_a_key_is_hashed() {
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hashed("abc"), expected);
}
