//! Short words for the storage trait's long ones.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use palisade_cache::{MemoryStorage, key};
use pingora_cache::key::CacheKey;
use pingora_cache::storage::Storage;
use pingora_cache::trace::{Span, SpanHandle};
use pingora_cache::{CacheMeta, HitHandler, MissHandler};
use pingora_http::ResponseHeader;

pub(crate) const MIB: u64 = 1024 * 1024;

pub(crate) fn span() -> SpanHandle {
    Span::inactive().handle()
}

pub(crate) fn epoch(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Seconds in the future of any clock this runs on.
pub(crate) const FAR: u64 = 40_000_000_000;

pub(crate) fn meta(fields: &[(&'static str, String)]) -> CacheMeta {
    let mut header = ResponseHeader::build(200, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, value).unwrap();
    }
    CacheMeta::new(epoch(FAR), epoch(1), 0, 0, header)
}

pub(crate) fn path(path: &str) -> CacheKey {
    key("https", "a.example", path)
}

pub(crate) async fn writer(
    store: &'static MemoryStorage,
    key: &CacheKey,
    meta: &CacheMeta,
) -> MissHandler {
    store.get_miss_handler(key, meta, &span()).await.unwrap()
}

pub(crate) async fn owner(
    store: &'static MemoryStorage,
    key: &CacheKey,
    writer: &MissHandler,
) -> HitHandler {
    let tag = writer.streaming_write_tag();
    store
        .lookup_streaming_write(key, tag, &span())
        .await
        .unwrap()
        .unwrap()
        .1
}

pub(crate) async fn find(
    store: &'static MemoryStorage,
    key: &CacheKey,
) -> Option<(CacheMeta, HitHandler)> {
    store.lookup(key, &span()).await.unwrap()
}

pub(crate) async fn reader(store: &'static MemoryStorage, key: &CacheKey) -> HitHandler {
    find(store, key).await.expect("stored").1
}

pub(crate) async fn drain(reader: &mut HitHandler) -> pingora_error::Result<Vec<u8>> {
    let whole = async {
        let mut body = Vec::new();
        while let Some(data) = reader.read_body().await? {
            body.extend_from_slice(&data);
        }
        Ok(body)
    };
    tokio::time::timeout(Duration::from_secs(30), whole)
        .await
        .expect("no reader waits for ever")
}

pub(crate) async fn put(store: &'static MemoryStorage, key: &CacheKey, body: &[u8]) {
    let mut writer = writer(store, key, &meta(&[])).await;
    writer
        .write_body(Bytes::copy_from_slice(body), true)
        .await
        .unwrap();
    writer.finish().await.unwrap();
}

/// A body in which every position is recognisable.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from((at / 251 + at) % 256).unwrap())
        .collect()
}

pub(crate) static SPAN: std::sync::LazyLock<SpanHandle> = std::sync::LazyLock::new(span);
