//! A provider that people sign in at: OpenID Connect as Google has it, OAuth 2.0 and their own
//! APIs as GitHub and Discord have them, all at one address.
//! Invariant: a code works once, for the client, address and PKCE verifier it was asked for.
//! Refuses to ask anybody anything: who signs in is what the test says.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

const CLIENT_ID: &str = "palisade-test";
/// With letters that have to be encoded.
const CLIENT_SECRET: &str = "s3cret +/%";
const TOKEN_SECONDS: u64 = 300;
/// Larger than any client should read.
const HUGE_BYTES: usize = 4 * 1024 * 1024;

/// What is wrong with it, from the next request on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OidcFault {
    #[default]
    None,
    /// ID tokens of another visit.
    WrongNonce,
    /// ID tokens for another client.
    WrongAudience,
    /// ID tokens that name another issuer.
    WrongIssuer,
    /// ID tokens that have expired.
    Expired,
    /// ID tokens signed by a key that is not published.
    WrongKey,
    /// Requests are taken, and nothing is ever said.
    Stall,
    /// 500.
    Broken,
    /// Answers without an end in sight.
    Huge,
    /// Sent elsewhere: to the cloud's metadata.
    Redirect,
}

/// Who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// A number where GitHub is played.
    pub subject: String,
    pub email: String,
    pub verified: bool,
    pub name: String,
}

/// The provider; it ends when dropped.
pub struct Provider {
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

struct Desk {
    base: String,
    state: Mutex<Inner>,
}

struct Inner {
    fault: OidcFault,
    person: Person,
    key: SigningKey,
    now: Option<u64>,
    codes: BTreeMap<String, Grant>,
    tokens: BTreeMap<String, Person>,
    serial: u64,
}

struct Grant {
    redirect_uri: String,
    challenge: String,
    nonce: String,
    person: Person,
}

struct SigningKey {
    kid: String,
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

impl SigningKey {
    fn generate(kid: String) -> Self {
        let pair = Ed25519KeyPair::generate().expect("random numbers");
        let pkcs8 = pair.to_pkcs8v1().expect("a new key can be written");
        Self {
            kid,
            pkcs8: pkcs8.as_ref().to_vec(),
            public: pair.public_key().as_ref().to_vec(),
        }
    }
}

impl Provider {
    /// # Panics
    /// Without a free port.
    pub async fn start() -> Self {
        let bound = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = bound.expect("a free port");
        let address: SocketAddr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let desk = Arc::new(Desk {
            base: format!("http://{address}"),
            state: Mutex::new(Inner {
                fault: OidcFault::None,
                person: Person {
                    subject: "1815".to_owned(),
                    email: "ada@example.org".to_owned(),
                    verified: true,
                    name: "Ada Lovelace".to_owned(),
                },
                key: SigningKey::generate("k0".to_owned()),
                now: None,
                codes: BTreeMap::new(),
                tokens: BTreeMap::new(),
                serial: 0,
            }),
        });
        let router = router(desk.clone());
        let task = tokio::spawn(async move {
            // It only ends with the test.
            let _ = axum::serve(listener, router).await;
        });
        Self { desk, task }
    }

    /// As its ID tokens write it.
    pub fn issuer(&self) -> &str {
        &self.desk.base
    }

    pub fn client_id(&self) -> &'static str {
        CLIENT_ID
    }

    pub fn client_secret(&self) -> &'static str {
        CLIENT_SECRET
    }

    pub fn set(&self, fault: OidcFault) {
        self.desk.lock().fault = fault;
    }

    pub fn sign_in_as(&self, person: Person) {
        self.desk.lock().person = person;
    }

    /// Unix seconds, for tests whose clock is in their own hand.
    pub fn set_now(&self, seconds: u64) {
        self.desk.lock().now = Some(seconds);
    }

    /// The old key is gone at once, as after a leak.
    pub fn rotate_keys(&self) {
        let mut desk = self.desk.lock();
        desk.serial += 1;
        desk.key = SigningKey::generate(format!("k{}", desk.serial));
    }

