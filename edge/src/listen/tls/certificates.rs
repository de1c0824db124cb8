//! Server certificates by SNI from a folder.
//!
//! Invariant: a pair that does not load never replaces one that did. Pairs are `NAME.crt` or
//! `NAME.pem` with `NAME.key` directly in the folder, and `NAME.ocsp` where there is a staple;
//! certificates that are a CA's own are left alone. Names come from the certificate, not from
//! the file.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tracing::{info, warn};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::staple::Staple;
use super::{Error, canonical};

/// Nobody keeps this many certificates in one folder by intent.
const CERTIFICATES_MAX: usize = 4_096;
/// Certificate, key and staple.
const FILES_EACH: usize = 3;
/// A chain with keys is a few KiB; more is not a certificate.
const PEM_BYTES_MAX: u64 = 256 * 1024;
/// The certificates in force.
#[derive(Debug)]
pub struct CertificateStore {
    folder: PathBuf,
    current: ArcSwap<Certificates>,
    /// For as long as the folder has nothing to serve.
    temporary: Option<Arc<CertifiedKey>>,
}

#[derive(Debug, Default)]
struct Certificates {
    pairs: BTreeMap<PathBuf, Pair>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For clients without SNI, or with a name that no certificate carries.
    default: Option<Arc<CertifiedKey>>,
}

#[derive(Debug, Clone)]
struct Pair {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_after: i64,
    staple: Option<Staple>,
}

/// What the files looked like when they were last read.
pub(super) struct Seen {
    files: Vec<(PathBuf, u64, i64, i64, u64)>,
    /// When a staple ends, the certificate goes on without it.
    staples_until: u64,
}

/// One certificate, for metrics.
#[derive(Debug, Clone)]
pub struct CertificateFacts {
    /// File name without folder.
    pub file: String,
    /// Expiry in Unix seconds.
    pub not_after: i64,
}

impl CertificateStore {
    pub(super) fn load(
        folder: &Path,
        temporary: Option<Arc<CertifiedKey>>,
        now: u64,
    ) -> Result<Self, Error> {
        let (certificates, errors) = read_folder(folder, &Certificates::default(), now)?;
        if certificates.by_name.is_empty() && certificates.default.is_none() {
            if temporary.is_none() {
                return Err(errors
                    .into_iter()
                    .next()
                    .unwrap_or_else(|| Error::Empty(folder.into())));
            }
            warn!("no certificate yet, a temporary one that nobody trusts is presented");
        }
        for error in errors {
            warn!(%error, "certificate left out");
        }
        Ok(Self {
            folder: folder.into(),
            current: ArcSwap::from_pointee(certificates),
            temporary,
        })
    }

    /// What is in force, for metrics.
    pub fn facts(&self) -> Vec<CertificateFacts> {
        let current = self.current.load();
        let facts = current.pairs.iter().map(|(path, pair)| CertificateFacts {
            file: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            not_after: pair.not_after,
        });
        facts.collect()
    }

    pub(super) fn fingerprint(&self) -> Seen {
        Seen {
            files: fingerprint(&self.folder),
            staples_until: self.current.load().staples_until(),
        }
    }

    /// Read the folder again if its files changed.
    pub(super) fn look(&self, seen: &mut Seen, now: u64, on_error: &impl Fn(&Error)) {
        let files = fingerprint(&self.folder);
        if files == seen.files && now < seen.staples_until {
            return;
        }
        seen.files = files;
        match read_folder(&self.folder, &self.current.load(), now) {
            Ok((certificates, errors)) => {
                for error in &errors {
                    warn!(%error, "certificate not replaced, the one in force stays");
                    on_error(error);
                }
                info!(
                    certificates = certificates.pairs.len(),
                    "certificates reloaded"
                );
                self.current.store(Arc::new(certificates));
            }
            Err(error) => {
                warn!(%error, "certificates not reloaded, those in force stay");
                on_error(&error);
            }
        }
        seen.staples_until = self.current.load().staples_until();
    }
}

/// Names, sizes, times and inodes of the folder's files.
fn fingerprint(folder: &Path) -> Vec<(PathBuf, u64, i64, i64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .take(CERTIFICATES_MAX * FILES_EACH)
        .filter_map(|entry| {
            let facts = fs::metadata(entry.path()).ok()?;
            Some((
                entry.path(),
                facts.size(),
                facts.mtime(),
                facts.mtime_nsec(),
                facts.ino(),
            ))
        })
        .collect();
    found.sort();
    found
}

