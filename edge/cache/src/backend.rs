//! Pingora's `Storage` on `MemoryStorage`, and the writer of one fill.
//!
//! Invariant: a writer dropped before `finish` leaves nothing behind but failed readers.
//! Entry ids stay `None`: moka evicts here, and Pingora's eviction managers are not used.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_cache::max_file_size::ERR_RESPONSE_TOO_LARGE;
use pingora_cache::storage::streaming_write::U64WriteId;
use pingora_cache::storage::{HandleMiss, MissFinishType, Storage};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{
    CacheEntryKey, CacheKey, CacheMeta, HitHandler, MissHandler, PurgeOutcome, PurgeTarget,
    PurgeType,
};
use pingora_error::{Error, ErrorType, Result};

use crate::entry::StoredMeta;
use crate::fill::{Completion, Fill};
use crate::hit::WholeHit;
use crate::key::EntryKey;
use crate::storage::{MemoryStorage, Rewritten, bump, wall_clock};

/// The key a purge names; none for an identity this store never hands out.
fn target_key(target: PurgeTarget<'_>) -> Option<EntryKey> {
    match target {
        PurgeTarget::Exact(CacheEntryKey::Identified { .. }) => None,
        PurgeTarget::Active(_) | PurgeTarget::Exact(CacheEntryKey::KeyOnly(_)) => {
            Some(target.key().into())
        }
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let key = EntryKey::from(key);
        // Fills first: what is being fetched is newer than what is stored.
        if let Some((meta, hit)) = self.join(key, None) {
            return Ok(Some((meta.restore()?, Box::new(hit))));
        }
        match self.entries.get(&key) {
            Some(entry) => Ok(Some((
                entry.meta.restore()?,
                Box::new(WholeHit::new(entry)),
            ))),
            None => Ok(None),
        }
    }

    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        streaming_write_tag: Option<&[u8]>,
        _: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let Some(Ok(tag)) = streaming_write_tag.map(U64WriteId::try_from) else {
            return Error::e_explain(
                ErrorType::InternalError,
                "cache write without a tag of this store",
            );
        };
        match self.join(EntryKey::from(key), Some(u64::from(tag))) {
            Some((meta, hit)) => Ok(Some((meta.restore()?, Box::new(hit)))),
            // Pingora panics on `None`; a purge between the two calls must only fail the request.
            None => Error::e_explain(
                ErrorType::InternalError,
                "cache fill was purged as it began",
            ),
        }
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<MissHandler> {
        let key = EntryKey::from(key);
        let meta = StoredMeta::new(meta)?;
        // An error here is the gentle refusal: Pingora goes on without the cache.
        if meta
            .content_length()
            .is_some_and(|length| length > self.object_bytes_max)
        {
            bump(&self.counters.fills_too_large);
            return Error::e_explain(
                ERR_RESPONSE_TOO_LARGE,
                "response announces more than the cache stores",
            );
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let Some(fill) = Fill::admit(id, meta, self.object_bytes_max, &self.budget) else {
            bump(&self.counters.fills_shed);
            return Error::e_explain(
                ErrorType::InternalError,
                "budget of cache fills in flight is used up",
            );
        };
        let fill = Arc::new(fill);
        self.enlist(key, &fill);
        bump(&self.counters.fills);
        Ok(Box::new(FillWriter {
            storage: self,
            key,
            fill,
            tag: U64WriteId::from(id),
            finished: false,
        }))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        _: PurgeType,
        _: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        let Some(key) = target_key(target) else {
            return Ok(PurgeOutcome::NotFound);
        };
        if !self.purge_key(key) {
            return Ok(PurgeOutcome::NotFound);
        }
        Ok(PurgeOutcome::Purged(None))
    }

    async fn expire(
        &'static self,
        target: PurgeTarget<'_>,
        _: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        let Some(key) = target_key(target) else {
            return Ok(PurgeOutcome::NotFound);
        };
        let outcome = match self.rewrite(key, |meta| meta.expired(wall_clock())) {
            Rewritten::Kept => PurgeOutcome::Expired,
            Rewritten::Removed => PurgeOutcome::Purged(None),
            Rewritten::Absent => return Ok(PurgeOutcome::NotFound),
        };
        bump(&self.counters.purges);
        Ok(outcome)
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<bool> {
        let meta = StoredMeta::new(meta)?;
        Ok(self.rewrite(EntryKey::from(key), |_| meta) != Rewritten::Absent)
    }

    fn support_streaming_partial_write(&self) -> bool {
        true
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

/// Writes one fill. Dropped without `finish`, it fails its readers and frees the bytes.
struct FillWriter {
    storage: &'static MemoryStorage,
    key: EntryKey,
    fill: Arc<Fill>,
    tag: U64WriteId,
    finished: bool,
}

#[async_trait]
impl HandleMiss for FillWriter {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        // The end is `finish`: Pingora calls it after the last chunk in every case.
        if let Some(why) = self.fill.append(&data)? {
            self.storage.unkept(self.key, self.fill.id, why);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        match self.fill.complete() {
            Completion::Stored(body) => {
                self.finished = true;
                Ok(MissFinishType::Created(
                    self.storage.commit(self.key, &self.fill, body),
                ))
            }
            // Not an error: Pingora would cut off the client that is still reading.
            Completion::NotKept => {
                self.finished = true;
                Ok(MissFinishType::Created(0))
            }
            Completion::Truncated => Error::e_explain(
                ErrorType::InternalError,
                "body differs in length from its content-length",
            ),
        }
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        Some(self.tag.as_bytes())
    }
}

impl Drop for FillWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.storage.withdraw(self.key, self.fill.id);
        self.fill.fail();
        bump(&self.storage.counters.fill_aborts);
    }
}
