//! What is spoken with a provider: where its endpoints are, what a code is traded for, who
//! signed in. OpenID Connect by discovery; GitHub and Discord by OAuth 2.0 and their own APIs.
//! Invariant: an ID token is checked by the edge's own verifier, and for this client, this
//! provider and this visit.
//! Refuses an address that the provider has not verified: to us there is none then.

use std::{sync::Arc, time::Duration};

use core_platform::{
    clock::UnixMicros,
    policy::{Profile, Provider},
};
use palisade_token::{
    Claims, Issuer, IssuerSpec, Issuers, JwksSource, Refusal, UnixTime, Verifier,
};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::outbound::{Auth, Outbound, Trouble, allowed};

/// Endpoints move rarely, and announce it.
const DISCOVERY_LIFETIME: Duration = Duration::from_secs(3600);
/// Tokens are seen once: there is nothing to remember.
const REMEMBERED_BYTES_MAX: u64 = 64 * 1024;

/// OpenID Connect Discovery section 3, as far as it is used.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// RFC 6749 section 5.1; of an error neither is there.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    id_token: Option<String>,
}

#[derive(Deserialize)]
struct GithubUser {
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct GithubEmail {
    email: String,
    primary: bool,
    verified: bool,
}

#[derive(Deserialize)]
struct DiscordUser {
    id: String,
    username: String,
    global_name: Option<String>,
    email: Option<String>,
    #[serde(default)]
    verified: bool,
}

/// Who signed in. No `Debug`: it is personal.
pub(super) struct Identity {
    /// Never another person's at this provider.
    pub(super) subject: String,
    /// Verified by the provider.
    pub(super) email: Option<String>,
    pub(super) name: String,
}

/// What a visit brought back.
pub(super) struct Visited<'a> {
    pub(super) code: &'a str,
    /// PKCE (RFC 7636).
    pub(super) verifier: &'a str,
    pub(super) nonce: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) secret: &'a str,
}

/// A provider whose endpoints are known.
pub(super) struct Known {
    pub(super) provider: Provider,
    pub(super) authorization: Url,
    token: String,
    /// Where the secret goes: into the form, or into the header.
    secret_in_form: bool,
    id_tokens: Option<IdTokens>,
    since: UnixMicros,
}

struct IdTokens {
    verifier: Verifier,
    issuer: Arc<Issuer>,
    /// Its task reads the keys again as long as it lives.
    _issuers: Issuers,
}

impl Known {
    pub(super) async fn find(
        outbound: &Outbound,
        provider: &Provider,
        now: UnixMicros,
    ) -> Result<Self, Trouble> {
        let (issuer, api) = (&provider.issuer, &provider.api);
        let (authorization, token) = match provider.profile {
            Profile::Oidc => return Self::discover(outbound, provider, now).await,
            Profile::Github => (
                format!("{issuer}/login/oauth/authorize"),
                format!("{issuer}/login/oauth/access_token"),
            ),
            Profile::Discord => (
                format!("{issuer}/oauth2/authorize"),
                format!("{api}/oauth2/token"),
            ),
        };
        Ok(Self {
            provider: provider.clone(),
            authorization: allowed(provider, &authorization)?,
            token,
            secret_in_form: true,
            id_tokens: None,
            since: now,
        })
    }

    async fn discover(
        outbound: &Outbound,
        provider: &Provider,
        now: UnixMicros,
    ) -> Result<Self, Trouble> {
        let base = provider.issuer.trim_end_matches('/');
        let address = format!("{base}/.well-known/openid-configuration");
        let found: Discovery = outbound.get(provider, &address, Auth::Nobody).await?;
        // Discovery section 4.3: else one issuer could speak for another.
        if found.issuer != provider.issuer {
            return Err(Trouble::Bad("calls itself by another name"));
        }
        let jwks = JwksSource::Url(allowed(provider, &found.jwks_uri)?);
        let audiences = [provider.client_id.as_str()];
        let spec = IssuerSpec::new(&provider.name, &provider.issuer, &audiences, jwks);
        let unusable = |_| Trouble::Bad("cannot be followed");
        let issuers = Issuers::new(None);
        let specs = std::slice::from_ref(&spec);
        issuers.reconcile(specs).await.map_err(unusable)?;
        issuers.first_attempts().await;
        let issuer = issuers
            .get(&provider.name)
            .ok_or(Trouble::Bad("cannot be followed"))?;
        // Discovery section 3: the header is what every provider takes.
        let methods = &found.token_endpoint_auth_methods_supported;
        let takes = |name: &str| methods.iter().any(|method| method == name);
        Ok(Self {
            provider: provider.clone(),
            authorization: allowed(provider, &found.authorization_endpoint)?,
            token: found.token_endpoint,
            secret_in_form: takes("client_secret_post") && !takes("client_secret_basic"),
            id_tokens: Some(IdTokens {
                verifier: Verifier::new(REMEMBERED_BYTES_MAX),
                issuer,
                _issuers: issuers,
            }),
            since: now,
        })
    }

