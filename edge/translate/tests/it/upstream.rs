//! A tonic server on port 0 that answers every call by a script, echoing by default.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};

/// How the server answers.
#[derive(Clone)]
pub(crate) enum Script {
    /// The request message comes back, behind these headers.
    Echo(HeaderMap),
    /// One header block and nothing else.
    TrailersOnly(HeaderMap),
    /// These bytes (an echo of the request when `None`), then these trailers; without trailers
    /// the stream is reset.
    Raw(HeaderMap, Option<Bytes>, Option<HeaderMap>),
    /// These bytes, and a reset when it is told.
    Cut(Bytes, Arc<Notify>),
    /// An HTTP status that gRPC does not use.
    Http(StatusCode),
    /// Tells `started`, then never answers; tells `cancelled` when the call is dropped.
    Hang {
        started: Arc<Notify>,
        cancelled: Arc<Notify>,
    },
}

#[derive(Clone)]
struct Service {
    script: Script,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

pub(crate) struct Upstream {
    pub(crate) channel: Channel,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    server: AbortHandle,
}

impl Upstream {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::default();
        let service = Service {
            script,
            seen: Arc::clone(&seen),
        };
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        )
        .abort_handle();
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        Self {
            channel,
            seen,
            server,
        }
    }

    /// The same server, but calls go elsewhere.
    pub(crate) fn with_channel(mut self, channel: Channel) -> Self {
        self.channel = channel;
        self
    }

    /// The path and the metadata of the last call.
    pub(crate) fn last_call(&self) -> (String, HashMap<String, String>) {
        let (path, headers) = self.seen.lock().unwrap().last().cloned().unwrap();
        let headers = headers
            .iter()
            .fold(HashMap::new(), |mut map, (name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                map.entry(name.to_string())
                    .and_modify(|all: &mut String| *all = format!("{all}|{value}"))
                    .or_insert_with(|| value.into_owned());
                map
            });
        (path, headers)
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

impl NamedService for Service {
    const NAME: &'static str = "test.v1.Things";
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = (request.uri().path().to_owned(), request.headers().clone());
        self.seen.lock().unwrap().push(call);
        let script = self.script.clone();
        Box::pin(async move { Ok(answer(script, request).await) })
    }
}

async fn answer(script: Script, request: Request<Body>) -> Response<Body> {
    let ok = || Some(headers(&[("grpc-status", "0")]));
    match script {
        Script::Echo(initial) => stream(initial, echo(request).await, ok()),
        Script::Raw(initial, Some(bytes), trailers) => stream(initial, bytes, trailers),
        Script::Raw(initial, None, trailers) => stream(initial, echo(request).await, trailers),
        Script::TrailersOnly(all) => respond(StatusCode::OK, all, Body::empty()),
        Script::Cut(bytes, told) => {
            let reset = async move {
                told.notified().await;
                Err(tonic::Status::internal("reset on purpose"))
            };
            let frames = tokio_stream::iter([Ok(Frame::data(bytes))]);
            let reset = tokio_stream::once(reset).then(|reset| reset);
            let body = StreamBody::new(frames.chain(reset));
            respond(StatusCode::OK, HeaderMap::new(), Body::new(body))
        }
        Script::Http(status) => respond(status, HeaderMap::new(), Body::empty()),
        Script::Hang { started, cancelled } => {
            struct OnDrop(Arc<Notify>);
            impl Drop for OnDrop {
                fn drop(&mut self) {
                    self.0.notify_one();
                }
            }
            let _guard = OnDrop(cancelled);
            started.notify_one();
            std::future::pending().await
        }
    }
}

async fn echo(request: Request<Body>) -> Bytes {
    request.into_body().collect().await.unwrap().to_bytes()
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// In two chunks, as a network might cut it.
fn stream(initial: HeaderMap, mut bytes: Bytes, trailers: Option<HeaderMap>) -> Response<Body> {
    let first = bytes.split_to(bytes.len().min(3));
    let mut frames: Vec<Result<_, tonic::Status>> = [first, bytes]
        .into_iter()
        .map(|chunk| Ok(Frame::data(chunk)))
        .collect();
    frames.push(match trailers {
        Some(trailers) => Ok(Frame::trailers(trailers)),
        None => Err(tonic::Status::internal("reset on purpose")),
    });
    let body = Body::new(StreamBody::new(tokio_stream::iter(frames)));
    respond(StatusCode::OK, initial, body)
}
