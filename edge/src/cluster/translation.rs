//! REST to gRPC as an upstream inside the process.
//!
//! Pingora connects to a pipe in memory and sees an HTTP/1.1 origin, so caching, retries, limits and
//! timeouts hold for REST calls as for any other; the far end is served by the translator, which calls
//! the endpoint. Invariant: a pipe is made once there is a connection to the endpoint.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use palisade_translate::{Near, pipe, serve_connection};
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_error::{Error, ErrorType, OkOrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

use super::connections::{ConnectError, Connections};
use super::descriptors::Descriptors;
use super::unsent::Fate;

/// Makes connections that end in the translator.
pub(super) struct Translation {
    descriptors: Descriptors,
    connections: Arc<Connections>,
}

impl Translation {
    pub(super) fn new(descriptors: Descriptors, connections: Connections) -> Self {
        Self {
            descriptors,
            connections: Arc::new(connections),
        }
    }
}

#[async_trait]
impl Connect for Translation {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let translator = self.descriptors.translator();
        let translator = translator.or_err(ErrorType::SocketError, "no descriptors yet")?;
        let calls = self.connections.take().await.map_err(told)?;
        let (near, far) = pipe();
        let fate = calls.fate();
        let socket = Socket {
            near,
            fate: fate.clone(),
        };
        tokio::spawn(async move {
            let served = tokio::select! {
                biased;
                served = serve_connection(far, translator, calls) => served,
                () = fate.unsent() => return,
            };
            if let Err(error) = served {
                debug!(%error, "a translated request broke off");
            }
        });
        let socket = VirtualSocketStream::new(Box::new(socket));
        Ok(Stream::from(socket))
    }
}

impl std::fmt::Debug for Translation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Translation")
    }
}

/// What Pingora calls it, connecting itself.
fn told(error: ConnectError) -> Box<Error> {
    let kind = match &error {
        ConnectError::Tcp(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
            io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                ErrorType::ConnectNoRoute
            }
            _ => ErrorType::ConnectError,
        },
        ConnectError::Timeout(_) => ErrorType::ConnectTimedout,
        ConnectError::Tls(_) => ErrorType::TLSHandshakeFailure,
        ConnectError::NotHttp2 | ConnectError::Http2(_) => ErrorType::ConnectError,
    };
    Error::because(kind, "connecting for a translated request", error)
}

/// The near end, as Pingora takes it.
#[derive(Debug)]
struct Socket {
    near: Near,
    fate: Arc<Fate>,
}

impl Socket {
    /// A pipe that broke may be a call that was not sent.
    fn why<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &written {
            self.fate.check()?;
        }
        written
    }
}

impl VirtualSocket for Socket {
    /// Those there are mean nothing in memory.
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.near).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() == before {
            self.fate.check()?;
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.near).poll_write(cx, bytes);
        self.why(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.near).poll_write_vectored(cx, bytes);
        self.why(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.near.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.near).poll_flush(cx);
        self.why(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_shutdown(cx)
    }
}
