//! A connection of HTTP requests, and which dialect answers each.
//!
//! Invariant: every request gets an answer; nothing outlives its request. When the edge hangs up the
//! call is dropped and so cancelled.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::codegen::StdError;

use crate::dialect::{Codec, Dialect};
use crate::json::body;
use crate::socket::Socket;
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

/// Serves one HTTP/1.1 connection (the far end of a socket pair) until it closes.
///
/// When the peer closes while a request is in flight, the gRPC call is cancelled.
///
/// # Errors
/// The connection broke, or its peer does not speak HTTP/1.1.
pub async fn serve_connection<S>(
    stream: UnixStream,
    translator: Arc<Translator>,
    service: S,
) -> Result<(), Error>
where
    S: Upstream,
{
    let socket = Socket::new(stream);
    // At most one, and the last thing on its connection: it lives and dies with it.
    let upgraded = Arc::new(Mutex::new(None));
    let begun = upgraded.clone();
    let handler = service_fn(move |mut request| {
        let translator = Arc::clone(&translator);
        let service = service.clone();
        let begun = begun.clone();
        async move {
            if !web_socket::is_handshake(&request) {
                return Ok::<_, Infallible>(translate(&translator, service, request).await);
            }
            let request_id = request_id(request.headers());
            http_metadata::tell(Dialect::Http, &mut request);
            Ok(
                match web_socket::open(&translator, service, request).await {
                    Ok((response, conversation)) => {
                        *begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(conversation);
                        response
                    }
                    Err(rejection) => told(rejection, Dialect::Http, request_id.as_ref()),
                },
            )
        }
    });
    let mut builder = http1::Builder::new();
    let serving = builder
        // Idle connections are the edge's to close: they wait in its pool.
        .header_read_timeout(None)
        // A closed peer cancels the call; a half-closed one does not exist between two halves
        // of one process.
        .half_close(false)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(socket.clone()), handler)
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
        () = socket.closed() => Ok(()),
    }
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