    /// What `oidc-providers.yaml` says of it. `profile`: `oidc`, `github` or `discord`.
    pub fn policy(&self, name: &str, profile: &str, secret_file: &str) -> String {
        let base = &self.desk.base;
        let api = match profile {
            "oidc" => String::new(),
            "github" => format!("    api: {base}\n"),
            _ => format!("    api: {base}/api\n"),
        };
        format!(
            "  - name: {name}\n    profile: {profile}\n    issuer: {base}\n{api}    client_id: {CLIENT_ID}\n    client_secret_file: {secret_file}\n"
        )
    }

    /// What the browser brings back from the page at `authorization_url`, whose user agrees:
    /// `code` and `state`.
    ///
    /// # Panics
    /// If the page would have shown an error.
    pub fn consent(&self, authorization_url: &str) -> (String, String) {
        let (_, query) = authorization_url.split_once('?').expect("a query");
        let back = self.desk.authorize(&pairs(query.as_bytes()));
        let back = back.expect("a request that is answered");
        let (_, query) = back.split_once('?').expect("a query");
        let mut found = pairs(query.as_bytes());
        let mut take = |name: &str| found.remove(name).unwrap_or_default();
        (take("code"), take("state"))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/authorize", get(authorize))
        .route("/login/oauth/authorize", get(authorize))
        .route("/oauth2/authorize", get(authorize))
        .route("/token", post(token))
        .route("/login/oauth/access_token", post(token))
        .route("/api/oauth2/token", post(token))
        .route("/user", get(github_user))
        .route("/user/emails", get(github_emails))
        .route("/api/users/@me", get(discord_user))
        .with_state(desk)
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the browser is sent (RFC 6749 section 4.1.2).
    fn authorize(&self, asked: &BTreeMap<String, String>) -> Result<String, &'static str> {
        let given = |name: &str| asked.get(name).cloned().unwrap_or_default();
        if given("client_id") != CLIENT_ID || given("response_type") != "code" {
            return Err("unknown client or response type");
        }
        if given("code_challenge_method") != "S256" || given("state").is_empty() {
            return Err("neither PKCE nor state");
        }
        let mut desk = self.lock();
        desk.serial += 1;
        let code = format!("code-{}", desk.serial);
        let grant = Grant {
            redirect_uri: given("redirect_uri"),
            challenge: given("code_challenge"),
            nonce: given("nonce"),
            person: desk.person.clone(),
        };
        let back = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &given("state"))
            .finish();
        let back = format!("{}?{back}", grant.redirect_uri);
        desk.codes.insert(code, grant);
        Ok(back)
    }

    fn trade(&self, form: &BTreeMap<String, String>, headers: &HeaderMap) -> Option<Value> {
        let given = |name: &str| form.get(name).map_or("", String::as_str);
        let by_form = given("client_id") == CLIENT_ID && given("client_secret") == CLIENT_SECRET;
        if !by_form && !is_client(headers) {
            return None;
        }
        let mut desk = self.lock();
        let grant = desk.codes.remove(given("code"))?;
        let challenge = digest(&SHA256, given("code_verifier").as_bytes());
        let fits = given("grant_type") == "authorization_code"
            && given("redirect_uri") == grant.redirect_uri
            && URL_SAFE_NO_PAD.encode(challenge) == grant.challenge;
        if !fits {
            return None;
        }
        desk.serial += 1;
        let access_token = format!("access-{}", desk.serial);
        desk.tokens
            .insert(access_token.clone(), grant.person.clone());
        Some(json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "id_token": desk.id_token(&self.base, &grant),
        }))
    }

    fn person(&self, headers: &HeaderMap) -> Option<Person> {
        let sent = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let token = sent.strip_prefix("Bearer ")?;
        self.lock().tokens.get(token).cloned()
    }
}

