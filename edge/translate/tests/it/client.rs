//! An HTTP/1.1 client at the near end of a socket pair; the translator serves the far end.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use palisade_translate::{Options, Translator, serve_connection};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::descriptors;
use crate::upstream::Upstream;

/// How serving ended.
pub(crate) type Served = JoinHandle<Result<(), palisade_translate::Error>>;

pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    pub(crate) connection: JoinHandle<()>,
    pub(crate) served: Served,
}

/// A response, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) async fn connect(upstream: &Upstream, options: Options) -> Self {
        Self::connect_to(upstream, things(options)).await
    }

    pub(crate) async fn connect_to(upstream: &Upstream, translator: Translator) -> Self {
        let (near, served) = pair(upstream, translator);
        let (sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await; // its end is seen at the sender
        });
        Self {
            sender,
            connection,
            served,
        }
    }

    /// Drops the request side, so that an idle connection closes.
    pub(crate) fn leave(self) -> (JoinHandle<()>, Served) {
        (self.connection, self.served)
    }

    pub(crate) fn start(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = hyper::Result<Response<hyper::body::Incoming>>> + use<> {
        self.sender.send_request(request)
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let method = request.method().clone();
        self.sender.ready().await.unwrap();
        let (head, body) = self.start(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert!(!head.headers.contains_key("transfer-encoding"));
        // RFC 9110 section 8.6: none in a 204, and in a 304 not that of an empty body.
        let bare = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
        if !bare && method != http::Method::HEAD {
            let length = head.headers["content-length"].to_str().unwrap();
            assert_eq!(length, body.len().to_string());
        }
        for name in head.headers.keys() {
            // Whatever is not listed leaked from the gRPC side.
            let known = ["content-type", "content-length", "date", "allow", "accept"];
            let known = known.contains(&name.as_str())
                || [
                    "accept-encoding",
                    "retry-after",
                    "www-authenticate",
                    "connection",
                ]
                .contains(&name.as_str())
                || name.as_str().starts_with("x-service-");
            assert!(known, "response header {name}");
        }
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `200 {json}`, or `400 code: detail`.
    pub(crate) fn summary(&self) -> String {
        let status = self.status.as_u16();
        match self.header("content-type") {
            Some("application/problem+json") => {
                let problem = self.json();
                assert_eq!(problem["type"], "about:blank");
                assert_eq!(problem["status"], status);
                assert!(!problem["title"].as_str().unwrap().is_empty());
                let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
                format!("{status} {}: {}", text("code"), text("detail"))
            }
            _ => format!("{status} {}", String::from_utf8_lossy(&self.body)),
        }
    }
}

/// A request; a body that is not empty is announced as JSON.
pub(crate) fn request(method: &str, uri: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "edge");
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// The near end of a served socket pair, without a client on it.
pub(crate) fn raw(upstream: &Upstream, options: Options) -> UnixStream {
    raw_with_end(upstream, options).0
}

pub(crate) fn raw_with_end(upstream: &Upstream, options: Options) -> (UnixStream, Served) {
    pair(upstream, things(options))
}

fn things(options: Options) -> Translator {
    Translator::from_descriptor_set(&descriptors::things(), options).unwrap()
}

fn pair(upstream: &Upstream, translator: Translator) -> (UnixStream, Served) {
    let (near, far) = UnixStream::pair().unwrap();
    let channel = upstream.channel.clone();
    let served = tokio::spawn(serve_connection(far, Arc::new(translator), channel));
    (near, served)
}
