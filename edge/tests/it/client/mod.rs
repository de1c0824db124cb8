//! One client API over HTTP/1.1, HTTP/2 and HTTP/3, so that one assertion runs over all three.
//!
//! Invariant: every response head passes the allow-list of `allowed`, so a field that leaks
//! fails whichever test saw it.

pub(crate) mod allowed;
pub(crate) mod deaf;
pub(crate) mod h3;
pub(crate) mod hyper;
pub(crate) mod raw_h2;
pub(crate) mod raw_h3;
pub(crate) mod tls;

use std::net::SocketAddr;

use ::http::{HeaderMap, Method, Request};
use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::harness::Edge;
use crate::harness::waiting::within;
use crate::upstream::pattern::Checker;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H2,
    H3,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::H1, Self::H2, Self::H3];
}

/// The exchange ended before it was complete.
pub(crate) struct Broken(String);

impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Broken {
    pub(crate) fn from(error: impl std::fmt::Debug) -> Self {
        Self(format!("{error:?}"))
    }
}

#[derive(Clone)]
pub(crate) enum Client {
    Hyper(hyper::HyperClient),
    H3(h3::H3Client),
}

/// A response as far as its head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Status codes of the informational responses before it.
    pub(crate) informational: Vec<u16>,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("text"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// A problem document (RFC 9457) of this status and code.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        assert_eq!(
            problem["request_id"].as_str(),
            self.header("x-request-id"),
            "{problem}"
        );
    }
}

/// The request side of an open exchange.
pub(crate) enum Upload {
    Done,
    Hyper(hyper::HyperUpload),
    H3(Box<h3::H3Upload>),
}

impl Upload {
    pub(crate) async fn send(&mut self, data: Bytes) -> Result<(), Broken> {
        let sent = async {
            match self {
                Self::Done => panic!("this request has no body"),
                Self::Hyper(upload) => upload.send(data).await,
                Self::H3(upload) => upload.send(data).await,
            }
        };
        within("the edge to read an upload", sent).await
    }

    pub(crate) async fn finish(self) -> Result<(), Broken> {
        match self {
            Self::Done | Self::Hyper(_) => Ok(()),
            Self::H3(upload) => upload.finish().await,
        }
    }

    /// Break off: the connection on h1, the stream on h2 and h3.
    pub(crate) fn abort(self) {
        match self {
            Self::Done => {}
            Self::Hyper(upload) => upload.abort(),
            Self::H3(upload) => upload.abort(),
        }
    }
}

/// The response side of an open exchange, before its head.
pub(crate) enum Pending {
    Hyper(hyper::HyperPending),
    H3(h3::H3Download),
}

impl Pending {
    pub(crate) async fn head(self) -> Result<(Head, Download), Broken> {
        let (protocol, head, download) = match self {
            Self::Hyper(pending) => {
                let protocol = pending.protocol;
                let (head, body) = within("a response head", pending.head()).await?;
                (protocol, head, Download::Hyper(body))
            }
            Self::H3(mut download) => {
                let head = within("a response head", download.head()).await?;
                (Protocol::H3, head, Download::H3(download))
            }
        };
        allowed::check(protocol, &head);
        Ok((head, download))
    }

    /// Break off before the answer came.
    pub(crate) fn abort(self) {
        match self {
            Self::Hyper(pending) => pending.abort(),
            Self::H3(download) => download.abort(),
        }
    }
}

/// The response side of an open exchange, after its head.
pub(crate) enum Download {
    Hyper(hyper::HyperDownload),
    H3(h3::H3Download),
}

impl Download {
    /// The next piece; `None` at the end. An end that came too early is an error.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        let next = async {
            match self {
                Self::Hyper(download) => download.chunk().await,
                Self::H3(download) => download.chunk().await,
            }
        };
        within("a piece of a response body", next).await
    }

    /// After the end of the body.
    pub(crate) async fn trailers(&mut self) -> Result<Option<HeaderMap>, Broken> {
        match self {
            Self::Hyper(download) => Ok(download.trailers()),
            Self::H3(download) => within("trailers", download.trailers()).await,
        }
    }

    /// All of it, compared with the pattern.
    pub(crate) async fn check(&mut self) -> Result<Checker, Broken> {
        let mut checker = Checker::default();
        while let Some(data) = self.chunk().await? {
            checker.feed(&data);
        }
        Ok(checker)
    }

    /// Stop reading: closes the connection on h1, resets the stream on h2 and h3.
    pub(crate) fn abort(self) {
        match self {
            Self::Hyper(download) => drop(download),
            Self::H3(download) => download.abort(),
        }
    }
}

