//! Whole, partial and failing bodies.

use std::time::Duration;

use bytes::Bytes;
use palisade_cache::MemoryStorage;
use pingora_cache::storage::{PurgeTarget, PurgeType, Storage};

use crate::fixture::*;

#[tokio::test]
async fn a_body_comes_back_however_it_was_cut() {
    let store = MemoryStorage::leak(64 * MIB, 8 << 20);
    for (number, (len, chunk)) in [
        (0, 1),
        (1, 1),
        (5000, 1),
        (65_536, 65_536),
        (65_537, 7000),
        (300_000, 100_000),
        (300_000, 300_000),
    ]
    .into_iter()
    .enumerate()
    {
        for announced in [true, false] {
            let key = path(&format!("/{number}/{announced}"));
            let body = pattern(len);
            let fields = if announced {
                vec![("content-length", len.to_string())]
            } else {
                vec![]
            };
            let mut writer = writer(store, &key, &meta(&fields)).await;
            for part in body.chunks(chunk) {
                writer
                    .write_body(Bytes::copy_from_slice(part), false)
                    .await
                    .unwrap();
            }
            writer.finish().await.unwrap();
            let mut hit = reader(store, &key).await;
            assert!(hit.can_seek() && hit.should_count_access() && hit.get_eviction_weight() > len);
            assert!(drain(&mut hit).await.unwrap() == body, "{len} by {chunk}");
        }
    }
    let stats = store.stats();
    assert_eq!(
        (
            stats.entries,
            stats.fills,
            stats.fills_in_flight,
            stats.fill_bytes
        ),
        (14, 14, 0, 0)
    );
}

#[tokio::test]
async fn ranges_of_a_whole_body() {
    let store = MemoryStorage::leak(64 * MIB, 8 << 20);
    let (key, body) = (path("/"), pattern(200_000));
    put(store, &key, &body).await;
    let mut hit = reader(store, &key).await;
    for (start, end) in [
        (0, Some(1)),
        (65_535, Some(65_537)),
        (65_536, None),
        (199_999, Some(usize::MAX)),
        (10, Some(150_000)),
        (5, Some(5)),
        (9, Some(3)),
    ] {
        hit.seek(start, end).unwrap();
        let stop = end.unwrap_or(body.len()).min(body.len()).max(start);
        assert!(
            drain(&mut hit).await.unwrap() == body[start..stop],
            "{start} {end:?}"
        );
    }
    assert!(hit.seek(200_000, None).is_err());
    assert!(hit.seek(usize::MAX, None).is_err());
}

#[tokio::test]
async fn readers_follow_a_running_fill() {
    let store = MemoryStorage::leak(64 * MIB, 8 << 20);
    let (key, body) = (path("/"), pattern(200_000));
    let mut writer = writer(store, &key, &meta(&[])).await;
    let mut first = owner(store, &key, &writer).await;
    writer
        .write_body(Bytes::copy_from_slice(&body[..70_000]), false)
        .await
        .unwrap();
    let mut second = reader(store, &key).await;
    assert!(!second.can_seek() && !second.should_count_access());
    assert!(second.seek(0, None).is_err());
    let mut seen = Vec::new();
    while seen.len() < 70_000 {
        seen.extend_from_slice(&second.read_body().await.unwrap().unwrap());
    }
    // Both wait now, and are woken by the rest.
    let rest = async {
        writer
            .write_body(Bytes::copy_from_slice(&body[70_000..]), true)
            .await
            .unwrap();
        writer.finish().await.unwrap();
    };
    let (owned, tail, ()) = tokio::join!(drain(&mut first), drain(&mut second), rest);
    seen.extend_from_slice(&tail.unwrap());
    assert!(owned.unwrap() == body && seen == body);
    assert_eq!(
        store.stats().fill_bytes,
        0,
        "counted once, though the readers are still there"
    );
    assert!(reader(store, &key).await.can_seek(), "now it is whole");
}

