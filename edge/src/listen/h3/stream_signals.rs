//! What is known of a request stream besides its frames: whether the client still wants the answer,
//! and how the stream ends when nobody finishes it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use h3::error::Code;
use h3::quic::StreamId;
use quinn::VarInt;

/// Resolves when the client stops reading the response, has acknowledged all of it, or is gone.
pub(in crate::listen) type Stopped =
    Pin<Box<dyn Future<Output = Result<Option<VarInt>, quinn::StoppedError>> + Send + Sync>>;

/// What the session needs to know of a request stream.
pub(in crate::listen) struct StreamSignals {
    /// For the session: the client no longer wants the response.
    pub(in crate::listen) stopped: Stopped,
    /// For the drain: the last byte was acknowledged.
    pub(in crate::listen) acknowledged: Stopped,
    pub(in crate::listen) ending: Arc<Ending>,
}

impl StreamSignals {
    /// The head is complete: from here on the session ends the stream.
    pub(in crate::listen) fn head_complete(&self) {
        self.ending.head_complete.store(true, Ordering::Relaxed);
    }
}

/// How the sending direction of a request ends when nobody finishes it.
#[derive(Default)]
pub(in crate::listen) struct Ending {
    /// Until then only the h3 crate writes: a whole answer to a head that is too large.
    head_complete: AtomicBool,
    /// The answer was ended as it should.
    finished: AtomicBool,
    /// What the client violated; 0 for nothing.
    violated: AtomicU64,
}

impl Ending {
    pub(in crate::listen) fn is_head_complete(&self) -> bool {
        self.head_complete.load(Ordering::Relaxed)
    }

    pub(in crate::listen) fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    /// Only then is there something to acknowledge: quinn tells nobody that a reset was.
    pub(in crate::listen) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    pub(in crate::listen) fn violate(&self, code: Code) {
        self.violated.store(code.value(), Ordering::Relaxed);
    }

    pub(in crate::listen) fn violated(&self) -> Option<u64> {
        Some(self.violated.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }
}

/// Signals of accepted streams until the session takes them.
#[derive(Clone, Default)]
pub(in crate::listen) struct Streams(Arc<Mutex<HashMap<StreamId, StreamSignals>>>);

impl Streams {
    pub(in crate::listen) fn take(&self, id: StreamId) -> Option<StreamSignals> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id)
    }

    pub(in crate::listen) fn put(&self, id: StreamId, signals: StreamSignals) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, signals);
    }
}
