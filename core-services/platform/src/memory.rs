//! Connections within the process: a pipe instead of a socket, the rest is gRPC.
//! Invariant: who is at the other end is said by the process that made the pipe,
//! so no certificate is needed, and no outside peer can come in this way.
//! Refuses to wait for a server that is gone: connecting fails.

use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{io::DuplexStream, sync::mpsc};
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use crate::{accepted::Accepted, peer::Peer};

/// What one side may be ahead of the other: a message.
const PIPE_BYTES: usize = 64 * 1024;
/// Pipes that nobody has accepted yet; each caller makes one and keeps it.
const WAITING_MAX: usize = 64;

/// The two ends: where callers connect, and what a server accepts.
pub fn listener() -> (Dialer, Incoming) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Dialer(sender), Incoming(receiver))
}

/// Connects services of this process.
#[derive(Clone)]
pub struct Dialer(mpsc::Sender<Pipe>);

impl Dialer {
    /// A channel on which `caller` calls.
    pub fn channel(&self, caller: &str) -> Channel {
        let connect = Connect {
            sender: self.0.clone(),
            caller: Peer(caller.to_owned()),
        };
        Endpoint::from_static("http://in-memory").connect_with_connector_lazy(connect)
    }
}

#[derive(Clone)]
struct Connect {
    sender: mpsc::Sender<Pipe>,
    caller: Peer,
}

impl Service<Uri> for Connect {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (ours, stream) = tokio::io::duplex(PIPE_BYTES);
        let pipe = Pipe {
            stream,
            info: ConnectInfo(self.caller.clone()),
            _held: (),
        };
        let sent = self.sender.try_send(pipe);
        ready(match sent {
            Ok(()) => Ok(TokioIo::new(ours)),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        })
    }
}

/// The pipes to serve.
pub struct Incoming(mpsc::Receiver<Pipe>);

impl Stream for Incoming {
    type Item = io::Result<Pipe>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|pipe| pipe.map(Ok))
    }
}

/// The served end of one connection.
pub type Pipe = Accepted<DuplexStream, ConnectInfo>;

/// Who connected within the process; opaque, because it proves an identity.
#[derive(Clone, Debug)]
pub struct ConnectInfo(pub(crate) Peer);
