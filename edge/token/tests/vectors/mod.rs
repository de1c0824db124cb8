//! Makes the tokens of `access_tokens.json`. Shared by the tests of every crate that
//! checks access tokens, so that none of them can come to mean something else.

use aws_lc_rs::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub(crate) struct Vectors(Value);

/// A token and what it must come to: at the edge, and at a service, which may ask for more.
#[allow(dead_code, reason = "each side reads its own")]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) expect: String,
    pub(crate) services: String,
}

impl Vectors {
    pub(crate) fn read() -> Self {
        Self(serde_json::from_str(include_str!("access_tokens.json")).unwrap())
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }

    fn pair(&self, key: &str) -> Ed25519KeyPair {
        let seed = self.0["keys"][key].as_str().unwrap();
        Ed25519KeyPair::from_seed_unchecked(&URL_SAFE_NO_PAD.decode(seed).unwrap()).unwrap()
    }

    /// The keys to check by: `kid` and the public half.
    pub(crate) fn trusted(&self) -> Vec<(String, [u8; 32])> {
        let names = self.0["trusted"].as_array().unwrap().iter();
        let names = names.map(|name| name.as_str().unwrap());
        let public = |kid: &str| self.pair(kid).public_key().as_ref().try_into().unwrap();
        names.map(|kid| (kid.to_owned(), public(kid))).collect()
    }

    pub(crate) fn cases(&self) -> Vec<Case> {
        let cases = self.0["cases"].as_array().unwrap();
        cases.iter().map(|case| self.case(case)).collect()
    }

    fn case(&self, case: &Value) -> Case {
        let text = |name: &str| case[name].as_str().map(str::to_owned);
        let expect = text("expect").unwrap();
        Case {
            name: text("name").unwrap(),
            token: text("token").unwrap_or_else(|| self.token(case)),
            services: text("services").unwrap_or_else(|| expect.clone()),
            expect,
        }
    }

    fn token(&self, case: &Value) -> String {
        let header = merged(&self.0["header"], &case["header"]);
        let mut changes = case["claims"].clone();
        if let Some(bytes) = case["pad_bytes"].as_u64() {
            changes = json!({ "pad": "x".repeat(usize::try_from(bytes).unwrap()) });
        }
        let claims = merged(&self.0["claims"], &changes);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.as_bytes())
        );
        let signature = match case["key"].as_str().unwrap_or("k1") {
            "none" => String::new(),
            "hs256" => {
                let public = self.pair("k1").public_key().as_ref().to_vec();
                let secret = hmac::Key::new(hmac::HMAC_SHA256, &public);
                encode(hmac::sign(&secret, signed.as_bytes()).as_ref())
            }
            key => encode(self.pair(key).sign(signed.as_bytes()).as_ref()),
        };
        let append = case["append"].as_str().unwrap_or_default();
        format!("{signed}.{signature}{append}")
    }
}

fn merged(good: &Value, change: &Value) -> String {
    let members = match change {
        Value::String(text) => return text.clone(),
        Value::Object(members) => members.clone(),
        _ => serde_json::Map::new(),
    };
    let mut merged = good.as_object().unwrap().clone();
    for (name, value) in members {
        if value.is_null() {
            merged.remove(&name);
        } else {
            merged.insert(name, value);
        }
    }
    Value::Object(merged).to_string()
}
