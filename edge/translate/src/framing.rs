//! Messages with a flag byte and a length before them: gRPC, gRPC-Web and Connect streams alike.
//!
//! Invariant: never holds more than one message of the permitted length and one chunk of its body.

use bytes::{BufMut, Bytes, BytesMut};

/// The flag byte and the length, in four bytes, before each message.
pub(crate) const PREFIX_BYTES: usize = 5;

/// The message is compressed (gRPC, gRPC-Web, Connect).
pub(crate) const COMPRESSED: u8 = 0x01;

/// One message as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) flags: u8,
    pub(crate) bytes: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of `{bytes}` bytes, the limit is `{max}`")]
pub(crate) struct TooLong {
    pub(crate) bytes: usize,
    pub(crate) max: usize,
}

/// Cuts a body into frames.
#[derive(Debug)]
pub(crate) struct Deframer {
    held: BytesMut,
    max: usize,
}

impl Deframer {
    /// `max` bounds a message, without its prefix, in bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            held: BytesMut::new(),
            max,
        }
    }

    /// The next piece of the body. Call [`Self::next`] until it has nothing before pushing more.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.held.is_empty() {
            self.held = BytesMut::from(chunk);
        } else {
            self.held.extend_from_slice(&chunk);
        }
    }

    /// The next whole message.
    ///
    /// # Errors
    /// It announces more than the limit; the body cannot be read on.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, TooLong> {
        let Some((prefix, _)) = self.held.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let [flags, length @ ..] = *prefix;
        let bytes = u32::from_be_bytes(length) as usize;
        if bytes > self.max {
            return Err(TooLong {
                bytes,
                max: self.max,
            });
        }
        let end = PREFIX_BYTES + bytes;
        if self.held.len() < end {
            return Ok(None);
        }
        let bytes = self.held.split_to(end).freeze().split_off(PREFIX_BYTES);
        Ok(Some(Frame { flags, bytes }))
    }

    /// Whether the body may end here.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// A message with its prefix. `None` when its length does not fit there.
pub(crate) fn frame(flags: u8, message: &[u8]) -> Option<Bytes> {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(flags);
    frame.put_u32(u32::try_from(message.len()).ok()?);
    frame.put_slice(message);
    Some(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(
            messages in prop::collection::vec((0_u8..4, prop::collection::vec(any::<u8>(), 0..40)), 0..6),
            cut in 1_usize..50,
        ) {
            let mut body = Vec::new();
            for (flags, message) in &messages {
                body.extend_from_slice(&frame(*flags, message).unwrap());
            }
            let mut deframer = Deframer::new(40);
            let mut seen = Vec::new();
            for chunk in body.chunks(cut) {
                deframer.push(Bytes::copy_from_slice(chunk));
                while let Some(frame) = deframer.next().unwrap() {
                    seen.push((frame.flags, frame.bytes.to_vec()));
                }
            }
            prop_assert!(deframer.is_empty());
            prop_assert_eq!(seen, messages);
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_prefix() {
        let mut deframer = Deframer::new(3);
        deframer.push(Bytes::from_static(&[0, 0, 0, 0, 4]));
        assert_eq!(deframer.next(), Err(TooLong { bytes: 4, max: 3 }));
    }
}
