//! Folders of one edge: policies, certificates, state; and certificates made on demand.
//!
//! The development CA is made once for the binary by `palisade certs` itself, and copied.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

/// `palisade certs` run once.
static CERTIFICATES: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("certs");
    let _ = fs::remove_dir_all(&dir);
    let output = Command::new(super::BINARY)
        .arg("certs")
        .arg(&dir)
        .output()
        .expect("the edge binary starts");
    assert!(
        output.status.success(),
        "palisade certs: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    dir
});

/// A scratch folder, removed when dropped.
pub(crate) struct Files {
    root: TempDir,
}

impl Files {
    /// Empty policies, the development certificates.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(root.path().join("policies")).expect("a folder");
        copy_folder(&CERTIFICATES, &root.path().join("certs"));
        Self { root }
    }

    pub(crate) fn with_policies(policies: &[(&str, &str)]) -> Self {
        let files = Self::new();
        for (name, text) in policies {
            files.write_policy(name, text);
        }
        files
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn policies(&self) -> PathBuf {
        self.root.path().join("policies")
    }

    pub(crate) fn certs(&self) -> PathBuf {
        self.root.path().join("certs")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// As an editor saves: a temporary file, then a rename.
    pub(crate) fn write_policy(&self, name: &str, text: &str) {
        replace(&self.policies().join(name), text.as_bytes());
    }
}

/// Write beside, then rename over.
pub(crate) fn replace(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
    let beside = path.with_extension("saving");
    fs::write(&beside, content).expect("the folder can be written");
    fs::rename(&beside, path).expect("the folder can be written");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the certificates are there") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

/// The development CA's certificate.
pub(crate) fn authority() -> CertificateDer<'static> {
    CertificateDer::from_pem_file(CERTIFICATES.join("ca.pem")).expect("the CA is PEM")
}

/// A file of the development certificates.
pub(crate) fn certificate_file(name: &str) -> PathBuf {
    CERTIFICATES.join(name)
}

/// A certificate for `names` signed by the development CA, and its key: both PEM.
pub(crate) fn issue(names: &[&str]) -> (String, String) {
    issue_for(names, 365)
}

/// One that is valid for so many days.
pub(crate) fn issue_for(names: &[&str], days: i64) -> (String, String) {
    let read = |name: &str| fs::read_to_string(CERTIFICATES.join(name)).expect("the CA is there");
    let ca_key = KeyPair::from_pem(&read("ca.key")).expect("the CA's key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).expect("the CA's certificate");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    params.not_after = params.not_before + time::Duration::days(days);
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// A certificate of another CA, which nobody trusts: PEM.
pub(crate) fn foreign_authority() -> String {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).expect("a certificate").pem()
}

/// Change what may be done with a path.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions can be set");
}