#[tokio::test]
async fn an_abandoned_fill_fails_its_readers_and_leaves_nothing() {
    let store = MemoryStorage::leak(64 * MIB, 8 << 20);
    let key = path("/");
    let mut writer = writer(store, &key, &meta(&[])).await;
    let mut first = owner(store, &key, &writer).await;
    writer
        .write_body(Bytes::from_static(b"half"), false)
        .await
        .unwrap();
    let mut second = reader(store, &key).await;
    assert_eq!(second.read_body().await.unwrap().unwrap(), "half");
    let gone = async { drop(writer) };
    let (unread, waiting, ()) = tokio::join!(drain(&mut first), drain(&mut second), gone);
    // The first may have read what was there, but neither is told that this was all.
    assert!(unread.is_err() && waiting.is_err());
    assert!(find(store, &key).await.is_none());
    let stats = store.stats();
    assert_eq!(
        (
            stats.fill_aborts,
            stats.entries,
            stats.fill_bytes,
            stats.fills_in_flight
        ),
        (1, 0, 0, 0)
    );
}

#[tokio::test]
async fn a_body_shorter_or_longer_than_announced_is_a_failure() {
    let store = MemoryStorage::leak(64 * MIB, 8 << 20);
    for body in [&b"abc"[..], b"abcde", b""] {
        let key = path("/");
        let mut writer = writer(store, &key, &meta(&[("content-length", "4".into())])).await;
        let mut first = owner(store, &key, &writer).await;
        writer
            .write_body(Bytes::from_static(body), true)
            .await
            .unwrap();
        assert!(writer.finish().await.is_err());
        assert!(drain(&mut first).await.is_err());
        assert!(find(store, &key).await.is_none());
    }
    assert_eq!(store.stats().fill_aborts, 3);
}

#[tokio::test]
async fn the_newest_of_two_fills_is_joined_and_both_finish() {
    let store = MemoryStorage::leak(4 * MIB, 1 << 20);
    let key = path("/");
    let mut one = writer(store, &key, &meta(&[])).await;
    let mut two = writer(store, &key, &meta(&[])).await;
    let (mut reads_one, mut reads_two) = (
        owner(store, &key, &one).await,
        owner(store, &key, &two).await,
    );
    let mut joined = reader(store, &key).await;
    two.write_body(Bytes::from_static(b"two"), true)
        .await
        .unwrap();
    one.write_body(Bytes::from_static(b"one"), true)
        .await
        .unwrap();
    one.finish().await.unwrap();
    two.finish().await.unwrap();
    assert_eq!(drain(&mut reads_one).await.unwrap(), b"one");
    assert_eq!(drain(&mut reads_two).await.unwrap(), b"two");
    assert_eq!(drain(&mut joined).await.unwrap(), b"two");
    assert_eq!(drain(&mut reader(store, &key).await).await.unwrap(), b"two");
    assert!(
        store
            .lookup_streaming_write(&key, None, &span())
            .await
            .is_err()
    );
    assert!(
        store
            .lookup_streaming_write(&key, Some(b"odd"), &span())
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fills_purges_and_readers_at_once_show_whole_bodies_or_errors() {
    const ROUNDS: usize = 300;
    let store = MemoryStorage::leak(8 * MIB, 1 << 20);
    let mut tasks = Vec::new();
    for task in 0..6_usize {
        tasks.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let key = path(&format!("/{}", (task + round) % 3));
                match (task + round) % 4 {
                    0 => {
                        let compact = key.to_compact();
                        let target = PurgeTarget::Active(&compact);
                        store
                            .purge(target, PurgeType::Invalidation, &SPAN)
                            .await
                            .unwrap();
                    }
                    1 => {
                        let mut writer = writer(store, &key, &meta(&[])).await;
                        writer
                            .write_body(Bytes::from_static(&[0; 1000]), false)
                            .await
                            .unwrap();
                        drop(writer);
                    }
                    2 => {
                        let mut writer = writer(store, &key, &meta(&[])).await;
                        for part in pattern(150_000).chunks(20_000) {
                            writer
                                .write_body(Bytes::copy_from_slice(part), false)
                                .await
                                .unwrap();
                            tokio::task::yield_now().await;
                        }
                        writer.finish().await.unwrap();
                    }
                    _ => {
                        let Some((_, mut hit)) = find(store, &key).await else {
                            continue;
                        };
                        if let Ok(body) = drain(&mut hit).await {
                            assert!(
                                body == pattern(150_000),
                                "{} bytes passed for whole",
                                body.len()
                            );
                        }
                    }
                }
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(60), task)
            .await
            .expect("no reader hangs")
            .unwrap();
    }
    let stats = store.stats();
    assert_eq!(
        (stats.fills_in_flight, stats.fill_bytes),
        (0, 0),
        "{stats:?}"
    );
    assert!(stats.fills > 0 && stats.fill_aborts > 0 && stats.entries <= 3);
}
