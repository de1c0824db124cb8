//! `palisade.mirror.v1.MirrorService`: every call is answered with the bytes of its request, frames
//! and all, so that whoever translates is alone with its own mistakes.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

/// Encoded `FileDescriptorSet`, with its imports and their options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mirror.pb"));

#[derive(Debug, Clone, Copy)]
pub struct Mirror;

impl NamedService for Mirror {
    const NAME: &'static str = "palisade.mirror.v1.MirrorService";
}

impl Service<Request<Body>> for Mirror {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let end = std::future::ready(Some(Ok(trailers)));
        let body = http_body_util::BodyExt::with_trailers(request.into_body(), end);
        let mut response = Response::new(Body::new(body));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, grpc);
        Box::pin(std::future::ready(Ok(response)))
    }
}
