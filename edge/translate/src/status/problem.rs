//! Every answer that is not the upstream's message: RFC 9457 problem documents, or what the client's
//! dialect has for them.
//!
//! Invariant: `code` is stable, for programs; `detail` is for people and never holds what is
//! internal to a service or to this process. All lists and texts are bounded.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use prost_reflect::DescriptorPool;
use serde::Serialize;
use tonic::Code;

use super::code::{self, GrpcStatus};
use super::details::{Details, Violation, truncated};
use crate::compression::Coding;
use crate::dialect::Dialect;
use crate::json::read::JsonError;
use crate::metadata;
use crate::rpc::Rpc;
use crate::server::ResponseBody;

const INTERNAL_DETAIL: &str = "The service failed to answer this request.";

/// An answer this crate makes itself, or makes of a gRPC status. Boxed: it is the rare half of
/// every `Result` here.
#[derive(Debug)]
pub(crate) struct Rejection(pub(super) Box<Parts>);

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) status: StatusCode,
    pub(super) grpc: Code,
    pub(super) code: &'static str,
    pub(super) detail: Cow<'static, str>,
    pub(super) details: Details,
    pub(super) headers: HeaderMap,
    /// Metadata behind a service's failure; plain HTTP has no place for it.
    pub(super) trailers: HeaderMap,
    /// The details of a service's status; `None` where this crate refuses.
    pub(super) encoded: Option<Bytes>,
    /// What knows their types.
    pub(super) pool: Option<DescriptorPool>,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(flatten)]
    details: &'a Details,
}

impl Rejection {
    pub(crate) fn new(
        status: StatusCode,
        name: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            grpc: code::of_http(status),
            code: name,
            detail: truncated(&detail.into()).into(),
            details: Details::default(),
            headers: HeaderMap::new(),
            trailers: HeaderMap::new(),
            encoded: None,
            pool: None,
        }))
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 400 about one named part of the request.
    pub(crate) fn field(code: &'static str, what: &str, name: &str, reason: &str) -> Self {
        let mut rejection = Self::bad_request(code, format!("{what} `{name}`: {reason}"));
        rejection.0.details.errors = vec![Violation::new(name, reason, "")];
        rejection
    }

    /// 400 about a document that is not the message it should be.
    pub(crate) fn json(what: &str, error: &JsonError) -> Self {
        let mut rejection = Self::bad_request("invalid_json", format!("{what}: {error}"));
        if !error.path.is_empty() {
            rejection.0.details.errors = vec![Violation::new(&error.path, &error.reason, "")];
        }
        rejection
    }

    /// A message that breaks rules of its descriptors.
    pub(crate) fn invalid(violations: Vec<Violation>) -> Self {
        // A Close frame has room for nothing but one text.
        let detail = violations.first().map_or_else(String::new, |first| {
            if first.field.is_empty() {
                return first.description.clone();
            }
            format!("field `{}`: {}", first.field, first.description)
        });
        let mut rejection = Self::bad_request("invalid_argument", detail);
        rejection.0.details.errors = violations;
        rejection
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "binding_not_found",
            "nothing is bound to this path",
        )
    }

    pub(crate) fn method_not_allowed(allow: &[Method]) -> Self {
        let names: Vec<_> = allow.iter().map(Method::as_str).collect();
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path does not take this method",
        )
        .with_header(ALLOW, &names.join(", "))
    }

    pub(crate) fn body_too_large(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the request body is longer than `{bytes_max}` bytes"),
        )
    }

    pub(crate) fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the request body must be `application/json`, in utf-8",
        )
        .with_header(ACCEPT, "application/json")
    }

    /// `lines` are the media types of a JSON text on each line.
    pub(crate) fn not_json_messages(lines: &[&str]) -> Self {
        let names = lines.join("`, `");
        let detail = format!("the request body must be `{names}` or `application/json`, in utf-8");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        )
        .with_header(ACCEPT, &format!("{}, application/json", lines.join(", ")))
    }

    /// Says where in the request it is.
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.0.detail = truncated(&format!("{place}: {}", self.0.detail)).into();
        self
    }

    /// A body that is compressed as nobody here knows.
    pub(crate) fn content_coding() -> Self {
        let names = Coding::NAMES;
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_content_encoding",
            format!("the request body may be compressed by one of `{names}`"),
        )
        .with_header(ACCEPT_ENCODING, names) // RFC 9110 section 12.5.3
    }

    /// A status the upstream sent. `headers` are those it wants the client to see.
    pub(crate) fn grpc(rpc: &Rpc, status: GrpcStatus, headers: HeaderMap) -> Self {
        let trailers = metadata::headers(status.trailers);
        let http = code::http_status(status.code);
        let name = code::name(status.code);
        if code::is_internal(status.code) {
            let mut rejection = Self::new(http, name, INTERNAL_DETAIL);
            rejection.0.grpc = status.code;
            rejection.0.headers = headers;
            rejection.0.trailers = trailers;
            rejection.0.encoded = Some(Bytes::new());
            return rejection;
        }
        let mut rejection = Self::new(http, name, status.message);
        rejection.0.grpc = status.code;
        rejection.0.headers = headers;
        rejection.0.trailers = trailers;
        rejection.0.encoded = Some(status.encoded);
        rejection.0.details = Details::of(rpc, &status.details);
        rejection.0.pool = Some(rpc.descriptor.parent_pool().clone());
        if let Some(delay) = status
            .details
            .retry_info()
            .and_then(|info| info.retry_delay)
        {
            // Whole seconds (RFC 9110 section 10.2.3), rounded up: earlier is too early.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            rejection.0.headers.insert(RETRY_AFTER, seconds.into());
        }
        if status.code == Code::Unauthenticated
            && !rejection.0.headers.contains_key(WWW_AUTHENTICATE)
        {
            // RFC 9110 section 15.5.2: a 401 must carry a challenge.
            let challenge = HeaderValue::from_static("Bearer");
            rejection.0.headers.insert(WWW_AUTHENTICATE, challenge);
        }
        rejection
    }

    /// With another HTTP status, where the service chose one.
    pub(crate) fn with_status(mut self, chosen: Option<StatusCode>) -> Self {
        self.0.status = chosen.unwrap_or(self.0.status);
        self
    }

    /// The code and the text for those who are not told by HTTP.
    pub(crate) fn grpc_status(&self) -> (Code, &str) {
        (self.0.grpc, &self.0.detail)
    }

    pub(crate) fn with_header(mut self, name: http::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.insert(name, value);
        }
        self
    }

    /// As the document that is told within a stream, where it is too late for a response.
    pub(crate) fn problem(&self, request_id: Option<&str>) -> Vec<u8> {
        self.0.problem(request_id)
    }

    pub(crate) fn into_response(
        self,
        dialect: Dialect,
        request_id: Option<&str>,
    ) -> Response<ResponseBody> {
        let parts = match self.into_told(dialect) {
            Ok(told) => return told.map(whole),
            Err(rejection) => *rejection.0,
        };
        let body = parts.problem(request_id);
        let mut response = Response::new(whole(Bytes::from(body)));
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

impl Parts {
    fn problem(&self, request_id: Option<&str>) -> Vec<u8> {
        let title = match self.status.as_u16() {
            499 => "Client Closed Request",
            _ => self.status.canonical_reason().unwrap_or_default(),
        };
        let problem = Problem {
            r#type: "about:blank",
            title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
            details: &self.details,
        };
        // Strings and numbers only: there is nothing that could fail to be written.
        serde_json::to_vec(&problem).unwrap_or_default()
    }
}

fn whole(body: Bytes) -> ResponseBody {
    Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}
