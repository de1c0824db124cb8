//! A copy of a request for a cluster whose answers nobody sees.
//!
//! Invariant: nothing here can fail or hold up the request that was copied.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;

use super::ClusterState;
use crate::in_flight::Held;

/// Copies of one cluster at once, from the first byte of their body to the end of their answer.
const COPIES_MAX: usize = 100;
/// From sending a copy to the end of its answer: streams without an end would fill all places.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read and thrown away; then its connection is closed instead.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Tells what a copy is from what a client wants; clients cannot set it.
const MARK: HeaderName = HeaderName::from_static("x-palisade-mirror");

/// A copy, complete but for its body.
pub struct Copy {
    pub cluster: Arc<ClusterState>,
    peer: HttpPeer,
    original: RequestHeader,
    body: BytesMut,
    body_max: usize,
    _place: Held,
}

/// A body that is larger than the mirror takes.
pub struct TooLarge;

impl ClusterState {
    /// Begin a copy; none where the cluster has as many as it may.
    pub fn copy(
        self: &Arc<Self>,
        original: &RequestHeader,
        translate: bool,
        body_max: u64,
    ) -> Option<Copy> {
        let place = self.copies.enter_below(COPIES_MAX)?;
        let pick = self.pick(None, crate::request_ctx::Now::monotonic())?;
        Some(Copy {
            cluster: self.clone(),
            peer: self.peer(pick.index, translate)?,
            original: original.clone(),
            body: BytesMut::new(),
            body_max: usize::try_from(body_max).unwrap_or(usize::MAX),
            _place: place,
        })
    }
}

impl Copy {
    /// The original is sent anew, and its body with it.
    pub fn restart(&mut self) {
        self.body.clear();
    }

    pub fn add(&mut self, data: &Bytes) -> Result<(), TooLarge> {
        if self.body.len() + data.len() > self.body_max {
            return Err(TooLarge);
        }
        self.body.extend_from_slice(data);
        Ok(())
    }

    /// Send it, and read the answer to its end.
    pub async fn send(self, connector: &Connector) -> Result<()> {
        let exchange = self.exchange(connector);
        let ended = tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await;
        ended.or_err(ErrorType::ReadTimedout, "mirrored request took too long")?
    }

    async fn exchange(self, connector: &Connector) -> Result<()> {
        let Self {
            peer,
            original,
            body,
            _place,
            ..
        } = self;
        let body = body.freeze();
        let (mut session, _) = connector.get_http_session(&peer).await?;
        session.set_read_timeout(peer.options.read_timeout);
        session.set_write_timeout(peer.options.write_timeout);
        match &mut session {
            HttpSession::H2(stream) => {
                let head = h2_head(&original, &body, peer.is_tls())?;
                stream.write_request_header(Box::new(head), body.is_empty())?;
                if !body.is_empty() {
                    stream.write_request_body(body, true).await?;
                }
            }
            _ => {
                let head = h1_head(&original, &body)?;
                session.write_request_header(Box::new(head)).await?;
                if !body.is_empty() {
                    session.write_request_body(body, true).await?;
                }
                session.finish_request_body().await?;
            }
        }
        discard_answer(&mut session).await?;
        if let HttpSession::H1(connection) = &mut session {
            connection.respect_keepalive();
        }
        let idle = peer.idle_timeout();
        connector.release_http_session(session, &peer, idle).await;
        Ok(())
    }
}

async fn discard_answer(session: &mut HttpSession) -> Result<()> {
    loop {
        session.read_response_header().await?;
        let head = session.response_header();
        if !head.is_some_and(|head| head.status.is_informational()) {
            break;
        }
    }
    let mut read = 0;
    while let Some(data) = session.read_response_body().await? {
        read += data.len();
        if read > ANSWER_BYTES_MAX {
            session.shutdown().await;
            return Error::e_explain(ErrorType::ReadError, "answer of a mirror is too long");
        }
    }
    Ok(())
}

