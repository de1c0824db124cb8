//! One message there, one message back.

use std::pin::pin;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full};
use tonic::codegen::StdError;

use crate::json::reply::ReplyError;
use crate::json::{body, request as message};
use crate::metadata;
use crate::options::Options;
use crate::rpc::Rpc;
use crate::rules::binding::Binding;
use crate::server::ResponseBody;
use crate::status::failure::{self, reject};
use crate::status::problem::Rejection;
use crate::translator::Translator;
use crate::upstream::{self, Reply};

/// The request message with its prefix: of path, query and a JSON body.
pub(super) async fn frame<B>(
    translator: &Translator,
    binding: &Binding,
    head: &Parts,
    body: B,
) -> Result<Bytes, Rejection>
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>>,
{
    let options = translator.options();
    let mut body = pin!(body);
    let bytes_max = options.request_message_bytes_max;
    let json = match body::read(binding, &head.headers, body.as_mut(), bytes_max).await {
        Ok(json) => json,
        Err(rejection) => {
            body::drain(body).await;
            return Err(rejection);
        }
    };
    let message = message::message(binding, options, head.uri.path(), head.uri.query(), &json)?;
    drop(json);
    translator.check(&binding.rpc, &message)?;
    upstream::frame(&message).ok_or_else(|| Rejection::body_too_large(bytes_max))
}

/// The answer as JSON.
pub(super) fn json(
    options: &Options,
    binding: &Binding,
    reply: Reply,
) -> Result<Response<ResponseBody>, Rejection> {
    let rpc = &*binding.rpc;
    let (status, headers) = metadata::response(reply.initial);
    if is_bodiless(status) {
        return Ok(respond(status, headers, Bytes::new()));
    }
    // JSON with its names is about twice its message.
    let size_hint = reply.frame.bytes.len().saturating_mul(2);
    let message =
        upstream::decode(&rpc.output, reply.frame).map_err(|failure| reject(rpc, failure))?;
    let json = binding
        .response
        .to_json(&message, size_hint, options)
        .map_err(|error| unusable(rpc, &error))?;
    let mut response = respond(status, headers, json.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Whether answers of this status have no body (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5).
pub(super) fn is_bodiless(status: StatusCode) -> bool {
    [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ]
    .contains(&status)
}

/// A message that could not be written as JSON.
pub(super) fn unusable(rpc: &Rpc, error: &ReplyError) -> Rejection {
    let code = match error {
        ReplyError::TooLarge(_) => failure::TOO_LARGE,
        ReplyError::Json(_) => failure::INVALID,
    };
    failure::bad_gateway(rpc, code, error)
}

pub(super) fn respond(
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
) -> Response<ResponseBody> {
    let body = Full::new(body).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
