//! Every answer that the edge makes itself, and what each looks like on the wire.
//!
//! One enum for HTTP and gRPC: a refusal is right on both or on neither. The public text
//! never holds an address, a token or an internal error; those go to the log.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use palisade_policy::expression::Undecided;
use palisade_token::Refusal;

/// Somebody has to edit a file.
const MENDED_IN_S: u64 = 30;

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
    /// A browser asks whether a page of another origin may send what it describes (the Fetch standard,
    /// "CORS-preflight fetch"); the fields say what may be.
    Preflight(Vec<(HeaderName, HeaderValue)>),
    NotFound,
    /// The policy of the route that it matches cannot be used.
    PolicyFault,
    /// The path is served with these methods only.
    MethodNotAllowed(Vec<Method>),
    /// Plain http on a route that does not allow it.
    HttpsRequired {
        location: String,
    },
    /// The connection's handshake did not prove what the host asks for (RFC 9110, 15.5.20).
    Misdirected,
    /// No credential that the route takes, or one that does not hold.
    Unauthorized(Unauthorized),
    /// The issuer's keys were never loaded: nobody's token can be checked.
    NoKeys,
    /// Nobody says which tokens of the issuer are dead, and its rule is to believe none then.
    NoRevocations,
    /// Nobody has said what the API key stands for.
    NoIntrospection,
    /// The credential holds and does not suffice.
    Forbidden {
        missing: Missing,
        /// RFC 6750, 3.1: what a better token would need.
        by_token: bool,
    },
    /// An access rule refuses; which one and why is for the log.
    AccessDenied {
        rule: Arc<str>,
        why: Denial,
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
    /// The route or the credential went away while the request was under way.
    RouteWithdrawn,
    /// So much is under way that requests of the route's priority have to wait.
    Overloaded,
    /// The answer is larger than the route lets through.
    ResponseTooLarge,
    /// No endpoint could be reached.
    Unavailable,
    /// No endpoint has told yet what it serves.
    NoDescriptors,
    /// An endpoint answered with something that is not HTTP, or broke off.
    BadUpstream,
    UpstreamTimeout,
    /// The time that the client gave is over.
    DeadlineExceeded,
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

/// A request without a credential that holds.
#[derive(Debug, Clone)]
pub struct Unauthorized {
    pub fault: Fault,
    /// One for each kind that is taken: the values of `www-authenticate`.
    pub challenges: Vec<String>,
}

/// What is wrong with what was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Token(Refusal),
    NoApiKey,
    ApiKeyUnknown,
    /// The service that may know it was not asked, or has not answered.
    ApiKeyUnasked,
    NoCertificate,
    CertificateNotTaken,
    /// Nothing of several things that would do.
    NoCredential,
}

impl Fault {
    fn code(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.code(),
            Self::NoApiKey => "api_key_missing",
            Self::ApiKeyUnknown => "api_key_unknown",
            Self::ApiKeyUnasked => "api_keys_unavailable",
            Self::NoCertificate => "client_certificate_missing",
            Self::CertificateNotTaken => "client_certificate_not_accepted",
            Self::NoCredential => "credential_missing",
        }
    }

    fn description(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.description(),
            Self::NoApiKey => "an API key is required",
            Self::ApiKeyUnknown => "the API key is not accepted",
            Self::ApiKeyUnasked => "API keys cannot be checked at the moment",
            Self::NoCertificate => "a client certificate is required",
            Self::CertificateNotTaken => "the client certificate is not accepted",
            Self::NoCredential => "a credential is required",
        }
    }
}

/// What an access rule asks for and does not find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    ClientAddress,
    ClientCertificate,
    Scopes,
    Roles,
    Claim(Arc<str>),
    Expression,
    Undecided(Undecided),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientAddress => f.write_str("another client address"),
            Self::ClientCertificate => f.write_str("no such client certificate"),
            Self::Scopes => f.write_str("a scope is missing"),
            Self::Roles => f.write_str("none of the roles"),
            Self::Claim(path) => write!(f, "claim `{path}` does not hold"),
            Self::Expression => f.write_str("the expression is false"),
            Self::Undecided(why) => write!(f, "the expression cannot be decided: {why}"),
        }
    }
}

/// What a verified caller lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Scope,
    Role,
}

