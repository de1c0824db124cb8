//! The rules on real databases, both of them, with the time in the test's hand.

use std::{sync::Arc, time::Duration};

use core_platform::{
    cache::Cache,
    clock::{self, UnixMicros},
    crypto::{KeyRing, SERVICE_SUBJECT, Vault},
    db::{Db, Location, query},
    jobs::{Jobs, Settings as JobSettings, Worker},
    metrics::Metrics,
    policy::PolicyStore,
    token::{Caller, Verifier},
};
use core_testing::{Database, both_databases, eventually};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Breached, Error, MIGRATIONS, Policy, Rules, TokenSettings,
    accounts::{Registration, Reset},
    contacts::{Codes, Contact, Kind as ContactKind},
    credentials::{Credentials, SecondFactor, SignIn},
    messages::{self, Message, Template},
    origin::Origin,
    sessions::{NewSession, Tokens},
    store,
};

mod access;
mod administration;
mod api_keys;
mod codes;
mod entities;
mod leaving;
mod logins;
mod oidc;
mod passkeys;
mod passwords;
mod privacy;
mod profiles;
mod recent;
mod refresh;
mod registration;
mod relationships;
mod revocations;
mod second_factors;
mod seed;
mod sessions;
mod signing_keys;

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);
const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "notes-on-the-engine";
const MINUTE: Duration = Duration::from_secs(60);

struct World {
    rules: Rules,
    db: Db,
    vault: Vault,
    verifier: Verifier,
    metrics: Metrics,
    policies: Arc<PolicyStore>,
    keys: tempfile::TempDir,
}

/// The roles as they are shipped.
const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/services");

async fn world(at: &Database) -> Arc<World> {
    world_with(at, Policy::default()).await
}

async fn world_with(at: &Database, policy: Policy) -> Arc<World> {
    let alone = |_: &Vault, metrics: &Metrics| Cache::local("identity", metrics);
    world_before(at, policy, alone).await
}

/// The same with a cache of the test's.
async fn world_before(
    at: &Database,
    policy: Policy,
    cache: impl FnOnce(&Vault, &Metrics) -> Cache,
) -> Arc<World> {
    // Another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let keys = tempfile::tempdir().unwrap();
    let location = Location::from_setting(&at.setting()).unwrap();
    let db = Db::open(&location, "identity").await.unwrap();
    db.migrate(&MIGRATIONS, None).await.unwrap();
    let ring = KeyRing::open(None, keys.path()).unwrap();
    let vault = Vault::start(&db, ring, NOW).await.unwrap();
    let metrics = Metrics::new().unwrap();
    let policies = Arc::new(PolicyStore::open(std::path::Path::new(POLICIES)).unwrap());
    let on = (db.clone(), vault.clone(), cache(&vault, &metrics));
    let rules = Rules::new(on, &tokens(), policy, policies.clone(), &metrics, NOW)
        .await
        .unwrap();
    let verifier = rules.sessions.signer.verifier();
    Arc::new(World {
        rules,
        db,
        vault,
        verifier,
        metrics,
        policies,
        keys,
    })
}

fn tokens() -> TokenSettings {
    TokenSettings {
        issuer: "https://id.test".to_owned(),
        audience: "palisade".to_owned(),
    }
}

fn at(device: &str) -> Origin {
    Origin {
        network: "192.0.2.0/24".to_owned(),
        device: device.to_owned(),
    }
}

impl World {
    async fn register(&self, email: &str, password: &str) {
        self.try_register(email, password, NOW).await.unwrap();
    }

    async fn try_register(
        &self,
        email: &str,
        password: &str,
        now: UnixMicros,
    ) -> Result<(), Error> {
        let new = Registration {
            email,
            name: "Ada Lovelace",
        };
        let accounts = &self.rules.accounts;
        accounts
            .register(&new, password.to_owned(), &at("laptop"), now)
            .await
    }

    async fn login(&self, password: &str) -> Result<Tokens, Error> {
        self.login_at(EMAIL, password, &at("laptop"), NOW).await
    }

