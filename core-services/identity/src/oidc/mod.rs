//! Signing in at another provider: authorization code with PKCE, bound to the browser that
//! began it (OpenID Connect Core section 3.1, RFC 9700).
//! Invariant: an identity opens the account it is linked to; it is linked to an account only
//! by an address that the provider has verified, and the account's owner, too.
//! Refuses to take over what somebody else may have registered: the owner signs in first.

mod outbound;
mod provider;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use core_platform::{
    clock::UnixMicros,
    config::{Secret, secret},
    db::{self, Tx},
    policy::{PolicyStore, Profile, Provider},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    accounts::{Accounts, NewAccount},
    contacts::{Contact, Kind as ContactKind},
    credentials::{Credentials, FirstFactor, Kind, Link, SignIn},
    error::Error,
    facts::{About, Fact},
    origin::Origin,
    store::{contacts, credentials as rows},
    tickets,
};
use outbound::{Outbound, Trouble};
use provider::{Identity, Known, Visited};

/// How a session that a provider vouches for shows in the token.
const AMR: &str = "fed";
/// What the input rules admit.
const EMAIL_BYTES_MAX: usize = 254;
const NAME_CHARS_MAX: usize = 100;
/// As in errors about it.
const SECRET_SETTING: &str = "client_secret";

/// Signing in at other providers.
pub(crate) struct Oidc {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) credentials: Credentials,
    pub(crate) policies: Arc<PolicyStore>,
    /// Where browsers reach this site; without a slash at its end.
    pub(crate) public_url: String,
    outbound: Outbound,
    /// By name; bounded by the policy. A std lock: nothing is awaited under it.
    known: Mutex<BTreeMap<String, Arc<Known>>>,
}

/// Where the browser goes, and what it takes along. No `Debug`.
pub(crate) struct Started {
    pub(crate) url: String,
    pub(crate) cookie: String,
}

/// What the browser brings back.
pub(crate) struct Callback<'a> {
    pub(crate) code: &'a str,
    pub(crate) state: &'a str,
    /// RFC 9207; empty where the provider doesn't say it.
    pub(crate) iss: &'a str,
    /// Did somebody say no?
    pub(crate) is_refused: bool,
    pub(crate) cookie: Option<&'a str>,
}

/// A visit to a provider.
#[derive(Serialize, Deserialize)]
struct Visit {
    provider: String,
    verifier: String,
    nonce: String,
    /// Its hash.
    cookie: Vec<u8>,
}

