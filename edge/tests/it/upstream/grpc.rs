//! A gRPC service by tonic: unary with trailers, trailers-only errors, a stream both ways.
//!
//! Its contract is `proto/greeter.proto`, compiled when a test asks for the descriptors.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use protox::Compiler;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HelloRequest {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) language: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HelloReply {
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}

pub(crate) const HELLO: &str = "/test.v1.Greeter/Hello";
pub(crate) const CHAT: &str = "/test.v1.Greeter/Chat";

/// The service on a port of its own; stops when dropped.
pub(crate) struct Greeter {
    pub(crate) address: SocketAddr,
    calls: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl Greeter {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let calls = Arc::new(AtomicUsize::new(0));
        let server = tonic::transport::Server::builder().add_service(GreeterServer(calls.clone()));
        tokio::spawn(
            server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped),
        );
        Self {
            address,
            calls,
            _stop: stop.drop_guard(),
        }
    }

    /// Calls that came, however they ended.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// The contract as a descriptor set, with its options.
pub(crate) fn descriptors() -> Vec<u8> {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/proto");
    let mut compiler = Compiler::new([protos]).expect("the protos are there");
    compiler
        .include_imports(true)
        .open_file("greeter.proto")
        .expect("the proto compiles");
    compiler.encode_file_descriptor_set()
}

fn greet(request: &HelloRequest) -> Result<HelloReply, Status> {
    match request.name.as_str() {
        "nobody" => Err(Status::new(Code::NotFound, "no such person")),
        "busy" => Err(Status::new(Code::Unavailable, "come back later")),
        "bug" => Err(Status::new(Code::Internal, "secret of the database")),
        "" => Err(Status::new(Code::InvalidArgument, "a name is needed")),
        name => {
            let greeting = if request.language == "de" {
                "hallo"
            } else {
                "hello"
            };
            Ok(HelloReply {
                message: format!("{greeting} {name}"),
            })
        }
    }
}

struct Hello;

impl UnaryService<HelloRequest> for Hello {
    type Response = HelloReply;
    type Future = BoxFuture<Response<HelloReply>, Status>;

    fn call(&mut self, request: Request<HelloRequest>) -> Self::Future {
        Box::pin(async move { greet(request.get_ref()).map(Response::new) })
    }
}

struct Chat;

impl StreamingService<HelloRequest> for Chat {
    type Response = HelloReply;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<HelloReply, Status>> + Send>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<HelloRequest>>) -> Self::Future {
        let replies = request
            .into_inner()
            .map(|message| message.and_then(|message| greet(&message)));
        Box::pin(async move { Ok(Response::new(replies.boxed() as Self::ResponseStream)) })
    }
}

#[derive(Clone)]
struct GreeterServer(Arc<AtomicUsize>);

impl NamedService for GreeterServer {
    const NAME: &'static str = "test.v1.Greeter";
}

impl Service<http::Request<Body>> for GreeterServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.fetch_add(1, Ordering::Relaxed);
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            let response = match path.as_str() {
                HELLO => Grpc::new(ProstCodec::default()).unary(Hello, request).await,
                CHAT => {
                    Grpc::new(ProstCodec::default())
                        .streaming(Chat, request)
                        .await
                }
                _ => Status::unimplemented("no such method").into_http(),
            };
            Ok(response)
        })
    }
}
