//! A connection in memory, for one request.
//!
//! Invariant: that the near end is gone is noticed even while nobody reads: a service that is behind
//! with an upload stops the reading, and its client could leave without the call ever being cancelled.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::oneshot;

/// What waits in each direction before its writer does, in bytes; what Pingora reads at once.
const BUFFERED_BYTES_MAX: usize = 64 * 1024;

/// Two ends of a new connection.
#[must_use]
pub fn pipe() -> (Near, Far) {
    let (near, far) = duplex(BUFFERED_BYTES_MAX);
    let (held, hung_up) = oneshot::channel();
    let near = Near {
        stream: near,
        _held: held,
    };
    (
        near,
        Far {
            stream: far,
            hung_up,
        },
    )
}

/// The client's end. Dropping it cancels what it asked for.
#[derive(Debug)]
pub struct Near {
    stream: DuplexStream,
    /// Goes with it.
    _held: oneshot::Sender<Infallible>,
}

/// The end that is served.
#[derive(Debug)]
pub struct Far {
    pub(crate) stream: DuplexStream,
    pub(crate) hung_up: oneshot::Receiver<Infallible>,
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
