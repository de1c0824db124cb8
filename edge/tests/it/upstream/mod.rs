//! Upstream mocks: one HTTP origin whose path says how it behaves, raw sockets for what no
//! HTTP library would send, and a gRPC service.
//!
//! Invariant: a mock records what it saw; tests wait on the record, never on time.

pub(crate) mod behaviour;
pub(crate) mod echo;
pub(crate) mod grpc;
pub(crate) mod pattern;
pub(crate) mod raw;
pub(crate) mod wire;
pub(crate) mod tunnel;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::waiting::within;

/// A request as the origin got it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Of HTTP/2.
    pub(crate) authority: Option<String>,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("text"))
    }
}

/// What happened at an origin.
#[derive(Debug, Default, Clone)]
pub(crate) struct Record {
    pub(crate) connections: usize,
    pub(crate) requests: Vec<Seen>,
    /// Responses that nobody read to their end.
    pub(crate) responses_aborted: usize,
    /// Request bodies that broke off.
    pub(crate) uploads_broken: usize,
    /// Request bodies that ended as they should.
    pub(crate) uploads_complete: usize,
    pub(crate) upload_bytes: u64,
}

impl Record {
    /// Requests whose target begins with `prefix`.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.requests
            .iter()
            .filter(|seen| seen.target.starts_with(prefix))
            .count()
    }
}

/// State shared by all connections of an origin.
pub(crate) struct State {
    record: watch::Sender<Record>,
    /// Closed at first: gated behaviours wait for it.
    gate: watch::Sender<bool>,
    /// What `/switch` answers.
    switch: Mutex<u16>,
}

impl State {
    pub(crate) fn note(&self, change: impl FnOnce(&mut Record)) {
        self.record.send_modify(change);
    }

    async fn gate_open(&self) {
        let mut gate = self.gate.subscribe();
        let _ = gate.wait_for(|open| *open).await;
    }
}

/// An HTTP origin on a port of its own; stops when dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _stop: DropGuard,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    H1,
    /// By prior knowledge, or by ALPN with TLS.
    H2,
}

impl Origin {
    pub(crate) async fn h1() -> Self {
        Self::start(Speaks::H1, None).await
    }

    pub(crate) async fn h2() -> Self {
        Self::start(Speaks::H2, None).await
    }

    pub(crate) async fn start(speaks: Speaks, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            record: watch::channel(Record::default()).0,
            gate: watch::channel(false).0,
            switch: Mutex::new(200),
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(
            listener,
            speaks,
            tls.map(TlsAcceptor::from),
            state.clone(),
            stop.clone(),
        )));
        Self {
            address,
            state,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn record(&self) -> Record {
        self.state.record.borrow().clone()
    }

    /// The last request whose target begins with `prefix`.
    pub(crate) fn last(&self, prefix: &str) -> Seen {
        let record = self.record();
        let found = record
            .requests
            .iter()
            .rev()
            .find(|seen| seen.target.starts_with(prefix));
        found
            .unwrap_or_else(|| panic!("the origin never saw {prefix}"))
            .clone()
    }

    /// Wait until the record satisfies `condition`.
    pub(crate) async fn wait(&self, what: &str, condition: impl FnMut(&Record) -> bool) {
        let mut record = self.state.record.subscribe();
        let seen = within(what, record.wait_for(condition)).await;
        seen.expect("the origin lives");
    }

    /// Let gated answers go on, now and from here on.
    pub(crate) fn open_gate(&self) {
        self.state.gate.send_replace(true);
    }

    /// Hold gated answers again from here on.
    pub(crate) fn close_gate(&self) {
        self.state.gate.send_replace(false);
    }

    /// Status of `/switch` from here on.
    pub(crate) fn switch(&self, status: u16) {
        *self
            .state
            .switch
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = status;
    }
}

async fn accept(
    listener: TcpListener,
    speaks: Speaks,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
    stop: CancellationToken,
) {
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).expect("a socket");
        state.note(|record| record.connections += 1);
        let (tls, state, stop) = (tls.clone(), state.clone(), stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            match tls {
                None => serve(socket, speaks, state).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(socket).await {
                        serve(stream, speaks, state).await;
                    }
                }
            }
        }));
    }
}

async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    speaks: Speaks,
    state: Arc<State>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(behaviour::answer(request, state).await) }
    });
    let io = TokioIo::new(io);
    // An error here is a client that left or an answer cut on purpose: tests look at the record.
    let _ = match speaks {
        Speaks::H1 => {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await
        }
        Speaks::H2 => {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20);
            builder.serve_connection(io, service).await
        }
    };
}

/// An address at which connections are refused, for as long as the socket is held.
pub(crate) fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    // Bound and never listening: nobody else gets the port, and nobody can connect.
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}
