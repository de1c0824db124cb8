//! What a client's frames cost us, against what its connection is worth.
//!
//! Frames that make work and bring nothing (PING, SETTINGS, PRIORITY, resets, empty DATA) draw on a
//! budget; answers that we send, and time, fill it again. Counting attacks one by one (rapid reset,
//! PING flood, the next one) misses the one that nobody has named yet; the budget holds for all.
//!
//! It also ends the h2 crate's turn: that reads frames for as long as there are any, and requests
//! would pile up meanwhile, each with its decoded head.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use h2::Reason;
use tokio::time::Instant;

use super::frames::{self, END_STREAM_OR_ACK, Frames, Head};

/// What a new connection may spend at once, and what it can save.
const BUDGET: u32 = 2_000;
/// Earned by every second: keep-alive PINGs and cancelled requests of a connection without answers.
const EARNED_PER_SECOND: u32 = 200;
/// Earned by each head of an answer: pays for the request, its WINDOW_UPDATEs and a cancelled one.
const EARNED_BY_HEADERS: u32 = 12;
/// Earned by each DATA frame of an answer: clients send up to two WINDOW_UPDATEs for it, and some a
/// PING to measure the path.
const EARNED_BY_DATA: u32 = 4;

/// A stream that lived for less than a second or so: a request that was made for nothing.
const COST_OF_YOUNG_RESET: u32 = 10;
/// Each is acknowledged, and one with a window size is applied to every stream.
const COST_OF_SETTINGS: u32 = 20;
/// We ask for no PING but at the drain; the h2 crate logs each of these.
const COST_OF_PING_ACK: u32 = 100;
/// Nobody needs these: DATA without data, heads in pieces, a second GOAWAY.
const COST_OF_ODDITY: u32 = 20;
/// Payload of frames of unknown types is read and thrown away.
const UNKNOWN_BYTES_PER_COST: u32 = 1024;

/// Frames of one turn: the task's other work, and other tasks, come between turns.
const TURN_FRAMES: u32 = 256;
/// Requests of one turn. The head of a request of 16 KiB can decode to 60 KiB of memory.
const TURN_HEADERS: u32 = 8;

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

/// What the guard, inside of the stream, and the loop, around the connection, tell each other.
#[derive(Debug, Default)]
pub(in crate::listen) struct Watch {
    breach: OnceLock<Breach>,
    turn_over: AtomicBool,
    greeted: AtomicBool,
    written: AtomicU64,
}

impl Watch {
    pub(super) fn breach(&self) -> Option<Breach> {
        self.breach.get().copied()
    }

    /// Every request that was read is in the loop's hands: more may be read.
    pub(super) fn end_turn(&self) {
        self.turn_over.store(true, Ordering::Relaxed);
    }

    /// The client's preface is complete: its first SETTINGS came (RFC 9113, 3.4).
    pub(super) fn is_greeted(&self) -> bool {
        self.greeted.load(Ordering::Relaxed)
    }

