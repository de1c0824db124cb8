//! gRPC calls: frames out, headers, frames and trailers back.
//!
//! Invariant: what the upstream said and what merely happened on the way to it stay apart, which
//! a `tonic::Status` does not offer: its `OutOfRange` is either the service's word (400) or a
//! response over the size limit (502). Refuses compression: none is offered.

mod gathered;
mod messages;

use std::error::Error as StdErrorTrait;
use std::future::{poll_fn, ready};
use std::pin::Pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Code;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;

use self::gathered::Gathered;
pub(crate) use self::messages::{Messages, Part};
use crate::framing::{Frame, PREFIX_BYTES};
use crate::rpc::Rpc;
use crate::status::code::GrpcStatus;
use crate::{http_metadata, metadata};

/// By how much the clock of a service may be ahead of ours.
const CLOCK_TICKS: Duration = Duration::from_millis(5);

/// Whatever carries gRPC calls: a channel.
pub trait Upstream:
    GrpcService<Body, ResponseBody: AnswerBody, Future: Send> + Clone + Send + 'static
{
}

impl<S> Upstream for S where
    S: GrpcService<Body, ResponseBody: AnswerBody, Future: Send> + Clone + Send + 'static
{
}

/// The body of what it answers.
pub trait AnswerBody:
    http_body::Body<Data = Bytes, Error: Into<StdError>> + Send + 'static
{
}

impl<B> AnswerBody for B where
    B: http_body::Body<Data = Bytes, Error: Into<StdError>> + Send + 'static
{
}

/// A successful answer of one message.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) initial: HeaderMap,
    pub(crate) frame: Frame,
    pub(crate) trailers: HeaderMap,
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

/// An answer whose head has come.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) initial: HeaderMap,
    pub(crate) messages: Messages,
}

/// A message with its prefix. `None` when its length does not fit there.
pub(crate) fn frame(message: &DynamicMessage) -> Option<Bytes> {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).ok()?);
    message.encode(&mut frame).ok()?;
    Some(frame.freeze())
}

/// Begins a call. `metadata` are its headers, `body` its messages with their prefixes; its
/// `grpc-timeout` is kept here too, whatever the upstream does. `bytes_max` bounds each message of
/// the answer. Dropping the future or the answer resets the call's stream.
pub(crate) async fn open<S>(
    service: &mut S,
    rpc: &Rpc,
    metadata: HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Opened, Failure>
where
    S: Upstream,
{
    let mut deadline = metadata::timeout(&metadata).map(|left| Box::pin(sleep(left)));
    let body = match rpc.client_streams {
        true => Body::new(Gathered::new(body)),
        false => body,
    };
    let answer = call_head(service, rpc, metadata, body);
    let response = match &mut deadline {
        None => answer.await?,
        Some(deadline) => tokio::select! {
            biased;
            response = answer => response?,
            () = deadline => return Err(Failure::Timeout),
        },
    };
    let (mut head, body) = response.into_parts();
    if !rpc.honours_http_metadata {
        http_metadata::remove(&mut head.headers);
    }
    if let Some(status) = GrpcStatus::read(&head.headers) {
        // Trailers-only: one block is headers and trailers, there is no message.
        return match status.code {
            Code::Ok if rpc.server_streams => Ok(Opened {
                messages: Messages::new(
                    Full::default()
                        .with_trailers(ready(Some(Ok(head.headers.clone()))))
                        .map_err(|never| match never {})
                        .boxed_unsync(),
                    bytes_max,
                    None,
                ),
                initial: head.headers,
            }),
            Code::Ok => Err(Failure::Protocol("ok without a message".to_owned())),
            // Tonic's word for a time that is over; the client would take it for its own doing.
            Code::Cancelled if is_over(deadline.as_ref().map(|deadline| deadline.as_ref())) => {
                Err(Failure::Timeout)
            }
            _ => Err(Failure::Status(Box::new(status), head.headers)),
        };
    }
    if head.status != StatusCode::OK {
        return Err(not_grpc(head.status));
    }
    if body.is_end_stream() {
        return Err(Failure::Broken("headers without a grpc-status".to_owned()));
    }
    let body = body.map_err(Into::into).boxed_unsync();
    Ok(Opened {
        initial: head.headers,
        messages: Messages::new(body, bytes_max, deadline),
    })
}

/// Up to the ticks by which two clocks differ.
fn is_over(deadline: Option<Pin<&Sleep>>) -> bool {
    let soon = Instant::now() + CLOCK_TICKS;
    deadline.is_some_and(|deadline| deadline.deadline() <= soon)
}

async fn call_head<S>(
    service: &mut S,
    rpc: &Rpc,
    metadata: HeaderMap,
    body: Body,
) -> Result<Response<S::ResponseBody>, Failure>
where
    S: Upstream,
{
    poll_fn(|cx| service.poll_ready(cx))
        .await
        .map_err(|error| failed(error.into()))?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::from(rpc.path.clone());
    *request.headers_mut() = metadata;
    service
        .call(request)
        .await
        .map_err(|error| failed(error.into()))
}

/// Calls an RPC that answers with one message.
pub(crate) async fn call<S>(
    service: &mut S,
    rpc: &Rpc,
    metadata: HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Reply, Failure>
where
    S: Upstream,
{
    let Opened {
        initial,
        mut messages,
    } = open(service, rpc, metadata, body, bytes_max).await?;
    let mut only = None;
    loop {
        match messages.next().await {
            Some(Ok(Part::Message(frame))) if only.is_none() => only = Some(frame),
            Some(Ok(Part::Message(_))) => {
                return Err(Failure::Protocol("more than one message".to_owned()));
            }
            Some(Ok(Part::End(trailers))) => {
                let frame =
                    only.ok_or_else(|| Failure::Protocol("ok without a message".to_owned()))?;
                return Ok(Reply {
                    initial,
                    frame,
                    trailers,
                });
            }
            Some(Err(Failure::Status(status, _))) => {
                return Err(Failure::Status(status, initial));
            }
            Some(Err(failure)) => return Err(failure),
            None => return Err(Failure::Broken("no end".to_owned())),
        }
    }
}

/// A message as it was sent.
pub(crate) fn plain(frame: Frame) -> Result<Bytes, Failure> {
    if frame.flags != 0 {
        return Err(compressed());
    }
    Ok(frame.bytes)
}

/// A message as the descriptors have it.
pub(crate) fn decode(desc: &MessageDescriptor, frame: Frame) -> Result<DynamicMessage, Failure> {
    DynamicMessage::decode(desc.clone(), plain(frame)?)
        .map_err(|error| Failure::Protocol(error.to_string()))
}

pub(crate) fn compressed() -> Failure {
    Failure::Protocol("the message is compressed".to_owned())
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
