//! Every answer that the edge makes itself, and what each looks like on the wire.
//!
//! One enum for HTTP and gRPC: a refusal is right on both or on neither. The public text
//! never holds an address, a token or an internal error; those go to the log.

use http::{Method, StatusCode};
use palisade_token::Refusal;

/// Why the edge answered instead of an upstream.
#[derive(Debug, Clone)]
pub enum Rejection {
    /// The request is not one that can be judged; the text says why.
    Malformed(&'static str),
    UriTooLong,
    HeadersTooLarge,
    /// A part of HTTP that is not spoken here; the text says which.
    NotImplemented(&'static str),
    /// Of HTTP; the text says which is.
    VersionNotSupported(&'static str),
    /// `OPTIONS *` asks about the server and not about a route (RFC 9110, 9.3.7).
    ServerOptions,
    NotFound,
    /// The path is served with these methods only.
    MethodNotAllowed(Vec<Method>),
    /// Plain http on a route that does not allow it.
    HttpsRequired {
        location: String,
    },
    /// The connection's handshake did not prove what the host asks for (RFC 9110, 15.5.20).
    Misdirected,
    /// No token, or one that does not hold.
    Unauthorized(Refusal),
    /// The issuer's keys were never loaded: nobody's token can be checked.
    NoKeys,
    /// The token holds and does not suffice.
    Forbidden {
        missing: Missing,
    },
    /// The route takes no WebSocket connections.
    WebSocketNotAllowed,
    /// A page of this origin may not open one.
    OriginNotAllowed,
    /// Extended CONNECT to something else than `websocket`.
    ProtocolNotImplemented,
    RateLimited {
        retry_after_s: u64,
    },
    BodyTooLarge,
    /// No endpoint could be reached.
    Unavailable,
    /// An endpoint answered with something that is not HTTP, or broke off.
    BadUpstream,
    UpstreamTimeout,
    /// The client stopped in the middle of its body.
    RequestTimeout,
    /// The client sends its body below the minimum rate.
    RequestTooSlow,
    /// The client took its answer too slowly; it never sees this one.
    ResponseTooSlow,
    /// The client went away; nobody reads this answer.
    ClientGone,
    Internal,
}

/// What a verified token lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Scope,
    Role,
}

impl Rejection {
    /// Whether keys that are fetched now may turn the answer.
    pub fn wants_keys(&self) -> bool {
        match self {
            Self::Unauthorized(refusal) => refusal.wants_refetch(),
            Self::NoKeys => true,
            _ => false,
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::VersionNotSupported(_) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::ServerOptions => StatusCode::NO_CONTENT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpsRequired { .. } => StatusCode::PERMANENT_REDIRECT,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } | Self::WebSocketNotAllowed | Self::OriginNotAllowed => {
                StatusCode::FORBIDDEN
            }
            Self::ProtocolNotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable | Self::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadUpstream => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::RequestTimeout | Self::RequestTooSlow => StatusCode::REQUEST_TIMEOUT,
            // nginx's code for "client closed request"; only ever seen in logs.
            Self::ClientGone | Self::ResponseTooSlow => {
                StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Stable name: the `code` member, the metric label and the log field.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::UriTooLong => "uri_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::NotImplemented(_) => "not_implemented",
            Self::VersionNotSupported(_) => "version_not_supported",
            Self::ServerOptions => "server_options",
            Self::NotFound => "route_not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::HttpsRequired { .. } => "https_required",
            Self::Misdirected => "misdirected_request",
            Self::Unauthorized(refusal) => refusal.code(),
            Self::NoKeys => "issuer_keys_unavailable",
            Self::Forbidden {
                missing: Missing::Scope,
            } => "insufficient_scope",
            Self::Forbidden {
                missing: Missing::Role,
            } => "insufficient_role",
            Self::WebSocketNotAllowed => "websocket_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::ProtocolNotImplemented => "protocol_not_implemented",
            Self::RateLimited { .. } => "rate_limited",
            Self::BodyTooLarge => "body_too_large",
            Self::Unavailable => "upstream_unavailable",
            Self::BadUpstream => "bad_upstream",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::RequestTimeout => "request_timeout",
            Self::RequestTooSlow => "request_too_slow",
            Self::ResponseTooSlow => "response_too_slow",
            Self::ClientGone => "client_gone",
            Self::Internal => "internal",
        }
    }

    /// gRPC status by the mapping of google.rpc.Code.
    pub fn grpc_status(&self) -> u8 {
        match self {
            Self::Malformed(_) | Self::UriTooLong | Self::HttpsRequired { .. } => 3,
            Self::ClientGone | Self::ResponseTooSlow => 1,
            Self::UpstreamTimeout | Self::RequestTimeout | Self::RequestTooSlow => 4,
            Self::Forbidden { .. } | Self::WebSocketNotAllowed | Self::OriginNotAllowed => 7,
            Self::RateLimited { .. } | Self::HeadersTooLarge | Self::BodyTooLarge => 8,
            Self::Misdirected => 9,
            Self::NotImplemented(_)
            | Self::VersionNotSupported(_)
            | Self::ServerOptions
            | Self::ProtocolNotImplemented
            | Self::NotFound
            | Self::MethodNotAllowed(_) => 12,
            Self::Internal => 13,
            Self::Unavailable | Self::NoKeys | Self::BadUpstream => 14,
            Self::Unauthorized(_) => 16,
        }
    }

    /// What the client is told.
    pub fn public_message(&self) -> &'static str {
        match self {
            Self::Malformed(what)
            | Self::NotImplemented(what)
            | Self::VersionNotSupported(what) => what,
            Self::UriTooLong => "the request target is too long",
            Self::HeadersTooLarge => "the request headers are too large",
            Self::ServerOptions => "this is about the server, not about a route",
            Self::NotFound => "nothing is served at this host and path",
            Self::MethodNotAllowed(_) => "this path does not serve the method",
            Self::HttpsRequired { .. } => "use https",
            Self::Misdirected => "this host needs a connection of its own",
            Self::Unauthorized(refusal) => refusal.description(),
            Self::NoKeys => "tokens cannot be checked at the moment",
            Self::Forbidden {
                missing: Missing::Scope,
            } => "the token lacks a required scope",
            Self::Forbidden {
                missing: Missing::Role,
            } => "the token lacks a required role",
            Self::WebSocketNotAllowed => "this path takes no websocket connections",
            Self::OriginNotAllowed => "pages of this origin may not connect",
            Self::ProtocolNotImplemented => "no other protocol than websocket is spoken here",
            Self::RateLimited { .. } => "too many requests",
            Self::BodyTooLarge => "the request body is larger than this route takes",
            Self::Unavailable => "the service behind this route cannot be reached",
            Self::BadUpstream => "the service behind this route gave no valid answer",
            Self::UpstreamTimeout => "the service behind this route did not answer in time",
            Self::RequestTimeout => "the request was not sent in time",
            Self::RequestTooSlow => "the request body came too slowly",
            Self::ResponseTooSlow => "the answer was taken too slowly",
            Self::ClientGone => "the client went away",
            Self::Internal => "internal error",
        }
    }
}
