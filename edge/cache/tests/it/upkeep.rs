//! Eviction, expiry, purge and changed metadata.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use palisade_cache::MemoryStorage;
use pingora_cache::storage::{PurgeOutcome, PurgeTarget, PurgeType, Storage};
use pingora_cache::{CacheEntryId, CacheEntryKey, CacheMeta};
use pingora_http::ResponseHeader;

use crate::fixture::*;

#[tokio::test]
async fn entries_are_evicted_by_weight() {
    let store = MemoryStorage::leak(4 * MIB, 1 << 20);
    let body = pattern(100_000);
    for number in 0..200 {
        put(store, &path(&format!("/{number}")), &body).await;
        let stats = store.stats();
        assert!(stats.bytes + stats.fill_bytes <= 4 * MIB, "{stats:?}");
    }
    let stats = store.stats();
    assert!(stats.entries > 20 && stats.entries < 40, "{stats:?}");
    assert_eq!(stats.evictions, 200 - stats.entries);
    assert!(
        stats.bytes >= stats.entries * 100_000,
        "the weight counts the bodies"
    );
}

#[tokio::test]
async fn an_empty_body_with_a_large_header_has_its_weight() {
    let store = MemoryStorage::leak(4 * MIB, 1 << 20);
    let mut writer = writer(store, &path("/"), &meta(&[("x-large", "v".repeat(20_000))])).await;
    writer.write_body(Bytes::new(), true).await.unwrap();
    writer.finish().await.unwrap();
    assert!(store.stats().bytes > 20_000);
}

#[tokio::test]
async fn entries_past_their_last_window_are_freed() {
    let store = MemoryStorage::leak(4 * MIB, 1 << 20);
    let past = |swr, sie, etag: bool| {
        let mut header = ResponseHeader::build(200, None).unwrap();
        if etag {
            header.insert_header("etag", "\"a\"").unwrap();
        }
        CacheMeta::new(epoch(1000), epoch(1), swr, sie, header)
    };
    for (name, meta, kept) in [
        ("/no-window", past(0, 0, false), false),
        ("/short-window", past(10, 20, false), false),
        ("/long-ago-with-validator", past(0, 0, true), false),
        ("/while-revalidate", past(u32::MAX, 0, false), true),
        ("/if-error", past(0, u32::MAX, false), true),
        ("/fresh", self::meta(&[]), true),
    ] {
        let key = path(name);
        let mut writer = writer(store, &key, &meta).await;
        writer
            .write_body(Bytes::from_static(b"x"), true)
            .await
            .unwrap();
        writer.finish().await.unwrap();
        assert_eq!(find(store, &key).await.is_some(), kept, "{name}");
    }
    let stats = store.stats();
    assert_eq!(stats.entries, 3, "{stats:?}");
}

#[tokio::test]
async fn memory_of_an_entry_is_freed_after_its_time_without_a_look_up() {
    let store = MemoryStorage::leak(4 * MIB, 1 << 20);
    #[allow(
        clippy::disallowed_methods,
        reason = "moka times entries by the real clock"
    )]
    let until = SystemTime::now() + Duration::from_millis(200);
    let meta = CacheMeta::new(
        until,
        epoch(1),
        0,
        0,
        ResponseHeader::build(200, None).unwrap(),
    );
    let mut writer = writer(store, &path("/"), &meta).await;
    writer
        .write_body(Bytes::from_static(b"x"), true)
        .await
        .unwrap();
    writer.finish().await.unwrap();
    let freed = async {
        while store.stats().entries > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed)
        .await
        .expect("expires");
    assert_eq!((store.stats().bytes, store.stats().expirations), (0, 1));
}

