//! Cuts the bytes of a connection into requests, for whoever reads them.
//!
//! Invariant: a reader is given the body of the request at hand and nothing else, and of that only
//! what was judged. What the client sends beyond it is held until the answer is out: requests in a
//! row (RFC 9112, 9.3.2) cannot be taken for a body, nor for another protocol before the upstream
//! has agreed to one (RFC 9110, 7.8).

use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::chunked::ChunkedBody;
use super::head::{Body, Framing, Head};
use super::refusal::Refusal;
use crate::listen::connection::Tunnel;

/// One read ahead of what was asked for. On the stack, so that a connection that waits holds none.
const READ_BYTES: usize = 8 * 1024;

/// What a reader may have.
#[derive(Default)]
enum Phase {
    /// Everything: HTTP/2, or another protocol after an upgrade.
    #[default]
    Open,
    /// The rest of a body, in bytes.
    Length(u64),
    Chunked(Box<ChunkedBody>),
    /// Nothing more of this request.
    Ended {
        upgrade: bool,
    },
    Refused(Refusal),
}

/// Bytes that came and were not handed out, and how many may be.
#[derive(Default)]
pub(in crate::listen) struct Guard {
    /// At most a head and a read, or a chunked body's last read.
    held: BytesMut,
    phase: Phase,
}

impl Guard {
    /// The bytes that nobody has read yet.
    pub(in crate::listen) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Whether the client still owes some of a body.
    pub(in crate::listen) fn is_in_body(&self) -> bool {
        matches!(self.phase, Phase::Length(_) | Phase::Chunked(_))
    }

