//! Frames of a stream as they arrive: judged by type and length before anything is buffered.
//!
//! The h3 crate reads every frame but DATA whole, unknown ones too, before it looks at a size, and
//! takes an empty DATA frame for the end of the body. Here each frame is passed on, left out, or
//! held until it is whole, as `frame_rules` says; what is passed on is not copied.

use std::collections::VecDeque;

use bytes::Bytes;
use h3::error::Code;

use super::frame_rules::Rules;

/// Type and length: two varints of at most eight bytes (RFC 9000, 16).
const FRAME_HEAD_BYTES_MAX: usize = 16;

/// What a peer did that it must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// Ends its stream (RFC 9114, 8).
    Stream(Code),
    /// Ends its connection; with the reason that CONNECTION_CLOSE carries.
    Connection(Code, &'static str),
}

/// What becomes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// To the reader as it comes.
    Pass,
    /// The reader never sees it.
    Skip,
    /// Kept until it is whole, then judged again.
    Hold,
    /// The reader gets this, and then the end of the stream.
    Instead(Bytes),
}

/// Position in a stream of frames (RFC 9114, 7.1).
pub(super) struct FrameFilter {
    rules: Rules,
    /// Type and length of the next frame as far as they came.
    head: Vec<u8>,
    kind: u64,
    fate: Fate,
    payload_left: u64,
    /// A held frame, with its head.
    held: Vec<u8>,
    held_head_bytes: usize,
    /// For the reader, in order.
    pieces: VecDeque<Bytes>,
    ended: bool,
}

impl FrameFilter {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            head: Vec::new(),
            kind: 0,
            fate: Fate::Pass,
            payload_left: 0,
            held: Vec::new(),
            held_head_bytes: 0,
            pieces: VecDeque::new(),
            ended: false,
        }
    }

    /// Bytes that do not come from the stream, ahead of those that do.
    pub(super) fn put_first(&mut self, piece: Bytes) {
        self.pieces.push_front(piece);
    }

    /// The next piece for the reader.
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        self.pieces.pop_front()
    }

    /// Whether the reader must be told that the stream has ended, whatever still comes.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the stream may end here.
    pub(super) fn is_between(&self) -> bool {
        self.head.is_empty() && self.payload_left == 0
    }

    /// Of a frame that is not whole.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held.len() as u64
    }

    /// Frames without use since the last call, with one more for each KiB of theirs.
    pub(super) fn take_noise(&mut self) -> u64 {
        self.rules.take_noise()
    }

    /// Judge a piece of the stream; what is left of it comes out of `next_piece`.
    pub(super) fn take(&mut self, mut input: Bytes) -> Result<(), Violation> {
        // How much of the input's beginning goes on as it is.
        let mut passed = 0;
        while passed < input.len() && !self.ended {
            if self.payload_left == 0 {
                passed = self.read_head(&mut input, passed)?;
                continue;
            }
            let here = input.len() - passed;
            let here = usize::try_from(self.payload_left).map_or(here, |left| left.min(here));
            self.payload_left -= here as u64;
            if self.fate == Fate::Pass {
                passed += here;
                continue;
            }
            self.pass(&mut input, passed);
            passed = 0;
            let payload = input.split_to(here);
            if self.fate == Fate::Hold {
                self.hold(&payload);
                self.release()?;
            }
        }
        if !self.ended {
            self.pass(&mut input, passed);
        }
        Ok(())
    }

    /// The first `length` bytes of the input go to the reader.
    fn pass(&mut self, input: &mut Bytes, length: usize) {
        if length > 0 {
            self.pieces.push_back(input.split_to(length));
        }
    }

    /// Read type and length at `at`; returns how much of the input's beginning goes on now.
    fn read_head(&mut self, input: &mut Bytes, at: usize) -> Result<usize, Violation> {
        let known = self.head.len();
        let more = input.get(at..).unwrap_or(&[]);
        let more = more.get(..FRAME_HEAD_BYTES_MAX - known).unwrap_or(more);
        self.head.extend_from_slice(more);
        let Some((kind, length, head_bytes)) = frame_head(&self.head) else {
            // Then this is all there is: sixteen bytes are always enough.
            self.pass(input, at);
            input.clear();
            return Ok(0);
        };
        self.head.truncate(head_bytes);
        let here = head_bytes - known;
        self.fate = self.rules.begin(kind, length)?;
        (self.kind, self.payload_left) = (kind, length);
        if self.fate == Fate::Pass && known == 0 {
            self.head.clear();
            return Ok(at + here);
        }
        self.pass(input, at);
        let _ = input.split_to(here);
        let head = std::mem::take(&mut self.head);
        match &mut self.fate {
            Fate::Pass => self.pieces.push_back(head.into()),
            Fate::Skip => {}
            Fate::Hold => {
                self.hold(&head);
                self.held_head_bytes = head.len();
                self.release()?;
            }
            Fate::Instead(piece) => {
                self.pieces.push_back(std::mem::take(piece));
                self.ended = true;
            }
        }
        Ok(0)
    }

    /// Room grows with what came and never beyond the frame: many clients hold many of them.
    fn hold(&mut self, bytes: &[u8]) {
        if self.held.capacity() - self.held.len() < bytes.len() {
            let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
            let needed = bytes.len().saturating_add(left);
            let doubled = self.held.len().max(bytes.len());
            self.held.reserve_exact(doubled.min(needed));
        }
        self.held.extend_from_slice(bytes);
    }

    /// Judge a held frame once it is whole.
    fn release(&mut self) -> Result<(), Violation> {
        if self.payload_left > 0 {
            return Ok(());
        }
        let frame = Bytes::from(std::mem::take(&mut self.held));
        let payload = frame.get(self.held_head_bytes..).unwrap_or(&[]);
        if self.rules.end(self.kind, payload)? {
            let shown = self.rules.stand_in(payload);
            self.pieces.push_back(shown.unwrap_or(frame));
        }
        Ok(())
    }
}

