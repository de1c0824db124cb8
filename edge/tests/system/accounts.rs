//! What people do with accounts, over any protocol, and the secrets that come of it.
//!
//! Invariant: every password, address and token of a test is made or noted here, so that no log
//! can hold one unnoticed.

use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, Response};

/// In every address of these tests.
const DOMAIN: &str = "private.example";
/// In every password of these tests.
const PASSWORD_MARK: &str = "open-sesame";
/// How the header of every token of ours begins: base64 of `{"`.
const TOKEN_MARK: &str = "eyJ";

/// What must never be printed.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<Vec<String>>>);

impl Secrets {
    pub(crate) fn note(&self, secret: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(secret.to_owned());
    }

    #[track_caller]
    pub(crate) fn assert_absent(&self, text: &str) {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = [DOMAIN, PASSWORD_MARK, TOKEN_MARK];
        for secret in marks.into_iter().chain(noted.iter().map(String::as_str)) {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "a log holds the secret `{secret}`");
        }
    }
}

#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) email: String,
    pub(crate) password: String,
}

impl Account {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            email: format!("{name}@{DOMAIN}").to_lowercase(),
            password: password(name),
        }
    }

    pub(crate) fn registration(&self) -> Value {
        json!({"email": self.email, "password": self.password, "name": "Ada Lovelace"})
    }

    pub(crate) fn credentials(&self) -> Value {
        json!({"email": self.email, "password": self.password})
    }
}

/// One that can be found in a log.
pub(crate) fn password(name: &str) -> String {
    format!("{PASSWORD_MARK} {name}")
}

pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// The token with another signature. Its first character has no unused bits, unlike its last.
pub(crate) fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{first}{}", &signature[1..])
}

/// The REST API as one person's program sees it.
pub(crate) struct Api {
    client: Client,
    secrets: Secrets,
    /// `user-agent`, if it has a name of its own.
    device: Option<&'static str>,
}

impl Api {
    pub(crate) fn new(client: Client, secrets: &Secrets) -> Self {
        Self {
            client,
            secrets: secrets.clone(),
            device: None,
        }
    }

    pub(crate) fn on_device(self, name: &'static str) -> Self {
        Self {
            device: Some(name),
            ..self
        }
    }

    pub(crate) async fn get(&mut self, target: &str, token: Option<&str>) -> Response {
        self.send(Method::GET, target, token, "").await
    }

    pub(crate) async fn post(
        &mut self,
        target: &str,
        token: Option<&str>,
        body: Value,
    ) -> Response {
        self.send(Method::POST, target, token, &body.to_string())
            .await
    }

    pub(crate) async fn put(&mut self, target: &str, token: &str, body: Value) -> Response {
        self.send(Method::PUT, target, Some(token), &body.to_string())
            .await
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        target: &str,
        token: Option<&str>,
        body: &str,
    ) -> Response {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = Vec::new();
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        if let Some(bearer) = &bearer {
            headers.push(("authorization", bearer));
        }
        if let Some(device) = self.device {
            headers.push(("user-agent", device));
        }
        let sent = self
            .client
            .send(method, target, &headers, body.to_owned())
            .await;
        let response = sent.unwrap_or_else(|broken| panic!("{target}: {broken:?}"));
        if response.header("connection") == Some("close") {
            self.client = self.client.renewed().await;
        }
        response
    }

    pub(crate) async fn register(&mut self, account: &Account) {
        let response = self.post("/register", None, account.registration()).await;
        assert_eq!(response.status, 201, "{response:?}");
    }

    pub(crate) async fn login(&mut self, account: &Account) -> Tokens {
        let response = self.post("/login", None, account.credentials()).await;
        self.tokens(&response)
    }

    /// The pair in an answer that must have one.
    #[track_caller]
    pub(crate) fn tokens(&self, response: &Response) -> Tokens {
        assert_eq!(response.status, 200, "{response:?}");
        let body = response.json();
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["expires_in"], 600);
        let token = |name: &str| {
            let token = body[name].as_str().expect("a token").to_owned();
            self.secrets.note(&token);
            // Parts of a token are as telling: the last of both kinds is what proves possession.
            let last = token.rsplit('.').next().expect("a part");
            self.secrets.note(last);
            token
        };
        Tokens {
            access: token("access_token"),
            refresh: token("refresh_token"),
        }
    }
}
