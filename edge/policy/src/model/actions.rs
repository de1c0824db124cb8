//! What is done with a request, compiled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use palisade_openapi::Info;

use super::ClusterId;

/// How a request is answered.
#[derive(Debug)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Respond(DirectResponse),
    /// A description of what the host takes on routes that translate.
    OpenApi(Info),
    /// A page to read it.
    Docs(Docs),
    /// The route is at fault and no good version of it is known: 503 for exactly its own matches.
    Tombstone,
}

/// To an upstream.
#[derive(Debug)]
pub struct Forward {
    /// Never empty; at least one has a weight above zero.
    pub backends: Vec<Backend>,
    /// REST and JSON become gRPC calls by the cluster's descriptors; requests that are gRPC already pass as they are.
    pub translate: bool,
    pub rewrite: Option<Rewrite>,
    pub retries: Option<Retries>,
    pub mirror: Option<Mirror>,
}

/// A share of a route's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    pub cluster: ClusterId,
    /// In proportion to the sum over the route's backends.
    pub weight: u32,
}

/// Changes of the request's target on its way upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    pub path: Option<PathRewrite>,
    pub host: Option<HeaderValue>,
}

/// How a path is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// The whole path.
    Full(Pattern),
    /// The part that the match's prefix matched.
    Prefix(Pattern),
}

/// Text with variables of the match in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub Vec<Piece>);

impl Pattern {
    /// With what the variables stand for; nothing where the request has none of that name.
    pub fn expand<'c>(&self, capture: impl Fn(&str) -> Option<&'c str>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(literal) => literal,
                Piece::Capture(name) => capture(name).unwrap_or(""),
            });
        }
        text
    }

    /// The names of its variables.
    pub fn captures(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Capture(name) => Some(name),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// The name of a capture of the path.
    Capture(Arc<str>),
}

/// Another try after one that failed, beyond those of the cluster's `connect_retries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Further tries; at least 1.
    pub attempts: u32,
    pub on: Vec<RetryOn>,
    /// Methods that may be repeated; those that RFC 9110, 9.2.2 calls idempotent when empty.
    pub methods: Vec<Method>,
    pub per_try_timeout: Option<Duration>,
    /// Before the second try; doubled for each after it, with jitter.
    pub backoff: Duration,
    /// Retries in percent of the cluster's requests under way; none is no bound.
    pub budget_percent: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    ConnectFailure,
    Reset,
    Timeout,
    BadGateway,
    Unavailable,
    GatewayTimeout,
}

/// A copy of requests for another cluster, whose answers nobody sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub cluster: ClusterId,
    /// 1 to 100.
    pub percent: u32,
    /// Bytes; requests with larger bodies are not mirrored.
    pub body_max: u64,
}

/// To another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub status: StatusCode,
    /// Of the request where none is given.
    pub scheme: Option<&'static str>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<PathRewrite>,
}

/// An answer of the edge's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectResponse {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
}

/// A page that shows a description of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docs {
    /// Path of the description on the same host.
    pub openapi: String,
    pub title: String,
}

/// Which pages of other origins may use a route (the Fetch standard, "CORS protocol").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Any where empty.
    pub origins: Vec<OriginMatch>,
    /// As answers list them; what the page asks for where none.
    pub methods: Option<HeaderValue>,
    pub headers: Option<HeaderValue>,
    pub expose_headers: Option<HeaderValue>,
    pub credentials: bool,
    pub max_age: Duration,
}

/// Origins as browsers write them (RFC 6454, 6.2), compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginMatch {
    Exact(String),
    /// `https://*.example.com:8443`: any non-empty prefix of whole labels between the two.
    Subdomains {
        /// `https://`
        scheme: &'static str,
        /// `.example.com:8443`
        suffix: String,
    },
}

impl OriginMatch {
    pub fn holds(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Subdomains { scheme, suffix } => {
                let labels = origin.strip_prefix(scheme);
                let labels = labels.and_then(|rest| rest.strip_suffix(suffix.as_str()));
                let in_label =
                    |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                labels.is_some_and(|labels| {
                    labels
                        .split('.')
                        .all(|label| !label.is_empty() && label.bytes().all(in_label))
                })
            }
        }
    }
}

/// Who is served last when the edge has too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    Low,
    Normal,
    High,
    Critical,
}

/// What becomes of streams under way when their own route or credential goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnReload {
    Keep,
    Drain,
    Cut,
}
