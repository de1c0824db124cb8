//! A downstream TCP or TLS stream, as Pingora's `IO`.
//!
//! Adds what Pingora's own stream lacks: a total deadline and a byte bound for the request
//! head (a client that drips one byte at a time holds a connection for ever otherwise), and
//! the facts of the connection. It never looks at the bytes.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::http2::{FrameGuard, FrameWatch};
use super::socket::Socket;
use super::transport::Transport;
use super::write_buffer::{WriteBuffer, WriteTurn};

/// Bytes a client may send before its request head is complete: Pingora would take a megabyte.
const HEAD_BYTES_MAX: usize = 96 * 1024;

/// One downstream connection.
pub(super) struct DownstreamStream {
    transport: Transport,
    fd: RawFd,
    connection: Arc<Connection>,
    proxy_digest: Arc<ProxyDigest>,
    ssl_digest: Option<Arc<SslDigest>>,
    socket_digest: Arc<SocketDigest>,
    head: Head,
    buffer: WriteBuffer,
    turn: WriteTurn,
    /// Of an HTTP/2 connection; none on HTTP/1.1.
    frames: Option<FrameGuard>,
}

/// Progress of the request head that is being waited for.
struct Head {
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
    /// On a reused connection the clock starts with the first byte: silence is keep-alive, not an attack.
    running: bool,
    bytes: usize,
}

impl DownstreamStream {
    pub(super) fn new(
        transport: Transport,
        connection: Arc<Connection>,
        head_timeout: Duration,
    ) -> Self {
        let fd = transport.socket().as_raw_fd();
        let socket_digest = socket_digest(fd, &connection);
        let ssl_digest = match &transport {
            Transport::Plain(_) => None,
            Transport::Tls(tls) => Some(Arc::new(ssl_digest(tls))),
        };
        connection.head_deadline.arm();
        Self {
            fd,
            proxy_digest: connection.clone().into_digest(),
            connection,
            ssl_digest,
            socket_digest,
            head: Head {
                timeout: head_timeout,
                sleep: Box::pin(tokio::time::sleep(head_timeout)),
                running: true,
                bytes: 0,
            },
            transport,
            buffer: WriteBuffer::default(),
            turn: WriteTurn::default(),
            frames: None,
        }
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    /// What comes is HTTP/2, from its preface on. Its loop has a deadline of its own for that.
    pub(super) fn guard_frames(&mut self) -> Arc<FrameWatch> {
        self.connection.head_deadline.disarm();
        let watch = Arc::new(FrameWatch::default());
        self.frames = Some(FrameGuard::new(watch.clone()));
        watch
    }

    /// For what has to be known before the first byte is handed out.
    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        self.transport.socket_mut()
    }

    /// The end of the connection is awaited, see `socket`.
    pub(super) fn linger(&mut self, tracker: TaskTracker) {
        self.transport.socket_mut().linger(tracker);
    }

    /// Called before each read while the head is awaited.
    fn check_head_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let head = &mut self.head;
        let deadline = &self.connection.head_deadline;
        if deadline.take_armed_again() {
            head.running = false;
            head.bytes = 0;
        }
        if !deadline.is_armed() {
            return Ok(());
        }
        if head.running && head.sleep.as_mut().poll(cx).is_ready() {
            self.transport.socket_mut().abandon();
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "request head took too long",
            ));
        }
        Ok(())
    }

    /// Called after each read while the head is awaited.
    fn count_head_bytes(&mut self, read: usize, cx: &mut Context<'_>) -> io::Result<()> {
        let deadline = &self.connection.head_deadline;
        if read == 0 || !deadline.is_armed() {
            return Ok(());
        }
        let head = &mut self.head;
        head.bytes += read;
        if head.bytes > HEAD_BYTES_MAX {
            self.transport.socket_mut().abandon();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "request head too large",
            ));
        } else if !head.running {
            head.running = true;
            head.sleep.as_mut().reset(Instant::now() + head.timeout);
            let _ = head.sleep.as_mut().poll(cx);
        }
        Ok(())
    }
}

fn socket_digest(fd: RawFd, connection: &Connection) -> Arc<SocketDigest> {
    let digest = SocketDigest::from_raw_fd(fd);
    // Both cells are new: setting them saves two system calls per connection.
    let _ = digest
        .peer_addr
        .set(Some(PingoraAddr::Inet(connection.client)));
    let _ = digest
        .local_addr
        .set(Some(PingoraAddr::Inet(connection.local)));
    Arc::new(digest)
}

fn ssl_digest(tls: &TlsStream<Socket>) -> SslDigest {
    let session = tls.get_ref().1;
    let cipher = session
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str())
        .unwrap_or("unknown");
    let version = super::tls::version_name(session.protocol_version());
    SslDigest::new(cipher, version, None, None, Vec::new())
}

impl AsyncRead for DownstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The h2 codec reads between writes, and always flushes by itself.
        if let Some(frames) = &mut this.frames {
            return frames.poll_read(&mut this.transport, cx, buf);
        }
        this.check_head_deadline(cx)?;
        // The task is about to wait for the client, or for an upstream while it watches the
        // client: nothing may lie here meanwhile. What the socket does not take now stays.
        if !this.buffer.is_empty()
            && let Poll::Ready(Err(error)) = this.buffer.poll_drain(&mut this.transport, cx)
        {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.transport).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = result {
            let read = buf.filled().len() - before;
            this.count_head_bytes(read, cx)?;
        }
        result
    }
}

impl AsyncWrite for DownstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(this.buffer.poll_write(&mut this.transport, cx, buf))?;
        if let Some(frames) = &mut this.frames {
            frames.wrote(buf.get(..written).unwrap_or_default());
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.frames.is_some() && !this.buffer.is_empty() && this.turn.defer(cx) {
            return Poll::Pending;
        }
        ready!(this.buffer.poll_drain(&mut this.transport, cx))?;
        ready!(Pin::new(&mut this.transport).poll_flush(cx))?;
        this.turn.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.buffer.poll_drain(&mut this.transport, cx))?;
        Pin::new(&mut this.transport).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for DownstreamStream {
    async fn shutdown(&mut self) {
        // The client may be gone already; there is nobody to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for DownstreamStream {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for DownstreamStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl_digest.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match &self.transport {
            Transport::Plain(_) => None,
            Transport::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => Some(ALPN::H2),
            Transport::Tls(_) => Some(ALPN::H1),
        }
    }
}

impl GetTimingDigest for DownstreamStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for DownstreamStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.proxy_digest.clone())
    }
}

impl GetSocketDigest for DownstreamStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket_digest.clone())
    }
}

impl Peek for DownstreamStream {}

impl fmt::Debug for DownstreamStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownstreamStream")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
