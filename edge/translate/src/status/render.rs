//! A call that failed, as gRPC-Web and Connect tell it.
//!
//! Sources: gRPC-Web's PROTOCOL-WEB document; the Connect protocol's "Error end-stream message" and
//! "Unary response".

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use tonic::Code;

use super::code;
use crate::dialect::{Codec, Dialect};
use crate::framing;

/// The last message of a Connect stream.
const END_STREAM: u8 = 0x02;

/// What `grpc-message` may not hold as it is.
const RESERVED: &AsciiSet = &CONTROLS.add(b'%');

#[derive(Serialize)]
struct ConnectError<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

#[derive(Serialize)]
struct EndStream<'a> {
    error: ConnectError<'a>,
}

/// The whole answer that tells a client that its call failed before anything was answered. `None`
/// for plain HTTP and for gRPC: their answers are made elsewhere.
#[must_use]
pub fn failed_call(dialect: Dialect, code: Code, message: &str) -> Option<Response<Bytes>> {
    let error = ConnectError {
        code: code::connect_name(code),
        message,
    };
    match dialect {
        Dialect::Http | Dialect::Grpc => None,
        Dialect::GrpcWeb { is_text } => {
            let content_type = if is_text {
                "application/grpc-web-text+proto"
            } else {
                "application/grpc-web+proto"
            };
            let mut response = answer(StatusCode::OK, content_type, Bytes::new());
            let headers = response.headers_mut();
            headers.insert("grpc-status", HeaderValue::from(code as i32));
            let text = utf8_percent_encode(message, RESERVED).to_string();
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert("grpc-message", value);
            }
            Some(response)
        }
        Dialect::ConnectUnary(_) => {
            let body = serde_json::to_vec(&error).unwrap_or_default();
            let status = code::http_status(code);
            Some(answer(status, "application/json", body.into()))
        }
        Dialect::ConnectStream(codec) => {
            let end = serde_json::to_vec(&EndStream { error }).unwrap_or_default();
            let body = framing::frame(END_STREAM, &end).unwrap_or_default();
            let content_type = match codec {
                Codec::Json => "application/connect+json",
                Codec::Proto => "application/connect+proto",
            };
            Some(answer(StatusCode::OK, content_type, body))
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
