//! What a client's frames cost us, against what its connection is worth.
//!
//! Frames that make work and bring nothing (PING, SETTINGS, PRIORITY, resets, empty DATA) draw on a
//! budget; answers that we send, and time, fill it again. Counting attacks one by one (rapid reset,
//! PING flood, the next one) misses the one that nobody has named yet; the budget holds for all.

use h2::Reason;

use super::frames::{self, END_STREAM_OR_ACK, Head};

/// What a new connection may spend at once, and what it can save.
pub(super) const BUDGET: u32 = 2_000;
/// Earned by every second: keep-alive PINGs and cancelled requests of a connection without answers.
const EARNED_PER_SECOND: u32 = 200;
/// Earned by each head of an answer: pays for the request, its WINDOW_UPDATEs and a cancelled one.
const EARNED_BY_HEADERS: u32 = 12;
/// Earned by each DATA frame of an answer: clients send up to two WINDOW_UPDATEs for it, and some a
/// PING to measure the path.
const EARNED_BY_DATA: u32 = 4;

/// A stream that lived for less than a second or so: a request that was made for nothing.
pub(super) const COST_OF_YOUNG_RESET: u32 = 10;
/// Each is acknowledged, and one with a window size is applied to every stream.
const COST_OF_SETTINGS: u32 = 20;
/// We ask for no PING but at the drain; the h2 crate logs each of these.
const COST_OF_PING_ACK: u32 = 100;
/// Nobody needs these: DATA without data, heads in pieces, a second GOAWAY.
const COST_OF_ODDITY: u32 = 20;
/// Payload of frames of unknown types is read and thrown away.
const UNKNOWN_BYTES_PER_COST: u32 = 1024;

const CAUSES: usize = 8;
/// As the metric names them.
const CAUSE_NAMES: [&str; CAUSES] = [
    "h2_reset_flood",
    "h2_ping_flood",
    "h2_settings_flood",
    "h2_priority_flood",
    "h2_window_update_flood",
    "h2_empty_frame_flood",
    "h2_request_flood",
    "h2_unknown_frame_flood",
];
const RESET: usize = 0;
const PING: usize = 1;
const SETTINGS: usize = 2;
const PRIORITY: usize = 3;
const WINDOW_UPDATE: usize = 4;
const EMPTY: usize = 5;
const REQUEST: usize = 6;
const UNKNOWN: usize = 7;

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Breach {
    /// The metric's label.
    pub(super) name: &'static str,
    pub(super) reason: Reason,
}

impl Breach {
    pub(super) fn new(name: &'static str, reason: Reason) -> Self {
        Self { name, reason }
    }

    /// A bound was broken that no client at peace comes near.
    pub(super) fn calm(name: &'static str) -> Self {
        Self::new(name, Reason::ENHANCE_YOUR_CALM)
    }
}

/// Of one connection.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    spent: [u32; CAUSES],
    ages: Ages,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: BUDGET,
            spent: [0; CAUSES],
            ages: Ages::default(),
        }
    }
}

impl Budget {
    /// A frame of ours.
    pub(super) fn earn_by(&mut self, sent: Head) {
        match sent.kind {
            frames::HEADERS => self.earn(EARNED_BY_HEADERS),
            frames::DATA => self.earn(EARNED_BY_DATA),
            _ => {}
        }
    }

    /// At least one.
    pub(super) fn seconds_passed(&mut self, seconds: u64) {
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.earn(seconds.saturating_mul(EARNED_PER_SECOND));
        self.ages.second_passed();
    }

    fn earn(&mut self, units: u32) {
        self.left = self.left.saturating_add(units).min(BUDGET);
    }

    /// A frame of the client's.
    pub(super) fn spend(&mut self, head: Head) -> Result<(), Breach> {
        if !head.has_right_length() {
            return Err(Breach::new("h2_protocol_error", Reason::FRAME_SIZE_ERROR));
        }
        let (cause, cost) = cost(head, &self.ages);
        if head.kind == frames::HEADERS {
            self.ages.opened(head.stream);
        }
        if let Some(spent) = self.spent.get_mut(cause) {
            *spent = spent.saturating_add(cost);
        }
        let Some(left) = self.left.checked_sub(cost) else {
            return Err(Breach::calm(self.largest()));
        };
        self.left = left;
        Ok(())
    }

    /// What the budget went for, mostly.
    fn largest(&self) -> &'static str {
        let named = self.spent.iter().zip(CAUSE_NAMES);
        named
            .max_by_key(|(spent, _)| **spent)
            .map_or("h2_flood", |(_, name)| name)
    }
}

/// Which streams are at least a second old, known without a list of them.
#[derive(Debug, Default)]
struct Ages {
    newest: u32,
    newest_a_second_ago: u32,
    old: u32,
}

impl Ages {
    fn opened(&mut self, stream: u32) {
        self.newest = self.newest.max(stream);
    }

    fn second_passed(&mut self) {
        self.old = self.newest_a_second_ago;
        self.newest_a_second_ago = self.newest;
    }

    fn is_young(&self, stream: u32) -> bool {
        stream > self.old
    }
}

fn cost(head: Head, ages: &Ages) -> (usize, u32) {
    match head.kind {
        frames::HEADERS => (REQUEST, 1),
        frames::DATA if head.length == 0 && !head.has(END_STREAM_OR_ACK) => (EMPTY, COST_OF_ODDITY),
        frames::DATA => (EMPTY, 0),
        frames::CONTINUATION | frames::GOAWAY => (EMPTY, COST_OF_ODDITY),
        frames::RST_STREAM if ages.is_young(head.stream) => (RESET, COST_OF_YOUNG_RESET),
        frames::RST_STREAM => (RESET, 1),
        frames::PING if head.has(END_STREAM_OR_ACK) => (PING, COST_OF_PING_ACK),
        frames::PING => (PING, 1),
        frames::SETTINGS if head.has(END_STREAM_OR_ACK) => (SETTINGS, 1),
        frames::SETTINGS => (SETTINGS, COST_OF_SETTINGS),
        frames::PRIORITY => (PRIORITY, 1),
        frames::WINDOW_UPDATE => (WINDOW_UPDATE, 1),
        _ => (UNKNOWN, 1 + head.length / UNKNOWN_BYTES_PER_COST),
    }
}
