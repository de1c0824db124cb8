//! Token issuers: an Ed25519 key, its JWK, and tokens signed with it.

use std::time::SystemTime;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://id.test";

/// A signing key under a key id.
pub(crate) struct Signer {
    kid: String,
    key: Ed25519KeyPair,
}

impl Signer {
    pub(crate) fn new(kid: &str) -> Self {
        Self {
            kid: kid.to_owned(),
            key: Ed25519KeyPair::generate().expect("a key"),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let x = encode(self.key.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": x})
    }

    /// A key set with this key alone.
    pub(crate) fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    /// Valid for ten minutes for subject `u1`, with `changes` over it; null removes a claim.
    pub(crate) fn token(&self, changes: Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": "palisade", "sub": "u1", "exp": unix_now() + 600, "iat": unix_now(),
        });
        let members = claims.as_object_mut().expect("an object");
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => members.remove(name),
                value => members.insert(name.clone(), value.clone()),
            };
        }
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.kid});
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature = encode(self.key.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }

    /// The `authorization` field of `token`.
    pub(crate) fn bearer(&self, changes: Value) -> String {
        format!("Bearer {}", self.token(changes))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[allow(
    clippy::disallowed_methods,
    reason = "tokens are judged by the edge's real clock"
)]
pub(crate) fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// The `issuers` section of a policy, with keys from a file.
pub(crate) fn issuer_from_file(path: &std::path::Path) -> String {
    format!(
        "issuers:\n  - name: main\n    issuer: {ISSUER}\n    audiences: [palisade]\n    algorithms: [EdDSA]\n    jwks: {{ file: {} }}\n",
        path.display()
    )
}
