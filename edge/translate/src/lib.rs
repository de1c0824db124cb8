//! What clients speak (JSON over HTTP, gRPC-Web, Connect) to gRPC, driven by protobuf descriptors.
//!
//! Served as an in-process upstream: the edge sees an HTTP/1.1 origin at the near end of a pipe in
//! memory, this crate serves the far end and calls a gRPC service.
//! Invariant: everything that can be parsed is parsed when a [`Translator`] is built; a request
//! only looks things up. Refuses to choose upstreams, to check callers and to keep state between
//! requests.

mod answer_frames;
mod compression;
mod connect;
mod dialect;
mod error;
mod framing;
mod grpc_web;
mod http_metadata;
mod json;
mod metadata;
mod options;
mod pipe;
mod reflection;
mod request_frames;
mod rest;
mod rpc;
mod rules;
mod server;
mod status;
#[doc(hidden)]
pub mod tools;
mod translator;
mod upstream;
mod validate;
mod web_socket;

pub use compression::Coding;
pub use dialect::{Codec, Dialect};
pub use error::Error;
pub use options::{JsonOptions, Options, SseOptions};
pub use pipe::{Far, Near, pipe};
pub use reflection::{Description, ReflectionError, describe};
pub use rest::is_lines;
pub use rpc::Rpc;
pub use rules::binding::{Binding, BindingInfo, BoundMethod};
pub use rules::shape::{BodyPart, Piece};
pub use rules::template::Segment;
pub use server::{ResponseBody, serve_connection, translate};
pub use status::render::{FailedCall, failed_call};
pub use translator::{Find, Translator};
pub use upstream::{AnswerBody, Upstream};