impl Client {
    /// To the https port of the edge.
    pub(crate) async fn connect(protocol: Protocol, edge: &Edge) -> Self {
        let connected = Self::connect_to(protocol, edge.https).await;
        connected.unwrap_or_else(|broken| panic!("{protocol:?} connection: {broken:?}"))
    }

    pub(crate) async fn connect_to(
        protocol: Protocol,
        address: SocketAddr,
    ) -> Result<Self, Broken> {
        let connecting = async {
            Ok(match protocol {
                Protocol::H3 => Self::H3(h3::H3Client::connect(address, None).await?),
                _ => Self::Hyper(hyper::HyperClient::tls(protocol, address).await?),
            })
        };
        within("a connection", Box::pin(connecting)).await
    }

    /// Over another connection, where an answer was the last of this one.
    pub(crate) async fn renewed(&self) -> Self {
        match self {
            Self::Hyper(client) => {
                let renewed = Self::connect_to(client.protocol, client.address).await;
                renewed.unwrap_or_else(|broken| panic!("another connection: {broken:?}"))
            }
            Self::H3(_) => self.clone(),
        }
    }

    /// To the plain http port.
    pub(crate) async fn plain(edge: &Edge) -> Self {
        let connected = hyper::HyperClient::plain(edge.http).await;
        Self::Hyper(connected.expect("the http port answers"))
    }

    /// For another request at the same time: h1 needs a connection of its own for it.
    pub(crate) async fn another(&self, edge: &Edge) -> Self {
        match self {
            Self::Hyper(client) if client.protocol == Protocol::H1 => {
                Self::connect(Protocol::H1, edge).await
            }
            _ => self.clone(),
        }
    }

    /// Open an exchange; with `has_body` the upload must be finished or aborted.
    pub(crate) async fn open(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        has_body: bool,
    ) -> Result<(Upload, Pending), Broken> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match self {
            Self::Hyper(client) => client.open(request, target, has_body).await,
            Self::H3(client) => client.open(request, target, has_body).await,
        }
    }

    /// One request with its whole body, to the end of the response.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, Broken> {
        let body = body.into();
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-length") {
            headers.push(("content-length", &length));
        }
        let mut request = Request::builder().method(method);
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let (mut upload, pending) = match self {
            Self::Hyper(client) => client.send(request, target, body.clone()).await?,
            Self::H3(client) => client.open(request, target, !body.is_empty()).await?,
        };
        // Sent beside reading: the answer may come, and stop the upload, before its end.
        let sending = async {
            if matches!(upload, Upload::H3(_)) && upload.send(body).await.is_ok() {
                let _ = upload.finish().await;
            }
        };
        let receiving = async {
            let (head, mut download) = pending.head().await?;
            let mut body = BytesMut::new();
            while let Some(data) = download.chunk().await? {
                body.extend_from_slice(&data);
            }
            let trailers = download.trailers().await?;
            Ok(Response {
                status: head.status,
                headers: head.headers,
                body: body.freeze(),
                trailers,
            })
        };
        tokio::pin!(sending);
        tokio::pin!(receiving);
        tokio::select! {
            response = &mut receiving => response,
            () = &mut sending => receiving.await,
        }
    }

    /// A GET that must be answered.
    pub(crate) async fn get(&mut self, target: &str) -> Response {
        self.get_with(target, &[]).await
    }

    pub(crate) async fn get_with(&mut self, target: &str, headers: &[(&str, &str)]) -> Response {
        let response = self.send(Method::GET, target, headers, Bytes::new()).await;
        response.unwrap_or_else(|broken| panic!("GET {target}: {broken:?}"))
    }

    /// Leave without a word.
    pub(crate) fn disconnect(self) {
        match self {
            Self::Hyper(client) => client.disconnect(),
            Self::H3(client) => client.disconnect(),
        }
    }
}
