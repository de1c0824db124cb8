//! HTTP/2 connections to one endpoint, shared by the calls that are translated for it.
//!
//! Invariant: who is given a connection can send on it: that an endpoint cannot be reached is known
//! before anything of a request was sent, so the rules for connections that fail hold here as for any
//! other request. Refuses to wait in a connection's own queue: there is room, or another one is made.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use palisade_policy::model::Cluster;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::{Service, StdError};
use tracing::debug;

use super::tls::Tls;
use super::unsent::Fate;
use crate::request_ctx::Now;

/// Calls at once on one connection, where its server allows as many (200 by default with hyper). More
/// would wait for others to end, which behind streams that last for hours is for ever.
const CALLS_MAX: usize = 256;

const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// What every call's window fits in (RFC 9113, 6.9.1): clients that do not read hold up their own
/// streams, never those of others.
const CONNECTION_WINDOW_BYTES: u32 = CALLS_MAX as u32 * STREAM_WINDOW_BYTES;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("tcp: {0}")]
    Tcp(#[source] io::Error),
    #[error("tls: {0}")]
    Tls(#[source] io::Error),
    #[error("the endpoint does not speak http/2 over tls")]
    NotHttp2,
    #[error("http/2: {0}")]
    Http2(#[source] hyper::Error),
    #[error("it took longer than `{0:?}`")]
    Timeout(Duration),
}

/// As many as the calls under way need.
pub(super) struct Connections {
    address: SocketAddr,
    scheme: Scheme,
    authority: Authority,
    tls: Option<Tls>,
    http2: Builder<TokioExecutor>,
    connect_timeout: Duration,
    /// One that nobody has used for so long is not trusted to be there still.
    idle: Duration,
    open: Mutex<Vec<Open>>,
    /// Held while one is made, so that those who come meanwhile share it.
    connecting: tokio::sync::Mutex<()>,
}

struct Open {
    sender: SendRequest<Body>,
    /// Calls that its server allows (RFC 9113, section 5.1.2), as known when the last one began.
    allowed: Arc<AtomicUsize>,
    /// One more than the calls on it.
    places: Arc<()>,
    /// When a call took a place last.
    used_at: Instant,
}

/// A place on a connection. Clones share it.
#[derive(Clone)]
pub(super) struct Calls {
    connections: Arc<Connections>,
    sender: SendRequest<Body>,
    _place: Arc<()>,
    fate: Arc<Fate>,
}

impl Connections {
    pub(super) fn new(cluster: &Cluster, address: SocketAddr) -> anyhow::Result<Self> {
        let mut http2 = Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(cluster.timeouts.idle)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let tls = cluster.tls.as_ref().map(Tls::new).transpose()?;
        Ok(Self {
            address,
            scheme: if tls.is_some() {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            },
            authority: address.to_string().parse()?,
            tls,
            http2,
            connect_timeout: cluster.timeouts.connect,
            idle: cluster.timeouts.idle,
            open: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })
    }

    /// A place for one call, on a connection that is there or a new one.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Calls, ConnectError> {
        if let Some(calls) = self.place() {
            return Ok(calls);
        }
        let _alone = self.connecting.lock().await;
        if let Some(calls) = self.place() {
            return Ok(calls);
        }
        let limit = self.connect_timeout;
        let connected = timeout(limit, self.connect()).await;
        let open = connected.map_err(|_| ConnectError::Timeout(limit))??;
        let calls = self.calls(&open);
        self.lock().push(open);
        Ok(calls)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the first with room, so that those behind it become idle, and end.
    fn place(self: &Arc<Self>) -> Option<Calls> {
        let now = Now::monotonic();
        let mut open = self.lock();
        open.retain(|connection| {
            let is_idle = Arc::strong_count(&connection.places) == 1
                && now.saturating_duration_since(connection.used_at) >= self.idle;
            !is_idle && !connection.sender.is_closed()
        });
        let connection = open.iter_mut().find(|connection| connection.has_room())?;
        connection.used_at = now;
        Some(self.calls(connection))
    }

    fn calls(self: &Arc<Self>, connection: &Open) -> Calls {
        Calls {
            connections: self.clone(),
            sender: connection.sender.clone(),
            _place: connection.places.clone(),
            fate: Arc::default(),
        }
    }

    async fn connect(&self) -> Result<Open, ConnectError> {
        let tcp = TcpStream::connect(self.address).await;
        let tcp = tcp.map_err(ConnectError::Tcp)?;
        tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
        match &self.tls {
            None => self.handshake(tcp).await,
            Some(tls) => {
                let stream = tls.connect(tcp).await.map_err(ConnectError::Tls)?;
                if stream.get_ref().1.alpn_protocol() != Some(super::tls::HTTP2) {
                    return Err(ConnectError::NotHttp2);
                }
                self.handshake(stream).await
            }
        }
    }

    async fn handshake<T>(&self, stream: T) -> Result<Open, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let made = self.http2.handshake(TokioIo::new(stream)).await;
        let (sender, mut connection) = made.map_err(ConnectError::Http2)?;
        let allowed = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let (told, address) = (allowed.clone(), self.address);
        let serving = poll_fn(move |cx| {
            let ended = Pin::new(&mut connection).poll(cx);
            told.store(connection.current_max_send_streams(), Ordering::Relaxed);
            ended
        });
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                debug!(%address, %error, "connection for translated calls ended");
            }
        });
        Ok(Open {
            sender,
            allowed,
            places: Arc::new(()),
            used_at: Now::monotonic(),
        })
    }

    /// Where services are called by their paths alone.
    fn absolute(&self, request: &mut Request<Body>) -> Result<(), http::Error> {
        let path = std::mem::take(request.uri_mut())
            .into_parts()
            .path_and_query;
        let mut uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone());
        if let Some(path) = path {
            uri = uri.path_and_query(path);
        }
        *request.uri_mut() = uri.build()?;
        Ok(())
    }
}

