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
mod error;

use std::sync::Arc;

use axum::{Router, http::header, routing::get};
use core_platform::{
    clock::UnixMicros, db::Db, metrics::Metrics, serve::MESSAGE_BYTES_MAX, token::Verifier,
    validate::Validator,
};
use core_proto::{
    auth::v1::auth_service_server::AuthServiceServer,
    user::v1::user_service_server::UserServiceServer,
};
use tonic::service::Routes;

pub use accounts::Accounts;
pub use error::Error;
pub use keys::TokenSettings;
pub use store::MIGRATIONS;

/// The name of this service's database, of its metrics' `service` label, and in logs.
pub const SERVICE: &str = "identity";
/// The protobuf services it answers.
pub const GRPC_SERVICES: [&str; 2] = ["auth.v1.AuthService", "user.v1.UserService"];

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

/// The running service.
pub struct Identity {
    accounts: Arc<Accounts>,
}

impl Identity {
    /// Starts on a migrated database; makes the first signing key if there is none.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        db: Db,
        settings: &TokenSettings,
        metrics: &Metrics,
        now: UnixMicros,
    ) -> Result<Self, StartError> {
        let accounts = Accounts::start(db, settings, metrics, now).await?;
        Ok(Self {
            accounts: Arc::new(accounts),
        })
    }

    /// Checks access tokens against this service's own keys.
    pub fn verifier(&self) -> Verifier {
        self.accounts.verifier()
    }

    /// Adds the service's RPCs.
    pub fn mount(&self, routes: Routes, validator: &Arc<Validator>) -> Routes {
        let grpc = Arc::new(grpc::Grpc::new(self.accounts.clone(), validator.clone()));
        routes
            .add_service(
                AuthServiceServer::from_arc(grpc.clone())
                    .max_decoding_message_size(MESSAGE_BYTES_MAX),
            )
            .add_service(
                UserServiceServer::from_arc(grpc).max_decoding_message_size(MESSAGE_BYTES_MAX),
            )
    }

    /// What the admin listener serves for this service: the public keys, so that an
    /// edge on the same machine needs no certificate to fetch them.
    pub fn admin(&self) -> Router {
        let jwks = self.accounts.jwks_json();
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
}