    /// Is this still what is known of `provider`?
    pub(super) fn is_of(&self, provider: &Provider, now: UnixMicros) -> bool {
        self.provider == *provider && now < self.since + DISCOVERY_LIFETIME
    }

    /// Who signed in.
    pub(super) async fn identify(
        &self,
        outbound: &Outbound,
        visited: &Visited<'_>,
        now: UnixMicros,
    ) -> Result<Identity, Trouble> {
        let answer = self.trade(outbound, visited).await?;
        match self.provider.profile {
            Profile::Oidc => {
                let token = answer.id_token.ok_or(Trouble::Bad("gave no ID token"))?;
                self.check(&token, visited.nonce, now).await
            }
            Profile::Github => self.github(outbound, &access_token(answer)?).await,
            Profile::Discord => self.discord(outbound, &access_token(answer)?).await,
        }
    }

    async fn trade(&self, outbound: &Outbound, visited: &Visited<'_>) -> Result<Answer, Trouble> {
        let client_id = self.provider.client_id.as_str();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", visited.code),
            ("redirect_uri", visited.redirect_uri),
            ("code_verifier", visited.verifier),
            ("client_id", client_id),
        ];
        let auth = if self.secret_in_form {
            form.push(("client_secret", visited.secret));
            Auth::Nobody
        } else {
            Auth::Basic(client_id, visited.secret)
        };
        outbound
            .post(&self.provider, &self.token, &form, auth)
            .await
    }

    /// OpenID Connect Core section 3.1.3.7.
    async fn check(&self, token: &str, nonce: &str, now: UnixMicros) -> Result<Identity, Trouble> {
        let ours = self.id_tokens.as_ref();
        let ours = ours.ok_or(Trouble::Bad("has no keys"))?;
        let now = UnixTime::from_secs(u64::try_from(now.seconds()).unwrap_or(0));
        let mut checked = ours.verifier.verify(&ours.issuer, token, now);
        let wants_keys = |refusal: &Refusal| refusal.wants_refetch();
        if checked.as_ref().is_err_and(wants_keys) && ours.issuer.refetch().await {
            checked = ours.verifier.verify(&ours.issuer, token, now);
        }
        let claims = match checked {
            Ok(claims) => claims,
            Err(Refusal::NoKeys) => return Err(Trouble::Away("its keys cannot be read")),
            Err(_) => return Err(Trouble::Bad("its ID token is not valid")),
        };
        let text = |name: &str| claims.raw.get(name).and_then(Value::as_str);
        if text("nonce") != Some(nonce) {
            return Err(Trouble::Bad("its ID token is of another visit"));
        }
        let audiences = claims.raw.get("aud").and_then(Value::as_array);
        let is_shared = audiences.is_some_and(|audiences| audiences.len() > 1);
        let party = claims.raw.get("azp").and_then(Value::as_str);
        if (is_shared || party.is_some()) && party != Some(self.provider.client_id.as_str()) {
            return Err(Trouble::Bad("its ID token is for another program"));
        }
        identity(&claims)
    }

    async fn github(&self, outbound: &Outbound, token: &str) -> Result<Identity, Trouble> {
        let api = &self.provider.api;
        let address = format!("{api}/user");
        let user: GithubUser = outbound
            .get(&self.provider, &address, Auth::Bearer(token))
            .await?;
        let address = format!("{api}/user/emails");
        let emails: Vec<GithubEmail> = outbound
            .get(&self.provider, &address, Auth::Bearer(token))
            .await?;
        let mut verified = emails.into_iter().filter(|email| email.verified);
        let email = verified.find(|email| email.primary);
        Ok(Identity {
            subject: user.id.to_string(),
            email: email.map(|email| email.email),
            name: user.name.unwrap_or(user.login),
        })
    }

    async fn discord(&self, outbound: &Outbound, token: &str) -> Result<Identity, Trouble> {
        let address = format!("{}/users/@me", self.provider.api);
        let user: DiscordUser = outbound
            .get(&self.provider, &address, Auth::Bearer(token))
            .await?;
        Ok(Identity {
            subject: user.id,
            email: user.email.filter(|_| user.verified),
            name: user.global_name.unwrap_or(user.username),
        })
    }
}

fn access_token(answer: Answer) -> Result<String, Trouble> {
    answer
        .access_token
        .ok_or(Trouble::Bad("gave no access token"))
}

fn identity(claims: &Claims) -> Result<Identity, Trouble> {
    let subject = claims.subject.clone();
    let subject = subject.filter(|subject| !subject.is_empty());
    let text = |name: &str| claims.raw.get(name).and_then(Value::as_str);
    // A boolean; some providers write it as text.
    let is_verified = match claims.raw.get("email_verified") {
        Some(Value::Bool(is_verified)) => *is_verified,
        Some(Value::String(text)) => text == "true",
        _ => false,
    };
    Ok(Identity {
        subject: subject.ok_or(Trouble::Bad("its ID token names nobody"))?,
        email: text("email").filter(|_| is_verified).map(str::to_owned),
        name: text("name").unwrap_or_default().to_owned(),
    })
}