impl Rejection {
    /// Whether something was asked for that is not given.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Preflight(_))
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::VersionNotSupported(_) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::ServerOptions | Self::Preflight(_) => StatusCode::NO_CONTENT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpsRequired { .. } => StatusCode::PERMANENT_REDIRECT,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. }
            | Self::AccessDenied { .. }
            | Self::WebSocketNotAllowed
            | Self::OriginNotAllowed => StatusCode::FORBIDDEN,
            Self::ProtocolNotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable
            | Self::NoDescriptors
            | Self::NoKeys
            | Self::NoRevocations
            | Self::NoIntrospection
            | Self::PolicyFault
            | Self::Overloaded
            | Self::RouteWithdrawn => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadUpstream | Self::ResponseTooLarge => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout | Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
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
            Self::Preflight(_) => "cors_preflight",
            Self::NotFound => "route_not_found",
            Self::PolicyFault => "policy_fault",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::HttpsRequired { .. } => "https_required",
            Self::Misdirected => "misdirected_request",
            Self::Unauthorized(unauthorized) => unauthorized.fault.code(),
            Self::NoKeys => "issuer_keys_unavailable",
            Self::NoRevocations => "revocations_unavailable",
            Self::NoIntrospection => "api_keys_unavailable",
            Self::Forbidden {
                missing: Missing::Scope,
                ..
            } => "insufficient_scope",
            Self::Forbidden {
                missing: Missing::Role,
                ..
            } => "insufficient_role",
            Self::AccessDenied { .. } => "access_denied",
            Self::WebSocketNotAllowed => "websocket_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::ProtocolNotImplemented => "protocol_not_implemented",
            Self::RateLimited { .. } => "rate_limited",
            Self::BodyTooLarge => "body_too_large",
            Self::RouteWithdrawn => "route_withdrawn",
            Self::Overloaded => "overloaded",
            Self::ResponseTooLarge => "response_too_large",
            Self::Unavailable => "upstream_unavailable",
            Self::NoDescriptors => "descriptors_unavailable",
            Self::BadUpstream => "bad_upstream",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::RequestTimeout => "request_timeout",
            Self::RequestTooSlow => "request_too_slow",
            Self::ResponseTooSlow => "response_too_slow",
            Self::ClientGone => "client_gone",
            Self::Internal => "internal",
        }
    }

    /// Whether a fetch of the issuer's keys could turn the answer.
    pub fn wants_keys(&self) -> bool {
        match self {
            Self::Unauthorized(unauthorized) => match &unauthorized.fault {
                Fault::Token(refusal) => refusal.wants_refetch(),
                _ => false,
            },
            Self::NoKeys => true,
            _ => false,
        }
    }

    /// The cause, for the log only.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Unauthorized(unauthorized) => match &unauthorized.fault {
                Fault::Token(refusal) => Some(refusal.to_string()),
                _ => None,
            },
            Self::AccessDenied { rule, why } => Some(format!("access rule {rule}: {why}")),
            _ => None,
        }
    }

    /// Seconds after which it makes sense to ask again.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_s } => Some(*retry_after_s),
            Self::Unavailable
            | Self::NoDescriptors
            | Self::NoKeys
            | Self::NoRevocations
            | Self::NoIntrospection
            | Self::Overloaded => Some(1),
            Self::PolicyFault => Some(MENDED_IN_S),
            _ => None,
        }
    }

    /// gRPC status by the mapping of google.rpc.Code.
    pub fn grpc_status(&self) -> u8 {
        match self {
            Self::Malformed(_) | Self::UriTooLong | Self::HttpsRequired { .. } => 3,
            Self::ClientGone | Self::ResponseTooSlow => 1,
            Self::UpstreamTimeout
            | Self::DeadlineExceeded
            | Self::RequestTimeout
            | Self::RequestTooSlow => 4,
            Self::Forbidden { .. }
            | Self::AccessDenied { .. }
            | Self::WebSocketNotAllowed
            | Self::OriginNotAllowed => 7,
            Self::RateLimited { .. }
            | Self::HeadersTooLarge
            | Self::BodyTooLarge
            | Self::ResponseTooLarge => 8,
            Self::Misdirected => 9,
            Self::NotImplemented(_)
            | Self::VersionNotSupported(_)
            | Self::ServerOptions
            | Self::Preflight(_)
            | Self::ProtocolNotImplemented
            | Self::NotFound
            | Self::MethodNotAllowed(_) => 12,
            Self::Internal => 13,
            Self::Unavailable
            | Self::NoDescriptors
            | Self::NoKeys
            | Self::NoRevocations
            | Self::NoIntrospection
            | Self::PolicyFault
            | Self::RouteWithdrawn
            | Self::BadUpstream
            | Self::Overloaded => 14,
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
            Self::Preflight(_) => "this asks what pages may do",
            Self::PolicyFault => "this route's policy is at fault",
            Self::NotFound => "nothing is served at this host and path",
            Self::MethodNotAllowed(_) => "this path does not serve the method",
            Self::HttpsRequired { .. } => "use https",
            Self::Misdirected => "this host needs a connection of its own",
            Self::Unauthorized(unauthorized) => unauthorized.fault.description(),
            Self::NoKeys | Self::NoRevocations => "tokens cannot be checked at the moment",
            Self::NoIntrospection => "API keys cannot be checked at the moment",
            Self::Forbidden {
                missing: Missing::Scope,
                ..
            } => "the caller lacks a required scope",
            Self::Forbidden {
                missing: Missing::Role,
                ..
            } => "the caller lacks a required role",
            Self::AccessDenied { .. } => "an access rule of this path refuses the request",
            Self::WebSocketNotAllowed => "this path takes no websocket connections",
            Self::OriginNotAllowed => "pages of this origin may not connect",
            Self::ProtocolNotImplemented => "no other protocol than websocket is spoken here",
            Self::RateLimited { .. } => "too many requests",
            Self::BodyTooLarge => "the request body is larger than this route takes",
            Self::RouteWithdrawn => "the rules for this path have changed",
            Self::Overloaded => "too much is under way at the moment",
            Self::ResponseTooLarge => "the answer is larger than this route lets through",
            Self::Unavailable => "the service behind this route cannot be reached",
            Self::NoDescriptors => "the service behind this route has not described itself yet",
            Self::BadUpstream => "the service behind this route gave no valid answer",
            Self::UpstreamTimeout => "the service behind this route did not answer in time",
            Self::DeadlineExceeded => "the request's deadline has passed",
            Self::RequestTimeout => "the request was not sent in time",
            Self::RequestTooSlow => "the request body came too slowly",
            Self::ResponseTooSlow => "the answer was taken too slowly",
            Self::ClientGone => "the client went away",
            Self::Internal => "internal error",
        }
    }
}