impl Inner {
    fn id_token(&self, base: &str, grant: &Grant) -> String {
        let fault = |fault| self.fault == fault;
        let now = self.now.unwrap_or_else(jsonwebtoken::get_current_timestamp);
        let issued = if fault(OidcFault::Expired) {
            now - 2 * TOKEN_SECONDS
        } else {
            now
        };
        let or = |wrong: bool, right: &str| if wrong { "another" } else { right }.to_owned();
        let claims = json!({
            "iss": or(fault(OidcFault::WrongIssuer), base),
            "aud": or(fault(OidcFault::WrongAudience), CLIENT_ID),
            "nonce": or(fault(OidcFault::WrongNonce), &grant.nonce),
            "sub": grant.person.subject,
            "iat": issued,
            "exp": issued + TOKEN_SECONDS,
            "email": grant.person.email,
            "email_verified": grant.person.verified,
            "name": grant.person.name,
        });
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.key.kid.clone());
        let other = SigningKey::generate(self.key.kid.clone());
        let key = if fault(OidcFault::WrongKey) {
            &other
        } else {
            &self.key
        };
        let key = EncodingKey::from_ed_der(&key.pkcs8);
        jsonwebtoken::encode(&header, &claims, &key).expect("claims can be signed")
    }
}

/// HTTP Basic, both halves form-encoded (RFC 6749 section 2.3.1).
fn is_client(headers: &HeaderMap) -> bool {
    let encoded =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let expected = format!("{}:{}", encoded(CLIENT_ID), encoded(CLIENT_SECRET));
    let expected = format!("Basic {}", STANDARD.encode(expected));
    let sent = headers.get(header::AUTHORIZATION);
    sent.is_some_and(|sent| sent.as_bytes() == expected.as_bytes())
}

fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

/// What is said instead of the answer, if a fault is in force.
async fn trouble(desk: &Desk) -> Option<Response> {
    let fault = desk.lock().fault;
    match fault {
        OidcFault::Stall => std::future::pending().await,
        OidcFault::Broken => Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        OidcFault::Huge => Some(vec![b' '; HUGE_BYTES].into_response()),
        OidcFault::Redirect => {
            let elsewhere = [(header::LOCATION, "http://169.254.169.254/latest/meta-data")];
            Some((StatusCode::FOUND, elsewhere).into_response())
        }
        _ => None,
    }
}

async fn discovery(State(desk): State<Arc<Desk>>) -> Response {
    if let Some(trouble) = trouble(&desk).await {
        return trouble;
    }
    let base = &desk.base;
    Json(json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "jwks_uri": format!("{base}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
    }))
    .into_response()
}

async fn jwks(State(desk): State<Arc<Desk>>) -> Response {
    let state = desk.lock();
    let x = URL_SAFE_NO_PAD.encode(&state.key.public);
    let kid = &state.key.kid;
    let key = json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x,
    });
    Json(json!({ "keys": [key] })).into_response()
}

async fn authorize(State(desk): State<Arc<Desk>>, RawQuery(query): RawQuery) -> Response {
    let asked = pairs(query.unwrap_or_default().as_bytes());
    match desk.authorize(&asked) {
        Ok(back) => (StatusCode::FOUND, [(header::LOCATION, back)]).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

async fn token(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(trouble) = trouble(&desk).await {
        return trouble;
    }
    match desk.trade(&pairs(&body), &headers) {
        Some(tokens) => Json(tokens).into_response(),
        None => {
            let error = Json(json!({ "error": "invalid_grant" }));
            (StatusCode::BAD_REQUEST, error).into_response()
        }
    }
}

async fn github_user(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    // It answers nobody without a name.
    let is_named = headers.contains_key(header::USER_AGENT);
    match desk.person(&headers).filter(|_| is_named) {
        None => StatusCode::FORBIDDEN.into_response(),
        Some(person) => {
            let id: u64 = person.subject.parse().unwrap_or_default();
            Json(json!({ "id": id, "login": "ada", "name": person.name })).into_response()
        }
    }
}

async fn github_emails(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    match desk.person(&headers) {
        None => StatusCode::UNAUTHORIZED.into_response(),
        Some(person) => Json(json!([
            { "email": "old@example.org", "primary": false, "verified": true, "visibility": null },
            { "email": person.email, "primary": true, "verified": person.verified },
        ]))
        .into_response(),
    }
}

async fn discord_user(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    match desk.person(&headers) {
        None => StatusCode::UNAUTHORIZED.into_response(),
        Some(person) => Json(json!({
            "id": person.subject,
            "username": "ada",
            "global_name": person.name,
            "email": person.email,
            "verified": person.verified,
        }))
        .into_response(),
    }
}
