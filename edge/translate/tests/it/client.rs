//! An HTTP/1.1 client at the near end of a pipe; the translator serves the far end.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use palisade_translate::{Near, Options, Translator, pipe, serve_connection};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::codegen::StdError;
use tonic::transport::Channel;

use crate::descriptors;
use crate::upstream::Upstream;

/// How serving ended.
pub(crate) type Served = JoinHandle<Result<(), palisade_translate::Error>>;

/// Sends each request on a connection of its own.
pub(crate) struct Calling<B> {
    channel: Channel,
    translator: Arc<Translator>,
    last: Option<(JoinHandle<()>, Served)>,
    body: PhantomData<B>,
}

impl<B> Calling<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    pub(crate) fn new(channel: Channel, translator: Translator) -> Self {
        Self {
            channel,
            translator: Arc::new(translator),
            last: None,
            body: PhantomData,
        }
    }

    pub(crate) fn send_request(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<B> {
        let (near, served) = self.raw();
        let (sent, answer) = oneshot::channel();
        let connection = tokio::spawn(async move {
            let handshake = http1::handshake(TokioIo::new(near)).await;
            let (mut sender, connection) = handshake.unwrap();
            // It is on its way before anybody asks for the answer.
            let _ = sent.send((sender.send_request(request), sender));
            let _ = connection.await; // its end is seen at the sender
        });
        self.last = Some((connection, served));
        async move {
            let (answer, _sender) = answer.await.unwrap();
            answer.await
        }
    }

    /// The near end of a connection, without a client on it.
    pub(crate) fn raw(&self) -> (Near, Served) {
        let (near, far) = pipe();
        let serving = serve_connection(far, self.translator.clone(), self.channel.clone());
        (near, tokio::spawn(serving))
    }

    /// The end of the last request's connection, and of serving it.
    pub(crate) fn ends(mut self) -> (JoinHandle<()>, Served) {
        self.last.take().expect("a request")
    }

    /// Leaves the last request without a word.
    pub(crate) fn leave(&self) {
        if let Some((connection, _)) = &self.last {
            connection.abort();
        }
    }
}

pub(crate) struct Client {
    calling: Calling<Full<Bytes>>,
}

/// A response, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn connect(upstream: &Upstream, options: Options) -> Self {
        Self::connect_to(upstream, things(options))
    }

    pub(crate) fn connect_to(upstream: &Upstream, translator: Translator) -> Self {
        Self {
            calling: Calling::new(upstream.channel.clone(), translator),
        }
    }

    pub(crate) fn ends(self) -> (JoinHandle<()>, Served) {
        self.calling.ends()
    }

    pub(crate) fn leave(&self) {
        self.calling.leave();
    }

    pub(crate) fn start(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.calling.send_request(request)
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let method = request.method().clone();
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

/// The near end of a served pipe, without a client on it.
pub(crate) fn raw(upstream: &Upstream, options: Options) -> Near {
    raw_with_end(upstream, options).0
}

pub(crate) fn raw_with_end(upstream: &Upstream, options: Options) -> (Near, Served) {
    let calling: Calling<Full<Bytes>> = Calling::new(upstream.channel.clone(), things(options));
    calling.raw()
}

fn things(options: Options) -> Translator {
    Translator::from_descriptor_set(&descriptors::things(), options).unwrap()
}
