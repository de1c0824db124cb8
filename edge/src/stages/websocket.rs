//! Requests to become a WebSocket connection: which ones are, who may, and on which terms.
//!
//! Every other upgrade is taken out of the request, which goes on without it (RFC 9110, 7.8).

use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use palisade_policy::model::Route;
use pingora_http::RequestHeader;

use super::authz::Permit;
use crate::rejection::Rejection;
use crate::request_ctx::Now;
use crate::snapshot::Snapshot;

/// RFC 6455, 4.2.2.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// RFC 6455, 4.1: a nonce of sixteen bytes.
const KEY_BYTES: usize = 16;
/// A subprotocol that is none: a token, from pages, which can set no other field of a handshake.
const BEARER: &[u8] = b"palisade.bearer.";

/// How long an admitted connection may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Silence in both directions together.
    pub idle_timeout: Duration,
    /// From now.
    pub ends_in: Duration,
    /// The end is the token's, not the route's.
    pub ends_with_token: bool,
}

/// Whether the request asks for a WebSocket connection, and is a handshake (RFC 6455, 4.2.1).
/// `is_extended_connect` requests have no other meaning to fall back to (RFC 8441, 4).
pub fn is_handshake(
    head: &mut RequestHeader,
    is_extended_connect: bool,
) -> Result<bool, Rejection> {
    let asked = asks_for_websocket(head);
    if !asked && is_extended_connect {
        return Err(Rejection::ProtocolNotImplemented);
    }
    if !asked {
        if head.headers.contains_key(UPGRADE) {
            head.remove_header(&UPGRADE);
        }
        return Ok(false);
    }
    let mut keys = head.headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let is_key = |key: &HeaderValue| {
        STANDARD
            .decode(key.as_bytes())
            .is_ok_and(|nonce| nonce.len() == KEY_BYTES)
    };
    if !keys.next().is_some_and(is_key) || keys.next().is_some() {
        return Err(Rejection::Malformed("bad sec-websocket-key"));
    }
    let empty = |length: &HeaderValue| length.as_bytes() == b"0";
    if head.headers.contains_key(TRANSFER_ENCODING)
        || !head.headers.get_all(CONTENT_LENGTH).iter().all(empty)
    {
        return Err(Rejection::Malformed("a websocket handshake has no body"));
    }
    // One spelling and one protocol, so that all who read it agree that this is an upgrade.
    head.insert_header(UPGRADE, HeaderValue::from_static("websocket"))
        .map_err(|_| Rejection::Internal)?;
    take_token(head)?;
    Ok(true)
}

/// From the subprotocols into `authorization`: one token, from one place.
fn take_token(head: &mut RequestHeader) -> Result<(), Rejection> {
    let offers = head.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let names = offers
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    let (tokens, others): (Vec<_>, Vec<_>) = names.partition(|name| name.starts_with(BEARER));
    let Some(token) = tokens.first().and_then(|name| name.strip_prefix(BEARER)) else {
        return Ok(());
    };
    if tokens.len() > 1 || head.headers.contains_key(AUTHORIZATION) {
        return Err(Rejection::Malformed("more than one token"));
    }
    let credentials = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
    let left = HeaderValue::from_bytes(&others.join(&b", "[..]));
    let (Ok(mut credentials), Ok(left)) = (credentials, left) else {
        return Err(Rejection::Malformed("bad sec-websocket-protocol"));
    };
    credentials.set_sensitive(true);
    head.remove_header(&SEC_WEBSOCKET_PROTOCOL);
    if !left.is_empty() {
        head.insert_header(SEC_WEBSOCKET_PROTOCOL, left)
            .map_err(|_| Rejection::Internal)?;
    }
    head.insert_header(AUTHORIZATION, credentials)
        .map_err(|_| Rejection::Internal)
}

