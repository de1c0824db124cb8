//! A call as each dialect writes it, and a failure as each tells it.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method};
use prost::Message;
use serde_json::Value;
use tonic_types::StatusExt;

use crate::client::{Broken, Client, Protocol, Response};

/// The last message of a Connect stream.
const END_STREAM: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Grpc,
    GrpcWeb,
    GrpcWebText,
    Connect,
    ConnectGet,
    ConnectStream,
}

impl Dialect {
    pub(super) const ALL: [Self; 6] = [
        Self::Grpc,
        Self::GrpcWeb,
        Self::GrpcWebText,
        Self::Connect,
        Self::ConnectGet,
        Self::ConnectStream,
    ];

    /// gRPC has no meaning over HTTP/1.1.
    pub(super) fn runs_over(self, protocol: Protocol) -> bool {
        self != Self::Grpc || protocol != Protocol::H1
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::GrpcWeb => "application/grpc-web+proto",
            Self::GrpcWebText => "application/grpc-web-text+proto",
            Self::Connect | Self::ConnectGet => "application/proto",
            Self::ConnectStream => "application/connect+proto",
        }
    }

    /// The name in the access log and the metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcWeb | Self::GrpcWebText => "grpc-web",
            Self::Connect | Self::ConnectGet | Self::ConnectStream => "connect",
        }
    }

    /// One call with one message.
    pub(super) async fn call(
        self,
        client: &mut Client,
        path: &str,
        fields: &[(&str, &str)],
        message: &impl Message,
    ) -> Result<Response, Broken> {
        let bytes = message.encode_to_vec();
        if self == Self::ConnectGet {
            let encoded = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(&bytes);
            let target = format!("{path}?connect=v1&encoding=proto&base64=1&message={encoded}");
            return client.send(Method::GET, &target, fields, "").await;
        }
        let mut fields = fields.to_vec();
        fields.push(("content-type", self.content_type()));
        if self == Self::Grpc {
            fields.push(("te", "trailers"));
        }
        let body = match self {
            Self::Connect => bytes.into(),
            Self::GrpcWebText => BASE64_STANDARD.encode(frame(&bytes)).into(),
            _ => frame(&bytes),
        };
        client.send(Method::POST, path, &fields, body).await
    }

    /// What went wrong, from wherever the dialect says it.
    pub(super) fn failure(self, response: &Response) -> Failure {
        match self {
            Self::Grpc => {
                let trailers = response.trailers.as_ref();
                let trailers = trailers.filter(|fields| !fields.is_empty());
                in_fields(trailers.unwrap_or(&response.headers))
            }
            Self::GrpcWeb | Self::GrpcWebText if response.headers.contains_key("grpc-status") => {
                in_fields(&response.headers)
            }
            Self::GrpcWeb => in_fields(&last_frame(&response.body)),
            Self::GrpcWebText => in_fields(&last_frame(&decoded(&response.body))),
            Self::Connect | Self::ConnectGet => {
                assert_eq!(response.header("content-type"), Some("application/json"));
                in_json(&response.json())
            }
            Self::ConnectStream => {
                let (flags, end) = frames(&response.body).pop().expect("an end");
                assert_eq!(flags, END_STREAM, "{response:?}");
                let end: Value = serde_json::from_slice(&end).expect("JSON");
                in_json(&end["error"])
            }
        }
    }
}

/// A failed call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// By Connect's name of it.
    pub(super) code: String,
    /// Of a `google.rpc.ErrorInfo`.
    pub(super) reason: Option<String>,
    /// Of a `google.rpc.RetryInfo`.
    pub(super) retries_in_s: Option<u64>,
}

const NAMES: [&str; 17] = [
    "ok",
    "canceled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// The fields of trailers, wherever they are.
fn in_fields(fields: &HeaderMap) -> Failure {
    let text = |name: &str| fields.get(name).map(|value| value.to_str().expect("text"));
    let number: usize = text("grpc-status")
        .unwrap_or_else(|| panic!("no status: {fields:?}"))
        .parse()
        .expect("a number");
    let details = text("grpc-status-details-bin").map(|text| {
        BASE64_STANDARD_NO_PAD
            .decode(text.trim_end_matches('='))
            .expect("base64")
    });
    let code = tonic::Code::from_i32(i32::try_from(number).expect("small"));
    let status = tonic::Status::with_details(code, "", details.unwrap_or_default().into());
    let details = status.get_error_details();
    let delay = details.retry_info().and_then(|info| info.retry_delay);
    Failure {
        code: NAMES.get(number).expect("a status").to_string(),
        reason: details.error_info().map(|info| info.reason.clone()),
        retries_in_s: delay.map(|delay| delay.as_secs()),
    }
}

/// Connect's error: details are messages in base64.
fn in_json(error: &Value) -> Failure {
    let details = error["details"].as_array().cloned().unwrap_or_default();
    let detail = |name: &str| {
        let found = details.iter().find(|detail| detail["type"] == name)?;
        let value = found["value"].as_str().expect("base64");
        assert!(!value.ends_with('='), "without padding: {found}");
        Some(BASE64_STANDARD_NO_PAD.decode(value).expect("base64"))
    };
    let info = detail("google.rpc.ErrorInfo").map(|bytes| {
        tonic_types::pb::ErrorInfo::decode(&*bytes)
            .expect("a message")
            .reason
    });
    let retry = detail("google.rpc.RetryInfo").map(|bytes| {
        let info = tonic_types::pb::RetryInfo::decode(&*bytes).expect("a message");
        u64::try_from(info.retry_delay.expect("a delay").seconds).expect("not negative")
    });
    Failure {
        code: error["code"].as_str().expect("a code").to_owned(),
        reason: info,
        retries_in_s: retry,
    }
}

pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("short"));
    frame.put_slice(message);
    frame.freeze()
}

/// Flags and bytes of each whole frame.
pub(super) fn frames(body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut rest = body;
    while let Some(([flags, length @ ..], after)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (message, after) = after.split_at_checked(length).expect("a whole frame");
        frames.push((*flags, message.to_vec()));
        rest = after;
    }
    frames
}

/// Each piece of gRPC-Web's text may end with padding.
fn decoded(text: &[u8]) -> Vec<u8> {
    let quads = text.chunks(4);
    let bytes = quads.flat_map(|quad| BASE64_STANDARD.decode(quad).expect("base64"));
    bytes.collect()
}

/// gRPC-Web's trailers.
fn last_frame(body: &[u8]) -> HeaderMap {
    let (flags, block) = frames(body).pop().expect("trailers");
    assert_eq!(flags & 0x80, 0x80, "trailers come last");
    let text = String::from_utf8(block).expect("text");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let field = |(name, value): (&str, &str)| {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, value.trim().parse().expect("a value"))
    };
    lines.map(field).collect()
}
