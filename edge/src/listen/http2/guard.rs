//! In the way of an HTTP/2 connection's bytes: every frame is paid for from a budget, and from the
//! first one on that cannot be, nothing is handed on.
//!
//! It also ends the h2 crate's turn: that reads frames for as long as there are any, and requests
//! would pile up meanwhile, each with its decoded head.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use h2::Reason;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::budget::{Breach, Budget};
use super::frames::{self, END_STREAM_OR_ACK, Frames, Head};

/// Frames of one turn: the task's other work, and other tasks, come between turns.
const TURN_FRAMES: u32 = 256;
/// Requests of one turn. The head of a request of 16 KiB can decode to 60 KiB of memory.
const TURN_HEADERS: u32 = 8;

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
    turn_frames: u32,
    turn_headers: u32,
    second: Instant,
    watch: Arc<Watch>,
}

impl FrameGuard {
    /// Bytes are counted from the connection preface on.
    pub(in crate::listen) fn new(watch: Arc<Watch>) -> Self {
        Self {
            received: Frames::after_preface(),
            sent: Frames::default(),
            budget: Budget::default(),
            turn_frames: 0,
            turn_headers: 0,
            second: Instant::now(),
            watch,
        }
    }

    /// Read what may be read, and hand on what may be handed on.
    pub(in crate::listen) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        read: impl FnOnce(&mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if !self.may_read(cx) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        let (length, passed) = (read.len(), self.read(read, Instant::now()));
        buf.set_filled(before + passed);
        // An empty read would be taken for the end of the connection; the loop sees the breach next.
        if passed == 0 && length > 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether more may be read now; where not, the task is woken for its next turn, or the
    /// connection is about to be closed.
    fn may_read(&mut self, cx: &Context<'_>) -> bool {
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
    fn read(&mut self, bytes: &[u8], now: Instant) -> usize {
        self.tick(now);
        let Self {
            received,
            budget,
            watch,
            turn_frames,
            turn_headers,
            ..
        } = self;
        received.walk(bytes, |head| {
            *turn_frames += 1;
            *turn_headers += u32::from(head.kind == frames::HEADERS);
            let judged = watch.greet(head).and_then(|()| budget.spend(head));
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
            budget.earn_by(head);
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
        self.budget.seconds_passed(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::{BUDGET, COST_OF_YOUNG_RESET};
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
