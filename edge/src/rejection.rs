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
    NotFound,
    /// The path is served with these methods only.
    MethodNotAllowed(Vec<Method>),
    /// Plain http on a route that does not allow it.
    HttpsRequired {
        location: String,
    },
    /// No token, or one that does not hold.
    Unauthorized(Refusal),
    /// The issuer's keys were never loaded: nobody's token can be checked.
    NoKeys,
    /// The token holds and does not suffice.
    Forbidden {
        missing: Missing,
    },
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
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpsRequired { .. } => StatusCode::PERMANENT_REDIRECT,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
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
            Self::NotFound => "route_not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::HttpsRequired { .. } => "https_required",
            Self::Unauthorized(refusal) => refusal.code(),
            Self::NoKeys => "issuer_keys_unavailable",
            Self::Forbidden {
                missing: Missing::Scope,
            } => "insufficient_scope",
            Self::Forbidden {
                missing: Missing::Role,
            } => "insufficient_role",
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
            Self::Forbidden { .. } => 7,
            Self::RateLimited { .. } | Self::HeadersTooLarge | Self::BodyTooLarge => 8,
            Self::NotFound | Self::MethodNotAllowed(_) => 12,
            Self::Internal => 13,
            Self::Unavailable | Self::NoKeys | Self::BadUpstream => 14,
            Self::Unauthorized(_) => 16,
        }
    }

    /// What the client is told.
    pub fn public_message(&self) -> &'static str {
        match self {
            Self::Malformed(what) => what,
            Self::UriTooLong => "the request target is too long",
            Self::HeadersTooLarge => "the request headers are too large",
            Self::NotFound => "nothing is served at this host and path",
            Self::MethodNotAllowed(_) => "this path does not serve the method",
            Self::HttpsRequired { .. } => "use https",
            Self::Unauthorized(refusal) => refusal.description(),
            Self::NoKeys => "tokens cannot be checked at the moment",
            Self::Forbidden {
                missing: Missing::Scope,
            } => "the token lacks a required scope",
            Self::Forbidden {
                missing: Missing::Role,
            } => "the token lacks a required role",
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
