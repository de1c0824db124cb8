//! A scratch folder of policies, with certificates and descriptors beside them.
//!
//! Layout: `policies/` holds what a test writes, `certs/` a CA, its revocation list, a client pair
//! and a stranger's key.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use palisade_policy::{Diagnostics, Loaded};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa,
    KeyIdMethod, KeyPair, SerialNumber,
};
use tempfile::TempDir;

/// PEM texts, made once: key generation is what takes the time.
struct Pems {
    ca: String,
    client: String,
    client_key: String,
    stranger_key: String,
    crl: String,
}

fn pems() -> &'static Pems {
    static PEMS: OnceLock<Pems> = OnceLock::new();
    PEMS.get_or_init(|| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let client = CertificateParams::new(["edge.palisade.internal".to_owned()]).unwrap();
        Pems {
            ca: ca.pem(),
            client: client.signed_by(&key, &ca).unwrap().pem(),
            client_key: key.serialize_pem(),
            stranger_key: KeyPair::generate().unwrap().serialize_pem(),
            crl: revocation_list().signed_by(&ca).unwrap().pem().unwrap(),
        }
    })
}

/// What `secrets/` holds.
pub(crate) const SECRETS: [(&str, &[u8]); 4] = [
    ("upstream", b"Bearer swordfish\r\n"),
    ("two_lines", b"swordfish\nswordfish\n"),
    ("empty", b"\n"),
    ("binary", b"swordfish\xff"),
];

fn revocation_list() -> CertificateRevocationListParams {
    CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2040, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

pub(crate) struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// With certificates, descriptors and no policy.
    pub(crate) fn new() -> Self {
        let scratch = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let Pems {
            ca,
            client,
            client_key,
            stranger_key,
            crl,
        } = pems();
        for (path, text) in [
            ("certs/ca.pem", ca),
            ("certs/edge.pem", client),
            ("certs/edge.key", client_key),
            ("certs/stranger.key", stranger_key),
            ("certs/ca.crl", crl),
        ] {
            scratch.write_beside(path, text.as_bytes());
        }
        for (name, secret) in SECRETS {
            scratch.write_beside(&format!("secrets/{name}.token"), secret);
        }
        scratch.write_beside("certs/api.key", b"5f1c4f5b7c0f4c0e9b1d0a7e6d3c2b1a\n");
        scratch.write_beside("certs/note.txt", b"closed for a while\n");
        scratch.write_beside("descriptors/core.pb", core_proto::DESCRIPTOR_SET);
        std::fs::create_dir(scratch.policies()).unwrap();
        scratch
    }

    /// With the given policy files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let scratch = Self::new();
        for (name, text) in files {
            scratch.write(name, text);
        }
        scratch
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn policies(&self) -> PathBuf {
        self.dir.path().join("policies")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.write_beside(&format!("policies/{name}"), text.as_bytes());
    }

    /// Relative to the folder that holds the policies folder.
    pub(crate) fn write_beside(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn load(&self) -> Result<Loaded, Diagnostics> {
        palisade_policy::load(&self.policies())
    }
}
