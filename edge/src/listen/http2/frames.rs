//! Where the frames of one direction of an HTTP/2 connection begin (RFC 9113, 4.1).
//!
//! It sees the bytes as they pass, copies none of them and looks into no payload.

/// Length, type, flags and stream identifier.
const HEAD_BYTES: usize = 9;
/// What a client sends before its first frame (RFC 9113, 3.4).
pub(in crate::listen) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;

/// On DATA and HEADERS it ends the stream, on SETTINGS and PING it acknowledges.
pub(super) const END_STREAM_OR_ACK: u8 = 0x1;

/// The head of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of payload, at most 2^24 - 1.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    fn read(bytes: [u8; HEAD_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            // The highest bit is reserved and ignored.
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether frames of this type have such a length (RFC 9113, 6.3 to 6.9). The h2 crate checks
    /// this too, and names another error.
    pub(super) fn has_right_length(&self) -> bool {
        match self.kind {
            PRIORITY => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            SETTINGS if self.has(END_STREAM_OR_ACK) => self.length == 0,
            SETTINGS => self.length.is_multiple_of(6),
            PING => self.length == 8,
            GOAWAY => self.length >= 8,
            _ => true,
        }
    }
}

/// Position in a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Bytes until the next head begins.
    skip: usize,
}

impl Frames {
    /// For what the client sends.
    pub(super) fn after_preface() -> Self {
        Self {
            skip: PREFACE.len(),
            ..Self::default()
        }
    }

    /// Report each head that is complete with these bytes, until one is not accepted. Returns how
    /// many of the bytes lie before that one.
    pub(super) fn walk(&mut self, bytes: &[u8], mut accept: impl FnMut(Head) -> bool) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = rest.get(skipped..).unwrap_or_default();
            let missing = self.head.get_mut(self.head_bytes..).unwrap_or_default();
            let taken = missing.len().min(rest.len());
            let (part, after) = rest.split_at(taken);
            for (to, from) in missing.iter_mut().zip(part) {
                *to = *from;
            }
            let before = bytes.len() - rest.len();
            rest = after;
            self.head_bytes += taken;
            if self.head_bytes == HEAD_BYTES {
                let head = Head::read(self.head);
                self.head_bytes = 0;
                self.skip = usize::try_from(head.length).unwrap_or(usize::MAX);
                if !accept(head) {
                    return before;
                }
            }
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(vec![0xff; length]);
        bytes
    }

    proptest! {
        #[test]
        fn heads_are_found_however_the_bytes_are_cut(
            frames in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u32>(), 0_usize..300), 0..20),
            cuts in proptest::collection::vec(0_usize..40, 0..200),
        ) {
            let mut bytes = PREFACE.to_vec();
            let mut expected = Vec::new();
            for (kind, flags, stream, length) in frames {
                bytes.extend(frame(kind, flags, stream, length));
                let length = u32::try_from(length).unwrap();
                expected.push(Head { length, kind, flags, stream: stream & 0x7fff_ffff });
            }
            let (mut walk, mut found, mut left) = (Frames::after_preface(), Vec::new(), &bytes[..]);
            for cut in cuts {
                let (piece, rest) = left.split_at(cut.min(left.len()));
                let length = piece.len();
                let passed = walk.walk(piece, |head| { found.push(head); true });
                prop_assert_eq!(passed, length);
                left = rest;
            }
            walk.walk(left, |head| { found.push(head); true });
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn nothing_passes_from_a_refused_frame_on() {
        let bytes = [
            frame(PING, 0, 0, 8),
            frame(DATA, 0, 1, 3),
            frame(PING, 0, 0, 8),
        ]
        .concat();
        let is_ping = |head: Head| head.kind == PING;
        assert_eq!(Frames::default().walk(&bytes, is_ping), 17);
        // Cut inside of the head: what was handed out already is no whole frame.
        let mut walk = Frames::default();
        assert_eq!(walk.walk(&bytes[..20], is_ping), 20);
        assert_eq!(walk.walk(&bytes[20..], is_ping), 0);
    }
}
