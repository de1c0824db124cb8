//! One unary gRPC call: a frame out, headers, one frame and trailers back.
//!
//! Invariant: what the upstream said and what merely happened on the way to it stay apart, which
//! a `tonic::Status` does not offer: its `OutOfRange` is either the service's word (400) or a
//! response over the size limit (502). Refuses compression: none is offered.

use std::error::Error as StdErrorTrait;
use std::future::poll_fn;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::Code;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;

use crate::binding::Binding;
use crate::status::GrpcStatus;

/// A flag byte and the length in four, before each message.
const PREFIX_BYTES: usize = 5;

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) initial: HeaderMap,
    pub(crate) message: DynamicMessage,
    /// Its length on the wire, a hint for how long the JSON will be.
    pub(crate) message_bytes: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The upstream answered with a status of its own.
    #[error("status {0:?}")]
    Status(Box<GrpcStatus>, HeaderMap),
    #[error("no connection: {0}")]
    Unavailable(String),
    #[error("the call's `grpc-timeout` has passed")]
    Timeout,
    #[error("the response broke off: {0}")]
    Broken(String),
    #[error("the response is not grpc: {0}")]
    Protocol(String),
    #[error("the response is longer than `{0}` bytes")]
    TooLarge(usize),
}

/// Encodes a request message with its prefix. `None` when its length does not fit the prefix.
pub(crate) fn frame(message: &DynamicMessage) -> Option<Bytes> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).ok()?);
    message.encode(&mut frame).ok()?;
    Some(frame.freeze())
}

/// Calls the binding's RPC. Dropping the future resets the call's stream.
pub(crate) async fn call<S>(
    service: &mut S,
    binding: &Binding,
    metadata: HeaderMap,
    frame: Bytes,
    bytes_max: usize,
) -> Result<Reply, Failure>
where
    S: GrpcService<Body>,
    <S::ResponseBody as http_body::Body>::Error: Into<StdError>,
{
    poll_fn(|cx| service.poll_ready(cx))
        .await
        .map_err(|error| failed(error.into()))?;
    let mut request = Request::new(Body::new(Full::new(frame)));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::from(binding.grpc_path.clone());
    *request.headers_mut() = metadata;
    let response = service
        .call(request)
        .await
        .map_err(|error| failed(error.into()))?;

    let (head, body) = response.into_parts();
    if let Some(status) = GrpcStatus::read(&head.headers) {
        // Trailers-only: one block is headers and trailers, there is no message.
        return Err(match status.code {
            Code::Ok => Failure::Protocol("ok without a message".to_owned()),
            _ => Failure::Status(Box::new(status), head.headers),
        });
    }
    if head.status != StatusCode::OK {
        return Err(not_grpc(head.status));
    }
    if body.is_end_stream() {
        return Err(Failure::Broken("headers without a grpc-status".to_owned()));
    }
    let collected = Limited::new(body, bytes_max.saturating_add(PREFIX_BYTES))
        .collect()
        .await
        .map_err(|error| match error.is::<LengthLimitError>() {
            true => Failure::TooLarge(bytes_max),
            false => Failure::Broken(chain(&*error)),
        })?;
    let status = collected
        .trailers()
        .and_then(GrpcStatus::read)
        .ok_or_else(|| Failure::Broken("no grpc-status in the trailers".to_owned()))?;
    if status.code != Code::Ok {
        return Err(Failure::Status(Box::new(status), head.headers));
    }
    let (message, message_bytes) = decode(binding, collected.aggregate())?;
    Ok(Reply {
        initial: head.headers,
        message,
        message_bytes,
    })
}

/// Reads exactly one message.
fn decode(binding: &Binding, mut buf: impl Buf) -> Result<(DynamicMessage, usize), Failure> {
    let protocol = |reason: &str| Failure::Protocol(reason.to_owned());
    if buf.remaining() < PREFIX_BYTES {
        return Err(protocol("ok without a message"));
    }
    if buf.get_u8() != 0 {
        return Err(protocol("the message is compressed"));
    }
    let length = buf.get_u32() as usize;
    if buf.remaining() != length {
        return Err(protocol("not exactly one message"));
    }
    DynamicMessage::decode(binding.output.clone(), buf)
        .map(|message| (message, length))
        .map_err(|error| Failure::Protocol(error.to_string()))
}

/// gRPC's `http-grpc-status-mapping`: these four come from a proxy or a server that is overloaded.
fn not_grpc(status: StatusCode) -> Failure {
    match status.as_u16() {
        429 | 502..=504 => Failure::Unavailable(format!("http status `{status}`")),
        _ => Failure::Protocol(format!("http status `{status}`")),
    }
}

/// Why a call got no response head.
fn failed(error: StdError) -> Failure {
    let mut cause: Option<&(dyn StdErrorTrait + 'static)> = Some(&*error);
    while let Some(inner) = cause {
        if inner.is::<tonic::TimeoutExpired>() {
            return Failure::Timeout;
        }
        if inner.is::<tonic::ConnectError>() {
            return Failure::Unavailable(chain(&*error));
        }
        cause = inner.source();
    }
    Failure::Broken(chain(&*error))
}

/// An error and its causes in one line, for the log.
fn chain(error: &(dyn StdErrorTrait + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
