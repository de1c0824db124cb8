//! The identity service: accounts, passwords, sessions, access tokens.
//! Invariant: wire (`grpc`), rules (`accounts` and what it uses) and SQL
//! (`store`) are three layers; rules know neither tonic nor SQL.
//! Refuses to say who has an account: known and unknown addresses get the same
//! answers after the same work.

mod grpc;
mod accounts;
mod password;
mod refresh;
mod keys;
mod store;
mod counters;
mod settings;
mod error;

use std::sync::Arc;

use axum::{Router, http::header, routing::get};
use core_platform::{
    serve::MESSAGE_BYTES_MAX,
    service::{Context, Definition, Parts},
};
use core_proto::{
    auth::v1::auth_service_server::AuthServiceServer,
    user::v1::user_service_server::UserServiceServer,
};

pub use accounts::Accounts;
pub use error::Error;
pub use keys::TokenSettings;
pub use settings::{Flags, Settings, SettingsError};
pub use store::MIGRATIONS;

/// What is known of this service before it starts.
pub const DEFINITION: Definition = Definition {
    name: "identity",
    grpc: &["auth.v1.AuthService", "user.v1.UserService"],
    migrations: &MIGRATIONS,
};

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Db(#[from] core_platform::db::Error),
    #[error("signing keys: {0}")]
    Keys(#[from] keys::Error),
    #[error("password hashing: {0}")]
    Password(#[from] password::Error),
    #[error("metrics: {0}")]
    Metrics(String),
}

/// Starts on a migrated database; makes the first signing key if there is none.
///
/// # Errors
/// See [`StartError`].
pub async fn start(settings: &Settings, context: Context) -> Result<Parts, StartError> {
    let Context {
        db,
        metrics,
        validator,
        now,
        ..
    } = context;
    let accounts = Arc::new(Accounts::start(db, &settings.tokens, &metrics, now).await?);
    let grpc = Arc::new(grpc::Grpc::new(accounts.clone(), validator));
    let auth = AuthServiceServer::from_arc(grpc.clone());
    let user = UserServiceServer::from_arc(grpc);
    Ok(Parts::default()
        .grpc(auth.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .grpc(user.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .verifier(accounts.verifier())
        .admin(admin(&accounts)))
}

/// What the admin listener serves for this service: the public keys, so that an
/// edge on the same machine needs no certificate to fetch them.
fn admin(accounts: &Accounts) -> Router {
    let jwks = accounts.jwks_json();
    Router::new().route(
        "/.well-known/jwks.json",
        get(move || async move {
            let headers = [
                (header::CONTENT_TYPE, "application/jwk-set+json"),
                (header::CACHE_CONTROL, "public, max-age=300"),
            ];
            (headers, jwks)
        }),
    )
}
