//! Which protocol a request speaks, told from its head alone.
//!
//! Invariant: one answer for the edge and for the translator: what the edge refuses looks like what
//! a service refuses.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

/// Sent by every Connect client; it tells their JSON from anybody else's.
const CONNECT_VERSION: &str = "connect-protocol-version";

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Plain HTTP: JSON, forms, files, events.
    #[default]
    Http,
    Grpc,
    /// gRPC-Web: HTTP whose body ends with the trailers; as text it is base64.
    GrpcWeb {
        is_text: bool,
    },
    /// One message each way: `POST` with the bare message, or `GET` with it in the query.
    ConnectUnary(Codec),
    /// Messages with prefixes, and the status in the last one.
    ConnectStream(Codec),
}

/// How a Connect client writes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Json,
    Proto,
}

impl Dialect {
    /// Of a request; `query` is as it was sent, without the `?`.
    #[must_use]
    pub fn of(method: &Method, query: Option<&str>, headers: &HeaderMap) -> Self {
        if *method == Method::GET {
            return connect_get(query.unwrap_or_default()).map_or(Self::Http, Self::ConnectUnary);
        }
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Self::Http;
        };
        let value = value.as_bytes();
        let essence = value.split(|b| *b == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii_end();
        let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
        if is("application/proto") {
            Self::ConnectUnary(Codec::Proto)
        } else if is("application/json") && headers.contains_key(CONNECT_VERSION) {
            Self::ConnectUnary(Codec::Json)
        } else if is("application/connect+json") {
            Self::ConnectStream(Codec::Json)
        } else if is("application/connect+proto") {
            Self::ConnectStream(Codec::Proto)
        } else if is("application/grpc-web") || is("application/grpc-web+proto") {
            Self::GrpcWeb { is_text: false }
        } else if is("application/grpc-web-text") || is("application/grpc-web-text+proto") {
            Self::GrpcWeb { is_text: true }
        } else if is("application/grpc") || has_prefix(essence, b"application/grpc+") {
            Self::Grpc
        } else {
            Self::Http
        }
    }

    /// What its answers are, errors aside.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Http | Self::ConnectUnary(Codec::Json) => "application/json",
            Self::Grpc => "application/grpc",
            Self::GrpcWeb { is_text: false } => "application/grpc-web+proto",
            Self::GrpcWeb { is_text: true } => "application/grpc-web-text+proto",
            Self::ConnectUnary(Codec::Proto) => "application/proto",
            Self::ConnectStream(Codec::Json) => "application/connect+json",
            Self::ConnectStream(Codec::Proto) => "application/connect+proto",
        }
    }

    /// Whether an answer's status is a gRPC status and not that of HTTP.
    #[must_use]
    pub fn is_grpc(self) -> bool {
        self == Self::Grpc
    }
}

fn has_prefix(value: &[u8], prefix: &[u8]) -> bool {
    value
        .split_at_checked(prefix.len())
        .is_some_and(|(head, _)| head.eq_ignore_ascii_case(prefix))
}

/// `?connect=v1&encoding=json&message=...`, in any order.
fn connect_get(query: &str) -> Option<Codec> {
    let mut pairs = query.split('&');
    if !pairs.clone().any(|pair| pair == "connect=v1") {
        return None;
    }
    pairs.find_map(|pair| match pair {
        "encoding=json" => Some(Codec::Json),
        "encoding=proto" => Some(Codec::Proto),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(content_type: &'static str) -> Dialect {
        let headers = [(CONTENT_TYPE, content_type.parse().unwrap())];
        Dialect::of(&Method::POST, None, &headers.into_iter().collect())
    }

    #[test]
    fn content_types_tell_dialects() {
        assert_eq!(post("application/json"), Dialect::Http);
        assert_eq!(post("application/grpc"), Dialect::Grpc);
        assert_eq!(post("application/grpc+proto;v=1"), Dialect::Grpc);
        assert_eq!(post("application/grpcx"), Dialect::Http);
        assert_eq!(
            post("Application/gRPC-Web-Text ; a=b"),
            Dialect::GrpcWeb { is_text: true }
        );
        assert_eq!(
            post("application/connect+json"),
            Dialect::ConnectStream(Codec::Json)
        );
        assert_eq!(
            post("application/proto"),
            Dialect::ConnectUnary(Codec::Proto)
        );
    }

    #[test]
    fn json_is_connect_where_it_says_so() {
        let headers: HeaderMap = [
            (CONTENT_TYPE, "application/json".parse().unwrap()),
            (
                http::HeaderName::from_static(CONNECT_VERSION),
                "1".parse().unwrap(),
            ),
        ]
        .into_iter()
        .collect();
        let dialect = Dialect::of(&Method::POST, None, &headers);
        assert_eq!(dialect, Dialect::ConnectUnary(Codec::Json));
    }

    #[test]
    fn a_get_is_connect_by_its_query() {
        let of = |query| Dialect::of(&Method::GET, Some(query), &HeaderMap::new());
        assert_eq!(of("a=b"), Dialect::Http);
        assert_eq!(of("encoding=json&message=e"), Dialect::Http);
        assert_eq!(
            of("message=e&encoding=json&connect=v1"),
            Dialect::ConnectUnary(Codec::Json)
        );
    }
}
