//! Accept loop for plain and TLS sockets: caps, deadlines, then HTTP/1.1 or HTTP/2.
//!
//! Invariant: everything a client can hold (a connection, a handshake, a request head) has a
//! bound that is taken before the work starts and given back when its guard drops.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::{ALPN, Ssl};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::caps::{self, AddressPlace, HandshakePlace, Place};
use super::connection::{Connection, Listener, Tunnel};
use super::socket::Socket;
use super::stream::DownstreamStream;
use super::tls::Acceptor;
use super::transport::Transport;
use super::{Accepting, http1, http2, preface, proxy_protocol};

/// After an accept error such as "too many open files": do not spin.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Accept until told to stop; connections go on in tasks of their own.
pub(super) async fn serve<A>(listener: TcpListener, tls: Option<Acceptor>, accepting: Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = accepting.leave.cancelled() => return,
        };
        let (socket, client) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
                continue;
            }
        };
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let accepting = accepting.renewed();
        // Over a cap the socket is closed at once: a queue here would only hide the overload.
        let places = match admit(client.ip(), tls.is_some(), &accepting) {
            Ok(places) => places,
            Err(reason) => {
                accepting.observer.connection_refused(reason);
                continue;
            }
        };
        let tls = tls.clone();
        let tracker = accepting.tracker.clone();
        tracker.spawn(async move { connection(socket, client, tls, accepting, places).await });
    }
}

/// What a connection holds from its first moment on.
struct Held {
    connection: Place,
    address: Option<AddressPlace>,
    /// Given back when the handshake is over.
    handshake: Option<HandshakePlace>,
}

fn admit<A>(peer: IpAddr, is_tls: bool, accepting: &Accepting<A>) -> Result<Held, &'static str> {
    let (caps, bounds) = (&accepting.caps, &accepting.bounds);
    if bounds.proxy_protocol && !bounds.trusts(peer) {
        return Err("proxy_untrusted");
    }
    let has_handshake = is_tls || bounds.proxy_protocol;
    Ok(Held {
        connection: caps.connection(bounds)?,
        address: caps.address(peer, bounds)?,
        handshake: has_handshake
            .then(|| caps.handshake(caps::Transport::Tcp, Some(peer), bounds))
            .transpose()?,
    })
}

async fn connection<A>(
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<Acceptor>,
    accepting: Accepting<A>,
    held: Held,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let listener = if tls.is_some() {
        Listener::Https
    } else {
        Listener::Http
    };
    let _open = accepting.observer.connection_opened(listener);
    match establish(socket, peer, tls, &accepting, held).await {
        Ok(mut stream) => {
            stream.linger(accepting.tracker.clone());
            serve_http(stream, &accepting).await;
        }
        Err(error) => {
            debug!(%peer, %error, "connection not established");
            accepting.observer.connection_refused(error.reason());
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum EstablishError {
    #[error("handshake took too long")]
    HandshakeTimeout,
    #[error("PROXY header: {0}")]
    ProxyHeader(proxy_protocol::ReadError),
    #[error("too many connections from the client of the proxy")]
    Full(&'static str),
    #[error("tls handshake failed: {0}")]
    Handshake(io::Error),
    #[error("socket failed: {0}")]
    Socket(io::Error),
    /// Not a failure: such a handshake is all that its client wanted.
    #[error("acme challenge answered")]
    AcmeChallenge,
}

impl EstablishError {
    fn reason(&self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshake_timeout",
            Self::ProxyHeader(_) => "proxy_malformed",
            Self::Full(reason) => reason,
            Self::Handshake(_) => "handshake_failed",
            Self::Socket(_) => "socket_error",
            Self::AcmeChallenge => "acme_challenge",
        }
    }
}

async fn establish<A>(
    mut socket: TcpStream,
    peer: SocketAddr,
    tls: Option<Acceptor>,
    accepting: &Accepting<A>,
    held: Held,
) -> Result<DownstreamStream, EstablishError> {
    let bounds = &accepting.bounds;
    let deadline = Instant::now() + bounds.handshake_timeout;
    let Held {
        connection,
        mut address,
        handshake,
    } = held;
    let mut client = peer;
    if bounds.proxy_protocol {
        let source = timeout_at(deadline, proxy_protocol::read(&mut socket)).await;
        let source = source.map_err(|_| EstablishError::HandshakeTimeout)?;
        if let Some(source) = source.map_err(EstablishError::ProxyHeader)? {
            client = source;
            let place = accepting.caps.address(source.ip(), bounds);
            address = place.map_err(EstablishError::Full)?;
        }
    }
    let socket = Socket::new(socket, (connection, address));
    let local = socket.prepare().map_err(EstablishError::Socket)?;
    let (transport, facts) = match tls {
        None => (Transport::Plain(socket), None),
        Some(acceptor) => {
            let (stream, facts) = timeout_at(deadline, acceptor.accept(socket))
                .await
                .map_err(|_| EstablishError::HandshakeTimeout)?
                .map_err(EstablishError::Handshake)?
                .ok_or(EstablishError::AcmeChallenge)?;
            (Transport::Tls(Box::new(stream)), Some(facts))
        }
    };
    drop(handshake);
    let connection = Arc::new(Connection {
        listener: if facts.is_some() {
            Listener::Https
        } else {
            Listener::Http
        },
        client,
        local,
        tls: facts,
        tunnel: Tunnel::default(),
        body_clock: Arc::default(),
        recall: Arc::default(),
    });
    Ok(DownstreamStream::new(transport, connection))
}

async fn serve_http<A>(mut stream: DownstreamStream, accepting: &Accepting<A>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let bounds = &accepting.bounds;
    let is_h2 = match stream.selected_alpn_proto() {
        Some(protocol) => protocol == ALPN::H2,
        None if bounds.h2c => {
            match timeout(bounds.head_timeout, preface::is_h2(&mut stream)).await {
                Ok(Ok(is_h2)) => is_h2,
                _ => return accepting.observer.connection_refused("protocol_unknown"),
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
