//! The sample service: items, each with one owner.
//! Invariant: wire (`grpc`), rules (`items`) and SQL (`store`) are three layers; rules
//! know neither tonic nor SQL.
//! Refuses to show an item to anyone but its owner.

mod grpc;
mod items;
mod consumers;
mod store;
mod settings;
mod error;

use core_platform::{
    crypto,
    cursor::Cursors,
    serve::MESSAGE_BYTES_MAX,
    service::{Context, Definition, Parts},
};
use core_proto::sample::v1::sample_service_server::SampleServiceServer;

use items::Items;

pub use error::Error;
pub use settings::{Flags, Settings, SettingsError};
pub use store::MIGRATIONS;

/// The name of the service.
pub(crate) const SERVICE: &str = "sample";

/// What is known of this service before it starts.
pub const DEFINITION: Definition = Definition {
    name: SERVICE,
    grpc: &["sample.v1.SampleService"],
    migrations: &MIGRATIONS,
    redis_database: 0,
};

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("page tokens: {0}")]
    Crypto(#[from] crypto::Error),
}

/// # Errors
/// See [`StartError`].
pub async fn start(settings: &Settings, context: Context) -> Result<Parts, StartError> {
    let Context {
        db,
        vault,
        validator,
        ..
    } = context;
    let rpcs = SampleServiceServer::new(grpc::Rpcs {
        items: Items {
            db,
            items_max: settings.items_max,
        },
        cursors: Cursors::new(&vault)?,
        validator,
    });
    Ok(Parts::default()
        .grpc(rpcs.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .consumer(consumers::users()))
}

#[cfg(test)]
mod tests;
