//! A request head of HTTP/3 in the form that Pingora understands, checked on the way.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{Digest, SocketDigest};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;

use super::protocol_field::is_websocket;
use crate::listen::connection::Connection;
use crate::listen::extended_connect::show_as_upgrade;

/// Connection-specific fields (RFC 9114, 4.2); `te` may only say `trailers`.
const OF_CONNECTIONS: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// The head as Pingora wants it, and the length of the body where it is declared.
pub(super) fn well_formed(request: Request<()>) -> Result<(RequestHeader, Option<u64>)> {
    let headers = request.headers();
    let has_te = headers.get_all(TE).iter().any(|te| te != "trailers");
    if has_te
        || OF_CONNECTIONS
            .iter()
            .any(|name| headers.contains_key(*name))
    {
        return Error::e_explain(
            ErrorType::InvalidHTTPHeader,
            "a field of connections, which h3 requests have none of",
        );
    }
    let length = content_length(headers)?;
    Ok((request_header(request)?, length))
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        // Digits only: `parse` alone would take a sign (RFC 9110, 8.6).
        let text = value.to_str().unwrap_or("");
        let number = text
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u64>().ok())
            .flatten();
        match (number, length) {
            (Some(number), None) => length = Some(number),
            (Some(number), Some(other)) if number == other => {}
            _ => return Error::e_explain(ErrorType::InvalidHTTPHeader, "bad content-length"),
        }
    }
    Ok(length)
}

/// As Pingora wants to see it: version 2, and `host` from `:authority`.
fn request_header(request: Request<()>) -> Result<RequestHeader> {
    let (mut parts, ()) = request.into_parts();
    parts.version = Version::HTTP_2;
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    if parts.headers.get_all(HOST).iter().count() > 1 {
        return Error::e_explain(ErrorType::InvalidHTTPHeader, "more than one host field");
    }
    match (authority, parts.headers.get(HOST)) {
        (Some(authority), Some(host)) if host.as_bytes() != authority.as_bytes() => {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "host differs from :authority");
        }
        (Some(authority), None) => {
            let host = HeaderValue::from_str(&authority)
                .or_err(ErrorType::InvalidHTTPHeader, "bad :authority")?;
            parts.headers.insert(HOST, host);
        }
        (None, None) => return Error::e_explain(ErrorType::InvalidHTTPHeader, "no :authority"),
        _ => {}
    }
    if let Some(protocol) = parts.extensions.get::<h3::ext::Protocol>() {
        // RFC 8441, 4: only with this method does it mean anything.
        if parts.method != Method::CONNECT {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, ":protocol without CONNECT");
        }
        let protocol = if is_websocket(*protocol) {
            h2::ext::Protocol::from_static("websocket")
        } else {
            h2::ext::Protocol::from_static("unknown")
        };
        // One mark for both protocols.
        parts.extensions.insert(protocol);
    }
    let mut head = parts.into();
    show_as_upgrade(&mut head)?;
    Ok(head)
}

pub(super) fn digest(connection: &Arc<Connection>) -> Digest {
    // There is no socket of this connection alone: the addresses are set, the descriptor is none.
    let socket = SocketDigest::from_raw_fd(-1);
    let _ = socket
        .peer_addr
        .set(Some(SocketAddr::Inet(connection.client)));
    let _ = socket
        .local_addr
        .set(Some(SocketAddr::Inet(connection.local)));
    Digest {
        ssl_digest: Some(Arc::new(SslDigest::new(
            "quic",
            "TLSv1.3",
            None,
            None,
            Vec::new(),
        ))),
        timing_digest: Vec::new(),
        proxy_digest: Some(connection.clone().into_digest()),
        socket_digest: Some(Arc::new(socket)),
    }
}
