//! A connection of HTTP requests, and which dialect answers each.
//!
//! Invariant: every request gets an answer; nothing outlives its request. When the edge hangs up the
//! call is dropped and so cancelled.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tonic::codegen::StdError;

use crate::dialect::{Codec, Dialect};
use crate::json::body;
use crate::pipe::Far;
use crate::status::problem::Rejection;
use crate::translator::{Find, Translator};
use crate::upstream::Upstream;
use crate::{Error, connect, grpc_web, http_metadata, request_frames, rest, web_socket};

/// Read buffer of a connection, in bytes; it bounds a request's head.
const READ_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 128;

/// Longest `x-request-id` that is repeated in a problem, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Of a known length, or a stream. An error in it breaks the connection off.
pub type ResponseBody = UnsyncBoxBody<Bytes, StdError>;

/// Serves the one request of a connection.
///
/// When the other end is dropped while it is in flight, the gRPC call is cancelled.
///
/// # Errors
/// The connection broke, or its peer does not speak HTTP/1.1.
pub async fn serve_connection<S>(
    connection: Far,
    translator: Arc<Translator>,
    service: S,
) -> Result<(), Error>
where
    S: Upstream,
{
    let Far { stream, hung_up } = connection;
    // At most one, and the last thing on its connection: it lives and dies with it.
    let upgraded = Arc::new(Mutex::new(None));
    let begun = upgraded.clone();
    let handler = service_fn(move |request| {
        let (translator, service) = (translator.clone(), service.clone());
        let begun = begun.clone();
        async move {
            let (response, conversation) = respond(&translator, service, request).await;
            *begun.lock().unwrap_or_else(PoisonError::into_inner) = conversation;
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        // The edge bounds its own writing.
        .header_read_timeout(None)
        // What is half closed is still there: `hung_up` tells of the end.
        .half_close(true)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), handler)
        .with_upgrades();
    let whole = async {
        serving.await?;
        let conversation = upgraded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(conversation) = conversation {
            conversation.await;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        served = whole => served,
        _ = hung_up => Ok(()),
    }
}

/// The answer, and what follows it where it is a 101.
async fn respond<S>(
    translator: &Arc<Translator>,
    service: S,
    mut request: Request<Incoming>,
) -> (Response<ResponseBody>, Option<web_socket::Upgraded>)
where
    S: Upstream,
{
    let mut response = if web_socket::is_handshake(&request) {
        let request_id = request_id(request.headers());
        http_metadata::tell(Dialect::Http, &mut request);
        match web_socket::open(translator, service, request).await {
            Ok((response, conversation)) => return (response, Some(conversation)),
            Err(rejection) => told(rejection, Dialect::Http, request_id.as_ref()),
        }
    } else {
        translate(translator, service, request).await
    };
    // Another connection costs less than a place in a pool.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    (response, None)
}

/// Answers one request. Never fails: what goes wrong is told as the client's dialect tells it.
pub async fn translate<B, S>(
    translator: &Arc<Translator>,
    service: S,
    mut request: Request<B>,
) -> Response<ResponseBody>
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Send + 'static,
    S: Upstream,
{
    let dialect = dialect(translator, &request);
    let request_id = request_id(request.headers());
    http_metadata::tell(dialect, &mut request);
    let answer = match dialect {
        Dialect::Http | Dialect::Grpc => rest::answer(translator, service, request).await,
        Dialect::GrpcWeb { .. } => {
            let request = request.map(request_frames::boxed);
            grpc_web::answer(translator.clone(), service, dialect, request).await
        }
        Dialect::ConnectUnary(codec) => {
            let request = request.map(request_frames::boxed);
            connect::unary(translator.clone(), service, codec, request).await
        }
        Dialect::ConnectStream(codec) => {
            let request = request.map(request_frames::boxed);
            connect::stream(translator.clone(), service, codec, request).await
        }
    };
    answer.unwrap_or_else(|rejection| told(rejection, dialect, request_id.as_ref()))
}

fn told(
    rejection: Rejection,
    dialect: Dialect,
    request_id: Option<&HeaderValue>,
) -> Response<ResponseBody> {
    let request_id = request_id.and_then(|id| id.to_str().ok());
    rejection.into_response(dialect, request_id)
}

/// JSON that is posted to the path of an RPC is for that RPC, whether it says so or not: who calls by
/// hand should not need to know of a header.
fn dialect<B>(translator: &Translator, request: &Request<B>) -> Dialect {
    let path = request.uri().path();
    match Dialect::of(request.method(), request.uri().query(), request.headers()) {
        Dialect::Http
            if *request.method() == Method::POST
                && body::is_utf8(request.headers(), &["application/json"])
                && translator.rpc(path).is_some_and(|rpc| !rpc.is_streaming())
                && matches!(translator.find(&Method::POST, path), Find::NotFound) =>
        {
            Dialect::ConnectUnary(Codec::Json)
        }
        dialect => dialect,
    }
}

/// What problems repeat, so that a client's report leads to its line in the log.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get("x-request-id")
        .filter(|value| value.len() <= REQUEST_ID_BYTES_MAX)
        .cloned()
}