impl Oidc {
    /// # Errors
    /// An HTTP client that can't be built.
    pub(crate) fn new(
        accounts: Arc<Accounts>,
        policies: Arc<PolicyStore>,
        public_url: &str,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            credentials: accounts.credentials.clone(),
            accounts,
            policies,
            public_url: public_url.trim_end_matches('/').to_owned(),
            outbound: Outbound::new()?,
            known: Mutex::default(),
        })
    }

    /// # Errors
    /// [`Error::NoSuchProvider`], [`Error::OidcAway`], [`Error::BadOidcAnswer`], or the
    /// database.
    pub(crate) async fn start(&self, name: &str, now: UnixMicros) -> Result<Started, Error> {
        let known = self.known(name, now).await?;
        let provider = &known.provider;
        let cookie = tickets::secret()?;
        let visit = Visit {
            provider: name.to_owned(),
            verifier: tickets::secret()?,
            nonce: tickets::secret()?,
            cookie: tickets::hash(&cookie),
        };
        let mut tx = self.credentials.db.begin().await?;
        let kind = tickets::Kind::Oidc;
        let tickets = &self.credentials.tickets;
        let state = tickets.issue(&mut tx, kind, None, &visit, now).await?;
        tx.commit().await?;

        let mut url = known.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.client_id)
            .append_pair("redirect_uri", &self.redirect_uri(name))
            .append_pair("scope", &provider.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("code_challenge", &challenge(&visit.verifier))
            .append_pair("code_challenge_method", "S256");
        if provider.profile == Profile::Oidc {
            url.query_pairs_mut().append_pair("nonce", &visit.nonce);
        }
        Ok(Started {
            url: url.into(),
            cookie,
        })
    }

    /// Opens a session for who signed in at the provider.
    ///
    /// # Errors
    /// [`Error::BadOidcState`], [`Error::OidcRefused`], [`Error::BadOidcAnswer`],
    /// [`Error::OidcAway`], [`Error::OidcUnverified`], [`Error::OidcSignInFirst`],
    /// [`Error::NoSuchProvider`], or the database.
    pub(crate) async fn finish(
        &self,
        name: &str,
        callback: &Callback<'_>,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<SignIn, Error> {
        let visit = self.visit(name, callback, now).await?;
        if callback.is_refused {
            return Err(Error::OidcRefused);
        }
        let known = self.known(name, now).await?;
        let provider = &known.provider;
        if !callback.iss.is_empty() && callback.iss != provider.issuer {
            return Err(Error::BadOidcAnswer);
        }
        let secret = client_secret(&provider.client_secret_file)?;
        let visited = Visited {
            code: callback.code,
            verifier: &visit.verifier,
            nonce: &visit.nonce,
            redirect_uri: &self.redirect_uri(name),
            secret: secret.expose(),
        };
        let identity = known.identify(&self.outbound, &visited, now).await;
        let identity = identity.map_err(|trouble| told(name, &trouble))?;
        match self.sign_in(provider, &identity, origin, now).await {
            // Another visit made the account or the link a moment earlier.
            Err(Error::Db(db::Error::Taken(_))) => {
                self.sign_in(provider, &identity, origin, now).await
            }
            signed_in => signed_in,
        }
    }

    /// What was begun, for the last time; by this browser, and at this provider.
    async fn visit(
        &self,
        name: &str,
        callback: &Callback<'_>,
        now: UnixMicros,
    ) -> Result<Visit, Error> {
        let mut tx = self.credentials.db.begin().await?;
        let kind = tickets::Kind::Oidc;
        let tickets = &self.credentials.tickets;
        let found = tickets
            .take::<Visit>(&mut tx, kind, callback.state, now)
            .await?;
        tx.commit().await?;
        let (_, visit) = found.ok_or(Error::BadOidcState)?;
        let cookie = tickets::hash(callback.cookie.unwrap_or_default());
        let is_same = constant_time::verify_slices_are_equal(&cookie, &visit.cookie).is_ok();
        if !is_same || visit.provider != name {
            return Err(Error::BadOidcState);
        }
        Ok(visit)
    }

    async fn sign_in(
        &self,
        provider: &Provider,
        identity: &Identity,
        origin: &Origin,
        now: UnixMicros,
    ) -> Result<SignIn, Error> {
        let who = format!("{} {}", provider.issuer, identity.subject);
        let lookup = self.credentials.vault.blind_index(Kind::Oidc.name(), &who);
        let mut tx = self.credentials.db.begin().await?;
        let (user, made, link) = match rows::lock(&mut tx, &lookup).await? {
            Some(row) => {
                rows::used(&mut tx, row.id, None, now).await?;
                (row.user, Vec::new(), None)
            }
            None => {
                let (email, user, made) = self.owner(&mut tx, identity, now).await?;
                let link = Link {
                    provider: provider.name.clone(),
                    lookup,
                    email: email.value,
                };
                (user, made, Some(link))
            }
        };
        let first = FirstFactor {
            user,
            amr: AMR,
            link,
        };
        let signed_in = self
            .credentials
            .sign_in(&mut tx, first, origin, now)
            .await?;
        let about = About::by(user).at(origin);
        let facts = &self.credentials.facts;
        facts.tell(&mut tx, &made, &about, now).await?;
        tx.commit().await?;
        self.credentials.counters.count(signed_in.event());
        Ok(signed_in)
    }

    /// Whose account has the identity's address: it is made if there is none, which is what
    /// there is to tell then.
    async fn owner(
        &self,
        tx: &mut Tx,
        identity: &Identity,
        now: UnixMicros,
    ) -> Result<(Contact, Uuid, Vec<Fact>), Error> {
        let address = identity.email.as_deref().filter(|text| is_address(text));
        let email = Contact::email(address.ok_or(Error::OidcUnverified)?);
        let index = self.credentials.codes.index(&email);
        let owner = contacts::owner(&mut *tx, ContactKind::Email, &index).await?;
        match owner {
            Some(row) if row.verified_at.is_some() => Ok((email, row.user, Vec::new())),
            // Whoever registered it has not shown that it is theirs.
            Some(_) => Err(Error::OidcSignInFirst),
            None => {
                let account = NewAccount {
                    email: &email,
                    name: &name(identity, &email),
                    phc: None,
                    verified_at: Some(now),
                };
                let (user, registered) = self.accounts.insert(tx, &account, now).await?;
                let verified = Fact::ContactVerified {
                    kind: ContactKind::Email,
                    changed: false,
                };
                Ok((email, user, vec![registered, verified]))
            }
        }
    }

    /// The provider's endpoints; asked for once an hour, and the old ones do until then.
    async fn known(&self, name: &str, now: UnixMicros) -> Result<Arc<Known>, Error> {
        let policies = self.policies.current();
        let provider = policies.providers.get(name).ok_or(Error::NoSuchProvider)?;
        let before = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(name).cloned()
        };
        if let Some(known) = before.as_ref().filter(|known| known.is_of(provider, now)) {
            return Ok(known.clone());
        }
        match Known::find(&self.outbound, provider, now).await {
            Ok(found) => {
                let found = Arc::new(found);
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.retain(|name, _| policies.providers.get(name).is_some());
                known.insert(name.to_owned(), found.clone());
                Ok(found)
            }
            Err(trouble) => {
                let same = before.filter(|known| known.provider == *provider);
                same.ok_or_else(|| told(name, &trouble))
            }
        }
    }

    fn redirect_uri(&self, name: &str) -> String {
        format!("{}/v1/auth/oidc/{name}/callback", self.public_url)
    }
}

