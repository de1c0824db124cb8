//! HTTP/1.1 and HTTP/2 by hyper, over TLS or plain text.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::request::Builder;
use ::http::{HeaderMap, Request, Response};
use ::hyper::body::Incoming;
use ::hyper::client::conn::{http1, http2};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Either, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::{Broken, Head, Pending, Protocol, Upload, tls};

type Body = Either<Full<Bytes>, Channel<Bytes, io::Error>>;

/// Pieces of an upload on their way.
const UPLOAD_PIECES: usize = 4;

#[derive(Clone)]
pub(crate) struct HyperClient {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    authority: String,
    sender: Sending,
    connection: AbortHandle,
}

#[derive(Clone)]
enum Sending {
    H1(Arc<tokio::sync::Mutex<http1::SendRequest<Body>>>),
    H2(http2::SendRequest<Body>),
}

impl HyperClient {
    pub(super) async fn tls(protocol: Protocol, address: SocketAddr) -> Result<Self, Broken> {
        let alpn = if protocol == Protocol::H2 {
            "h2"
        } else {
            "http/1.1"
        };
        let socket = connect(address).await?;
        let connector = TlsConnector::from(Arc::new(tls::config(&[alpn])));
        let name = ServerName::try_from("localhost").map_err(Broken::from)?;
        let stream = connector
            .connect(name, socket)
            .await
            .map_err(Broken::from)?;
        Self::over(protocol, stream, address).await
    }

    pub(super) async fn plain(address: SocketAddr) -> Result<Self, Broken> {
        let socket = connect(address).await?;
        Self::over(Protocol::H1, socket, address).await
    }

    async fn over(
        protocol: Protocol,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
    ) -> Result<Self, Broken> {
        let io = TokioIo::new(io);
        let (sender, connection) = if protocol == Protocol::H2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .handshake(io)
                .await
                .map_err(Broken::from)?;
            (Sending::H2(sender), tokio::spawn(connection.map(drop)))
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(Broken::from)?;
            (
                Sending::H1(Arc::new(tokio::sync::Mutex::new(sender))),
                tokio::spawn(connection.map(drop)),
            )
        };
        let authority = format!("localhost:{}", address.port());
        Ok(Self {
            protocol,
            address,
            authority,
            sender,
            connection: connection.abort_handle(),
        })
    }

    pub(super) async fn open(
        &mut self,
        request: Builder,
        target: &str,
        has_body: bool,
    ) -> Result<(Upload, Pending), Broken> {
        if !has_body {
            return self.send(request, target, Bytes::new()).await;
        }
        let (sender, channel) = Channel::new(UPLOAD_PIECES);
        let pending = self
            .exchange(request, target, Either::Right(channel))
            .await?;
        let connection = (self.protocol == Protocol::H1).then(|| self.connection.clone());
        Ok((Upload::Hyper(HyperUpload { sender, connection }), pending))
    }

    /// With the whole body at once, which hyper sends by itself.
    pub(super) async fn send(
        &mut self,
        request: Builder,
        target: &str,
        body: Bytes,
    ) -> Result<(Upload, Pending), Broken> {
        let pending = self
            .exchange(request, target, Either::Left(Full::new(body)))
            .await?;
        Ok((Upload::Done, pending))
    }

    async fn exchange(
        &mut self,
        request: Builder,
        target: &str,
        body: Body,
    ) -> Result<Pending, Broken> {
        let request = match &self.sender {
            // An authority in the target would make it a request to a forward proxy.
            Sending::H1(_)
                if request
                    .headers_ref()
                    .is_some_and(|headers| headers.contains_key("host")) =>
            {
                request.uri(target)
            }
            Sending::H1(_) => request.uri(target).header("host", &self.authority),
            Sending::H2(_) => request.uri(format!("https://{}{target}", self.authority)),
        };
        let mut request: Request<Body> = request.body(body).map_err(Broken::from)?;
        let informational = Arc::new(Mutex::new(Vec::new()));
        if self.protocol == Protocol::H1 {
            let seen = informational.clone();
            ::hyper::ext::on_informational(&mut request, move |response| {
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(response.status().as_u16());
            });
        }
        let response: BoxFuture<'static, _> = match &self.sender {
            Sending::H1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await.map_err(Broken::from)?;
                sender.send_request(request).boxed()
            }
            Sending::H2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await.map_err(Broken::from)?;
                sender.send_request(request).boxed()
            }
        };
        let connection = self.connection.clone();
        Ok(Pending::Hyper(HyperPending {
            protocol: self.protocol,
            response,
            informational,
            connection,
        }))
    }

    pub(super) fn disconnect(self) {
        self.connection.abort();
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Broken> {
    let socket = TcpStream::connect(address).await.map_err(Broken::from)?;
    socket.set_nodelay(true).map_err(Broken::from)?;
    Ok(socket)
}

pub(crate) struct HyperUpload {
    sender: Sender<Bytes, io::Error>,
    /// On h1 the only way to break off is to leave.
    connection: Option<AbortHandle>,
}

impl HyperUpload {
    pub(super) async fn send(&mut self, data: Bytes) -> Result<(), Broken> {
        self.sender.send_data(data).await.map_err(Broken::from)
    }

    pub(super) fn abort(self) {
        match self.connection {
            Some(connection) => connection.abort(),
            None => self.sender.abort(io::Error::other("aborted on purpose")),
        }
    }
}

pub(crate) struct HyperPending {
    pub(super) protocol: Protocol,
    response: BoxFuture<'static, ::hyper::Result<Response<Incoming>>>,
    informational: Arc<Mutex<Vec<u16>>>,
    connection: AbortHandle,
}

impl HyperPending {
    pub(super) async fn head(self) -> Result<(Head, HyperDownload), Broken> {
        let (parts, body) = self.response.await.map_err(Broken::from)?.into_parts();
        let informational = self
            .informational
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let head = Head {
            status: parts.status.as_u16(),
            headers: parts.headers,
            informational,
        };
        Ok((
            head,
            HyperDownload {
                body,
                trailers: None,
            },
        ))
    }

    pub(super) fn abort(self) {
        if self.protocol == Protocol::H1 {
            self.connection.abort();
        }
    }
}

pub(crate) struct HyperDownload {
    body: Incoming,
    trailers: Option<HeaderMap>,
}

impl HyperDownload {
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        while let Some(frame) = self.body.frame().await {
            match frame.map_err(Broken::from)?.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
        Ok(None)
    }

    pub(super) fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }
}
