//! Server certificates by SNI from a folder, and the two rustls configurations.
//!
//! Invariant: a pair that does not load never replaces one that did. Pairs are `NAME.crt` or
//! `NAME.pem` with `NAME.key` directly in the folder; certificates that are a CA's own are
//! left alone. Names come from the certificate, not from the file.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ProtocolVersion, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::tls_alpn::{self, ChallengeCertificates};

/// Nobody keeps this many certificates in one folder by intent.
const CERTIFICATES_MAX: usize = 4_096;
/// A chain with keys is a few KiB; more is not a certificate.
const PEM_BYTES_MAX: u64 = 256 * 1024;
/// How often the folder is looked at: cheap, and immune to every way of replacing files.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Why the certificates could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read certificates folder `{}`: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("no certificate in `{}`, hint: put NAME.pem and NAME.key there, or run `palisade certs {}`", .0.display(), .0.display())]
    Empty(PathBuf),
    #[error("certificate `{}`: {reason}", path.display())]
    Pair { path: PathBuf, reason: String },
    #[error("tls configuration: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The acceptors for TCP and QUIC, over one set of certificates.
pub struct ServerTls {
    pub tcp: TlsAcceptor,
    pub quic: Arc<ServerConfig>,
    pub certificates: Arc<CertificateStore>,
}

impl ServerTls {
    /// Load the folder; fails when not one pair is usable and there is no `temporary` certificate
    /// to begin with.
    pub fn load(
        folder: &Path,
        temporary: Option<Arc<CertifiedKey>>,
        challenges: Option<Arc<dyn ChallengeCertificates>>,
    ) -> Result<Self, Error> {
        let certificates = Arc::new(CertificateStore::load(folder, temporary)?);
        let mut tcp = server_config(certificates.clone(), &[b"h2", b"http/1.1"])?;
        if let Some(challenges) = challenges {
            tls_alpn::enable(&mut tcp, challenges);
        }
        let quic = server_config(certificates.clone(), &[b"h3"])?;
        Ok(Self {
            tcp: TlsAcceptor::from(Arc::new(tcp)),
            quic: Arc::new(quic),
            certificates,
        })
    }
}

fn server_config(
    certificates: Arc<CertificateStore>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // Stateless resumption with keys that rotate by themselves. Early data stays off: it can be replayed.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.max_early_data_size = 0;
    Ok(config)
}

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
    fn load(folder: &Path, temporary: Option<Arc<CertifiedKey>>) -> Result<Self, Error> {
        let (certificates, errors) = read_folder(folder, &Certificates::default())?;
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

    /// Read the folder again whenever its files change. Never returns.
    pub async fn watch(self: Arc<Self>, on_error: impl Fn(&Error) + Send) {
        let mut seen = fingerprint(&self.folder);
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        loop {
            ticks.tick().await;
            let now = fingerprint(&self.folder);
            if now == seen {
                continue;
            }
            seen = now;
            match read_folder(&self.folder, &self.current.load()) {
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
        }
    }
}

/// Names, sizes, times and inodes of the folder's files.
fn fingerprint(folder: &Path) -> Vec<(PathBuf, u64, i64, i64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .take(CERTIFICATES_MAX * 2)
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
) -> Result<(Certificates, Vec<Error>), Error> {
    let failed = |source| Error::Folder {
        path: folder.into(),
        source,
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(failed)?
        .take(CERTIFICATES_MAX * 2)
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "key"))
        .collect();
    paths.sort();
    let mut certificates = Certificates::default();
    let mut errors = Vec::new();
    for key_path in paths.into_iter().take(CERTIFICATES_MAX) {
        let Some(chain_path) = ["crt", "pem"]
            .map(|ending| key_path.with_extension(ending))
            .into_iter()
            .find(|path| path.exists())
        else {
            // A key may be written before its certificate, and a pair half removed.
            if let Some((path, pair)) = previous_pair(previous, &key_path) {
                certificates.pairs.insert(path, pair);
            }
            continue;
        };
        match read_pair(&chain_path, &key_path) {
            Ok(Some(pair)) => {
                certificates.pairs.insert(key_path, pair);
            }
            Ok(None) => {}
            Err(reason) => {
                errors.push(Error::Pair {
                    path: chain_path,
                    reason,
                });
                if let Some((path, pair)) = previous_pair(previous, &key_path) {
                    certificates.pairs.insert(path, pair);
                }
            }
        }
    }
    certificates.index();
    Ok((certificates, errors))
}

fn previous_pair(previous: &Certificates, key_path: &Path) -> Option<(PathBuf, Pair)> {
    previous
        .pairs
        .get(key_path)
        .map(|pair| (key_path.to_owned(), pair.clone()))
}

/// `None` for a certificate authority's own certificate.
fn read_pair(chain_path: &Path, key_path: &Path) -> Result<Option<Pair>, String> {
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
    Ok(Some(Pair {
        key: Arc::new(key),
        names,
        not_after,
    }))
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

    fn find(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        let name = server_name.trim_end_matches('.').to_ascii_lowercase();
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

/// As logs and digests print it.
pub(super) fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "unknown",
    }
}
