//! Streams over plain HTTP, against the echo service and against scripted upstreams.

mod faults;
mod requests;
mod responses;

use std::convert::Infallible;
use std::time::Duration;

use crate::client::Calling;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use palisade_echo::{DESCRIPTORS, Echo, EchoServiceServer};
use palisade_translate::{Options, Translator};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Endpoint, Server};

/// Nothing here takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";
const ARRAY: &str = "application/json";

type Sent = UnsyncBoxBody<Bytes, Infallible>;

/// The echo service on port 0.
struct World {
    echo: Echo,
    channel: Channel,
    server: AbortHandle,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let echo = Echo::default();
        let server = Server::builder().add_service(EchoServiceServer::new(echo.clone()));
        let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(serving).abort_handle();
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        Self {
            echo,
            channel,
            server,
        }
    }

    fn client(&self, options: Options) -> Client {
        Client::connect(DESCRIPTORS, self.channel.clone(), options)
    }

    /// The whole answer to a `GET`.
    async fn get(&self, uri: &str, accept: &str) -> Answer {
        let mut client = self.client(Options::default());
        client.send(get(uri, accept)).await.whole().await
    }

    /// The whole answer to a `POST` of this body.
    async fn post(&self, uri: &str, media_type: &str, body: &str) -> Answer {
        let mut client = self.client(Options::default());
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes())).boxed_unsync();
        client
            .send(post(uri, media_type, ARRAY, body))
            .await
            .whole()
            .await
    }

    async fn until_idle(&self) {
        until(|| self.echo.under_way() == 0).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One connection to the translator.
struct Client {
    calling: Calling<Sent>,
}

impl Client {
    fn connect(descriptors: &[u8], channel: Channel, options: Options) -> Self {
        let translator = Translator::from_descriptor_set(descriptors, options).unwrap();
        Self {
            calling: Calling::new(channel, translator),
        }
    }

    async fn send(&mut self, request: Request<Sent>) -> Streamed {
        let response = within(self.calling.send_request(request)).await.unwrap();
        let (head, body) = response.into_parts();
        Streamed {
            status: head.status,
            headers: head.headers,
            body,
            seen: String::new(),
        }
    }
}

/// An answer whose body may be coming.
struct Streamed {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    seen: String,
}

impl Streamed {
    /// Reads until `text` has come.
    async fn until(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let frame = within(self.body.frame()).await;
            let data = frame.expect("more of the body").unwrap();
            let data = data.into_data().unwrap();
            self.seen.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// Reads to the end, or to where it breaks off.
    async fn whole(mut self) -> Answer {
        let mut is_cut = false;
        while let Some(frame) = within(self.body.frame()).await {
            let Ok(frame) = frame else {
                is_cut = true;
                break;
            };
            let data = frame.into_data().unwrap();
            self.seen.push_str(std::str::from_utf8(&data).unwrap());
        }
        Answer {
            status: self.status,
            headers: self.headers,
            body: self.seen,
            is_cut,
        }
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    is_cut: bool,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// `200 body`, or `400 code: detail` of a problem.
    fn summary(&self) -> String {
        let status = self.status.as_u16();
        if self.header("content-type") == "application/problem+json" {
            format!("{status} {}", problem(&self.body))
        } else {
            format!("{status} {}", self.body)
        }
    }
}

/// `code: detail`
fn problem(json: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(json).unwrap();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    format!("{}: {}", text("code"), text("detail"))
}

fn get(uri: &str, accept: &str) -> Request<Sent> {
    let request = Request::get(uri).header("host", "edge");
    let body = Full::default().boxed_unsync();
    request.header("accept", accept).body(body).unwrap()
}

fn post(uri: &str, media_type: &str, accept: &str, body: Sent) -> Request<Sent> {
    let request = Request::post(uri)
        .header("host", "edge")
        .header("accept", accept);
    request
        .header("content-type", media_type)
        .body(body)
        .unwrap()
}

/// A body that is sent piece by piece; it ends when the sender is dropped.
fn pieces() -> (mpsc::Sender<&'static str>, Sent) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = ReceiverStream::new(receiver)
        .map(|piece: &str| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
    (sender, StreamBody::new(frames).boxed_unsync())
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("an end of it")
}

async fn until(is_so: impl Fn() -> bool) {
    within(async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while !is_so() {
            look.tick().await;
        }
    })
    .await;
}
