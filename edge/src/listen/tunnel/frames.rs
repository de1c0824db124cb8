//! Where the frames of one direction of a WebSocket connection begin and end (RFC 6455, 5.2).
//!
//! Only lengths and opcodes are followed: enough to know when a frame of our own may be written.

use bytes::{BufMut, Bytes, BytesMut};

/// Two bytes, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;
const CLOSE: u8 = 0x8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// RFC 6455, 5.5: a control frame has a length of one byte; two of them are the code.
const REASON_BYTES_MAX: usize = 123;

/// Position in a stream of frames.
#[derive(Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    payload_left: u64,
    closed: bool,
}

impl Frames {
    /// Whether a frame could begin here.
    pub(super) fn is_between(&self) -> bool {
        self.head_bytes == 0 && self.payload_left == 0
    }

    /// A Close frame came by: nothing may follow it (RFC 6455, 5.5.1).
    pub(super) fn has_closed(&self) -> bool {
        self.closed
    }

    /// Follow all of `data`.
    pub(super) fn pass(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let passed = self.pass_frame(data);
            data = data.get(passed..).unwrap_or(&[]);
        }
    }

    /// Follow `data` to the end of the frame it is in; returns how much that was.
    pub(super) fn pass_frame(&mut self, data: &[u8]) -> usize {
        let mut passed = 0;
        while self.payload_left == 0 {
            let Some(byte) = data.get(passed) else {
                return passed;
            };
            passed += 1;
            if let Some(slot) = self.head.get_mut(self.head_bytes) {
                *slot = *byte;
            }
            self.head_bytes += 1;
            if let Some(length) = self.length() {
                self.closed |= self.head.first().is_some_and(|first| first & 0xf == CLOSE);
                self.head_bytes = 0;
                self.payload_left = length;
                if length == 0 {
                    return passed;
                }
            }
        }
        let rest = data.len() - passed;
        let payload = usize::try_from(self.payload_left).map_or(rest, |left| left.min(rest));
        self.payload_left -= payload as u64;
        passed + payload
    }

    /// Of the payload, once the head is whole.
    fn length(&self) -> Option<u64> {
        let head = self.head.get(..self.head_bytes)?;
        let second = *head.get(1)?;
        let (length_bytes, short) = match second & 0x7f {
            126 => (2, None),
            127 => (8, None),
            length => (0, Some(u64::from(length))),
        };
        let mask_bytes = if second & MASKED == 0 { 0 } else { 4 };
        if head.len() < 2 + length_bytes + mask_bytes {
            return None;
        }
        let long = head.get(2..2 + length_bytes)?.iter();
        Some(short.unwrap_or_else(|| long.fold(0, |length, byte| length << 8 | u64::from(*byte))))
    }
}

/// A Close frame with this code and reason, as servers send it.
pub(super) fn close(code: u16, reason: &str) -> Bytes {
    frame(code, reason, None)
}

/// The same as clients send it: masked (RFC 6455, 5.3).
pub(super) fn masked_close(code: u16, reason: &str, mask: [u8; 4]) -> Bytes {
    frame(code, reason, Some(mask))
}

fn frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Bytes {
    let reason = reason.as_bytes();
    let reason = reason.get(..REASON_BYTES_MAX).unwrap_or(reason);
    let mut payload: Vec<u8> = code.to_be_bytes().to_vec();
    payload.extend(reason);
    let length = u8::try_from(payload.len()).unwrap_or(0);
    let mut frame = BytesMut::with_capacity(HEAD_BYTES_MAX + payload.len());
    frame.put_u8(FINAL | CLOSE);
    match mask {
        None => frame.put_u8(length),
        Some(mask) => {
            frame.put_u8(MASKED | length);
            frame.put_slice(&mask);
            for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= key;
            }
        }
    }
    frame.put_slice(&payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(opcode: u8, payload: &[u8], mask: bool, wide: bool) -> Vec<u8> {
        let mask_bit = if mask { MASKED } else { 0 };
        let mut out = vec![FINAL | opcode];
        match payload.len() {
            length if wide => {
                out.push(127 | mask_bit);
                out.extend((length as u64).to_be_bytes());
            }
            length @ ..126 => out.push(length as u8 | mask_bit),
            length => {
                out.push(126 | mask_bit);
                out.extend((length as u16).to_be_bytes());
            }
        }
        if mask {
            out.extend([1, 2, 3, 4]);
        }
        out.extend(payload);
        out
    }

    #[test]
    fn a_close_frame_is_one_frame() {
        for frame in [
            close(1001, "going away"),
            masked_close(1008, "", [9, 8, 7, 6]),
        ] {
            let mut frames = Frames::default();
            assert_eq!(frames.pass_frame(&frame), frame.len());
            assert!(frames.is_between() && frames.has_closed());
        }
        assert_eq!(close(1001, "a")[..], [0x88, 3, 0x03, 0xe9, b'a']);
        let masked = masked_close(1001, "a", [1, 2, 3, 4]);
        assert_eq!(
            masked[..],
            [0x88, 0x83, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2, b'a' ^ 3]
        );
    }

    #[test]
    fn a_reason_that_is_too_long_is_cut() {
        assert_eq!(close(1000, &"x".repeat(200)).len(), 2 + 125);
    }

    proptest! {
        #[test]
        fn boundaries_are_found(
            written_frames in proptest::collection::vec(
                (0_u8..8, proptest::collection::vec(any::<u8>(), 0..300), any::<bool>(), any::<bool>()), 0..8),
            cuts in proptest::collection::vec(1_usize..40, 0..60),
        ) {
            let mut stream = Vec::new();
            let mut ends = vec![0];
            for (opcode, payload, mask, wide) in &written_frames {
                stream.extend(written(*opcode, payload, *mask, *wide));
                ends.push(stream.len());
            }
            let mut frames = Frames::default();
            let mut at = 0;
            for cut in cuts {
                let piece = &stream[at..(at + cut).min(stream.len())];
                frames.pass(piece);
                at += piece.len();
                prop_assert_eq!(frames.is_between(), ends.contains(&at));
            }
            let next = ends.iter().find(|end| **end >= at && (**end > at || !frames.is_between()));
            if let Some(next) = next {
                prop_assert_eq!(frames.pass_frame(&stream[at..]), next - at);
            }
            prop_assert!(!frames.has_closed());
        }

        #[test]
        fn any_bytes_are_taken(stream in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut whole = Frames::default();
            whole.pass(&stream);
            let mut pieces = Frames::default();
            for byte in &stream {
                pieces.pass(&[*byte]);
            }
            prop_assert_eq!(whole.is_between(), pieces.is_between());
        }
    }
}