    async fn login_at(
        &self,
        email: &str,
        password: &str,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<Tokens, Error> {
        let accounts = &self.rules.accounts;
        match accounts
            .login(email, password.to_owned(), origin, now)
            .await?
        {
            SignIn::Done(tokens) => Ok(tokens),
            SignIn::Wanted(_) => panic!("a second factor is wanted"),
        }
    }

    /// A login that wants a second factor.
    async fn begin_login(&self, now: UnixMicros) -> SecondFactor {
        let (accounts, origin) = (&self.rules.accounts, at("laptop"));
        let begun = accounts.login(EMAIL, PASSWORD.to_owned(), &origin, now);
        match begun.await.unwrap() {
            SignIn::Done(_) => panic!("no second factor is wanted"),
            SignIn::Wanted(wanted) => wanted,
        }
    }

    /// Proves the address that was registered.
    async fn verified(&self) {
        let code = self.code(EMAIL).await;
        let (accounts, here) = (&self.rules.accounts, Origin::default());
        let verified = accounts.verify_contact(EMAIL, &code, &here, NOW);
        verified.await.unwrap();
    }

    fn credentials(&self) -> &Credentials {
        &self.rules.accounts.credentials
    }

    async fn refresh(&self, token: &str, now: UnixMicros) -> Result<Tokens, Error> {
        self.rules.sessions.refresh(token, &at("laptop"), now).await
    }

    fn caller(&self, tokens: &Tokens) -> Caller {
        self.caller_at(tokens, NOW)
    }

    /// Who calls with this token at `now`.
    fn caller_at(&self, tokens: &Tokens, now: UnixMicros) -> Caller {
        self.verifier.verify(&tokens.access, now).unwrap()
    }

    async fn user(&self, email: &str) -> Uuid {
        let index = Codes::new(self.vault.clone()).index(&Contact::email(email));
        let owner = store::contacts::owner(&self.db, ContactKind::Email, &index).await;
        owner.unwrap().unwrap().user
    }

    /// A session without the work of a password.
    async fn open(&self, user: Uuid, now: UnixMicros) -> Result<Tokens, Error> {
        let new = NewSession {
            user,
            amr: &["pwd"],
            auth_time: now,
            origin: &at("laptop"),
        };
        let mut tx = self.db.begin().await?;
        let tokens = self.rules.sessions.open(&mut tx, &new, now).await?;
        tx.commit().await?;
        Ok(tokens)
    }

    /// Registers somebody and calls as them.
    async fn somebody(&self, email: &str, now: UnixMicros) -> Caller {
        self.try_register(email, PASSWORD, now).await.unwrap();
        let tokens = self.open(self.user(email).await, now).await.unwrap();
        self.caller_at(&tokens, now)
    }

    /// The same with a role.
    async fn holder(&self, email: &str, role: &str, now: UnixMicros) -> Caller {
        let caller = self.somebody(email, now).await;
        let administration = &self.rules.administration;
        administration.appoint(email, role, now).await.unwrap();
        let tokens = self.open(caller.user, now).await.unwrap();
        self.caller_at(&tokens, now)
    }

    /// Another replica on the same database.
    async fn replica(&self) -> Rules {
        let metrics = Metrics::new().unwrap();
        self.replica_with(Cache::local("identity", &metrics)).await
    }

    async fn replica_with(&self, cache: Cache) -> Rules {
        let on = (self.db.clone(), self.vault.clone(), cache);
        let metrics = Metrics::new().unwrap();
        let policies = self.policies.clone();
        Rules::new(on, &tokens(), Policy::default(), policies, &metrics, NOW)
            .await
            .unwrap()
    }

    /// Runs jobs until none of this kind is left.
    async fn work(&self, kind: &'static str) {
        let mut jobs = Jobs::default();
        self.rules.jobs(&mut jobs).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let settings = JobSettings::default();
        let worker = Worker::new(self.db.clone(), crate::SERVICE, jobs, metrics, settings);
        let stop = tokio_util::sync::CancellationToken::new();
        let running = tokio::spawn(worker.run(stop.clone()));
        eventually(kind, async || {
            let left = query("SELECT count(*) FROM jobs WHERE kind = $1 AND finished_at IS NULL");
            let left = left.bind(kind).fetch_one(&self.db).await.unwrap();
            (left.get::<i64>(0).unwrap() == 0).then_some(())
        })
        .await;
        stop.cancel();
        running.await.unwrap();
    }

    async fn is_live(&self, tokens: &Tokens) -> bool {
        let caller = self.caller(tokens);
        self.rules.profiles.get(&caller, NOW).await.is_ok()
    }

    /// Every message so far, oldest first.
    async fn messages(&self) -> Vec<Message> {
        let rows = query("SELECT payload FROM jobs WHERE kind = $1 ORDER BY created_at, id")
            .bind(messages::SEND)
            .fetch_all(&self.db)
            .await
            .unwrap();
        let mut found = Vec::new();
        for row in rows {
            found.push(self.opened(row.get(0).unwrap()).await);
        }
        found
    }

    async fn opened(&self, payload: Value) -> Message {
        let subject: Uuid = payload["subject"].as_str().unwrap().parse().unwrap();
        let key = if subject == SERVICE_SUBJECT {
            self.vault.service_key().clone()
        } else {
            self.vault.key(&self.db, subject).await.unwrap()
        };
        messages::open(&key, payload["sealed"].as_str().unwrap()).unwrap()
    }

    /// The newest code that was sent to this contact.
    async fn code(&self, contact: &str) -> String {
        let messages = self.messages().await;
        let sent = messages.iter().rev().find(|message| {
            let to = message.to.as_ref();
            to.is_some_and(|to| to.value == contact) && message.values.contains_key("code")
        });
        sent.unwrap().values["code"].clone()
    }

    async fn sent(&self, template: Template) -> usize {
        let messages = self.messages().await;
        let real = messages.iter().filter(|message| message.to.is_some());
        real.filter(|message| message.template == template).count()
    }

    /// Types of the events that wait to be published, oldest first.
    async fn events(&self) -> Vec<String> {
        let rows = query("SELECT type FROM outbox ORDER BY seq")
            .fetch_all(&self.db)
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    async fn audited(&self) -> Vec<String> {
        let rows = query("SELECT action FROM audit_log ORDER BY seq")
            .fetch_all(&self.db)
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    /// Waits until this many passwords have been hashed since the start.
    async fn hashed(&self, times: u32) {
        let line = format!("password_hash_duration_seconds_count {times}");
        let rendered = || String::from_utf8(self.metrics.render().unwrap()).unwrap();
        while !rendered().lines().any(|found| found == line) {
            tokio::task::yield_now().await;
        }
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let row = query(sql).fetch_one(&self.db).await.unwrap();
        row.get(0).unwrap()
    }
}

/// A call that went wrong in the way the test says.
macro_rules! refused {
    ($call:expr, $error:pat) => {
        let answer = $call;
        assert!(
            matches!(answer, Err($error)),
            "expected {}, got {:?}",
            stringify!($error),
            answer.err().map(|error| error.to_string())
        );
    };
}
use refused;
