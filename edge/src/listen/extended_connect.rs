//! Extended CONNECT of HTTP/2 and HTTP/3 (RFC 8441, RFC 9220) as the upgrade it stands for.
//!
//! Pingora tunnels HTTP/1.1 upgrades only. With the request shown as one, every stage sees the
//! same head whatever the protocol, and Pingora's client does the handshake with the upstream.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use h2::ext::Protocol;
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Method, Version};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;

/// Whether the request came as extended CONNECT: only a tunnel can answer it with success.
pub fn is_extended_connect(head: &RequestHeader) -> bool {
    head.extensions.get::<Protocol>().is_some()
}

/// The head of an extended CONNECT, in place, as an HTTP/1.1 upgrade; others stay as they are.
pub(super) fn show_as_upgrade(head: &mut RequestHeader) -> Result<()> {
    let Some(protocol) = head.extensions.get::<Protocol>() else {
        return Ok(());
    };
    let protocol = match protocol.as_str() {
        "websocket" => HeaderValue::from_static("websocket"),
        _ => HeaderValue::from_static("unknown"),
    };
    // A client's own fields of the hop have no place in HTTP/2 and HTTP/3 (RFC 9113, 8.2.2), and
    // this one would be the answer's proof.
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY] {
        head.remove_header(&name);
    }
    if !head.headers.contains_key(HOST) {
        let authority = head.uri.authority().map(|authority| authority.as_str());
        let host = HeaderValue::from_str(authority.unwrap_or(""))
            .or_err(ErrorType::InvalidHTTPHeader, "bad :authority")?;
        head.insert_header(HOST, host)?;
    }
    head.set_method(Method::GET);
    head.set_version(Version::HTTP_11);
    head.insert_header(CONNECTION, HeaderValue::from_static("Upgrade"))?;
    head.insert_header(UPGRADE, protocol)?;
    head.insert_header(SEC_WEBSOCKET_KEY, key()?)?;
    Ok(())
}

/// RFC 6455, 4.1: sixteen random bytes.
fn key() -> Result<String> {
    let mut nonce = [0; 16];
    rand::fill(&mut nonce)
        .map_err(|_| Error::explain(ErrorType::InternalError, "no random numbers"))?;
    Ok(STANDARD.encode(nonce))
}
