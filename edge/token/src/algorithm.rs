//! The signature algorithms this project accepts, and the one place that checks a signature.
//!
//! Invariant: a public key is parsed for exactly one algorithm and can be used with no other.
//! Refuses: every symmetric algorithm; a key two parties hold proves nothing about who signed.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaParameters,
};

/// An accepted JWS algorithm (RFC 7518 section 3, RFC 8037, RFC 9864).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256 and MGF1 with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// EdDSA on Ed25519. `Ed25519`, the fully specified name of RFC 9864, is the same algorithm.
    EdDsa,
}

impl Algorithm {
    /// Every accepted algorithm.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// The algorithm a JOSE `alg` value names; `None` for everything this project refuses. Case matters
    /// (RFC 7515 section 4.1.1), so `NONE` and `hs256` have no way in either.
    pub fn from_jose(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }

    /// The JOSE `alg` value.
    pub fn as_jose(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Whether keys of this algorithm are RSA keys, which alone fit more than one algorithm.
    pub fn is_rsa(self) -> bool {
        matches!(self, Self::Rs256 | Self::Ps256)
    }
}

/// A public key bound to its algorithm: a signature check with any other cannot be written.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    pub(crate) algorithm: Algorithm,
    parsed: ParsedPublicKey,
}

impl VerifyingKey {
    /// From a big-endian modulus and exponent without leading zeros. `None` if they are no RSA key.
    pub(crate) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Option<Self> {
        let parameters: &'static RsaParameters = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::Es256 | Algorithm::EdDsa => return None,
        };
        let components = aws_lc_rs::signature::RsaPublicKeyComponents { n, e };
        let parsed = components.to_parsed_public_key(parameters).ok()?;
        Some(Self { algorithm, parsed })
    }

    /// From affine coordinates, 32 bytes each. `None` if the point is not on P-256: the library checks it.
    pub(crate) fn p256(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        let mut point = Vec::with_capacity(65);
        point.push(0x04); // SEC 1 section 2.3.3: an uncompressed point follows
        point.extend_from_slice(x);
        point.extend_from_slice(y);
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).ok()?;
        Some(Self {
            algorithm: Algorithm::Es256,
            parsed,
        })
    }

    /// From the 32 byte public key of RFC 8032.
    pub(crate) fn ed25519(x: &[u8; 32]) -> Option<Self> {
        let parsed = ParsedPublicKey::new(&ED25519, x).ok()?;
        Some(Self {
            algorithm: Algorithm::EdDsa,
            parsed,
        })
    }

    /// Whether `signature` is this key's signature of `message`.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}