fn asks_for_websocket(head: &RequestHeader) -> bool {
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && has_token(&head.headers, &UPGRADE, "websocket")
        && has_token(&head.headers, &CONNECTION, "upgrade")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut tokens = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// Whether the route takes the connection, from this page, and for how long.
pub fn admit(
    snapshot: &Snapshot,
    route: &Route,
    head: &RequestHeader,
    permit: &Permit,
    now: Now,
) -> Result<Terms, Rejection> {
    let Some(rule) = &route.websocket else {
        return Err(Rejection::WebSocketNotAllowed);
    };
    // Browsers let any page connect anywhere, cookies included, and say only who asks (RFC 6455, 10.2).
    let is_listed = |origin: &HeaderValue| {
        let mut listed = rule.origins.iter();
        listed.any(|allowed| allowed.as_bytes() == origin.as_bytes())
    };
    if !rule.origins.is_empty() && !head.headers.get_all(ORIGIN).iter().all(is_listed) {
        return Err(Rejection::OriginNotAllowed);
    }
    let expires_in = rule
        .end_with_token
        .then(|| token_left(snapshot, permit, now))
        .flatten();
    Ok(Terms {
        idle_timeout: rule.idle_timeout,
        ends_in: expires_in.map_or(rule.lifetime, |left| left.min(rule.lifetime)),
        ends_with_token: expires_in.is_some_and(|left| left <= rule.lifetime),
    })
}

/// Until the caller's token expires, as its verification counts it.
fn token_left(snapshot: &Snapshot, permit: &Permit, now: Now) -> Option<Duration> {
    let caller = permit.caller();
    let claims = caller.claims.as_deref()?;
    let issuer = snapshot.issuer(caller.issuer?)?;
    let ends = claims
        .expires_at
        .as_secs()
        .saturating_add(issuer.spec().leeway.as_secs());
    Some(Duration::from_secs(ends.saturating_sub(now.unix_seconds())))
}

/// Whether a 101 with these fields answers the handshake that was sent (RFC 6455, 4.1).
pub fn is_accepted(request: &HeaderMap, response: &HeaderMap) -> bool {
    let (Some(key), Some(accept)) = (
        request.get(SEC_WEBSOCKET_KEY),
        response.get(SEC_WEBSOCKET_ACCEPT),
    ) else {
        return false;
    };
    let proof = digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        &[key.as_bytes(), ACCEPT_GUID].concat(),
    );
    has_token(response, &UPGRADE, "websocket")
        && STANDARD.encode(proof.as_ref()).as_bytes() == accept.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn head(method: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build(method, b"/chat", None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn asked(fields: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("host", "a".to_owned()),
            ("connection", "keep-alive, Upgrade".to_owned()),
            ("upgrade", "WebSocket".to_owned()),
            ("sec-websocket-version", "13".to_owned()),
        ];
        if !fields.iter().any(|(name, _)| *name == "sec-websocket-key") {
            all.push(("sec-websocket-key", KEY.to_owned()));
        }
        all.retain(|(name, _)| !fields.iter().any(|(other, _)| other == name));
        all.extend(
            fields
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        all
    }

    fn judged(method: &str, fields: &[(&'static str, &str)]) -> (Option<bool>, Option<String>) {
        let all = asked(fields);
        let all: Vec<_> = all
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut head = head(method, &all);
        let verdict = is_handshake(&mut head, false).ok();
        let upgrade = head.headers.get(UPGRADE);
        (
            verdict,
            upgrade.map(|value| value.to_str().unwrap().to_owned()),
        )
    }

    #[test]
    fn a_handshake_is_known_in_every_spelling() {
        for fields in [
            &[][..],
            &[("upgrade", "WEBSOCKET")],
            &[("upgrade", "h2c, websocket")],
            &[("connection", "upgrade")],
            &[("content-length", "0")],
        ] {
            let canonical = (Some(true), Some("websocket".to_owned()));
            assert_eq!(judged("GET", fields), canonical, "{fields:?}");
        }
    }

    #[test]
    fn other_upgrades_are_taken_out() {
        for (method, fields) in [
            ("GET", &[("upgrade", "h2c")][..]),
            ("GET", &[("upgrade", "websockets")]),
            ("GET", &[("connection", "close")]),
            ("POST", &[]),
        ] {
            assert_eq!(judged(method, fields), (Some(false), None), "{fields:?}");
        }
    }

    #[test]
    fn half_a_handshake_is_refused() {
        for fields in [
            &[("sec-websocket-key", "")][..],
            &[("sec-websocket-key", "c2hvcnQ=")],
            &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")],
            &[("sec-websocket-key", KEY), ("sec-websocket-key", KEY)],
            &[("content-length", "5")],
            &[("transfer-encoding", "chunked")],
        ] {
            assert_eq!(judged("GET", fields).0, None, "{fields:?}");
        }
    }

    #[test]
    fn a_token_among_the_subprotocols_is_credentials() {
        const PROTOCOL: &str = "sec-websocket-protocol";
        let taken = |fields: &[(&'static str, &str)]| {
            let all = asked(fields);
            let all: Vec<_> = all
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let mut head = head("GET", &all);
            let text = |head: &RequestHeader, name: &str| {
                let value = head.headers.get(name)?;
                Some(value.to_str().unwrap().to_owned())
            };
            is_handshake(&mut head, false).ok()?;
            Some((text(&head, "authorization"), text(&head, PROTOCOL)))
        };
        let some = |text: &str| Some(text.to_owned());
        for (offers, expected) in [
            (&["chat"][..], (None, some("chat"))),
            (&["palisade.bearer.a.b.c"], (some("Bearer a.b.c"), None)),
            (
                &["chat,palisade.bearer.t , other"],
                (some("Bearer t"), some("chat, other")),
            ),
            (
                &["chat", "palisade.bearer.t"],
                (some("Bearer t"), some("chat")),
            ),
        ] {
            let fields: Vec<_> = offers.iter().map(|offer| (PROTOCOL, *offer)).collect();
            assert_eq!(taken(&fields), Some(expected), "{offers:?}");
        }
        for two in [
            [
                (PROTOCOL, "palisade.bearer.a, palisade.bearer.b"),
                ("x-a", ""),
            ],
            [
                (PROTOCOL, "palisade.bearer.a"),
                ("authorization", "Bearer b"),
            ],
        ] {
            assert_eq!(taken(&two), None, "{two:?}");
        }
    }

    #[test]
    fn an_extended_connect_is_a_websocket_or_nothing() {
        let mut other = head(
            "GET",
            &[("upgrade", "connect-udp"), ("connection", "upgrade")],
        );
        assert!(matches!(
            is_handshake(&mut other, true),
            Err(Rejection::ProtocolNotImplemented)
        ));
    }

    #[test]
    fn the_example_of_rfc_6455_1_3() {
        let fields = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| {
                    (
                        HeaderName::from_static(name),
                        HeaderValue::from_static(value),
                    )
                })
                .collect()
        };
        let request = fields(&[("sec-websocket-key", KEY)]);
        let right = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let upgrade = ("upgrade", "websocket");
        assert!(is_accepted(&request, &fields(&[right, upgrade])));
        assert!(!is_accepted(&request, &fields(&[right])));
        let wrong = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=");
        assert!(!is_accepted(&request, &fields(&[wrong, upgrade])));
        assert!(!is_accepted(&request, &fields(&[upgrade])));
        assert!(!is_accepted(&fields(&[]), &fields(&[right, upgrade])));
    }
}