    /// Read ahead. Returns the number of bytes; 0 where the client has closed.
    pub(in crate::listen) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        socket: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(socket).poll_read(cx, &mut read))?;
        self.held.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Take a head that is held; what is read from here on is its body.
    pub(in crate::listen) fn begin(&mut self, head: &Head) -> BytesMut {
        let Framing { body, upgrade } = head.framing;
        self.phase = match body {
            Body::Empty => Phase::Ended { upgrade },
            Body::Length(length) => Phase::Length(length),
            Body::Chunked => Phase::Chunked(Box::default()),
        };
        self.held.advance(head.range.start);
        let length = head.range.len();
        // The usual case, in which the buffer need not be shared.
        if self.held.len() == length {
            return mem::take(&mut self.held);
        }
        self.held.split_to(length)
    }

    pub(in crate::listen) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        socket: &mut R,
        tunnel: &Tunnel,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.phase, Phase::Ended { upgrade: true }) && tunnel.is_open() {
            self.phase = Phase::Open;
        }
        match &mut self.phase {
            Phase::Open if self.held.is_empty() => Pin::new(socket).poll_read(cx, buf),
            Phase::Open => {
                self.hand_out(usize::MAX, buf);
                Poll::Ready(Ok(()))
            }
            Phase::Length(left) => {
                let left = *left;
                self.poll_length(left, socket, cx, buf)
            }
            Phase::Chunked(_) => self.poll_chunked(socket, cx, buf),
            Phase::Ended { .. } => self.poll_ended(socket, cx),
            Phase::Refused(refusal) => Poll::Ready(Err(refusal.into_io())),
        }
    }

    /// Move held bytes, at most `max`. Returns how many.
    fn hand_out(&mut self, max: usize, buf: &mut ReadBuf<'_>) -> usize {
        let now = self.held.len().min(max).min(buf.remaining());
        buf.put_slice(self.held.get(..now).unwrap_or(&[]));
        self.held.advance(now);
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        now
    }

    fn poll_length<R: AsyncRead + Unpin>(
        &mut self,
        left: u64,
        socket: &mut R,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.held.is_empty() {
            let mut socket = socket.take(left);
            ready!(Pin::new(&mut socket).poll_read(cx, buf))?;
        } else {
            self.hand_out(usize::try_from(left).unwrap_or(usize::MAX), buf);
        }
        let left = left - (buf.filled().len() - before) as u64;
        self.phase = match left {
            0 => Phase::Ended { upgrade: false },
            left => Phase::Length(left),
        };
        Poll::Ready(Ok(()))
    }

    fn poll_chunked<R: AsyncRead + Unpin>(
        &mut self,
        socket: &mut R,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Phase::Chunked(body) = &mut self.phase else {
            return Poll::Ready(Ok(()));
        };
        let judged = if self.held.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(socket).poll_read(cx, buf))?;
            let read = buf.filled().get(before..).unwrap_or(&[]);
            let judged = body.advance(read);
            let taken = judged.unwrap_or(0);
            self.held
                .extend_from_slice(read.get(taken..).unwrap_or(&[]));
            buf.set_filled(before + taken);
            judged
        } else {
            let now = self.held.len().min(buf.remaining());
            body.advance(self.held.get(..now).unwrap_or(&[]))
                .map(|taken| self.hand_out(taken, buf))
        };
        match (judged, &self.phase) {
            (Err(refusal), _) => {
                self.phase = Phase::Refused(refusal);
                Poll::Ready(Err(refusal.into_io()))
            }
            (Ok(_), Phase::Chunked(body)) if body.is_done() => {
                self.phase = Phase::Ended { upgrade: false };
                Poll::Ready(Ok(()))
            }
            (Ok(_), _) => Poll::Ready(Ok(())),
        }
    }

    /// Whoever reads now only wants to know whether the client is still there. Bytes that come
    /// say that it is, and are held; then there is nothing to wait for until the next request.
    fn poll_ended<R: AsyncRead + Unpin>(
        &mut self,
        socket: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(socket, cx))? {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::http1::head::check;
    use proptest::prelude::*;

    /// Gives its bytes in pieces of these sizes, then the end.
    struct Pieces {
        bytes: Vec<u8>,
        cuts: Vec<usize>,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let cut = self.cuts.pop().unwrap_or(usize::MAX).max(1);
            let now = cut.min(self.bytes.len()).min(buf.remaining());
            buf.put_slice(&self.bytes[..now]);
            self.bytes.drain(..now);
            Poll::Ready(Ok(()))
        }
    }

    /// Reads as Pingora does: each head, its body, and once more to see that nothing follows.
    fn requests(bytes: &[u8], cuts: Vec<usize>, room: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut socket = Pieces {
            bytes: bytes.to_vec(),
            cuts,
        };
        let (mut guard, tunnel) = (Guard::default(), Tunnel::default());
        let mut found = Vec::new();
        loop {
            let head = loop {
                if let Some(head) = check(guard.held()).expect("a good head") {
                    break head;
                }
                match guard.poll_fill(&mut socket, &mut cx) {
                    Poll::Ready(Ok(0)) => return found,
                    Poll::Ready(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            };
            let head = guard.begin(&head).to_vec();
            let mut body = Vec::new();
            loop {
                let mut space = vec![0; room];
                let mut buf = ReadBuf::new(&mut space);
                match guard.poll_read(&mut socket, &tunnel, &mut cx, &mut buf) {
                    Poll::Ready(Ok(())) if buf.filled().is_empty() => break,
                    Poll::Ready(Ok(())) => body.extend(buf.filled()),
                    Poll::Pending => break,
                    Poll::Ready(Err(error)) => panic!("{error}"),
                }
            }
            found.push((head, body));
        }
    }

    fn read_once(guard: &mut Guard, socket: &mut Pieces, tunnel: &Tunnel) -> Poll<Vec<u8>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut space = [0; 64];
        let mut buf = ReadBuf::new(&mut space);
        let read = guard.poll_read(socket, tunnel, &mut cx, &mut buf);
        read.map(|read| {
            read.expect("bytes");
            buf.filled().to_vec()
        })
    }

    #[test]
    fn bytes_after_an_upgrade_wait_for_the_upstream() {
        let mut socket = Pieces {
            bytes: b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\nGET /admin".to_vec(),
            cuts: Vec::new(),
        };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut guard, tunnel) = (Guard::default(), Tunnel::default());
        assert!(guard.poll_fill(&mut socket, &mut cx).is_ready());
        let head = check(guard.held()).expect("good").expect("whole");
        guard.begin(&head);
        assert_eq!(read_once(&mut guard, &mut socket, &tunnel), Poll::Pending);
        tunnel.open();
        let passed = read_once(&mut guard, &mut socket, &tunnel);
        assert_eq!(passed, Poll::Ready(b"GET /admin".to_vec()));
    }

    #[test]
    fn a_tunnel_that_nobody_asked_for_stays_closed() {
        let mut socket = Pieces {
            bytes: b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /admin".to_vec(),
            cuts: Vec::new(),
        };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut guard, tunnel) = (Guard::default(), Tunnel::default());
        assert!(guard.poll_fill(&mut socket, &mut cx).is_ready());
        let head = check(guard.held()).expect("good").expect("whole");
        guard.begin(&head);
        tunnel.open();
        assert_eq!(read_once(&mut guard, &mut socket, &tunnel), Poll::Pending);
    }

    proptest! {
        #[test]
        fn requests_in_a_row_come_apart_where_they_end(
            bodies in proptest::collection::vec((0_u8..3, proptest::collection::vec(any::<u8>(), 1..50)), 0..6),
            cuts in proptest::collection::vec(1_usize..40, 0..80),
            room in 1_usize..200,
        ) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (kind, body) in bodies {
                let (field, body) = match kind {
                    0 => (String::new(), Vec::new()),
                    1 => (format!("content-length: {}\r\n", body.len()), body),
                    _ => {
                        let mut framed = format!("{:x}\r\n", body.len()).into_bytes();
                        framed.extend(body);
                        framed.extend(b"\r\n0\r\n\r\n");
                        ("transfer-encoding: chunked\r\n".to_owned(), framed)
                    }
                };
                let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{field}\r\n").into_bytes();
                bytes.extend(&head);
                bytes.extend(&body);
                expected.push((head, body));
            }
            prop_assert_eq!(requests(&bytes, cuts, room), expected);
        }
    }
}