/// All pairs of a folder. A pair that fails keeps its previous version where there is one.
fn read_folder(
    folder: &Path,
    previous: &Certificates,
    now: u64,
) -> Result<(Certificates, Vec<Error>), Error> {
    let failed = |source| Error::Folder {
        path: folder.into(),
        source,
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(failed)?
        .take(CERTIFICATES_MAX * FILES_EACH)
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "key"))
        .collect();
    paths.sort();
    let mut certificates = Certificates::default();
    let mut errors = Vec::new();
    for key_path in paths.into_iter().take(CERTIFICATES_MAX) {
        let Some(chain_path) = chain_of(&key_path) else {
            // A key may be written before its certificate.
            if let Some(pair) = previous.pairs.get(&key_path) {
                errors.push(Error::Pair {
                    path: key_path.with_extension("pem"),
                    reason: "is missing".to_owned(),
                });
                certificates.pairs.insert(key_path, pair.clone());
            }
            continue;
        };
        let before = previous.pairs.get(&key_path);
        let mut failed = |reason| {
            errors.push(Error::Pair {
                path: chain_path.clone(),
                reason,
            });
        };
        let pair = match read_pair(&chain_path, &key_path) {
            Ok(Some((mut pair, serial))) => {
                let staple = read_staple(&key_path, &serial, now);
                pair.staple = staple.unwrap_or_else(|reason| {
                    failed(format!("staple left out: {reason}"));
                    before.and_then(|before| before.staple_for(&pair, now))
                });
                pair.key = with_staple(&pair);
                Some(pair)
            }
            Ok(None) => None,
            Err(reason) => {
                failed(reason);
                before.cloned()
            }
        };
        if let Some(pair) = pair {
            certificates.pairs.insert(key_path, pair);
        }
    }
    for (key_path, pair) in &previous.pairs {
        if !key_path.exists() && chain_of(key_path).is_some() {
            errors.push(Error::Pair {
                path: key_path.clone(),
                reason: "is missing".to_owned(),
            });
            certificates.pairs.insert(key_path.clone(), pair.clone());
        }
    }
    // A folder that was emptied, or is not mounted, is no wish to serve nobody.
    if certificates.pairs.is_empty() && !previous.pairs.is_empty() {
        return Err(Error::Empty(folder.into()));
    }
    certificates.index();
    Ok((certificates, errors))
}

/// The certificate that goes with a key.
fn chain_of(key_path: &Path) -> Option<PathBuf> {
    ["crt", "pem"]
        .map(|ending| key_path.with_extension(ending))
        .into_iter()
        .find(|path| path.exists())
}

/// `None` where there is no file.
fn read_staple(key_path: &Path, serial: &[u8], now: u64) -> Result<Option<Staple>, String> {
    let path = key_path.with_extension("ocsp");
    if !path.exists() {
        return Ok(None);
    }
    let staple = Staple::read(&read_bounded(&path)?, serial, now);
    staple
        .map(Some)
        .map_err(|reason| format!("`{}`: {reason}", path.display()))
}

fn with_staple(pair: &Pair) -> Arc<CertifiedKey> {
    let mut key = CertifiedKey::clone(&pair.key);
    key.ocsp = pair.staple.as_ref().map(|staple| staple.der.clone());
    Arc::new(key)
}

impl Pair {
    /// Ours, where it is still good for a pair that has none.
    fn staple_for(&self, other: &Self, now: u64) -> Option<Staple> {
        let same = self.key.cert.first() == other.key.cert.first();
        self.staple
            .clone()
            .filter(|staple| same && now < staple.until)
    }
}

/// The pair and its serial number; `None` for a certificate authority's own certificate.
fn read_pair(chain_path: &Path, key_path: &Path) -> Result<Option<(Pair, Vec<u8>)>, String> {
    let chain = read_bounded(chain_path)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("not a certificate in PEM: {error}"))?;
    let leaf = chain.first().ok_or("no certificate in it")?;
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|error| format!("not X.509: {error}"))?;
    if parsed.is_ca() {
        return Ok(None);
    }
    let names = dns_names(&parsed);
    let serial = parsed.raw_serial().to_vec();
    let not_after = parsed.validity().not_after.timestamp();
    let key = read_bounded(key_path)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| {
        format!(
            "`{}` is not a private key in PEM: {error}",
            key_path.display()
        )
    })?;
    let provider = CryptoProvider::get_default().ok_or("no crypto provider installed")?;
    let key = CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| format!("does not go with `{}`: {error}", key_path.display()))?;
    let pair = Pair {
        key: Arc::new(key),
        names,
        not_after,
        staple: None,
    };
    Ok(Some((pair, serial)))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let show = |error: io::Error| format!("cannot read `{}`: {error}", path.display());
    let size = fs::metadata(path).map_err(show)?.len();
    if size > PEM_BYTES_MAX {
        return Err(format!(
            "`{}` has {size} bytes, more than {PEM_BYTES_MAX}",
            path.display()
        ));
    }
    fs::read(path).map_err(show)
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = alternative.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

impl Certificates {
    fn index(&mut self) {
        for pair in self.pairs.values() {
            for name in &pair.names {
                self.by_name.insert(name.clone(), pair.key.clone());
            }
        }
        self.default = self.pairs.values().next().map(|pair| pair.key.clone());
    }

    /// When the next staple ends.
    fn staples_until(&self) -> u64 {
        let staples = self.pairs.values().filter_map(|pair| pair.staple.as_ref());
        staples.map(|staple| staple.until).min().unwrap_or(u64::MAX)
    }

    fn find(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        let name = canonical(server_name);
        let wildcard = || {
            let parent = name.split_once('.')?.1;
            self.by_name.get(&format!("*.{parent}"))
        };
        self.by_name.get(&name).or_else(wildcard).cloned()
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load();
        let by_name = hello.server_name().and_then(|name| current.find(name));
        by_name
            .or_else(|| current.default.clone())
            .or_else(|| self.temporary.clone())
    }
}
