//! One HTTP request to one gRPC call, and a connection of such requests.
//!
//! Invariant: every request gets an answer with a known length; nothing outlives its request. No
//! deadlines here: the edge owns them, and when it hangs up the call is dropped and so cancelled.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;

use crate::binding::Binding;
use crate::problem::Rejection;
use crate::reply::ReplyError;
use crate::status;
use crate::translator::{Find, Translator};
use crate::upstream::{self, Failure};
use crate::{Error, body, metadata, request};

/// Read buffer of a connection, in bytes; it bounds a request's head.
const READ_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 128;

/// Longest `x-request-id` that is repeated in a problem, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

const TOO_LARGE: &str = "upstream_response_too_large";
const INVALID: &str = "upstream_response_invalid";

/// Serves one HTTP/1.1 connection (the far end of a socket pair) until it closes.
///
/// When the peer closes while a request is in flight, the gRPC call is cancelled.
///
/// # Errors
/// The connection broke, or its peer does not speak HTTP/1.1.
pub async fn serve_connection<IO, S>(
    io: IO,
    translator: Arc<Translator>,
    service: S,
) -> Result<(), Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: GrpcService<Body> + Clone,
    <S::ResponseBody as HttpBody>::Error: Into<StdError>,
{
    let handler = service_fn(move |request| {
        let translator = Arc::clone(&translator);
        let service = service.clone();
        async move { Ok::<_, Infallible>(translate(&translator, service, request).await) }
    });
    http1::Builder::new()
        // Idle connections are the edge's to close: they wait in its pool.
        .header_read_timeout(None)
        // A closed peer cancels the call; a half-closed one does not exist between two halves
        // of one process.
        .half_close(false)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(io), handler)
        .await?;
    Ok(())
}

/// Answers one request. Never fails: what goes wrong becomes a problem document (RFC 9457).
///
/// A service chooses the status of a success (2xx or 3xx) by `x-http-status` in its initial
/// metadata; what else is in there becomes response headers.
pub async fn translate<B, S>(
    translator: &Translator,
    service: S,
    request: Request<B>,
) -> Response<Full<Bytes>>
where
    B: HttpBody,
    B::Error: Into<StdError>,
    S: GrpcService<Body>,
    <S::ResponseBody as HttpBody>::Error: Into<StdError>,
{
    let request_id = request
        .headers()
        .get("x-request-id")
        .filter(|value| value.len() <= REQUEST_ID_BYTES_MAX)
        .cloned();
    match answer(translator, service, request).await {
        Ok(response) => response,
        Err(rejection) => {
            rejection.into_response(request_id.as_ref().and_then(|id| id.to_str().ok()))
        }
    }
}

async fn answer<B, S>(
    translator: &Translator,
    mut service: S,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Rejection>
where
    B: HttpBody,
    B::Error: Into<StdError>,
    S: GrpcService<Body>,
    <S::ResponseBody as HttpBody>::Error: Into<StdError>,
{
    let options = translator.options();
    let (head, body) = request.into_parts();
    let mut body = pin!(body);
    let admitted = admit(translator, &head, body.as_mut()).await;
    let (binding, json) = match admitted {
        Ok(admitted) => admitted,
        Err(rejection) => {
            body::drain(body).await;
            return Err(rejection);
        }
    };
    let message = request::message(binding, options, head.uri.path(), head.uri.query(), &json)?;
    drop(json);
    let frame = upstream::frame(&message)
        .ok_or_else(|| Rejection::body_too_large(options.json_body_bytes_max))?;
    drop(message);
    let metadata = metadata::request(head.headers);
    let bytes_max = options.grpc_message_bytes_max;
    let reply = upstream::call(&mut service, binding, metadata, frame, bytes_max)
        .await
        .map_err(|failure| reject(binding, failure))?;
    let (status, headers) = metadata::response(reply.initial);
    if matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    ) {
        return Ok(respond(status, headers, Bytes::new()));
    }
    let json = binding
        .response
        // JSON with its names is about twice its message.
        .to_json(
            &reply.message,
            reply.message_bytes.saturating_mul(2),
            options,
        )
        .map_err(|error| match error {
            ReplyError::TooLarge(_) => bad_gateway(binding, TOO_LARGE, &error),
            ReplyError::Json(_) => bad_gateway(binding, INVALID, &error),
        })?;
    let mut response = respond(status, headers, json.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Finds the binding and reads the body.
async fn admit<'t, B>(
    translator: &'t Translator,
    head: &Parts,
    body: Pin<&mut B>,
) -> Result<(&'t Binding, Bytes), Rejection>
where
    B: HttpBody,
    B::Error: Into<StdError>,
{
    let binding = match translator.find(&head.method, head.uri.path()) {
        Find::Found(binding) => binding,
        Find::MethodNotAllowed { allow } => return Err(Rejection::method_not_allowed(&allow)),
        Find::NotFound => return Err(Rejection::not_found()),
    };
    let bytes_max = translator.options().json_body_bytes_max;
    let json = body::read(binding, &head.headers, body, bytes_max).await?;
    Ok((binding, json))
}

fn respond(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn reject(binding: &Binding, failure: Failure) -> Rejection {
    match failure {
        Failure::Status(status, initial) => {
            if status::is_internal(status.code) {
                let code = status::name(status.code);
                tracing::warn!(rpc = %binding.rpc, code, message = %status.message, "call failed");
            }
            Rejection::grpc(*status, metadata::response(initial).1)
        }
        Failure::Timeout => Rejection::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline_exceeded",
            "the service did not answer in time",
        ),
        Failure::Unavailable(cause) => {
            tracing::warn!(rpc = %binding.rpc, %cause, "upstream not available");
            Rejection::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the service cannot be reached",
            )
        }
        failure @ Failure::TooLarge(_) => bad_gateway(binding, TOO_LARGE, &failure),
        failure @ Failure::Protocol(_) => bad_gateway(binding, INVALID, &failure),
        failure @ Failure::Broken(_) => bad_gateway(binding, "upstream_broken", &failure),
    }
}

fn bad_gateway(binding: &Binding, code: &'static str, cause: &dyn std::error::Error) -> Rejection {
    tracing::warn!(rpc = %binding.rpc, code, %cause, "upstream answer not usable");
    Rejection::new(
        StatusCode::BAD_GATEWAY,
        code,
        "the service did not give a usable answer",
    )
}
