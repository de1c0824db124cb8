//! The translator over a service that says what it is sent, without a network.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use palisade_translate::{Options, Translator, translate};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;

/// Longest message, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;

/// Answers each call with the messages that it was sent.
#[derive(Clone)]
struct Echo;

type Pieces = StreamBody<tokio_stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, StdError>>>>;

impl GrpcService<Body> for Echo {
    type ResponseBody = Pieces;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Pieces>, StdError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let said = request.into_body().collect().await?.to_bytes();
            let messages = frames(&said);
            for (flags, message) in &messages {
                // What comes here is what a gRPC client may send.
                assert!(*flags <= 1 && message.len() <= 32 * MESSAGE_BYTES_MAX);
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let pieces = vec![Ok(Frame::data(said)), Ok(Frame::trailers(trailers))];
            Ok(Response::new(StreamBody::new(tokio_stream::iter(pieces))))
        })
    }
}

/// The frames of a whole body, which is nothing else.
pub(crate) fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let ([flags, length @ ..], rest) = body.split_first_chunk::<5>().expect("a prefix");
        let length = u32::from_be_bytes(*length) as usize;
        let (message, rest) = rest.split_at_checked(length).expect("a whole message");
        frames.push((*flags, message.to_vec()));
        body = rest;
    }
    frames
}

/// Sends a request whose body comes in pieces of `cut` bytes.
pub(crate) fn send(request: Request<&[u8]>, cut: usize) -> Response<Bytes> {
    let request = request.map(|body| {
        let pieces: Vec<Result<_, StdError>> = body
            .chunks(cut.max(1))
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        StreamBody::new(tokio_stream::iter(pieces))
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (head, body) = translate(translator(), Echo, request).await.into_parts();
        let body = body.collect().await.expect("every answer ends").to_bytes();
        Response::from_parts(head, body)
    })
}

fn translator() -> &'static Arc<Translator> {
    static TRANSLATOR: OnceLock<Arc<Translator>> = OnceLock::new();
    TRANSLATOR.get_or_init(|| {
        let options = Options {
            request_message_bytes_max: MESSAGE_BYTES_MAX,
            ..Options::default()
        };
        let translator = Translator::from_descriptor_set(palisade_echo::DESCRIPTORS, options);
        Arc::new(translator.expect("descriptors"))
    })
}
