//! Sockets in, Pingora sessions out: TCP, TLS and QUIC in one place, on one runtime.
//!
//! ```text
//!  :http  TCP ----------------> stream -> HTTP/1.1 or h2c -+
//!  :https TCP -> tls handshake -> stream -> HTTP/1.1 or h2 +--> app (one HttpProxy)
//!  :https UDP -> quinn ---------> h3 session --------------+
//! ```
//!
//! Generic over the application: nothing here knows routes or policies. Pingora's own
//! listeners are not used (DECISIONS.md, 1).

mod bounds;
mod body_clock;
mod recall;
pub mod connection;
mod caps;
pub mod proxy_protocol;
mod stream;
mod socket;
mod transport;
mod write_buffer;
mod tcp;
mod preface;
pub mod http1;
mod http2;
pub mod extended_connect;
pub mod tunnel;
pub mod tls;
pub mod tls_alpn;
mod quic;
mod inherited;
mod h3;
pub mod timed_body;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::apps::HttpServerApp;
use pingora_core::server::ShutdownWatch;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use caps::Caps;

pub use body_clock::BodyClock;
pub use bounds::Bounds;
pub use connection::{Connection, Listener};
pub use http1::refusal::Refusal;
pub use inherited::Inherited;
pub use quic::generation::{self, Generation};
pub use quic::routed_socket::{Relay, RoutedSocket};
pub use recall::{Recall, Recalled};
pub use timed_body::DEADLINE_EXCEEDED;

/// What the listeners report; implemented by the metrics.
pub trait Observer: Send + Sync {
    /// Counts an open connection until the guard is dropped.
    fn connection_opened(&self, listener: Listener) -> Box<dyn Send + Sync>;
    /// A connection was closed before its first request.
    fn connection_refused(&self, reason: &'static str);
    /// A QUIC client was asked to prove its address before anything was kept of it.
    fn address_asked(&self);
    /// Datagrams that belong to an older process were passed on to it, or lost on the way.
    fn datagrams_relayed(&self, delivered: bool);
}

/// What is said to requests that never reach the application.
pub trait Answers: Send + Sync {
    /// The whole answer to a refused head, as it goes to the client; the connection then ends.
    fn head_refused(&self, connection: &Connection, refusal: Refusal) -> Vec<u8>;
}

/// Tries for a port that is free for TCP and for UDP, where any will do.
const ANY_PORT_TRIES: usize = 16;
/// Names under which sockets are handed over.
const HTTP: &str = "http";
const HTTPS: &str = "https";
const QUIC: &str = "quic";

/// The sockets, bound but not yet accepting: an address in use is found before anything runs.
pub struct Sockets {
    pub http: TcpListener,
    pub https: TcpListener,
    pub quic: std::net::UdpSocket,
    /// The UDP socket is another process's as well, which waits for us to read it.
    pub quic_inherited: bool,
    pub generation: Generation,
}

impl Sockets {
    /// Bind those that were not inherited. With port 0 for https, UDP takes the port of TCP.
    pub async fn bind(
        http: SocketAddr,
        https: SocketAddr,
        inherited: &mut Inherited,
        generation: Generation,
    ) -> Result<Self, BindError> {
        let http = bind_tcp(HTTP, http, inherited).await?;
        let at = |address| BindError::at("https (udp)", address);
        let mut tries = if https.port() == 0 { ANY_PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            let listener = bind_tcp(HTTPS, https, inherited).await?;
            let local = listener.local_addr().map_err(at(https))?;
            let given = inherited.udp(QUIC, local).map_err(at(local))?;
            let quic_inherited = given.is_some();
            let quic = match given.map_or_else(|| quic::bind(local), Ok) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => continue,
                quic => quic.map_err(at(local))?,
            };
            return Ok(Self {
                http,
                https: listener,
                quic,
                quic_inherited,
                generation,
            });
        }
    }

    /// Further descriptors of the same sockets, by name. While one is open, so is its socket.
    ///
    /// Errors: the system has no descriptors left.
    pub fn duplicates(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let named = [
            (HTTP, self.http.as_fd()),
            (HTTPS, self.https.as_fd()),
            (QUIC, self.quic.as_fd()),
        ];
        let duplicate = |(name, fd): (&str, std::os::fd::BorrowedFd<'_>)| {
            Ok((name.to_owned(), fd.try_clone_to_owned()?))
        };
        named.into_iter().map(duplicate).collect()
    }

    /// Where the sockets ended up: (http, https).
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.http.local_addr()?, self.https.local_addr()?))
    }
}