/// With a length, since the body is whole.
fn h1_head(original: &RequestHeader, body: &Bytes) -> Result<RequestHeader> {
    let mut head = bare_head(original, body)?;
    head.remove_header(&TE);
    let authority = original
        .uri
        .authority()
        .map(|host| host.as_str().as_bytes());
    let host = match (original.headers.get(HOST), authority) {
        (Some(host), _) => host.clone(),
        (None, host) => HeaderValue::from_bytes(host.unwrap_or_default())
            .or_err(ErrorType::InvalidHTTPHeader, "authority")?,
    };
    head.insert_header(HOST, host)?;
    head.set_version(Version::HTTP_11);
    Ok(head)
}

fn h2_head(original: &RequestHeader, body: &Bytes, tls: bool) -> Result<RequestHeader> {
    let mut head = bare_head(original, body)?;
    let host = original.headers.get(HOST).map(HeaderValue::as_bytes);
    let authority = original
        .uri
        .authority()
        .map(|host| host.as_str().as_bytes());
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(host.or(authority).unwrap_or_default())
        .path_and_query(target(original))
        .build();
    head.set_uri(uri.or_err(ErrorType::InvalidHTTPHeader, "authority")?);
    head.set_version(Version::HTTP_2);
    Ok(head)
}

/// Without what frames a message or belongs to a connection (RFC 9110, 7.6.1), and marked.
fn bare_head(original: &RequestHeader, body: &Bytes) -> Result<RequestHeader> {
    const LEFT_OUT: [HeaderName; 8] = [
        CONNECTION,
        CONTENT_LENGTH,
        EXPECT,
        HOST,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    let path = target(original);
    let fields = original.headers.len();
    let mut head = RequestHeader::build(
        original.method.clone(),
        path.as_str().as_bytes(),
        Some(fields),
    )?;
    for (name, value) in &original.headers {
        if !LEFT_OUT.contains(name) {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    // RFC 9110, 8.6: where the method gives a body a meaning, its absence is said.
    let has_meaning = [Method::POST, Method::PUT, Method::PATCH].contains(&original.method);
    if !body.is_empty() || has_meaning {
        head.insert_header(CONTENT_LENGTH, body.len())?;
    }
    head.insert_header(MARK, HeaderValue::from_static("1"))?;
    Ok(head)
}

fn target(original: &RequestHeader) -> PathAndQuery {
    let target = original.uri.path_and_query().cloned();
    target.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original() -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/a?b=c", None).unwrap();
        for (name, value) in [
            ("host", "shop.example"),
            ("connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("te", "trailers"),
            ("x-twice", "1"),
            ("x-twice", "2"),
        ] {
            head.append_header(name, value).unwrap();
        }
        head
    }

    fn fields(head: &RequestHeader) -> Vec<String> {
        let fields = head.headers.iter();
        let mut fields: Vec<String> = fields
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort();
        fields
    }

    #[test]
    fn a_copy_frames_its_own_body() {
        let head = h1_head(&original(), &Bytes::from_static(b"body")).unwrap();
        assert_eq!(
            (head.raw_path(), head.version),
            (&b"/a?b=c"[..], Version::HTTP_11)
        );
        let expected = [
            "content-length: 4",
            "host: shop.example",
            "x-palisade-mirror: 1",
            "x-twice: 1",
            "x-twice: 2",
        ];
        assert_eq!(fields(&head), expected);
        let head = h2_head(&original(), &Bytes::new(), true).unwrap();
        assert_eq!(head.uri, "https://shop.example/a?b=c");
        let expected = [
            "content-length: 0",
            "te: trailers",
            "x-palisade-mirror: 1",
            "x-twice: 1",
            "x-twice: 2",
        ];
        assert_eq!(fields(&head), expected);
    }

    #[test]
    fn an_h2_original_has_its_host_in_the_target() {
        let mut original = RequestHeader::build("GET", b"/x", None).unwrap();
        original.set_uri("https://shop.example/x".parse().unwrap());
        original.set_version(Version::HTTP_2);
        let head = h1_head(&original, &Bytes::new()).unwrap();
        assert_eq!(head.raw_path(), b"/x");
        assert_eq!(
            fields(&head),
            ["host: shop.example", "x-palisade-mirror: 1"]
        );
    }
}