/// The cause goes to the log.
fn told(provider: &str, trouble: &Trouble) -> Error {
    tracing::warn!(provider, %trouble, "sign-in at a provider failed");
    match trouble {
        Trouble::Away(_) => Error::OidcAway,
        Trouble::Bad(_) => Error::BadOidcAnswer,
    }
}

/// Read at each use: it may be replaced while the process runs.
fn client_secret(file: &Path) -> Result<Secret, Error> {
    let read = secret(SECRET_SETTING, None, Some(file));
    let read = read.map_err(|error| {
        tracing::error!(%error, "the provider's client secret cannot be read");
        Error::OidcAway
    })?;
    read.ok_or(Error::OidcAway)
}

/// RFC 7636 section 4.2.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// What the input rules admit at a registration.
fn is_address(text: &str) -> bool {
    let parts = text.split_once('@');
    text.len() <= EMAIL_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && parts.is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        })
}

/// As the provider says it, or else what stands before the `@`.
fn name(identity: &Identity, email: &Contact) -> String {
    let said = identity.name.chars().filter(|c| !c.is_control());
    let said: String = said.take(NAME_CHARS_MAX).collect();
    match said.trim() {
        "" => {
            let local = email.value.split('@').next().unwrap_or_default();
            local.chars().take(NAME_CHARS_MAX).collect()
        }
        said => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    #[test]
    fn the_challenge_is_the_published_one() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn addresses_are_ones_that_could_register() {
        for text in ["a@b", "ada@example.org", "Ada+x@Example.org"] {
            assert!(is_address(text), "{text}");
        }
        for text in ["", "@", "a@", "@b", "a@b@c", "a b@c", "\u{e4}@b", "a\r\n@b"] {
            assert!(!is_address(text), "{text}");
        }
    }
}
