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
mod relationships;
mod api_keys;
mod revocations;
mod administration;
mod exports;
mod entities;
mod upkeep;
mod seed;
mod roles;
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

use std::{sync::Arc, time::Duration};

use axum::{Router, http::header, routing::get};
use core_platform::{
    audit::{Actor, Audit},
    cache::Cache,
    clock::{self, UnixMicros},
    crypto::Vault,
    cursor::Cursors,
    db::Db,
    jobs::{CronError, Jobs, Options},
    metrics::Metrics,
    policy::PolicyStore,
    serve::MESSAGE_BYTES_MAX,
    service::{Context, Definition, Parts},
    validate::Validator,
};
use core_proto::{
    auth::v1::{
        auth_service_server::AuthServiceServer, credential_service_server::CredentialServiceServer,
        key_service_server::KeyServiceServer,
    },
    user::v1::{admin_service_server::AdminServiceServer, user_service_server::UserServiceServer},
};

use accounts::{Accounts, Deletion};
use administration::Administration;
use api_keys::ApiKeys;
use contacts::Codes;
use counters::Counters;
use credentials::Credentials;
use exports::{Assembly, Exports};
use facts::Facts;
use keys::{Rotated, Rotation, Signer, SigningKeys};
use messages::{Mailer, Sender, Sms};
use oidc::Oidc;
use password::Hasher;
use profiles::{Profiles, Recent};
use relationships::Relationships;
use revocations::Revocations;
use roles::Roles;
use sessions::Sessions;
use upkeep::Upkeep;

pub use breached::Breached;
pub use error::Error;
pub use keys::TokenSettings;
pub use messages::{MailSettings, SmsSettings};
pub use password::argon2id;
pub use seed::{SEED_PASSWORD, SeedError, Seeded, seed_roles};
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
        "auth.v1.KeyService",
        "user.v1.UserService",
        "user.v1.AdminService",
    ],
    migrations: &MIGRATIONS,
    redis_database: 0,
};

