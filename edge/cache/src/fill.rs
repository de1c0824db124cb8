//! One response on its way into the store, and the readers that follow it.
//!
//! Invariant: a reader sees every byte in order and then either the end (the writer finished) or an
//! error (it did not, or the reader fell behind a body that is not kept). Never a quiet short end.
//! Bodies are copied into segments of our own, so that a one-byte chunk cannot pin a read buffer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pingora_error::{Error, ErrorType, Result};
use tokio::sync::watch;

use crate::budget::{Budget, Purpose};
use crate::entry::{Body, ENTRY_OVERHEAD_BYTES, StoredMeta};

/// Size of a full body segment: one write to a socket, and a small loss for the last one of a body.
pub(crate) const SEGMENT_BYTES: usize = 64 * 1024;
/// First allocation for a body of unknown length.
const TAIL_BYTES_MIN: usize = 4 * 1024;
/// In a body that is not kept, other readers may be this far behind the client it was fetched for.
const JOINED_LAG_BYTES_MAX: usize = 1024 * 1024;

/// Whose reader it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The request that fetches the response; its position decides what may be dropped.
    Owner,
    /// Another request that found the fill running.
    Joined,
}

/// Why a body stopped being a candidate for the store in the middle of its fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unkept {
    TooLarge,
    /// The budget of all fills was used up.
    Shed,
}

/// What a reader finds at its position.
#[derive(Debug)]
pub(crate) enum Step {
    Data(Bytes),
    Wait,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Filling,
    Complete,
    Failed,
}

#[derive(Debug)]
struct State {
    /// Sealed segments; the first is number `freed` of the body.
    segments: VecDeque<Bytes>,
    freed: usize,
    /// The segment being written, and the capacity it was charged for.
    tail: Vec<u8>,
    tail_capacity: usize,
    len: usize,
    charged: u64,
    progress: Progress,
    kept: bool,
    owner: Option<usize>,
    joined: usize,
}

#[derive(Debug)]
pub(crate) struct Fill {
    pub(crate) id: u64,
    pub(crate) meta: Arc<StoredMeta>,
    expected: Option<usize>,
    object_bytes_max: usize,
    budget: Arc<Budget>,
    // std's mutex: held for a copy of at most one chunk, never across an await.
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Fill {
    /// None where the budget allows no further fill.
    pub(crate) fn admit(
        id: u64,
        meta: StoredMeta,
        max: usize,
        budget: &Arc<Budget>,
    ) -> Option<Self> {
        let charged = (ENTRY_OVERHEAD_BYTES + meta.weight()) as u64;
        if !budget.charge(charged, Purpose::Admit) {
            return None;
        }
        let state = State {
            segments: VecDeque::new(),
            freed: 0,
            tail: Vec::new(),
            tail_capacity: 0,
            len: 0,
            charged,
            progress: Progress::Filling,
            kept: true,
            owner: None,
            joined: 0,
        };
        Some(Self {
            id,
            expected: meta.content_length(),
            meta: Arc::new(meta),
            object_bytes_max: max,
            budget: Arc::clone(budget),
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        })
    }

    // A panic while the lock is held leaves a state that is still in order: lengths are set last.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends; says when the body stopped being kept by this very chunk.
    pub(crate) fn append(&self, data: &[u8]) -> Result<Option<Unkept>> {
        let mut state = self.lock();
        let result = state.append(data, self);
        if result.is_err() {
            state.clear(Progress::Failed, &self.budget);
        }
        drop(state);
        self.changed.send_replace(());
        result
    }

    /// Marks the end. The body, if it is whole and may be stored; then its bytes are no longer
    /// counted here. A body that is not as long as its header said counts as failed.
    pub(crate) fn complete(&self) -> Completion {
        let mut state = self.lock();
        let completion = state.complete(self.expected);
        if matches!(completion, Completion::Truncated) {
            state.clear(Progress::Failed, &self.budget);
        }
        drop(state);
        self.changed.send_replace(());
        completion
    }

    /// The store counts the bytes from here on.
    pub(crate) fn hand_over(&self) {
        let mut state = self.lock();
        self.budget.release(std::mem::take(&mut state.charged));
    }

    /// The writer went away: frees everything and fails all readers.
    pub(crate) fn fail(&self) {
        self.lock().clear(Progress::Failed, &self.budget);
        self.changed.send_replace(());
    }

    /// Registers a reader at the start of the body, unless its start may be gone.
    pub(crate) fn join(&self, role: Role) -> Option<watch::Receiver<()>> {
        let mut state = self.lock();
        if !state.kept || state.progress == Progress::Failed {
            return None;
        }
        match role {
            Role::Owner => state.owner = Some(0),
            Role::Joined => state.joined += 1,
        }
        Some(self.changed.subscribe())
    }

    pub(crate) fn leave(&self, role: Role) {
        let mut state = self.lock();
        match role {
            Role::Owner => state.owner = None,
            Role::Joined => state.joined = state.joined.saturating_sub(1),
        }
        state.trim(&self.budget);
    }

    /// What is there at `position`.
    pub(crate) fn read(&self, position: usize, role: Role) -> Result<Step> {
        let mut state = self.lock();
        let step = state.read(position)?;
        if let (Role::Owner, Step::Data(data)) = (role, &step) {
            state.owner = Some(position + data.len());
            state.trim(&self.budget);
        }
        Ok(step)
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.release(std::mem::take(&mut state.charged));
    }
}

/// How a fill ended.
#[derive(Debug)]
pub(crate) enum Completion {
    Stored(Body),
    NotKept,
    Truncated,
}

impl State {
    fn append(&mut self, mut data: &[u8], fill: &Fill) -> Result<Option<Unkept>> {
        if self.progress != Progress::Filling {
            return Error::e_explain(
                ErrorType::InternalError,
                "cache write after the end of the body",
            );
        }
        let mut unkept = None;
        if self.kept && self.len.saturating_add(data.len()) > fill.object_bytes_max {
            unkept = Some(self.stop_keeping(Unkept::TooLarge, &fill.budget));
        }
        while !data.is_empty() {
            if self.tail.len() == self.tail_capacity && !self.grow(data.len(), fill) {
                if !self.kept {
                    return Error::e_explain(
                        ErrorType::InternalError,
                        "budget of cache fills in flight is used up",
                    );
                }
                unkept = Some(self.stop_keeping(Unkept::Shed, &fill.budget));
                continue;
            }
            let (now, rest) = data.split_at(data.len().min(self.tail_capacity - self.tail.len()));
            self.tail.extend_from_slice(now);
            self.len += now.len();
            data = rest;
        }
        if !self.kept && self.owner.is_none() && self.joined == 0 {
            return Error::e_explain(
                ErrorType::InternalError,
                "body is too large to cache and nobody reads it",
            );
        }
        self.trim(&fill.budget);
        Ok(unkept)
    }

