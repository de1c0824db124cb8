//! Fewer, larger writes: what is written together should leave together.
//!
//! HTTP/1.1: head and body of an answer are two writes of Pingora's, each a TLS record and a
//! system call; here they wait for each other. HTTP/2: the codec writes each larger DATA frame by
//! itself and flushes as soon as one stream has a frame; here frames share a record, and the other
//! ready streams get a turn before the flush. Neither holds anything back while the task waits for
//! something else (DECISIONS.md, 11).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// One TLS record (RFC 8446, 5.1). Larger pieces pass by without being copied.
const BUFFER_BYTES: usize = 16 * 1024;

/// What was written to us and not yet to the socket.
#[derive(Default)]
pub(super) struct WriteBuffer {
    data: Vec<u8>,
    written: usize,
}

impl WriteBuffer {
    /// Take `data`, or hand it on where it does not fit.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut W,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.data.len() + data.len() > BUFFER_BYTES {
            ready!(self.poll_drain(socket, cx))?;
            if data.len() > BUFFER_BYTES {
                return Pin::new(socket).poll_write(cx, data);
            }
        }
        self.data.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    /// Ready when nothing is left here.
    pub(super) fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .data
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let written = ready!(Pin::new(&mut *socket).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        // An idle connection keeps no buffer.
        self.data = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// Leaves a flush for the task's next turn, which is soon.
#[derive(Default)]
pub(super) struct WriteTurn {
    waited: bool,
}

impl WriteTurn {
    /// True when the flush should wait.
    pub(super) fn defer(&mut self, cx: &mut Context<'_>) -> bool {
        if self.waited {
            return false;
        }
        self.waited = true;
        cx.waker().wake_by_ref();
        true
    }

    /// All was handed to the socket: the next flush ends another batch.
    pub(super) fn flushed(&mut self) {
        self.waited = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes a few bytes at a time, and every other call nothing.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        calls: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                return Poll::Pending;
            }
            let taken = data.len().min(5_000);
            self.taken.extend_from_slice(&data[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn every_byte_leaves_once_and_in_order(pieces in proptest::collection::vec((any::<u8>(), 0_usize..40_000, any::<bool>()), 0..12)) {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let (mut buffer, mut socket, mut expected) = (WriteBuffer::default(), Narrow::default(), Vec::new());
            for (byte, length, flush) in pieces {
                let piece = vec![byte; length];
                let mut left = &piece[..];
                while !left.is_empty() {
                    if let Poll::Ready(written) = buffer.poll_write(&mut socket, &mut cx, left) {
                        left = &left[written.unwrap()..];
                    }
                }
                expected.extend(piece);
                while flush && buffer.poll_drain(&mut socket, &mut cx).is_pending() {}
            }
            while buffer.poll_drain(&mut socket, &mut cx).is_pending() {}
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(socket.taken, expected);
        }
    }

    #[test]
    fn small_pieces_share_a_write() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut buffer, mut socket) = (WriteBuffer::default(), Narrow::default());
        for piece in [b"head".as_slice(), b"body"] {
            assert!(buffer.poll_write(&mut socket, &mut cx, piece).is_ready());
        }
        assert_eq!(socket.calls, 0);
        assert!(buffer.poll_drain(&mut socket, &mut cx).is_ready());
        assert_eq!((socket.calls, socket.taken), (1, b"headbody".to_vec()));
    }
}