#[tokio::test]
async fn purge_takes_the_stored_and_the_filling() {
    let store = MemoryStorage::leak(4 * MIB, 1 << 20);
    let (key, other) = (path("/"), path("/other"));
    let compact = key.to_compact();
    let purge = || {
        store.purge(
            PurgeTarget::Active(&compact),
            PurgeType::Invalidation,
            &SPAN,
        )
    };
    assert_eq!(purge().await.unwrap(), PurgeOutcome::NotFound);
    put(store, &key, b"old").await;
    put(store, &other, b"other").await;
    // A fill that began before the purge may carry what the purge is about.
    let mut writer = writer(store, &key, &meta(&[])).await;
    let mut first = owner(store, &key, &writer).await;
    writer
        .write_body(Bytes::from_static(b"fil"), false)
        .await
        .unwrap();
    let mut open = reader(store, &other).await;
    let unknown = CacheEntryKey::identified(compact.clone(), CacheEntryId::new(7));
    let exact = store
        .purge(PurgeTarget::Exact(&unknown), PurgeType::Eviction, &span())
        .await;
    assert_eq!(exact.unwrap(), PurgeOutcome::NotFound);
    assert_eq!(purge().await.unwrap(), PurgeOutcome::Purged(None));
    assert!(find(store, &key).await.is_none());
    writer
        .write_body(Bytes::from_static(b"led"), true)
        .await
        .unwrap();
    writer.finish().await.unwrap();
    assert_eq!(
        drain(&mut first).await.unwrap(),
        b"filled",
        "its own client gets all of it"
    );
    assert!(find(store, &key).await.is_none(), "and nobody else");
    store.purge_all();
    assert!(find(store, &other).await.is_none());
    assert_eq!(
        drain(&mut open).await.unwrap(),
        b"other",
        "an open reader is not cut off"
    );
    drop((first, open));
    let stats = store.stats();
    assert_eq!(
        (stats.entries, stats.bytes, stats.fill_bytes, stats.purges),
        (0, 0, 0, 2)
    );
}

#[tokio::test]
async fn metadata_is_replaced_and_expired_in_place() {
    let store = MemoryStorage::leak(4 * MIB, 1 << 20);
    let key = path("/");
    assert!(!store.update_meta(&key, &meta(&[]), &span()).await.unwrap());
    let compact = key.to_compact();
    let expired = store
        .expire(PurgeTarget::Active(&compact), &span())
        .await
        .unwrap();
    assert_eq!(expired, PurgeOutcome::NotFound);
    let mut writer = writer(store, &key, &meta(&[("etag", "\"1\"".into())])).await;
    writer
        .write_body(Bytes::from_static(b"body"), true)
        .await
        .unwrap();
    writer.finish().await.unwrap();

    let expired = store
        .expire(PurgeTarget::Active(&compact), &span())
        .await
        .unwrap();
    assert_eq!(expired, PurgeOutcome::Expired);
    let (old, mut hit) = find(store, &key).await.expect("kept for its revalidation");
    assert!(!old.is_fresh(epoch(FAR)) && old.fresh_until() < epoch(FAR));
    assert_eq!(drain(&mut hit).await.unwrap(), b"body");

    let mut renewed = meta(&[("etag", "\"2\"".into())]);
    renewed.set_variance([3; 16]);
    assert!(store.update_meta(&key, &renewed, &span()).await.unwrap());
    let (now, mut hit) = find(store, &key).await.unwrap();
    assert!(now.is_fresh(epoch(FAR)), "revalidation undoes the expiry");
    assert_eq!(
        (now.variance(), &now.headers()["etag"]),
        (Some([3; 16]), &"\"2\"".parse().unwrap())
    );
    assert_eq!(drain(&mut hit).await.unwrap(), b"body");
    assert_eq!(store.stats().entries, 1);

    // Without a validator or a stale window there is nothing left to keep it for.
    put(store, &key, b"plain").await;
    let expired = store
        .expire(PurgeTarget::Active(&compact), &span())
        .await
        .unwrap();
    assert_eq!(expired, PurgeOutcome::Purged(None));
    assert!(find(store, &key).await.is_none());
}
