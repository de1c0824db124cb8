//! `palisade.echo.v1.EchoService`: does as its requests say.

pub mod mirror;
mod service;
mod streams;
mod tus;

pub use service::Echo;
pub use streams::{Checksum, piece};

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    reason = "generated from the proto"
)]
mod palisade {
    pub mod echo {
        pub mod v1 {
            tonic::include_proto!("palisade.echo.v1");
        }
    }
}

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    reason = "generated from the proto"
)]
mod google {
    pub mod api {
        tonic::include_proto!("google.api");
    }
}

use tonic_reflection::server::{Builder, Error};

pub use google::api::HttpBody;
pub use palisade::echo::v1 as proto;
pub use proto::echo_service_server::EchoServiceServer;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

/// Encoded `FileDescriptorSet`, with its imports and their options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo.pb"));

/// Tells clients what is in [`DESCRIPTORS`].
///
/// # Errors
/// Never: the descriptors are our own.
pub fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, Error> {
    Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()
}
