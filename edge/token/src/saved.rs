//! The last good document of an issuer on disk, so that a restart during its outage still verifies.
//!
//! Invariant: a reader sees a whole document or none (written aside, synced, renamed), mode 0600.
//! The bytes are what the issuer sent and are read with the same distrust again.
//! Refuses: documents older than [`AGE_MAX`]: a removed key must not come back years later.

use crate::fetch::{FetchError, read_file};
use crate::key_set::DOCUMENT_BYTES_MAX;
use crate::spec::IssuerSpec;
use aws_lc_rs::digest;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Longer outages than this need an operator anyway.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A document found on disk.
pub(crate) struct Saved {
    pub(crate) document: Vec<u8>,
    /// Since it was last confirmed by the issuer.
    pub(crate) age: Duration,
}

/// The file for an issuer. Its name is a hash: names from a policy must not become paths.
pub(crate) fn path(directory: &Path, spec: &IssuerSpec) -> PathBuf {
    let source = spec.source.to_string();
    let hash = sha256(&[
        spec.name.as_bytes(),
        spec.issuer.as_bytes(),
        source.as_bytes(),
    ]);
    let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    directory.join(format!("{name}.jwks.json"))
}

/// SHA-256 over parts, each with its length in front: `("ab", "c")` is not `("a", "bc")`.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What was saved at `path`; `None` if nothing, or nothing young enough.
pub(crate) async fn load(path: PathBuf) -> Result<Option<Saved>, FetchError> {
    let modified = match std::fs::metadata(&path).and_then(|metadata| metadata.modified()) {
        Ok(modified) => modified,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(FetchError::File { path, cause }),
    };
    let age = age_of(modified);
    if age > AGE_MAX {
        tracing::warn!(path = %path.display(), ?age, "saved keys are too old to be used");
        return Ok(None);
    }
    let document = read_file(path, DOCUMENT_BYTES_MAX).await?;
    Ok(Some(Saved { document, age }))
}

#[allow(
    clippy::disallowed_methods,
    reason = "the age of a file is a matter of the wall clock, read once at start and decided on by nothing else"
)]
fn age_of(modified: SystemTime) -> Duration {
    // A file from the future is as good as new: the clock was set back.
    SystemTime::now()
        .duration_since(modified)
        .unwrap_or_default()
}

/// Replaces what is saved at `path`.
pub(crate) async fn store(path: PathBuf, document: Vec<u8>) -> std::io::Result<()> {
    let writing = tokio::task::spawn_blocking(move || {
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)?;
        // Created with mode 0600 under a random name, in the directory the rename needs.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&document)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok(())
    });
    writing
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// Removes what is saved at `path`, if there is something.
pub(crate) async fn forget(path: PathBuf) {
    let at = path.clone();
    let removing = tokio::task::spawn_blocking(move || std::fs::remove_file(path));
    match removing.await {
        Ok(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %at.display(), %error, "saved keys were not removed");
        }
        _ => {}
    }
}
