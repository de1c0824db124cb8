//! A downstream TCP or TLS stream, as Pingora's `IO`.
//!
//! Adds what Pingora's own stream lacks: a guard in the way of what is read, writes that wait for
//! each other, and the facts of the connection.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::Recalled;
use super::connection::Connection;
use super::http1::guard::Guard;
use super::http2::{FrameGuard, FrameWatch};
use super::socket::Socket;
use super::transport::Transport;
use super::write_buffer::{WriteBuffer, WriteTurn};

/// One downstream connection.
pub(super) struct DownstreamStream {
    transport: Transport,
    fd: RawFd,
    connection: Arc<Connection>,
    proxy_digest: Arc<ProxyDigest>,
    ssl_digest: Option<Arc<SslDigest>>,
    socket_digest: Arc<SocketDigest>,
    guard: Guard,
    /// Of an HTTP/2 connection; none on HTTP/1.1.
    frames: Option<FrameGuard>,
    buffer: WriteBuffer,
    turn: WriteTurn,
}

impl DownstreamStream {
    pub(super) fn new(transport: Transport, connection: Arc<Connection>) -> Self {
        let fd = transport.socket().as_raw_fd();
        let socket_digest = socket_digest(fd, &connection);
        let ssl_digest = match &transport {
            Transport::Plain(_) => None,
            Transport::Tls(tls) => Some(Arc::new(ssl_digest(tls))),
        };
        Self {
            fd,
            proxy_digest: connection.clone().into_digest(),
            connection,
            ssl_digest,
            socket_digest,
            guard: Guard::default(),
            frames: None,
            transport,
            buffer: WriteBuffer::default(),
            turn: WriteTurn::default(),
        }
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    /// What comes is HTTP/2, from its preface on.
    pub(super) fn guard_frames(&mut self) -> Arc<FrameWatch> {
        let watch = Arc::new(FrameWatch::default());
        self.frames = Some(FrameGuard::new(watch.clone()));
        watch
    }

    /// The end of the connection is awaited, see `socket`.
    pub(super) fn linger(&mut self, tracker: TaskTracker) {
        self.transport.socket_mut().linger(tracker);
    }

    /// A client that broke a deadline is owed no proper end.
    pub(super) fn abandon(&mut self) {
        self.transport.socket_mut().abandon();
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    pub(super) fn guard_mut(&mut self) -> &mut Guard {
        &mut self.guard
    }

    /// Read ahead into the guard. Returns the number of bytes; 0 where the client has closed.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.drain_before_waiting(cx)?;
        self.guard.poll_fill(&mut self.transport, cx)
    }

    /// The task is about to wait for the client, or for an upstream while it watches the
    /// client: nothing may lie here meanwhile. What the socket does not take now stays. The
    /// h2 codec reads between writes, and always flushes by itself.
    fn drain_before_waiting(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.frames.is_none()
            && !self.buffer.is_empty()
            && let Poll::Ready(Err(error)) = self.buffer.poll_drain(&mut self.transport, cx)
        {
            return Err(error);
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
        this.drain_before_waiting(cx)?;
        let tunnel = &this.connection.tunnel;
        let Some(frames) = &mut this.frames else {
            if this.connection.recall.poll(cx).is_ready() {
                return Poll::Ready(Err(Recalled.into_io()));
            }
            let is_body = this.guard.is_in_body();
            let read = this.guard.poll_read(&mut this.transport, tunnel, cx, buf);
            if is_body {
                this.connection.body_clock.looked(read.is_pending());
            }
            return read;
        };
        let (guard, transport) = (&mut this.guard, &mut this.transport);
        frames.poll_read(cx, buf, |cx, buf| {
            guard.poll_read(transport, tunnel, cx, buf)
        })
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
