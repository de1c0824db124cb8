//! What an h3 connection costs us without asking for anything, and when that is too much.
//!
//! Counts are in proportion to requests, not to time: a busy connection may send more of
//! everything, and a quiet one pays for what it sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use h3::error::Code;
use quinn::FrameStats;

use super::quinn_errors;
use crate::listen::Observer;

/// Frames and streams without use: unknown and empty ones, those for push, cancelled sections.
const NOISE_MAX: u64 = 1_024;
/// And so many more for each request: a browser sends two or three PRIORITY_UPDATEs.
const NOISE_PER_REQUEST_MAX: u64 = 16;
/// Requests that ended without a byte of an answer, above as many as were answered: who leaves a
/// page cancels what it still loads, who does nothing else resets rapidly (CVE-2023-44487).
const UNANSWERED_MAX: u64 = 256;
/// Heads that are not whole yet, all together: one that is not a bomb fits into two datagrams, and
/// all streams at once would need no more than a quarter of this.
const HELD_BYTES_MAX: u64 = 1024 * 1024;
/// Between two looks at the frames of QUIC itself.
pub(in crate::listen) const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Frames that carry no data and ask for work, in one such interval.
const IDLE_FRAMES_MAX: u64 = 5_000;

/// One connection's behaviour so far; closes it when it went too far.
pub(in crate::listen) struct Conduct {
    connection: quinn::Connection,
    observer: Arc<dyn Observer>,
    requests: AtomicU64,
    noise: AtomicU64,
    unanswered: AtomicU64,
    held_bytes: AtomicU64,
    idle_frames: AtomicU64,
    closed: AtomicBool,
}

impl Conduct {
    pub(in crate::listen) fn new(
        connection: quinn::Connection,
        observer: Arc<dyn Observer>,
    ) -> Arc<Self> {
        Arc::new(Self {
            connection,
            observer,
            requests: AtomicU64::new(0),
            noise: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
            idle_frames: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// A request stream was opened.
    pub(in crate::listen) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The client sent `amount` of what has no use.
    pub(in crate::listen) fn noise(&self, amount: u64) {
        if amount == 0 {
            return;
        }
        let noise = self.noise.fetch_add(amount, Ordering::Relaxed) + amount;
        let requests = self.requests.load(Ordering::Relaxed);
        if noise > NOISE_MAX + requests.saturating_mul(NOISE_PER_REQUEST_MAX) {
            self.too_much("h3_noise", "too many frames without use");
        }
    }

    /// A request ended without a byte of an answer: cancelled, malformed, or abandoned.
    pub(in crate::listen) fn unanswered(&self) {
        let unanswered = self.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        let requests = self.requests.load(Ordering::Relaxed);
        if unanswered > UNANSWERED_MAX + requests.saturating_sub(unanswered) {
            self.too_much("h3_unanswered", "too many requests without an answer");
        }
    }

    /// A stream holds `now` bytes of a frame that is not whole, after `before`.
    pub(in crate::listen) fn hold(&self, before: u64, now: u64) {
        // Wrapping, as atomics do: what is added on growth is what is taken away later.
        let change = now.wrapping_sub(before);
        let held = self.held_bytes.fetch_add(change, Ordering::Relaxed);
        if now > before && held.wrapping_add(change) > HELD_BYTES_MAX {
            self.too_much("h3_held_bytes", "too much of heads that do not end");
        }
    }

    /// Look at the frames of QUIC; to be called each `CHECK_INTERVAL`.
    pub(in crate::listen) fn check_transport(&self) {
        let now = idle_frames(&self.connection.stats().frame_rx);
        let before = self.idle_frames.swap(now, Ordering::Relaxed);
        if now.saturating_sub(before) > IDLE_FRAMES_MAX {
            self.too_much("quic_noise", "too many frames without data");
        }
    }

    fn too_much(&self, label: &'static str, reason: &'static str) {
        self.end(label, Code::H3_EXCESSIVE_LOAD, reason);
    }

    /// Close for a violation of the protocol.
    pub(in crate::listen) fn close(&self, code: Code, reason: &'static str) {
        self.end("h3_violation", code, reason);
    }

    fn end(&self, label: &'static str, code: Code, reason: &'static str) {
        if !self.closed.swap(true, Ordering::Relaxed) && self.connection.close_reason().is_none() {
            self.observer.connection_refused(label);
            let code = quinn_errors::code(code.value());
            self.connection.close(code, reason.as_bytes());
        }
    }
}

/// Window updates and acknowledgements are left out: they grow with what we send.
fn idle_frames(received: &FrameStats) -> u64 {
    received.ping
        + received.immediate_ack
        + received.new_connection_id
        + received.retire_connection_id
        + received.path_challenge
        + received.path_response
        + received.data_blocked
        + received.stream_data_blocked
        + received.streams_blocked_bidi
        + received.streams_blocked_uni
        + received.crypto
}