    /// RFC 9113, 3.4: the first frame is SETTINGS. The h2 crate does not ask for it.
    fn greet(&self, head: Head) -> Result<(), Breach> {
        if self.is_greeted() {
            return Ok(());
        }
        if head.kind != frames::SETTINGS || head.has(END_STREAM_OR_ACK) {
            return Err(Breach::new("h2_protocol_error", Reason::PROTOCOL_ERROR));
        }
        self.greeted.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that were sent to the client so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// One connection's frames in both directions.
#[derive(Debug)]
pub(in crate::listen) struct FrameGuard {
    received: Frames,
    sent: Frames,
    budget: Budget,
    ages: Ages,
    turn_frames: u32,
    turn_headers: u32,
    second: Instant,
    watch: Arc<Watch>,
}

#[derive(Debug)]
struct Budget {
    left: u32,
    spent: [u32; CAUSES],
}

/// Which streams are at least a second old, known without a list of them.
#[derive(Debug, Default)]
struct Ages {
    newest: u32,
    newest_a_second_ago: u32,
    old: u32,
}

impl FrameGuard {
    /// Bytes are counted from the connection preface on.
    pub(in crate::listen) fn new(watch: Arc<Watch>) -> Self {
        Self {
            received: Frames::after_preface(),
            sent: Frames::default(),
            budget: Budget {
                left: BUDGET,
                spent: [0; CAUSES],
            },
            ages: Ages::default(),
            turn_frames: 0,
            turn_headers: 0,
            second: Instant::now(),
            watch,
        }
    }

    /// Whether more may be read now; where not, the task is woken for its next turn, or the
    /// connection is about to be closed.
    pub(in crate::listen) fn may_read(&mut self, cx: &Context<'_>) -> bool {
        if self.watch.breach.get().is_some() {
            return false;
        }
        if self.watch.turn_over.swap(false, Ordering::Relaxed) {
            self.turn_frames = 0;
            self.turn_headers = 0;
        }
        let ended = self.turn_frames >= TURN_FRAMES || self.turn_headers >= TURN_HEADERS;
        if ended {
            cx.waker().wake_by_ref();
        }
        !ended
    }

    /// Bytes from the client. Returns how many of them may be handed on: none from the frame on that
    /// breaks the rules.
    pub(in crate::listen) fn read(&mut self, bytes: &[u8], now: Instant) -> usize {
        self.tick(now);
        let Self {
            received,
            budget,
            ages,
            watch,
            turn_frames,
            turn_headers,
            ..
        } = self;
        received.walk(bytes, |head| {
            *turn_frames += 1;
            *turn_headers += u32::from(head.kind == frames::HEADERS);
            let judged = watch.greet(head).and_then(|()| budget.spend(head, ages));
            if head.kind == frames::HEADERS {
                ages.newest = ages.newest.max(head.stream);
            }
            if let Err(breach) = judged {
                let _ = watch.breach.set(breach);
            }
            judged.is_ok()
        })
    }

    /// Bytes to the client.
    pub(in crate::listen) fn wrote(&mut self, bytes: &[u8]) {
        let budget = &mut self.budget;
        self.sent.walk(bytes, |head| {
            match head.kind {
                frames::HEADERS => budget.earn(EARNED_BY_HEADERS),
                frames::DATA => budget.earn(EARNED_BY_DATA),
                _ => {}
            }
            true
        });
        self.watch
            .written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    fn tick(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.second).as_secs();
        if seconds == 0 {
            return;
        }
        self.second = now;
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.budget.earn(seconds.saturating_mul(EARNED_PER_SECOND));
        self.ages.old = self.ages.newest_a_second_ago;
        self.ages.newest_a_second_ago = self.ages.newest;
    }
}

impl Budget {
    fn earn(&mut self, units: u32) {
        self.left = self.left.saturating_add(units).min(BUDGET);
    }

    fn spend(&mut self, head: Head, ages: &Ages) -> Result<(), Breach> {
        if !head.has_right_length() {
            return Err(Breach::new("h2_protocol_error", Reason::FRAME_SIZE_ERROR));
        }
        let (cause, cost) = cost(head, ages);
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

fn cost(head: Head, ages: &Ages) -> (usize, u32) {
    match head.kind {
        frames::HEADERS => (REQUEST, 1),
        frames::DATA if head.length == 0 && !head.has(END_STREAM_OR_ACK) => (EMPTY, COST_OF_ODDITY),
        frames::DATA => (EMPTY, 0),
        frames::CONTINUATION | frames::GOAWAY => (EMPTY, COST_OF_ODDITY),
        frames::RST_STREAM if head.stream > ages.old => (RESET, COST_OF_YOUNG_RESET),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use std::time::Duration;

    struct Connection {
        guard: FrameGuard,
        watch: Arc<Watch>,
        now: Instant,
    }

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
    }

    fn ping() -> Vec<u8> {
        frame(frames::PING, 0, 0, &[0; 8])
    }

    fn reset(stream: u8) -> Vec<u8> {
        frame(frames::RST_STREAM, 0, stream, &[0; 4])
    }

    impl Connection {
        fn greeted() -> Self {
            let watch = Arc::new(Watch::default());
            let mut this = Self {
                guard: FrameGuard::new(watch.clone()),
                watch,
                now: Instant::now(),
            };
            this.read(frames::PREFACE);
            this.read(&frame(frames::SETTINGS, 0, 0, &[]));
            this.pass(Duration::from_secs(1));
            this
        }

        fn read(&mut self, bytes: &[u8]) -> usize {
            self.guard.read(bytes, self.now)
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        /// How many of these it takes to break the bound.
        fn until_breach(&mut self, bytes: &[u8]) -> (u32, Breach) {
            for number in 1..100_000 {
                self.read(bytes);
                if let Some(breach) = self.watch.breach() {
                    return (number, breach);
                }
            }
            panic!("no bound");
        }
    }

    #[test]
    fn a_budget_is_spent_once() {
        let mut connection = Connection::greeted();
        let (pings, breach) = connection.until_breach(&ping());
        assert_eq!(pings, BUDGET + 1);
        assert_eq!(breach, Breach::calm("h2_ping_flood"));
        assert!(
            !connection
                .guard
                .may_read(&Context::from_waker(Waker::noop()))
        );
    }

    #[test]
    fn time_and_answers_pay() {
        let mut connection = Connection::greeted();
        for _ in 0..10 {
            connection.read(&ping().repeat(usize::try_from(BUDGET / 2).unwrap()));
            connection.pass(Duration::from_secs(5));
        }
        let answer = frame(frames::HEADERS, 0, 1, b"x");
        for _ in 0..10 * BUDGET {
            connection.read(&ping());
            connection.guard.wrote(&answer);
        }
        assert_eq!(connection.watch.breach(), None);
    }

    #[test]
    fn old_streams_may_be_reset() {
        let head = frame(frames::HEADERS, 5, 9, b"x");
        let mut young = Connection::greeted();
        young.read(&head);
        let (resets, breach) = young.until_breach(&reset(9));
        assert_eq!(breach, Breach::calm("h2_reset_flood"));
        assert!(resets <= BUDGET / COST_OF_YOUNG_RESET + 1);
        let mut old = Connection::greeted();
        old.read(&head);
        for _ in 0..2 {
            old.pass(Duration::from_secs(1));
            old.read(&ping());
        }
        assert!(old.until_breach(&reset(9)).0 > 5 * resets);
    }

    #[test]
    fn nothing_is_handed_on_from_a_breach_on() {
        let mut connection = Connection::greeted();
        let bytes = [ping(), frame(frames::PING, 0, 0, &[0; 7]), ping()].concat();
        assert_eq!(connection.read(&bytes), 17);
        let expected = Breach::new("h2_protocol_error", Reason::FRAME_SIZE_ERROR);
        assert_eq!(connection.watch.breach(), Some(expected));
    }

    #[test]
    fn requests_wait_for_the_next_turn() {
        let cx = Context::from_waker(Waker::noop());
        let mut connection = Connection::greeted();
        for stream in 1..=u8::try_from(TURN_HEADERS).unwrap() {
            assert!(connection.guard.may_read(&cx));
            connection.read(&frame(frames::HEADERS, 5, 2 * stream - 1, b"x"));
        }
        assert!(!connection.guard.may_read(&cx));
        connection.watch.end_turn();
        assert!(connection.guard.may_read(&cx));
    }
}
