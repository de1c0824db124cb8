//! The identity service: accounts, contacts, passwords, other credentials, sessions,
//! profiles.
//! Invariant: wire (`grpc`), rules (`accounts`, `credentials`, `oidc`, `sessions`,
//! `profiles` and what they use) and SQL (`store`) are three layers; rules know neither tonic nor SQL.
//! Refuses to say who has an account: known and unknown addresses get the same
//! answers after the same work.

mod grpc;
mod accounts;
mod oidc;
mod credentials;
mod sessions;
mod profiles;
mod contacts;
mod messages;
mod password;
mod breached;
mod throttle;
mod tickets;
mod keys;
mod facts;
mod origin;
mod json;
mod store;
mod counters;
mod site;
mod settings;
mod error;

use std::sync::Arc;

use axum::{Router, http::header, routing::get};
use core_platform::{
    audit::Audit,
    clock::UnixMicros,
    crypto::Vault,
    db::Db,
    jobs::Options,
    metrics::Metrics,
    serve::MESSAGE_BYTES_MAX,
    service::{Context, Definition, Parts},
};
use core_proto::{
    auth::v1::{
        auth_service_server::AuthServiceServer, credential_service_server::CredentialServiceServer,
    },
    user::v1::user_service_server::UserServiceServer,
};

use accounts::Accounts;
use contacts::Codes;
use counters::Counters;
use credentials::Credentials;
use facts::Facts;
use keys::{Signer, StoredKey};
use messages::{Mailer, Sender, Sms};
use oidc::Oidc;
use password::Hasher;
use profiles::Profiles;
use sessions::Sessions;
use tickets::Tickets;

pub use breached::Breached;
pub use error::Error;
pub use keys::TokenSettings;
pub use messages::{MailSettings, SmsSettings};
pub use settings::{Flags, Settings, SettingsError};
pub use site::Site;
pub use store::MIGRATIONS;

/// The name of the service.
pub(crate) const SERVICE: &str = "identity";

/// The folder of mails in the data directory, while there is no relay.
const OUTBOX: &str = "outbox";

/// What is known of this service before it starts.
pub const DEFINITION: Definition = Definition {
    name: SERVICE,
    grpc: &[
        "auth.v1.AuthService",
        "auth.v1.CredentialService",
        "user.v1.UserService",
    ],
    migrations: &MIGRATIONS,
    redis_database: 0,
};

/// What the operator decides about accounts.
#[derive(Clone, Default)]
pub struct Policy {
    /// May only who has verified the address sign in?
    pub require_verified: bool,
    pub breached: Breached,
    pub site: Site,
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Db(#[from] core_platform::db::Error),
    #[error("data keys: {0}")]
    Crypto(#[from] core_platform::crypto::Error),
    #[error("signing keys: {0}")]
    Keys(#[from] keys::Error),
    #[error("password hashing: {0}")]
    Password(#[from] password::Error),
    #[error("{0}")]
    Site(#[from] site::Error),
    #[error("the HTTP client for other providers: {0}")]
    Oidc(#[from] reqwest::Error),
    #[error("{0}")]
    Schedule(#[from] core_platform::jobs::CronError),
    #[error("{0}")]
    Mail(#[from] messages::MailError),
    #[error("{0}")]
    Sms(#[from] messages::SmsError),
    #[error("metrics: {0}")]
    Metrics(String),
}

/// The rules, put together.
struct Rules {
    accounts: Arc<Accounts>,
    sessions: Sessions,
    profiles: Profiles,
}

impl Rules {
    /// On a migrated database; makes the first signing key if there is none.
    async fn new(
        db: Db,
        vault: Vault,
        tokens: &TokenSettings,
        policy: Policy,
        metrics: &Metrics,
        now: UnixMicros,
    ) -> Result<Self, StartError> {
        let keys = store::keys::signing_keys(&db, StoredKey::generate, now).await?;
        let counters = Counters::new(metrics)?;
        let facts = Facts::new(Audit::new(&vault)?);
        let codes = Codes::new(vault.clone());
        let sessions = Sessions {
            db: db.clone(),
            vault: vault.clone(),
            signer: Signer::new(tokens, &keys)?,
            facts: facts.clone(),
            counters: counters.clone(),
        };
        let profiles = Profiles {
            db: db.clone(),
            vault: vault.clone(),
            codes: codes.clone(),
            sessions: sessions.clone(),
            facts: facts.clone(),
        };
        let credentials = Credentials {
            db: db.clone(),
            vault: vault.clone(),
            codes: codes.clone(),
            tickets: Tickets::new(vault.clone()),
            sessions: sessions.clone(),
            facts: facts.clone(),
            counters: counters.clone(),
            webauthn: Arc::new(policy.site.relying_party()?),
            site_name: policy.site.name.as_str().into(),
            require_verified: policy.require_verified,
        };
        let accounts = Accounts {
            db,
            vault,
            hasher: Hasher::new(metrics)?,
            codes,
            sessions: sessions.clone(),
            credentials,
            facts,
            counters,
            policy,
        };
        Ok(Self {
            accounts: Arc::new(accounts),
            sessions,
            profiles,
        })
    }
}

/// # Errors
/// See [`StartError`].
pub async fn start(settings: &Settings, context: Context) -> Result<Parts, StartError> {
    let Context {
        db,
        vault,
        metrics,
        validator,
        policies,
        mut jobs,
        now,
        data_dir,
        ..
    } = context;
    let sender = Sender {
        vault: vault.clone(),
        mail: Mailer::new(&settings.mail, &data_dir.join(OUTBOX))?,
        sms: settings.sms.as_ref().map(Sms::new).transpose()?,
    };
    jobs.add(messages::SEND, Sender::options(), sender);
    jobs.add(tickets::SWEEP, Options::default(), tickets::Sweep);
    jobs.schedule(tickets::SWEEP, tickets::SWEEP_AT)?;

    let policy = settings.policy.clone();
    let rules = Rules::new(db, vault, &settings.tokens, policy, &metrics, now).await?;
    let verifier = rules.sessions.signer.verifier();
    let jwks = rules.sessions.signer.jwks_json();
    let oidc = Oidc::new(
        rules.accounts.clone(),
        policies,
        &settings.policy.site.public_url,
    )?;
    let credential = CredentialServiceServer::new(grpc::CredentialRpc {
        credentials: rules.accounts.credentials.clone(),
        oidc: Arc::new(oidc),
        validator: validator.clone(),
    });
    let auth = AuthServiceServer::new(grpc::Auth {
        accounts: rules.accounts,
        sessions: rules.sessions,
        validator: validator.clone(),
    });
    let user = UserServiceServer::new(grpc::Users {
        profiles: rules.profiles,
        validator,
    });
    Ok(Parts::default()
        .grpc(auth.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .grpc(credential.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .grpc(user.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .verifier(verifier)
        .admin(admin(jwks))
        .jobs(jobs))
}

/// What the admin listener serves for this service: the public keys, so that an
/// edge on the same machine needs no certificate to fetch them.
fn admin(jwks: String) -> Router {
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

#[cfg(test)]
mod tests;
