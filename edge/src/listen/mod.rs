//! Sockets in, Pingora sessions out: TCP, TLS and QUIC in one place, on one runtime.
//!
//! ```text
//!  :http  TCP ----------------> stream -> HTTP/1.1 --------+
//!  :https TCP -> tls handshake -> stream -> HTTP/1.1 or h2 +--> app (one HttpProxy)
//!  :https UDP -> quinn ---------> h3 session --------------+
//! ```
//!
//! Generic over the application: nothing here knows routes or policies. Pingora's own
//! listeners are not used (DECISIONS.md, 1).

pub mod connection;
mod stream;
mod socket;
mod transport;
mod write_buffer;
mod tcp;
mod http1;
mod http2;
pub mod tls;
mod quic;
mod quinn_adapter;
mod quinn_errors;
mod frame_filter;
mod frame_rules;
mod field_section;
mod uni_streams;
mod stream_signals;
mod conduct;
mod h3;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use pingora_core::server::ShutdownWatch;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use connection::{Connection, Listener};

/// What a client may hold, and for how long.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Connections over all listeners.
    pub connections_max: usize,
    /// From accept to the end of the TLS or QUIC handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head to its last; from accept for the first request.
    pub head_timeout: Duration,
    /// Silence between two requests.
    pub keepalive_timeout: Duration,
    /// Requests on one HTTP/1.1 or HTTP/3 connection: frees what it has accumulated.
    pub keepalive_requests_max: u32,
    /// Request streams at once on one h2 or h3 connection.
    pub streams_max: u32,
    /// Header list of one request in bytes, names and values and 32 for each (RFC 9113, 6.5.2).
    pub header_list_bytes_max: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(60),
            keepalive_requests_max: 100_000,
            streams_max: 128,
            header_list_bytes_max: 32 * 1024,
        }
    }
}

/// What the listeners report; implemented by the metrics.
pub trait Observer: Send + Sync {
    /// Counts an open connection until the guard is dropped.
    fn connection_opened(&self, listener: Listener) -> Box<dyn Send + Sync>;
    /// A connection was closed before its first request.
    fn connection_refused(&self, reason: &'static str);
    /// A QUIC client was asked to prove its address before anything was kept of it.
    fn address_asked(&self);
}

/// The sockets, bound but not yet accepting: an address in use is found before anything runs.
pub struct Sockets {
    pub http: TcpListener,
    pub https: TcpListener,
    pub quic: std::net::UdpSocket,
}

impl Sockets {
    /// Bind all three. With port 0 for https, UDP takes the port that TCP was given.
    pub async fn bind(http: SocketAddr, https: SocketAddr) -> Result<Self, BindError> {
        let bind = |what: &'static str, address| {
            move |source| BindError {
                what,
                address,
                source,
            }
        };
        let http_listener = TcpListener::bind(http).await.map_err(bind("http", http))?;
        let https_listener = TcpListener::bind(https)
            .await
            .map_err(bind("https", https))?;
        let local = https_listener.local_addr().map_err(bind("https", https))?;
        let quic = quic::bind(local).map_err(bind("https (udp)", local))?;
        Ok(Self {
            http: http_listener,
            https: https_listener,
            quic,
        })
    }

    /// Where the sockets ended up: (http, https).
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.http.local_addr()?, self.https.local_addr()?))
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

/// Everything the accept loops share.
struct Accepting<A> {
    app: Arc<A>,
    bounds: Arc<Bounds>,
    observer: Arc<dyn Observer>,
    connections: Arc<Semaphore>,
    tracker: TaskTracker,
    /// No more connections from here on.
    stop: CancellationToken,
    /// Pingora's form of the same: sessions finish and do not reuse their connection.
    shutdown: ShutdownWatch,
}

impl<A> Clone for Accepting<A> {
    fn clone(&self) -> Self {
        Self {
            app: self.app.clone(),
            bounds: self.bounds.clone(),
            observer: self.observer.clone(),
            connections: self.connections.clone(),
            tracker: self.tracker.clone(),
            stop: self.stop.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

/// The running listeners.
pub struct Running {
    tracker: TaskTracker,
    stop: CancellationToken,
    shutdown: tokio::sync::watch::Sender<bool>,
}

/// Start accepting on all sockets.
pub fn start<A>(
    sockets: Sockets,
    tls: &tls::ServerTls,
    bounds: Bounds,
    app: Arc<A>,
    observer: Arc<dyn Observer>,
) -> anyhow::Result<Running>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let (shutdown, watch) = tokio::sync::watch::channel(false);
    let accepting = Accepting {
        app,
        connections: Arc::new(Semaphore::new(bounds.connections_max)),
        bounds: Arc::new(bounds),
        observer,
        tracker: TaskTracker::new(),
        stop: CancellationToken::new(),
        shutdown: watch,
    };
    let running = Running {
        tracker: accepting.tracker.clone(),
        stop: accepting.stop.clone(),
        shutdown,
    };
    let endpoint = quic::endpoint(sockets.quic, tls.quic.clone(), &accepting.bounds)?;
    let tracker = &running.tracker;
    tracker.spawn(tcp::serve(sockets.http, None, accepting.clone()));
    tracker.spawn(tcp::serve(
        sockets.https,
        Some(tls.tcp.clone()),
        accepting.clone(),
    ));
    tracker.spawn(quic::serve(endpoint, accepting));
    Ok(running)
}

impl Running {
    /// Stop accepting; tell every connection to finish (h1 `Connection: close`, GOAWAY on h2 and h3).
    pub fn begin_drain(&self) {
        self.stop.cancel();
        let _ = self.shutdown.send(true);
        self.tracker.close();
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
