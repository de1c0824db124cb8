//! The store under Pingora's own state machine: collapsing, revalidation and variance.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use palisade_cache::{MemoryStorage, key, variance};
use pingora_cache::key::CacheKey;
use pingora_cache::lock::{CacheKeyLockImpl, CacheLock};
use pingora_cache::{CacheMeta, CachePhase, HitStatus, HttpCache};
use pingora_http::{RequestHeader, ResponseHeader};

static LOCK: LazyLock<Box<CacheKeyLockImpl>> =
    LazyLock::new(|| CacheLock::new_boxed(Duration::from_secs(60)));

fn cache(store: &'static MemoryStorage, key: &CacheKey) -> HttpCache {
    let mut cache = HttpCache::new();
    cache.enable(store, None, None, Some(LOCK.as_ref()), None);
    cache.set_cache_key(key.clone());
    cache
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

const FAR: u64 = 40_000_000_000;

fn meta(created: u64, etag: &str) -> CacheMeta {
    let mut header = ResponseHeader::build(200, None).unwrap();
    header.insert_header("ETag", etag).unwrap();
    header.insert_header("Vary", "accept").unwrap();
    CacheMeta::new(at(FAR), at(created), 5, 6, header)
}

async fn read(cache: &mut HttpCache) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(data) = cache.hit_handler().read_body().await.unwrap() {
        body.extend_from_slice(&data);
    }
    body
}

#[tokio::test]
async fn concurrent_misses_make_one_fill() {
    const READERS: usize = 20;
    let store = MemoryStorage::leak(16 << 20, 1 << 20);
    let key = key("https", "a.example", "/collapse");
    let mut writer = cache(store, &key);
    assert!(writer.cache_lookup().await.unwrap().is_none());
    assert!(writer.is_cache_lock_writer());
    writer.cache_miss();
    let mut waiting = Vec::new();
    for _ in 0..READERS {
        let mut reader = cache(store, &key);
        assert!(reader.cache_lookup().await.unwrap().is_none());
        assert!(reader.is_cache_locked(), "behind the first");
        waiting.push(tokio::spawn(async move {
            reader.cache_lock_wait().await;
            let (meta, hit) = reader
                .cache_lookup()
                .await
                .unwrap()
                .expect("the fill is running");
            reader.cache_found(meta, hit, HitStatus::Fresh);
            read(&mut reader).await
        }));
    }
    writer.set_cache_meta(meta(1, "\"1\""));
    writer.set_miss_handler().await.unwrap();
    for part in [&b"one "[..], b"fill ", b"for all"] {
        writer
            .miss_handler()
            .unwrap()
            .write_body(Bytes::from_static(part), false)
            .await
            .unwrap();
        // The waiting readers get turns in the middle of the fill.
        tokio::task::yield_now().await;
    }
    writer.finish_miss_handler().await.unwrap();
    for reader in waiting {
        assert_eq!(reader.await.unwrap(), b"one fill for all");
    }
    let stats = store.stats();
    assert_eq!((stats.fills, stats.entries), (1, 1));
}

async fn fill(
    cache: &mut HttpCache,
    meta: CacheMeta,
    variance: Option<[u8; 16]>,
    body: &'static [u8],
) {
    cache.set_cache_meta(meta);
    cache.update_variance(variance);
    cache.set_miss_handler().await.unwrap();
    cache
        .miss_handler()
        .unwrap()
        .write_body(Bytes::from_static(body), true)
        .await
        .unwrap();
    cache.finish_miss_handler().await.unwrap();
}

#[tokio::test]
async fn a_revalidated_response_keeps_its_history() {
    let store = MemoryStorage::leak(16 << 20, 1 << 20);
    let key = key("https", "a.example", "/revalidate");
    let mut first = cache(store, &key);
    assert!(first.cache_lookup().await.unwrap().is_none());
    first.cache_miss();
    fill(&mut first, meta(100, "\"1\""), None, b"body").await;

    let mut second = cache(store, &key);
    let (found, hit) = second.cache_lookup().await.unwrap().unwrap();
    second.cache_found(found, hit, HitStatus::Expired);
    let mut renewed = meta(200, "\"1\"");
    renewed.set_variance([9; 16]);
    renewed.set_epoch_override(at(150));
    renewed.extensions_mut().insert(42_u32);
    assert!(second.revalidate_cache_meta(renewed).await.unwrap());
    assert_eq!(second.phase(), CachePhase::Revalidated);

    let mut third = cache(store, &key);
    let (found, hit) = third.cache_lookup().await.unwrap().unwrap();
    assert_eq!(
        (found.created(), found.updated(), found.provenance()),
        (at(100), at(200), at(100))
    );
    assert_eq!(
        (found.epoch_override(), found.variance()),
        (Some(at(150)), Some([9; 16]))
    );
    assert_eq!(
        (
            found.fresh_until(),
            found.stale_while_revalidate_sec(),
            found.stale_if_error_sec()
        ),
        (at(FAR), 5, 6)
    );
    assert_eq!(found.extensions().get::<u32>(), Some(&42));
    let names: Vec<_> = found.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["etag", "vary"]);
    third.cache_found(found, hit, HitStatus::Fresh);
    assert_eq!(read(&mut third).await, b"body");
}

#[tokio::test]
async fn variants_of_one_address_stay_apart() {
    let store = MemoryStorage::leak(16 << 20, 1 << 20);
    let key = key("https", "a.example", "/vary");
    let request = |accept: &str| {
        let mut request = RequestHeader::build("GET", b"/vary", None).unwrap();
        request.insert_header("accept", accept).unwrap();
        request
    };
    let of = |accept: &str| variance(meta(1, "\"1\"").headers(), &request(accept));
    let mut json = cache(store, &key);
    assert!(json.cache_lookup().await.unwrap().is_none());
    json.cache_miss();
    fill(&mut json, meta(100, "\"j\""), of("json"), b"json").await;

    let mut html = cache(store, &key);
    let (primary, _) = html.cache_lookup().await.unwrap().unwrap();
    assert!(
        !html.cache_vary_lookup(of("html").unwrap(), &primary),
        "the primary slot holds json"
    );
    assert!(html.cache_lookup().await.unwrap().is_none());
    html.cache_miss();
    fill(&mut html, meta(101, "\"h\""), of("html"), b"html").await;

    for (accept, expected) in [("json", &b"json"[..]), ("html", b"html")] {
        let mut cache = cache(store, &key);
        let (mut found, mut hit) = cache.cache_lookup().await.unwrap().unwrap();
        if !cache.cache_vary_lookup(of(accept).unwrap(), &found) {
            (found, hit) = cache.cache_lookup().await.unwrap().unwrap();
        }
        assert_eq!(found.variance(), of(accept));
        cache.cache_found(found, hit, HitStatus::Fresh);
        assert_eq!(read(&mut cache).await, expected);
    }
    assert_eq!(store.stats().entries, 2);
}
