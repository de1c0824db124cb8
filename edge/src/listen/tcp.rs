//! Accept loop for plain and TLS sockets: caps, deadlines, then HTTP/1.1 or HTTP/2.
//!
//! Invariant: everything a client can hold (a connection, a handshake, a request head) has a
//! bound that is taken before the work starts and given back when its guard drops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::{ALPN, Ssl};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::connection::{Connection, HeadDeadline, Listener, TlsFacts};
use super::socket::Socket;
use super::stream::DownstreamStream;
use super::transport::Transport;
use super::{Accepting, Bounds, http1, http2, preface};

/// After an accept error such as "too many open files": do not spin.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Accept until told to stop; connections go on in tasks of their own.
pub(super) async fn serve<A>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    accepting: Accepting<A>,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = accepting.stop.cancelled() => return,
        };
        let (socket, client) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
                continue;
            }
        };
        // Over the cap the socket is closed at once: a queue here would only hide the overload.
        let Ok(permit) = accepting.connections.clone().try_acquire_owned() else {
            accepting.observer.connection_refused("connection_cap");
            continue;
        };
        let tls = tls.clone();
        let accepting = accepting.clone();
        let tracker = accepting.tracker.clone();
        tracker.spawn(async move { connection(socket, client, tls, accepting, permit).await });
    }
}

async fn connection<A>(
    socket: TcpStream,
    client: SocketAddr,
    tls: Option<TlsAcceptor>,
    accepting: Accepting<A>,
    permit: OwnedSemaphorePermit,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let listener = if tls.is_some() {
        Listener::Https
    } else {
        Listener::Http
    };
    let _open = accepting.observer.connection_opened(listener);
    let socket = Socket::new(socket, permit);
    match establish(socket, client, tls, &accepting.bounds).await {
        Ok(mut stream) => {
            stream.linger(accepting.tracker.clone());
            serve_http(stream, &accepting).await;
        }
        Err(error) => {
            debug!(%client, %error, "connection not established");
            accepting.observer.connection_refused(error.reason());
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum EstablishError {
    #[error("tls handshake took too long")]
    HandshakeTimeout,
    #[error("tls handshake failed: {0}")]
    Handshake(io::Error),
    #[error("socket failed: {0}")]
    Socket(io::Error),
}

impl EstablishError {
    fn reason(&self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Handshake(_) => "handshake_failed",
            Self::Socket(_) => "socket_error",
        }
    }
}

async fn establish(
    socket: Socket,
    client: SocketAddr,
    tls: Option<TlsAcceptor>,
    bounds: &Bounds,
) -> Result<DownstreamStream, EstablishError> {
    let local = socket.prepare().map_err(EstablishError::Socket)?;
    let (transport, facts) = match tls {
        None => (Transport::Plain(socket), None),
        Some(acceptor) => {
            let handshake = tokio::time::timeout(bounds.handshake_timeout, acceptor.accept(socket));
            let stream = handshake
                .await
                .map_err(|_| EstablishError::HandshakeTimeout)?
                .map_err(EstablishError::Handshake)?;
            let facts = tls_facts(&stream);
            (Transport::Tls(Box::new(stream)), Some(facts))
        }
    };
    let connection = Arc::new(Connection {
        listener: if facts.is_some() {
            Listener::Https
        } else {
            Listener::Http
        },
        client: SocketAddr::new(client.ip().to_canonical(), client.port()),
        client_text: Connection::text(client.ip().to_canonical()),
        local,
        tls: facts,
        head_deadline: HeadDeadline::default(),
    });
    Ok(DownstreamStream::new(
        transport,
        connection,
        bounds.head_timeout,
    ))
}

fn tls_facts(stream: &tokio_rustls::server::TlsStream<Socket>) -> TlsFacts {
    let session = stream.get_ref().1;
    TlsFacts {
        version: super::tls::version_name(session.protocol_version()),
        server_name: session.server_name().map(str::to_ascii_lowercase),
    }
}

async fn serve_http<A>(mut stream: DownstreamStream, accepting: &Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let is_h2 = match stream.selected_alpn_proto() {
        Some(protocol) => protocol == ALPN::H2,
        None if accepting.bounds.h2c => {
            let time = accepting.bounds.head_timeout;
            match preface::is_h2(stream.socket_mut(), time).await {
                Ok(is_h2) => is_h2,
                Err(error) => {
                    debug!(%error, "connection ended before its protocol was known");
                    // A client that just went is no news.
                    if error.kind() == io::ErrorKind::TimedOut {
                        accepting.observer.connection_refused("protocol_unknown");
                    }
                    return;
                }
            }
        }
        None => false,
    };
    if is_h2 {
        http2::serve(stream, accepting).await;
    } else {
        http1::serve(stream, accepting).await;
    }
}