/// What the operator decides about accounts.
#[derive(Clone)]
pub struct Policy {
    /// May only who has verified the address sign in?
    pub require_verified: bool,
    pub breached: Breached,
    pub site: Site,
    /// From closing an account until everything of it goes.
    pub deletion_grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            require_verified: false,
            breached: Breached::default(),
            site: Site::default(),
            deletion_grace: Duration::from_secs(14 * 24 * 3600),
        }
    }
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Db(#[from] core_platform::db::Error),
    #[error("data keys: {0}")]
    Crypto(#[from] core_platform::crypto::Error),
    #[error("password hashing: {0}")]
    Password(#[from] password::Error),
    #[error("{0}")]
    Site(#[from] site::Error),
    #[error("the HTTP client for other providers: {0}")]
    Oidc(#[from] reqwest::Error),
    #[error("{0}")]
    Mail(#[from] messages::MailError),
    #[error("{0}")]
    Sms(#[from] messages::SmsError),
    #[error("metrics: {0}")]
    Metrics(String),
    #[error(transparent)]
    Schedule(#[from] CronError),
    #[error(transparent)]
    Rules(#[from] Error),
}

/// The rules, put together.
struct Rules {
    keys: SigningKeys,
    accounts: Arc<Accounts>,
    oidc: Arc<Oidc>,
    sessions: Sessions,
    profiles: Profiles,
    relationships: Relationships,
    api_keys: ApiKeys,
    administration: Administration,
    exports: Arc<Exports>,
}

impl Rules {
    /// On a migrated database; makes the first signing key if there is none.
    async fn new(
        (db, vault, cache): (Db, Vault, Cache),
        tokens: &TokenSettings,
        policy: Policy,
        policies: Arc<PolicyStore>,
        metrics: &Metrics,
        now: UnixMicros,
    ) -> Result<Self, StartError> {
        let audit = Audit::new(&vault)?;
        let facts = Facts::new(audit.clone());
        let keys = SigningKeys::open((&db, &vault, &facts), tokens, now).await?;
        let counters = Counters::new(metrics)?;
        let codes = Codes::new(vault.clone());
        let recent = Recent::new(cache);
        let sessions = Sessions {
            db: db.clone(),
            vault: vault.clone(),
            signer: keys.signer.clone(),
            roles: Roles::new(policies.clone()),
            facts: facts.clone(),
            counters: counters.clone(),
        };
        let api_keys = ApiKeys::new(&sessions);
        let credentials = Credentials::new(&sessions, &codes, &policy)?;
        let public_url = policy.site.public_url.clone();
        let accounts = Arc::new(Accounts {
            db: db.clone(),
            vault: vault.clone(),
            hasher: Hasher::new(metrics)?,
            codes: codes.clone(),
            sessions: sessions.clone(),
            credentials: credentials.clone(),
            api_keys: api_keys.clone(),
            recent: recent.clone(),
            facts: facts.clone(),
            counters,
            policy,
        });
        Ok(Self {
            keys,
            profiles: Profiles {
                db: db.clone(),
                vault: vault.clone(),
                codes: codes.clone(),
                sessions: sessions.clone(),
                recent,
                facts: facts.clone(),
            },
            relationships: Relationships {
                db: db.clone(),
                sessions: sessions.clone(),
                facts: facts.clone(),
            },
            administration: Administration {
                db: db.clone(),
                vault: vault.clone(),
                codes: codes.clone(),
                audit: audit.clone(),
                sessions: sessions.clone(),
                facts: facts.clone(),
            },
            exports: Arc::new(Exports {
                db: db.clone(),
                vault: vault.clone(),
                audit,
                sessions: sessions.clone(),
                credentials,
                api_keys: api_keys.clone(),
                facts: facts.clone(),
            }),
            oidc: Arc::new(Oidc::new(accounts.clone(), policies, &public_url)?),
            accounts,
            api_keys,
            sessions,
        })
    }

    /// What is done without anybody asking.
    fn jobs(&self, jobs: &mut Jobs) -> Result<(), CronError> {
        let options = Options::default();
        jobs.add(Assembly::KIND, options, Assembly(self.exports.clone()));
        jobs.add(Deletion::KIND, options, Deletion(self.accounts.clone()));
        jobs.schedule(Deletion::KIND, Deletion::SCHEDULE)?;
        jobs.add(Rotation::KIND, options, Rotation(self.keys.clone()));
        jobs.schedule(Rotation::KIND, Rotation::SCHEDULE)?;
        jobs.add(tickets::SWEEP, options, tickets::Sweep);
        jobs.schedule(tickets::SWEEP, tickets::SWEEP_AT)?;
        jobs.add(Upkeep::KIND, options, Upkeep);
        jobs.schedule(Upkeep::KIND, Upkeep::SCHEDULE)
    }

    /// What is answered.
    fn parts(self, cursors: Cursors, revocations: Revocations, validator: Arc<Validator>) -> Parts {
        let auth = AuthServiceServer::new(grpc::Auth {
            accounts: self.accounts.clone(),
            sessions: self.sessions,
            validator: validator.clone(),
        });
        let credential = CredentialServiceServer::new(grpc::CredentialRpc {
            credentials: self.accounts.credentials.clone(),
            oidc: self.oidc,
            validator: validator.clone(),
        });
        let keys = KeyServiceServer::new(grpc::Keys {
            api_keys: self.api_keys,
            signing_keys: self.keys,
            revocations,
            validator: validator.clone(),
        });
        let user = UserServiceServer::new(grpc::Users {
            profiles: self.profiles,
            relationships: self.relationships,
            exports: self.exports,
            accounts: self.accounts,
            cursors: cursors.clone(),
            validator: validator.clone(),
        });
        let administration = AdminServiceServer::new(grpc::Admin {
            administration: self.administration,
            cursors,
            validator,
        });
        Parts::default()
            .grpc(auth.max_decoding_message_size(MESSAGE_BYTES_MAX))
            .grpc(credential.max_decoding_message_size(MESSAGE_BYTES_MAX))
            .grpc(keys.max_decoding_message_size(MESSAGE_BYTES_MAX))
            .grpc(user.max_decoding_message_size(MESSAGE_BYTES_MAX))
            .grpc(administration.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }
}

/// # Errors
/// See [`StartError`].
pub async fn start(settings: &Settings, context: Context) -> Result<Parts, StartError> {
    let Context {
        db,
        vault,
        cache,
        policies,
        metrics,
        validator,
        mut jobs,
        stop,
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

    let cursors = Cursors::new(&vault)?;
    let (revocations, look_out) = Revocations::new(&db, &stop);
    let policy = settings.policy.clone();
    let rules = Rules::new(
        (db, vault, cache),
        &settings.tokens,
        policy,
        policies,
        &metrics,
        now,
    )
    .await?;
    rules.jobs(&mut jobs)?;
    let signer = rules.sessions.signer.clone();
    let follow = rules.keys.clone().follow(revocations.newest(), stop);
    Ok(rules
        .parts(cursors, revocations, validator)
        .task("revocations", look_out.run())
        .task("signing-keys", follow)
        .verifier(signer.verifier())
        .entities(entities::users())
        .admin(admin(signer))
        .jobs(jobs))
}

/// What the admin listener serves for this service: the public keys, so that an
/// edge on the same machine needs no certificate to fetch them.
fn admin(signer: Signer) -> Router {
    Router::new().route(
        "/.well-known/jwks.json",
        get(move || async move {
            let headers = [
                (header::CONTENT_TYPE, "application/jwk-set+json"),
                (header::CACHE_CONTROL, "public, max-age=300"),
            ];
            (headers, signer.jwks_json(clock::now()))
        }),
    )
}

/// Gives a role to the user with this address, on a migrated database: how the first
/// administrator comes to be, before anybody could give roles.
///
/// # Errors
/// No such user or role, or the database.
pub async fn grant_role(
    (db, vault): (Db, Vault),
    policies: Arc<PolicyStore>,
    (email, role): (&str, &str),
    now: UnixMicros,
) -> Result<(), StartError> {
    let rules = by_hand((db, vault), policies, now).await?;
    Ok(rules.administration.appoint(email, role, now).await?)
}

/// What [`rotate_signing_key`] made.
pub struct NewSigningKey {
    pub kid: String,
    pub signs_from: UnixMicros,
}

/// Publishes the next signing key, on a migrated database; `compromised`: it signs at once,
/// and no token of those before is believed any more.
///
/// # Errors
/// The database.
pub async fn rotate_signing_key(
    (db, vault): (Db, Vault),
    compromised: bool,
    now: UnixMicros,
) -> Result<NewSigningKey, StartError> {
    let facts = Facts::new(Audit::new(&vault)?);
    let keys = SigningKeys::open((&db, &vault, &facts), &nobodys(), now).await?;
    let Rotated { kid, signs_from } = if compromised {
        keys.replace(Actor::Operator, now).await?
    } else {
        keys.rotate(Actor::Operator, now).await?
    };
    Ok(NewSigningKey { kid, signs_from })
}

/// Fills a migrated database with people to develop with, and says who they are.
///
/// # Errors
/// See [`SeedError`].
pub async fn seed(
    (db, vault): (Db, Vault),
    policies: Arc<PolicyStore>,
    force: bool,
    now: UnixMicros,
) -> Result<Vec<Seeded>, SeedError> {
    let rules = by_hand((db, vault), policies, now).await?;
    seed::seed(&rules, force, now).await
}

/// The rules for a command that an operator runs.
async fn by_hand(
    (db, vault): (Db, Vault),
    policies: Arc<PolicyStore>,
    now: UnixMicros,
) -> Result<Rules, StartError> {
    let metrics = Metrics::new().map_err(|error| StartError::Metrics(error.to_string()))?;
    let on = (db, vault, Cache::local(SERVICE, &metrics));
    Rules::new(on, &nobodys(), Policy::default(), policies, &metrics, now).await
}

/// No token leaves a command, so the names in tokens don't matter.
fn nobodys() -> TokenSettings {
    TokenSettings {
        issuer: SERVICE.to_owned(),
        audience: SERVICE.to_owned(),
    }
}

#[cfg(test)]
mod tests;