impl Open {
    /// One call is let on in any case: a server that allows none for a while may again.
    fn has_room(&self) -> bool {
        let allowed = self.allowed.load(Ordering::Relaxed).clamp(1, CALLS_MAX);
        Arc::strong_count(&self.places) <= allowed
    }
}

impl Calls {
    /// Of those made with it.
    pub(super) fn fate(&self) -> Arc<Fate> {
        self.fate.clone()
    }
}

impl Service<Request<Body>> for Calls {
    type Response = Response<Incoming>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, StdError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (connections, fate) = (self.connections.clone(), self.fate.clone());
        let mut sender = self.sender.clone();
        Box::pin(async move {
            connections.absolute(&mut request)?;
            let mut failed = match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            // It was closing when the call came, and nothing of the call was sent.
            let Some(request) = failed.take_message() else {
                return Err(failed.into_error().into());
            };
            match connections.take().await {
                Ok(mut other) => Ok(other.sender.send_request(request).await?),
                Err(error) => {
                    debug!(address = %connections.address, %error, "a call was not sent");
                    fate.tell_unsent();
                    // It is ended from outside.
                    std::future::pending().await
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Empty;
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::*;

    /// Allows so many calls on a connection, and never answers one.
    async fn silent(allowed: u32) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let never = service_fn(|_| std::future::pending::<Answer>());
                let serving = http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(allowed)
                    .serve_connection(TokioIo::new(stream), never);
                tokio::spawn(serving);
            }
        });
        address
    }

    type Answer = Result<Response<Empty<bytes::Bytes>>, Infallible>;

    fn connections(address: SocketAddr, idle: Duration) -> Arc<Connections> {
        let cluster = super::super::tests::policy(vec![address], 1, idle);
        Arc::new(Connections::new(&cluster, address).unwrap())
    }

    /// Until it is known what the server of the first connection allows: with the next call.
    async fn told(connections: &Connections, calls: &mut Calls, allowed: usize) {
        let told = async {
            while connections.lock()[0].allowed.load(Ordering::Relaxed) != allowed {
                let mut request = Request::new(Body::empty());
                *request.uri_mut() = Uri::from_static("/test.v1.Things/Hang");
                let call = calls.call(request);
                let _ = timeout(Duration::from_millis(1), call).await; // never answered
            }
        };
        timeout(Duration::from_secs(20), told).await.unwrap();
    }

    #[tokio::test]
    async fn as_many_calls_as_the_server_allows() {
        for (allowed, expected) in [(3, 3), (1_000, CALLS_MAX)] {
            let connections = connections(silent(allowed).await, Duration::ZERO);
            let count = || connections.lock().len();
            let mut calls = vec![connections.take().await.unwrap()];
            told(&connections, &mut calls[0], allowed as usize).await;
            for _ in 1..expected {
                calls.push(connections.take().await.unwrap());
            }
            assert_eq!(count(), 1);
            calls.push(connections.take().await.unwrap());
            assert_eq!(count(), 2);
            // Where one ends there is room again.
            calls.remove(0);
            let first = connections.take().await.unwrap();
            assert!(Arc::ptr_eq(&first._place, &calls[0]._place));
            assert_eq!(count(), 2);
            drop((first, calls));
            drop(connections.take().await.unwrap());
            assert_eq!(count(), 1, "the others were idle for long enough");
        }
    }

    #[tokio::test]
    async fn those_who_come_together_share_one() {
        let connections = connections(silent(200).await, Duration::ZERO);
        let taken = (0..100).map(|_| connections.take());
        let taken = futures::future::join_all(taken).await;
        assert!(taken.iter().all(Result::is_ok));
        assert_eq!(connections.lock().len(), 1);
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = connections(address, Duration::ZERO).take().await;
        let Err(ConnectError::Tcp(error)) = refused.map(drop) else {
            panic!("connected");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
