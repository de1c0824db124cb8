//! The opening handshake (RFC 6455, 4.2), and the subprotocol that says what a frame holds.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::dialect::Codec;
use crate::server::ResponseBody;
use crate::status::problem::Rejection;

/// Text frames, ProtoJSON.
const JSON: &str = "palisade.v1.json";
/// Binary frames, protobuf.
const PROTO: &str = "palisade.v1.proto";

/// The only version there is (RFC 6455, 4.1).
const VERSION: &str = "13";

/// A handshake that can be accepted.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: HeaderValue,
    pub(super) codec: Codec,
    /// What the answer names; a client that offered none would fail if it were told one.
    subprotocol: Option<&'static str>,
}

/// Whether the request asks for a WebSocket connection. The edge lets through no other upgrade.
pub(crate) fn is_handshake<B>(request: &Request<B>) -> bool {
    let upgrade = request.headers().get(UPGRADE);
    request.method() == Method::GET
        && upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

impl Handshake {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Rejection> {
        if headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_none_or(|version| version.as_bytes() != VERSION.as_bytes())
        {
            // RFC 6455, 4.2.2: the versions that are understood go with the refusal.
            return Err(Rejection::bad_request(
                "unsupported_websocket_version",
                format!("`sec-websocket-version` must be `{VERSION}`"),
            )
            .with_header(SEC_WEBSOCKET_VERSION, VERSION));
        }
        let accept = headers
            .get(SEC_WEBSOCKET_KEY)
            .map(|key| derive_accept_key(key.as_bytes()))
            .and_then(|accept| HeaderValue::from_str(&accept).ok())
            .ok_or_else(|| {
                Rejection::bad_request("invalid_websocket_handshake", "no `sec-websocket-key`")
            })?;
        let (codec, subprotocol) = chosen(headers)?;
        Ok(Self {
            accept,
            codec,
            subprotocol,
        })
    }

    pub(super) fn accepted(&self, body: ResponseBody) -> Response<ResponseBody> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some(subprotocol) = self.subprotocol {
            headers.insert(
                SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(subprotocol),
            );
        }
        response
    }
}

/// The first of the client's offers that is known; JSON where it offers none.
fn chosen(headers: &HeaderMap) -> Result<(Codec, Option<&'static str>), Rejection> {
    let mut offered = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
        .peekable();
    if offered.peek().is_none() {
        return Ok((Codec::Json, None));
    }
    offered
        .find_map(|name| match name {
            name if name == JSON.as_bytes() => Some((Codec::Json, Some(JSON))),
            name if name == PROTO.as_bytes() => Some((Codec::Proto, Some(PROTO))),
            _ => None,
        })
        .ok_or_else(|| {
            Rejection::bad_request(
                "unknown_subprotocol",
                format!("`sec-websocket-protocol` must offer `{JSON}` or `{PROTO}`, or nothing"),
            )
        })
}

/// Takes out what is about this connection and not about the call.
pub(super) fn forget(headers: &mut HeaderMap) {
    for name in [
        SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION,
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offers(values: &[&[u8]]) -> HeaderMap {
        let value = |value: &&[u8]| HeaderValue::from_bytes(value).unwrap();
        values
            .iter()
            .map(|offer| (SEC_WEBSOCKET_PROTOCOL, value(offer)))
            .collect()
    }

    #[test]
    fn the_first_known_offer_is_taken() {
        for (values, expected) in [
            (&[][..], Some((Codec::Json, None))),
            (&["", " , "], Some((Codec::Json, None))),
            (&[PROTO], Some((Codec::Proto, Some(PROTO)))),
            (
                &["chat, palisade.v1.json,palisade.v1.proto"],
                Some((Codec::Json, Some(JSON))),
            ),
            (&["chat", PROTO, JSON], Some((Codec::Proto, Some(PROTO)))),
            // RFC 6455, 11.3.4: names are compared as they are.
            (&["PALISADE.V1.JSON"], None),
            (&["chat"], None),
        ] {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(chosen(&offers(&values)).ok(), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_was_offered(values in prop::collection::vec("[ -~\u{e0}-\u{ff}]{0,40}", 0..4)) {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            if let Ok((_, Some(name))) = chosen(&offers(&values)) {
                let joined = values.join(&b',');
                prop_assert!(String::from_utf8_lossy(&joined).contains(name));
            }
        }
    }
}
