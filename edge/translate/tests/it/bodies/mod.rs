//! Bodies of any type and length, over a real echo service.

mod compressed;
mod downloads;
mod facts;
mod forms;
mod uploads;

use std::io;
use std::time::Duration;

use crate::client::Calling;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use palisade_echo::{Checksum, DESCRIPTORS, EchoServiceServer};
use palisade_translate::{Options, Translator};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tonic::transport::{Channel as Grpc, Endpoint, Server};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Pieces of an upload on their way.
const PIECES: usize = 1;

struct Echo {
    service: palisade_echo::Echo,
    channel: Grpc,
    server: AbortHandle,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = palisade_echo::Echo::default();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = Server::builder()
            .add_service(EchoServiceServer::new(service.clone()))
            .serve_with_incoming(incoming);
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        Self {
            service,
            channel,
            server: tokio::spawn(server).abort_handle(),
        }
    }

    /// A connection to a translator whose services choose statuses and headers.
    fn client(&self) -> Client {
        self.client_with(Options {
            honours_http_metadata: true,
            ..Options::default()
        })
    }

    fn client_with(&self, options: Options) -> Client {
        let translator = Translator::from_descriptor_set(DESCRIPTORS, options).unwrap();
        Client {
            calling: Calling::new(self.channel.clone(), translator),
        }
    }

    /// Until no call is under way.
    async fn until_idle(&self) {
        let idle = async {
            while self.service.under_way() > 0 {
                tokio::task::yield_now().await;
            }
        };
        within("calls to end", idle).await;
    }

    async fn until_begun(&self) {
        let begun = async {
            while self.service.under_way() == 0 {
                tokio::task::yield_now().await;
            }
        };
        within("a call to begin", begun).await;
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"))
}

struct Client {
    calling: Calling<Body>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status, code and detail of a problem.
    fn problem(&self) -> String {
        let problem = self.json();
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        format!(
            "{} {}: {}",
            self.status.as_u16(),
            text("code"),
            text("detail")
        )
    }
}

impl Client {
    async fn start(&mut self, request: Request<Body>) -> Response<Incoming> {
        within("a head", self.calling.send_request(request))
            .await
            .unwrap()
    }

    async fn send(&mut self, request: Request<Body>) -> Answer {
        let (head, body) = self.start(request).await.into_parts();
        let body = within("a body", body.collect()).await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", path, headers, "")).await
    }

    /// Leaves without a word.
    fn leave(self) {
        self.calling.leave();
    }
}

fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {});
    builder(method, path, headers)
        .body(body.boxed_unsync())
        .unwrap()
}

/// With a body that comes piece by piece, and how it comes.
fn streaming(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (Sender<Bytes, io::Error>, Request<Body>) {
    let (sender, body) = Channel::new(PIECES);
    let request = builder(method, path, headers).body(body.boxed_unsync());
    (sender, request.unwrap())
}

fn builder(method: &str, path: &str, headers: &[(&str, &str)]) -> http::request::Builder {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "edge");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

/// What the echo service's files hold.
fn pattern(from: u64, to: u64) -> Bytes {
    palisade_echo::piece(from, to)
}

fn checksum(data: &[u8]) -> String {
    let mut sum = Checksum::default();
    sum.update(data);
    sum.to_string()
}