/// Type, length, and the bytes that they took; none where they are not whole.
fn frame_head(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let (kind, rest) = varint(bytes)?;
    let (length, rest) = varint(rest)?;
    Some((kind, length, bytes.len() - rest.len()))
}

/// A variable-length integer and what follows it; none where it is not whole.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let rest_of_number = number.get(1..).unwrap_or(&[]).iter();
    let value = rest_of_number.fold(u64::from(first & 0x3f), |value, byte| {
        value << 8 | u64::from(*byte)
    });
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A section of one line, `:method: GET` (RFC 9204, appendix A, 17).
    const HEAD: [u8; 3] = [0, 0, 0xd1];
    const UNKNOWN: u64 = 0x21;

    fn request() -> FrameFilter {
        FrameFilter::new(Rules::request(1024))
    }

    /// In the width that the top bits of `width` ask for.
    fn number(value: u64, width: u8) -> Vec<u8> {
        let length = 1_usize << (width & 3);
        let bytes = value.to_be_bytes();
        let mut bytes = bytes[8 - length..].to_vec();
        bytes[0] |= (width & 3) << 6;
        bytes
    }

    fn frame(kind: u64, payload: &[u8], width: u8) -> Vec<u8> {
        let mut frame = number(kind, width);
        frame.extend(number(payload.len() as u64, width));
        frame.extend(payload);
        frame
    }

    /// What the reader gets, and whether the stream may end there.
    fn passed(stream: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool), Violation> {
        let mut filter = request();
        let mut left = Bytes::copy_from_slice(stream);
        for cut in cuts {
            filter.take(left.split_to((*cut).min(left.len())))?;
        }
        filter.take(left)?;
        let mut out = Vec::new();
        while let Some(piece) = filter.next_piece() {
            out.extend(piece);
        }
        Ok((out, filter.is_between()))
    }

    #[test]
    fn numbers_of_every_width() {
        for (bytes, value) in [
            (&[0x25][..], 37),
            (&[0x7b, 0xbd], 15_293),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
        ] {
            assert_eq!(varint(bytes), Some((value, &[][..])));
            assert_eq!(varint(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn a_body_is_not_copied() {
        let mut filter = request();
        filter.take(frame(1, &HEAD, 0).into()).expect("a head");
        filter.next_piece().expect("a head");
        let input = Bytes::from(frame(0, b"hello", 0));
        let at = input.as_ptr();
        filter.take(input).expect("a body");
        assert_eq!(filter.next_piece().expect("a body").as_ptr(), at);
    }

    #[test]
    fn a_head_over_the_bound_is_refused_by_its_length() {
        let mut filter = request();
        let mut begin = number(1, 0);
        begin.extend(number(1025, 1));
        filter.take(begin.into()).expect("an answer is possible");
        assert!(filter.has_ended());
        assert!(filter.next_piece().is_some_and(|piece| piece.len() < 100));
    }

    proptest! {
        #[test]
        fn only_what_says_nothing_goes(
            frames in proptest::collection::vec((prop_oneof![Just(0), Just(UNKNOWN)], proptest::collection::vec(any::<u8>(), 0..20), 0_u8..4), 0..12),
            trailers in any::<bool>(),
            cuts in proptest::collection::vec(0_usize..9, 0..60),
        ) {
            let mut stream = frame(1, &HEAD, 1);
            let mut expected = stream.clone();
            for (kind, payload, width) in &frames {
                let frame = frame(*kind, payload, *width);
                stream.extend(&frame);
                if *kind == 0 && !payload.is_empty() {
                    expected.extend(&frame);
                }
            }
            if trailers {
                stream.extend(frame(1, &[0, 0], 2));
            }
            prop_assert_eq!(passed(&stream, &cuts), Ok((expected, true)));
        }

        #[test]
        fn cuts_change_nothing(stream in proptest::collection::vec(any::<u8>(), 0..80), cuts in proptest::collection::vec(0_usize..9, 0..20)) {
            prop_assert_eq!(passed(&stream, &cuts), passed(&stream, &[]));
        }
    }
}
