//! Readers of stored and of still filling bodies.
//!
//! Invariant: a partial reader that cannot go on returns an error; `None` means the body was whole.
//! Only whole bodies can be sought in.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_cache::key::CacheKey;
use pingora_cache::storage::{HandleHit, Storage};
use pingora_cache::trace::SpanHandle;
use pingora_error::{Error, ErrorType, Result};
use tokio::sync::watch;

use crate::entry::Entry;
use crate::fill::{Fill, Role, SEGMENT_BYTES, Step};

/// Reads a finished entry; it stays readable after its eviction.
#[derive(Debug)]
pub(crate) struct WholeHit {
    entry: Arc<Entry>,
    position: usize,
    end: usize,
}

impl WholeHit {
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        let end = entry.body.len;
        Self {
            entry,
            position: 0,
            end,
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.position >= self.end {
            return None;
        }
        let (number, offset) = (self.position / SEGMENT_BYTES, self.position % SEGMENT_BYTES);
        let segment = self.entry.body.segments.get(number)?;
        let stop = segment.len().min(offset + (self.end - self.position));
        self.position += stop - offset;
        Some(segment.slice(offset..stop))
    }
}

#[async_trait]
impl HandleHit for WholeHit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        Ok(self.next())
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        let len = self.entry.body.len;
        if start >= len {
            let message = format!("seek to `{start}` in a body of `{len}` bytes");
            return Error::e_explain(ErrorType::InternalError, message);
        }
        self.position = start;
        // An end past the body is allowed: there is simply less to read.
        self.end = end.map_or(len, |end| end.min(len));
        Ok(())
    }

    fn get_eviction_weight(&self) -> usize {
        self.entry.weight as usize
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// Follows a fill while it runs.
#[derive(Debug)]
pub(crate) struct PartialHit {
    fill: Arc<Fill>,
    role: Role,
    changed: watch::Receiver<()>,
    position: usize,
}

impl PartialHit {
    /// None where the fill can no longer be read from its start.
    pub(crate) fn join(fill: Arc<Fill>, role: Role) -> Option<Self> {
        let changed = fill.join(role)?;
        Some(Self {
            fill,
            role,
            changed,
            position: 0,
        })
    }
}

impl Drop for PartialHit {
    fn drop(&mut self) {
        self.fill.leave(self.role);
    }
}

#[async_trait]
impl HandleHit for PartialHit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.fill.read(self.position, self.role)? {
                Step::Data(data) => {
                    self.position += data.len();
                    return Ok(Some(data));
                }
                Step::End => return Ok(None),
                Step::Wait => {}
            }
            // A write since the look is not missed: the receiver knows which version it saw last.
            if self.changed.changed().await.is_err() {
                return Error::e_explain(ErrorType::InternalError, "cache fill went away");
            }
        }
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    /// Never asked for, as `can_seek` is false; the trait's own default panics.
    fn seek(&mut self, _start: usize, _end: Option<usize>) -> Result<()> {
        Error::e_explain(
            ErrorType::InternalError,
            "seek in a body that is still filling",
        )
    }

    fn should_count_access(&self) -> bool {
        false
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}
