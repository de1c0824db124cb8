//! REST and JSON to gRPC for unary calls, driven by protobuf descriptors.
//!
//! Served as an in-process upstream: the edge sees an HTTP/1.1 origin at the end of a socket
//! pair, this crate serves the other end and calls a gRPC service.
//! Invariant: everything that can be parsed is parsed when a [`Translator`] is built; a request
//! only looks things up. Refuses to choose upstreams, to check callers and to keep state between
//! requests. Streaming RPCs are not bound ([`Translator::streaming_rpcs`] lists them).

mod binding;
mod body;
mod error;
mod field_path;
mod index;
mod metadata;
mod percent;
mod problem;
mod query;
mod reply;
mod request;
mod rule;
mod scalar;
mod serve;
mod status;
mod template;
mod translator;
mod upstream;

pub use binding::{Binding, BindingInfo, BoundMethod};
pub use error::Error;
pub use serve::{serve_connection, translate};
pub use translator::{Find, Options, Translator};
