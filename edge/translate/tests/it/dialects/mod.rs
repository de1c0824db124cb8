//! gRPC-Web and Connect onto the echo service, or onto an upstream that misbehaves.

mod connect_faults;
mod connect_streams;
mod connect_unary;
mod failures;
mod grpc_web;
mod grpc_web_faults;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use palisade_translate::{Options, Translator};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codegen::StdError;
use tonic::transport::{Channel, Endpoint, Server};

use crate::client::Calling;
use crate::descriptors;
use crate::upstream::Upstream;

const SERVICE: &str = "/palisade.echo.v1.EchoService";

/// Of the translator in these tests.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

type Body = UnsyncBoxBody<Bytes, StdError>;

/// A client of the translator, and the service behind it.
struct Client {
    calling: Calling<Body>,
    echo: Echo,
    server: Option<AbortHandle>,
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

fn options() -> Options {
    Options {
        request_message_bytes_max: MESSAGE_BYTES_MAX,
        ..Options::default()
    }
}

impl Client {
    async fn of_echo() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let echo = Echo::default();
        let server = Server::builder()
            .add_service(EchoServiceServer::new(echo.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(server).abort_handle();
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        Self::new(DESCRIPTORS, channel, echo, Some(server))
    }

    /// Of an upstream that answers every call by a script.
    fn of(upstream: &Upstream) -> Self {
        let channel = upstream.channel.clone();
        Self::new(&descriptors::things(), channel, Echo::default(), None)
    }

    fn new(descriptors: &[u8], channel: Channel, echo: Echo, server: Option<AbortHandle>) -> Self {
        let translator = Translator::from_descriptor_set(descriptors, options()).unwrap();
        Self {
            calling: Calling::new(channel, translator),
            echo,
            server,
        }
    }

    /// The head of the answer; its body is still to come.
    async fn begin(&mut self, request: Request<Body>) -> Response<hyper::body::Incoming> {
        self.calling.send_request(request).await.unwrap()
    }

    async fn send(&mut self, request: Request<Body>) -> Answer {
        let (head, body) = self.begin(request).await.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// Waits until no call is under way.
    async fn settled(&self) {
        let settle = async {
            while self.echo.under_way() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let bound = std::time::Duration::from_secs(10);
        tokio::time::timeout(bound, settle).await.unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// A `POST` to an RPC of the echo service, or to a path.
fn post(rpc: &str, content_type: &str, body: impl Into<Bytes>) -> Request<Body> {
    let uri = if rpc.starts_with('/') {
        rpc.to_owned()
    } else {
        format!("{SERVICE}/{rpc}")
    };
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header("host", "edge")
        .header("content-type", content_type)
        .body(full(body))
        .unwrap()
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that comes in these pieces, and breaks off where one is an error.
fn pieces(pieces: Vec<Result<Bytes, StdError>>) -> Body {
    let frames = pieces
        .into_iter()
        .map(|piece| piece.map(http_body::Frame::data));
    http_body_util::StreamBody::new(tokio_stream::iter(frames)).boxed_unsync()
}

fn with(mut request: Request<Body>, headers: &[(&str, &str)]) -> Request<Body> {
    request
        .headers_mut()
        .extend(crate::upstream::headers(headers));
    request
}

fn frame(flags: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flags];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

fn message(message: &impl Message) -> Vec<u8> {
    frame(0, &message.encode_to_vec())
}

/// The frames of a whole body.
fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(([flags, length @ ..], rest)) = body.split_first_chunk::<5>() {
        let (message, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        frames.push((*flags, message.to_vec()));
        body = rest;
    }
    assert!(body.is_empty(), "{body:?}");
    frames
}
