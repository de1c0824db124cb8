//! Removes empty DATA frames from a request stream, and knows where frames end.
//!
//! The h3 crate takes an empty DATA frame, and an end inside of a frame, for the end of the body:
//! a request cut short would go upstream looking whole. Everything else passes unchanged.

use bytes::{Buf, Bytes, BytesMut};

/// Position in a stream of frames (RFC 9114, 7.1).
#[derive(Default)]
pub(super) struct FrameFilter {
    /// Type and length as far as they came: at most two varints of eight bytes (RFC 9000, 16).
    head: Vec<u8>,
    payload_left: u64,
}

impl FrameFilter {
    /// Whether the stream may end here.
    pub(super) fn is_between(&self) -> bool {
        self.head.is_empty() && self.payload_left == 0
    }

    /// What the reader is shown of a piece. Bytes of a frame head are held back until it is whole.
    pub(super) fn pass(&mut self, input: Bytes) -> Bytes {
        match self.walk(&input) {
            Some(payload_left) => {
                self.payload_left = payload_left;
                input
            }
            None => self.rewrite(input),
        }
    }

    /// Payload that is left after a piece of which everything may pass; none where something may not.
    fn walk(&self, mut input: &[u8]) -> Option<u64> {
        if !self.head.is_empty() {
            return None;
        }
        let mut payload_left = self.payload_left;
        loop {
            let skipped =
                usize::try_from(payload_left).map_or(input.len(), |left| left.min(input.len()));
            payload_left -= skipped as u64;
            input = input.get(skipped..)?;
            if input.is_empty() {
                return Some(payload_left);
            }
            let (kind, rest) = varint(input)?;
            let (length, rest) = varint(rest)?;
            if (kind, length) == (0, 0) {
                return None;
            }
            payload_left = length;
            input = rest;
        }
    }

    fn rewrite(&mut self, mut input: Bytes) -> Bytes {
        let mut out = BytesMut::with_capacity(self.head.len() + input.len());
        while !input.is_empty() {
            if self.payload_left > 0 {
                let now = usize::try_from(self.payload_left)
                    .map_or(input.len(), |left| left.min(input.len()));
                out.extend_from_slice(&input.split_to(now));
                self.payload_left -= now as u64;
                continue;
            }
            self.head.push(input.get_u8());
            let Some((kind, rest)) = varint(&self.head) else {
                continue;
            };
            let Some((length, _)) = varint(rest) else {
                continue;
            };
            if (kind, length) != (0, 0) {
                out.extend_from_slice(&self.head);
            }
            self.payload_left = length;
            self.head.clear();
        }
        out.freeze()
    }
}

/// A variable-length integer and what follows it; none where it is not whole.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
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

    /// Type and length in the width that the top bits of `width` ask for.
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

    fn passed(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
        let mut filter = FrameFilter::default();
        let mut out = Vec::new();
        let mut left = Bytes::copy_from_slice(stream);
        for cut in cuts {
            out.extend(filter.pass(left.split_to((*cut).min(left.len()))));
        }
        out.extend(filter.pass(left));
        (out, filter.is_between())
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
    fn an_untouched_piece_is_not_copied() {
        let input = Bytes::from(frame(0, b"hello", 0));
        let at = input.as_ptr();
        assert_eq!(FrameFilter::default().pass(input).as_ptr(), at);
    }

    proptest! {
        #[test]
        fn only_empty_data_frames_go(
            frames in proptest::collection::vec((0_u64..3, proptest::collection::vec(any::<u8>(), 0..20), 0_u8..4), 0..12),
            cuts in proptest::collection::vec(0_usize..9, 0..60),
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (kind, payload, width) in &frames {
                let frame = frame(*kind, payload, *width);
                stream.extend(&frame);
                if *kind != 0 || !payload.is_empty() {
                    expected.extend(&frame);
                }
            }
            prop_assert_eq!(passed(&stream, &cuts), (expected, true));
        }

        #[test]
        fn any_bytes_are_taken(stream in proptest::collection::vec(any::<u8>(), 0..80), cuts in proptest::collection::vec(0_usize..9, 0..20)) {
            let whole = passed(&stream, &[]);
            prop_assert_eq!(passed(&stream, &cuts).1, whole.1);
        }
    }
}