    fn stop_keeping(&mut self, why: Unkept, budget: &Budget) -> Unkept {
        self.kept = false;
        self.trim(budget);
        why
    }

    /// Makes room in the tail for at least one byte; false where the budget forbids it.
    fn grow(&mut self, wanted: usize, fill: &Fill) -> bool {
        if self.tail_capacity == SEGMENT_BYTES {
            self.segments
                .push_back(Bytes::from(std::mem::take(&mut self.tail)));
            self.tail_capacity = 0;
        }
        let announced = fill
            .expected
            .map_or(0, |expected| expected.saturating_sub(self.len));
        let least = if announced == 0 { TAIL_BYTES_MIN } else { 1 };
        let capacity = (self.tail_capacity * 2)
            .max(self.tail_capacity.saturating_add(wanted.max(announced)))
            .clamp(least, SEGMENT_BYTES);
        let more = (capacity - self.tail_capacity) as u64;
        let purpose = if self.kept {
            Purpose::Keep
        } else {
            Purpose::Carry
        };
        if !fill.budget.charge(more, purpose) {
            return false;
        }
        self.charged += more;
        self.tail.reserve_exact(capacity - self.tail.len());
        self.tail_capacity = capacity;
        true
    }

    fn complete(&mut self, expected: Option<usize>) -> Completion {
        if self.progress != Progress::Filling
            || expected.is_some_and(|expected| expected != self.len)
        {
            return Completion::Truncated;
        }
        self.progress = Progress::Complete;
        if !self.tail.is_empty() {
            let mut tail = std::mem::take(&mut self.tail);
            tail.shrink_to_fit();
            self.segments.push_back(Bytes::from(tail));
        }
        if !self.kept {
            return Completion::NotKept;
        }
        Completion::Stored(Body {
            segments: self.segments.iter().cloned().collect(),
            len: self.len,
        })
    }

    fn clear(&mut self, progress: Progress, budget: &Budget) {
        self.progress = progress;
        self.kept = false;
        self.segments = VecDeque::new();
        self.tail = Vec::new();
        self.tail_capacity = 0;
        budget.release(std::mem::take(&mut self.charged));
    }

    fn read(&self, position: usize) -> Result<Step> {
        if self.progress == Progress::Failed {
            return Error::e_explain(
                ErrorType::InternalError,
                "cache fill ended before its body was whole",
            );
        }
        let (number, offset) = (position / SEGMENT_BYTES, position % SEGMENT_BYTES);
        let Some(index) = number.checked_sub(self.freed) else {
            return Error::e_explain(
                ErrorType::InternalError,
                "reader fell behind a body too large to cache",
            );
        };
        if position >= self.len {
            return Ok(if self.progress == Progress::Complete {
                Step::End
            } else {
                Step::Wait
            });
        }
        match self.segments.get(index) {
            Some(segment) => Ok(Step::Data(segment.slice(offset..))),
            // The tail may still move when it grows, so a reader gets a copy of what is there.
            None => Ok(Step::Data(Bytes::copy_from_slice(
                self.tail.get(offset..).unwrap_or_default(),
            ))),
        }
    }

    /// Frees what nobody may still read of a body that is not kept.
    fn trim(&mut self, budget: &Budget) {
        if self.kept || self.progress == Progress::Failed {
            return;
        }
        let lag = if self.joined == 0 {
            0
        } else {
            JOINED_LAG_BYTES_MAX
        };
        let floor = self.owner.unwrap_or(self.len).saturating_sub(lag);
        while (self.freed + 1) * SEGMENT_BYTES <= floor && self.segments.pop_front().is_some() {
            self.freed += 1;
            let bytes = self.charged.min(SEGMENT_BYTES as u64);
            self.charged -= bytes;
            budget.release(bytes);
        }
    }
}
