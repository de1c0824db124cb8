//! A TCP socket that is closed without losing what it still has to send.
//!
//! Closing a socket while the client is sending makes the kernel answer with a reset, and what
//! still waits in its send buffer is gone: h2 clients send window updates to the last byte. So a
//! socket that we end first is half closed and read from until the client closes, for a while.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::caps::{AddressPlace, Place};

/// How long a client may take to read the rest and close.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// What is thrown away of a client that goes on sending: not all of an upload or a flood.
const LINGER_BYTES_MAX: usize = 512 * 1024;
/// So much of it at once, and the pause until the next: a client that sends faster than it reads
/// must find the time to read what we sent last.
const LINGER_READ_BYTES: usize = 16 * 1024;
const LINGER_PAUSE: Duration = Duration::from_millis(20);

/// Of a connection, and of the address it comes from.
pub(super) type Places = (Place, Option<AddressPlace>);

/// The socket and what is held for as long as it is open.
pub(super) struct Socket {
    tcp: Option<TcpStream>,
    fd: RawFd,
    /// The client has closed its side, or the connection broke.
    ended: bool,
    /// Set once the connection is worth a proper end: not for failed handshakes.
    lingers: Option<TaskTracker>,
    places: Option<Places>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, places: Places) -> Self {
        let fd = tcp.as_raw_fd();
        Self {
            tcp: Some(tcp),
            fd,
            ended: false,
            lingers: None,
            places: Some(places),
        }
    }

    /// Small responses must not wait for the client's acknowledgement. Returns our own address.
    pub(super) fn prepare(&self) -> io::Result<SocketAddr> {
        let tcp = self.tcp.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        tcp.set_nodelay(true)?;
        tcp.local_addr()
    }

    /// From here on the end is awaited, by a task that the drain waits for.
    pub(super) fn linger(&mut self, tracker: TaskTracker) {
        self.lingers = Some(tracker);
    }

    /// A client that broke a bound is owed nothing.
    pub(super) fn abandon(&mut self) {
        self.lingers = None;
    }

    fn tcp(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        match &mut self.tcp {
            Some(tcp) => Ok(Pin::new(tcp)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let (Some(tcp), Some(tracker), false) = (self.tcp.take(), self.lingers.take(), self.ended)
        else {
            return;
        };
        let places = self.places.take();
        // Outside of a runtime the process is ending, and the kernel does what it can.
        if tokio::runtime::Handle::try_current().is_ok() {
            tracker.spawn(async move {
                let _ = tokio::time::timeout(LINGER_TIMEOUT, until_closed(tcp)).await;
                drop(places);
            });
        }
    }
}

async fn until_closed(mut tcp: TcpStream) -> io::Result<()> {
    tcp.shutdown().await?;
    let mut discarded = vec![0; LINGER_READ_BYTES];
    let mut total = 0;
    while total < LINGER_BYTES_MAX {
        match tcp.read(&mut discarded).await? {
            0 => break,
            read => total += read,
        }
        tokio::time::sleep(LINGER_PAUSE).await;
    }
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(self.tcp()?.poll_read(cx, buf));
        if result.is_err() || (buf.filled().len() == before && buf.remaining() > 0) {
            self.ended = true;
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tcp()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_shutdown(cx)
    }
}
