//! The folder of one system: the shipped policies with this test's ports, certificates, state.
//!
//! Invariant: what a test changes in a policy is really there to be changed; a shipped file that
//! moved on fails the test instead of being tested as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
pub(crate) const CLUSTERS: &str = "clusters.yaml";
pub(crate) const ISSUERS: &str = "issuers.yaml";
pub(crate) const LIMITS: &str = "limits.yaml";
pub(crate) const ROUTES: &str = "routes/identity.yaml";

/// `palisade certs` run once; it keeps what is still good.
static CERTIFICATES: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("system-certs");
    let output = Command::new(super::EDGE).arg("certs").arg(&dir).output();
    let output = output.expect("the edge binary starts");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "palisade certs: {complaints}");
    dir
});

/// The development CA's certificate.
pub(crate) fn authority() -> CertificateDer<'static> {
    CertificateDer::from_pem_file(CERTIFICATES.join("ca.pem")).expect("the CA is PEM")
}

/// The same as PEM.
pub(crate) fn authority_pem() -> String {
    fs::read_to_string(CERTIFICATES.join("ca.pem")).expect("the CA is there")
}

/// Laid out as the repository is, because policies name certificates relative to themselves.
pub(crate) struct Files {
    root: TempDir,
    /// `--log` of both programs.
    pub(crate) log: &'static str,
    /// Besides, for the core services.
    pub(crate) core_arguments: Vec<String>,
}

impl Files {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        copy_folder(Path::new(SHIPPED), &root.path().join("policies"));
        fs::create_dir(root.path().join("certs")).expect("a folder");
        let files = Self {
            root,
            log: "info",
            core_arguments: Vec::new(),
        };
        copy_folder(&CERTIFICATES, &files.certs());
        files
    }

    pub(crate) fn policies(&self) -> PathBuf {
        self.root.path().join("policies")
    }

    pub(crate) fn certs(&self) -> PathBuf {
        self.root.path().join("certs/dev")
    }

    pub(crate) fn core_data(&self) -> PathBuf {
        self.root.path().join("state/core")
    }

    pub(crate) fn edge_state(&self) -> PathBuf {
        self.root.path().join("state/edge")
    }

    pub(crate) fn policy(&self, name: &str) -> String {
        fs::read_to_string(self.policies().join(name)).expect("a shipped policy")
    }

    /// As an editor saves: a temporary file, then a rename.
    pub(crate) fn save(&self, name: &str, text: &str) {
        let path = self.policies().join(name);
        let beside = path.with_extension("saving");
        fs::write(&beside, text).expect("the folder can be written");
        fs::rename(&beside, path).expect("the folder can be written");
    }

    /// In place: for a moment there is half a file.
    pub(crate) fn overwrite(&self, name: &str, text: &str) {
        fs::write(self.policies().join(name), text).expect("the folder can be written");
    }

    /// Replace `from` everywhere in a policy.
    pub(crate) fn rewrite(&self, name: &str, from: &str, to: &str) {
        self.save(name, &replaced(&self.policy(name), from, to));
    }

    /// Limits so high that no test reaches them.
    pub(crate) fn lift_limits(&self) {
        let shipped = self.policy(LIMITS);
        let lines = shipped
            .lines()
            .filter(|line| !line.trim().starts_with("burst:"));
        let lifted: Vec<_> = lines
            .map(|line| match line.trim().starts_with("rate:") {
                true => "    rate: 1000000/s",
                false => line,
            })
            .collect();
        self.save(LIMITS, &lifted.join("\n"));
    }
}

/// `text` with every `from` as `to`; there must be one.
pub(crate) fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(
        text.contains(from),
        "a shipped policy no longer says `{from}`"
    );
    text.replace(from, to)
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}