/// The listener handed over under this name, or a new one.
pub async fn bind_tcp(
    name: &'static str,
    address: SocketAddr,
    inherited: &mut Inherited,
) -> Result<TcpListener, BindError> {
    let at = || BindError::at(name, address);
    match inherited.tcp(name, address).map_err(at())? {
        Some(listener) => TcpListener::from_std(listener).map_err(at()),
        None => TcpListener::bind(address).await.map_err(at()),
    }
}

/// A socket that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {what} `{address}`: {source}")]
pub struct BindError {
    what: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl BindError {
    fn at(what: &'static str, address: SocketAddr) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            what,
            address,
            source,
        }
    }
}

/// Everything the accept loops share.
struct Accepting<A> {
    app: Arc<A>,
    /// In force for new connections.
    live: Arc<ArcSwap<Bounds>>,
    /// In force when this connection came.
    bounds: Arc<Bounds>,
    observer: Arc<dyn Observer>,
    answers: Arc<dyn Answers>,
    caps: Arc<Caps>,
    tracker: TaskTracker,
    /// No more connections from here on.
    leave: CancellationToken,
    /// Connections finish what they have begun.
    stop: CancellationToken,
    /// Some time later: no more requests on HTTP/1.1 connections that have none.
    close_idle: CancellationToken,
    /// Pingora's form of the same: sessions finish and do not reuse their connection.
    shutdown: ShutdownWatch,
}

impl<A> Clone for Accepting<A> {
    fn clone(&self) -> Self {
        Self {
            app: self.app.clone(),
            live: self.live.clone(),
            bounds: self.bounds.clone(),
            observer: self.observer.clone(),
            answers: self.answers.clone(),
            caps: self.caps.clone(),
            tracker: self.tracker.clone(),
            leave: self.leave.clone(),
            stop: self.stop.clone(),
            close_idle: self.close_idle.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

impl<A> Accepting<A> {
    /// For a connection that comes now.
    fn renewed(&self) -> Self {
        Self {
            bounds: self.live.load_full(),
            ..self.clone()
        }
    }
}

/// The running listeners.
pub struct Running {
    /// Who reads the UDP socket.
    pub quic: Arc<RoutedSocket>,
    tracker: TaskTracker,
    leave: CancellationToken,
    stop: CancellationToken,
    close_idle: CancellationToken,
    shutdown: tokio::sync::watch::Sender<bool>,
}

/// Start accepting on all sockets.
pub fn start<A>(
    sockets: Sockets,
    tls: &tls::ServerTls,
    live: Arc<ArcSwap<Bounds>>,
    app: Arc<A>,
    observer: Arc<dyn Observer>,
    answers: Arc<dyn Answers>,
) -> anyhow::Result<Running>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let (shutdown, watch) = tokio::sync::watch::channel(false);
    let accepting = Accepting {
        app,
        bounds: live.load_full(),
        live,
        observer,
        answers,
        caps: Arc::new(Caps::default()),
        tracker: TaskTracker::new(),
        leave: CancellationToken::new(),
        stop: CancellationToken::new(),
        close_idle: CancellationToken::new(),
        shutdown: watch,
    };
    let (endpoint, quic) = quic::endpoint(
        sockets.quic,
        sockets.generation,
        accepting.observer.clone(),
        tls.quic.clone(),
        &accepting.bounds,
    )?;
    let running = Running {
        quic: quic.clone(),
        tracker: accepting.tracker.clone(),
        leave: accepting.leave.clone(),
        stop: accepting.stop.clone(),
        close_idle: accepting.close_idle.clone(),
        shutdown,
    };
    let tracker = &running.tracker;
    tracker.spawn(tcp::serve(sockets.http, None, accepting.clone()));
    tracker.spawn(tcp::serve(
        sockets.https,
        Some(tls.tcp.clone()),
        accepting.clone(),
    ));
    tracker.spawn(quic::serve(endpoint, quic, accepting));
    Ok(running)
}

impl Running {
    /// Take no more connections; those that are there go on as before.
    pub fn stop_accepting(&self) {
        self.leave.cancel();
    }

    /// Stop accepting; tell every connection to finish (h1 `Connection: close`, GOAWAY on h2 and h3).
    pub fn begin_drain(&self) {
        self.leave.cancel();
        self.stop.cancel();
        let _ = self.shutdown.send(true);
        self.tracker.close();
    }

    /// HTTP/1.1 has no word for "no more requests": connections without one are closed.
    pub fn close_idle(&self) {
        self.close_idle.cancel();
    }

    /// Returns when the last connection has ended.
    pub async fn drained(&self) {
        self.tracker.wait().await;
    }

    /// Connections and accept loops still running.
    pub fn open(&self) -> usize {
        self.tracker.len()
    }
}
