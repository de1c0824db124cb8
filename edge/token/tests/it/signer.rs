//! Real keys that sign anything, also what no library would: raw header and claims text.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use palisade_token::{Algorithm, Issuer, IssuerSpec, JwksSource, UnixTime};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
pub(crate) const ISSUER: &str = "https://id.example";

pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub(crate) static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::Rs256));
pub(crate) static EC: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::Es256));

impl Signer {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
            }
            Algorithm::Es256 => {
                Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
            Algorithm::EdDsa => Key::Ed(Ed25519KeyPair::generate().unwrap()),
        };
        Self { algorithm, key }
    }

    /// The public key as a JWK, without `alg`.
    pub(crate) fn bare_jwk(&self, kid: &str) -> Value {
        match &self.key {
            Key::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty":"RSA","kid":kid,"n":encode(public.n),"e":encode(public.e)})
            }
            Key::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty":"EC","crv":"P-256","kid":kid,"x":encode(&point[1..33]),"y":encode(&point[33..])})
            }
            Key::Ed(pair) => {
                json!({"kty":"OKP","crv":"Ed25519","kid":kid,"x":encode(pair.public_key())})
            }
        }
    }

    /// The public key as a JWK.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = self.bare_jwk(kid);
        jwk["alg"] = json!(self.algorithm.as_jose());
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token of exactly this header and these claims, signed with the key's own algorithm.
    pub(crate) fn token(&self, header: &str, claims: &str) -> String {
        self.token_as(self.algorithm, header, claims)
    }

    /// The same, signed with another RSA scheme.
    pub(crate) fn token_as(&self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let message = signed.as_bytes();
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Rsa(pair) => {
                let scheme: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(scheme, &random, message, &mut signature).unwrap();
                signature
            }
            Key::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        };
        format!("{signed}.{}", encode(signature))
    }

    /// A token that passes everything, if the key is known as `kid`.
    pub(crate) fn good(&self, kid: &str) -> String {
        self.token(&header(self.algorithm, kid), &claims("{}"))
    }

    /// An RSA public key as SubjectPublicKeyInfo.
    pub(crate) fn public_der(&self) -> Vec<u8> {
        let Key::Rsa(pair) = &self.key else {
            panic!("not an RSA key");
        };
        pair.public_key().as_der().unwrap().as_ref().to_vec()
    }

    /// The private key as PKCS #8.
    pub(crate) fn pkcs8(&self) -> Vec<u8> {
        match &self.key {
            Key::Rsa(pair) => pair.as_der().unwrap().as_ref().to_vec(),
            Key::Ec(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Key::Ed(pair) => pair.to_pkcs8().unwrap().as_ref().to_vec(),
        }
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn header(algorithm: Algorithm, kid: &str) -> String {
    json!({"alg": algorithm.as_jose(), "kid": kid}).to_string()
}

/// Good claims with members replaced; null removes one.
pub(crate) fn claims(changes: &str) -> String {
    let mut claims = json!({
        "iss": ISSUER, "aud": "api", "sub": "u1", "exp": NOW.as_secs() + 600, "scope": "read write",
    });
    let changes: Value = serde_json::from_str(changes).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub(crate) fn spec() -> IssuerSpec {
    let nowhere = JwksSource::File("unused".into());
    let mut spec = IssuerSpec::new("main", ISSUER, &["api", "admin"], nowhere);
    spec.algorithms = Algorithm::ALL.to_vec();
    spec
}

pub(crate) fn issuer(spec: IssuerSpec, keys: &[Value]) -> Arc<Issuer> {
    Issuer::with_fixed_keys(spec, jwks(keys).as_bytes()).unwrap()
}
