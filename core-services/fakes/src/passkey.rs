//! An authenticator with one passkey, and the browser it is plugged into (WebAuthn Level 3):
//! ES256, attestation `none`, a counter that grows with each use.
//! Invariant: what it gives without a fault is what `PublicKeyCredential.toJSON()` gives.
//! Refuses to ask anybody: its user is there and agrees.

use std::collections::BTreeMap;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::{self, SystemRandom},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING as ES256, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_cbor_2::Value as Cbor;
use serde_json::{Value, json};

const ID_BYTES: usize = 16;
const COORDINATE_BYTES: usize = 32;
/// Flags of authenticator data (section 6.1).
const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const KEY_INCLUDED: u8 = 1 << 6;

/// What is wrong with a ceremony.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CeremonyFault {
    #[default]
    None,
    /// A page elsewhere passes on what it was asked, as a phisher does.
    WrongOrigin,
    /// A passkey of another site signs.
    WrongSite,
    /// An older challenge is answered.
    WrongChallenge,
    /// Another key signs.
    WrongKey,
    /// The counter stands still.
    StuckCounter,
    /// Somebody is there, and has not shown who.
    Unverified,
}

/// The authenticator. Its clone is a thief's copy.
#[derive(Clone)]
pub struct Authenticator {
    origin: String,
    site: String,
    user: String,
    id: Vec<u8>,
    pkcs8: Vec<u8>,
    counter: u32,
}

impl Authenticator {
    /// What the page at `origin` gets of `navigator.credentials.create(options)`, and the
    /// authenticator that holds the key from then on.
    ///
    /// # Panics
    /// If the options are none of a registration.
    pub fn create(origin: &str, options: &Value, fault: CeremonyFault) -> (Self, Value) {
        let asked = &options["publicKey"];
        let new = Self {
            origin: origin.to_owned(),
            site: text(&asked["rp"]["id"]),
            user: text(&asked["user"]["id"]),
            id: random(ID_BYTES),
            pkcs8: new_key(),
            counter: 0,
        };
        let mut data = new.data(KEY_INCLUDED, fault);
        // No maker; then the id and its key (section 6.5.2).
        data.extend([0; 16]);
        data.extend(u16::try_from(ID_BYTES).expect("short").to_be_bytes());
        data.extend(&new.id);
        data.extend(cbor(new.public_key()));
        let attestation = map([
            (Cbor::Text("fmt".to_owned()), Cbor::Text("none".to_owned())),
            (Cbor::Text("attStmt".to_owned()), map([])),
            (Cbor::Text("authData".to_owned()), Cbor::Bytes(data)),
        ]);
        let response = json!({
            "attestationObject": base64(&cbor(attestation)),
            "clientDataJSON": base64(&new.client_data("webauthn.create", asked, fault)),
            "transports": ["internal"],
        });
        let made = new.credential(response);
        (new, made)
    }

    /// What the page gets of `navigator.credentials.get(options)`.
    ///
    /// # Panics
    /// If the options are none of a sign-in.
    pub fn answer(&mut self, options: &Value, fault: CeremonyFault) -> Value {
        self.counter += u32::from(fault != CeremonyFault::StuckCounter);
        let client = self.client_data("webauthn.get", &options["publicKey"], fault);
        let data = self.data(0, fault);
        let signed = [&data, digest(&SHA256, &client).as_ref()].concat();
        let key = match fault {
            CeremonyFault::WrongKey => pair(&new_key()),
            _ => pair(&self.pkcs8),
        };
        let signature = key.sign(&SystemRandom::new(), &signed);
        let signature = signature.expect("a key signs");
        self.credential(json!({
            "authenticatorData": base64(&data),
            "clientDataJSON": base64(&client),
            "signature": base64(signature.as_ref()),
            "userHandle": self.user,
        }))
    }

    fn credential(&self, response: Value) -> Value {
        let id = base64(&self.id);
        json!({
            "id": id,
            "rawId": id,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "response": response,
            "clientExtensionResults": {},
        })
    }

    /// Authenticator data (section 6.1).
    fn data(&self, flags: u8, fault: CeremonyFault) -> Vec<u8> {
        let verified = u8::from(fault != CeremonyFault::Unverified) * USER_VERIFIED;
        let site = match fault {
            CeremonyFault::WrongSite => "phish.example",
            _ => &self.site,
        };
        let mut data = digest(&SHA256, site.as_bytes()).as_ref().to_vec();
        data.push(flags | USER_PRESENT | verified);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// What the browser vouches for (section 5.8.1).
    fn client_data(&self, ceremony: &str, asked: &Value, fault: CeremonyFault) -> Vec<u8> {
        let challenge = match fault {
            CeremonyFault::WrongChallenge => base64(&random(32)),
            _ => text(&asked["challenge"]),
        };
        let origin = match fault {
            CeremonyFault::WrongOrigin => "https://phish.example",
            _ => &self.origin,
        };
        let data = json!({
            "type": ceremony, "challenge": challenge, "origin": origin, "crossOrigin": false,
        });
        data.to_string().into_bytes()
    }

    /// EC2, ES256, P-256 (RFC 9053 sections 2.1 and 7.1).
    fn public_key(&self) -> Cbor {
        let pair = pair(&self.pkcs8);
        // 0x04, then X and Y (SEC 1 section 2.3.3).
        let (_, point) = pair.public_key().as_ref().split_at(1);
        let (x, y) = point.split_at(COORDINATE_BYTES);
        map([
            (Cbor::Integer(1), Cbor::Integer(2)),
            (Cbor::Integer(3), Cbor::Integer(-7)),
            (Cbor::Integer(-1), Cbor::Integer(1)),
            (Cbor::Integer(-2), Cbor::Bytes(x.to_vec())),
            (Cbor::Integer(-3), Cbor::Bytes(y.to_vec())),
        ])
    }
}

fn new_key() -> Vec<u8> {
    let made = EcdsaKeyPair::generate_pkcs8(&ES256, &SystemRandom::new());
    made.expect("random numbers").as_ref().to_vec()
}

fn pair(pkcs8: &[u8]) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ES256, pkcs8).expect("a key of our own")
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).expect("random numbers");
    bytes
}

fn cbor(value: Cbor) -> Vec<u8> {
    serde_cbor_2::to_vec(&value).expect("a value can be written")
}

fn map<const N: usize>(members: [(Cbor, Cbor); N]) -> Cbor {
    Cbor::Map(BTreeMap::from(members))
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
