//! Process settings: as typed (`Flags`) and as used (`Settings`).
//! Invariant: a `Settings` was checked whole before any port is bound; each
//! error is one line that names the flag and the value.
//! Refuses files for rules of the business: those are policy, not settings.

mod backends;
mod secret;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tonic::transport::{Certificate, Identity};

use crate::{
    crypto::{self, KeyRing},
    db,
    peer::{self, PeerPolicy},
};

pub use backends::Backends;
pub use secret::{Error as SecretError, Secret, secret};

/// A CA bundle or a chain of more than this is a mistake in the path, not a certificate.
const PEM_BYTES_MAX: u64 = 1024 * 1024;
/// Longer than any orchestrator waits before it kills; a typo such as `25h` is refused.
const DRAIN_DEADLINE_MAX: Duration = Duration::from_secs(600);

/// What the operator typed. Each flag has an environment variable; the flag wins.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Flags {
    /// Address of the gRPC listener (mutual TLS); port 0 picks a free one
    #[arg(
        long,
        env = "CORE_GRPC",
        default_value = "127.0.0.1:50051",
        value_name = "ADDR"
    )]
    pub grpc: SocketAddr,
    /// Address of the admin listener (plain HTTP: health, metrics, keys); keep it off public networks
    #[arg(
        long,
        env = "CORE_ADMIN",
        default_value = "127.0.0.1:8100",
        value_name = "ADDR"
    )]
    pub admin: SocketAddr,
    /// Where the databases live; created with mode 0700
    #[arg(
        long,
        env = "CORE_DATA_DIR",
        default_value = ".palisade/core",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// Certificate chain of this process (PEM)
    #[arg(
        long,
        env = "CORE_TLS_CERT",
        default_value = "certs/dev/mesh/core.pem",
        value_name = "FILE"
    )]
    pub tls_cert: PathBuf,
    /// Private key of this process (PEM)
    #[arg(
        long,
        env = "CORE_TLS_KEY",
        default_value = "certs/dev/mesh/core.key",
        value_name = "FILE"
    )]
    pub tls_key: PathBuf,
    /// Certificate authority that callers' certificates must chain to (PEM)
    #[arg(
        long,
        env = "CORE_TLS_CA",
        default_value = "certs/dev/ca.pem",
        value_name = "FILE"
    )]
    pub tls_ca: PathBuf,
    /// Trust domain of the callers' SPIFFE identities
    #[arg(
        long,
        env = "CORE_TRUST_DOMAIN",
        default_value = "palisade.internal",
        value_name = "DOMAIN"
    )]
    pub trust_domain: String,
    /// Services that may call this process, by name, comma-separated
    #[arg(
        long,
        env = "CORE_ALLOWED_PEERS",
        default_value = "edge",
        value_delimiter = ',',
        value_name = "NAMES"
    )]
    pub allowed_peers: Vec<String>,
    /// Public keys of the services that may call (JWK set), read again when it changes; without it only the edge may
    #[arg(long, env = "CORE_SERVICE_KEYS", value_name = "FILE")]
    pub service_keys: Option<PathBuf>,
    /// How long calls are still served after a stop began, so that load balancers hear of it
    #[arg(long, env = "CORE_DRAIN_DELAY", default_value = "5s", value_parser = duration, value_name = "DURATION")]
    pub drain_delay: Duration,
    /// How long a stop may wait for calls in flight then, such as `25s`
    #[arg(long, env = "CORE_DRAIN_DEADLINE", default_value = "25s", value_parser = duration, value_name = "DURATION")]
    pub drain_deadline: Duration,
    /// Rules that are followed while the process runs: feature flags, roles
    #[arg(
        long,
        env = "CORE_POLICIES",
        default_value = "policies/services",
        value_name = "DIR"
    )]
    pub policies: PathBuf,
    /// Keys that wrap the data keys of personal data, newest first, mode 0600 [default: one made in the data directory]
    #[arg(long, env = "CORE_KEYRING_FILE", value_name = "FILE")]
    pub keyring: Option<PathBuf>,
    /// Log filter, such as `info` or `info,core_identity=debug`
    #[arg(long, env = "CORE_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    #[command(flatten)]
    pub backends: backends::Flags,
}

/// What the process uses.
pub struct Settings {
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    pub data_dir: PathBuf,
    pub tls: MeshTls,
    pub peers: PeerPolicy,
    pub trust_domain: String,
    pub service_keys: Option<PathBuf>,
    pub stop: Stop,
    pub policies: PathBuf,
    pub keyring: Option<PathBuf>,
    pub backends: Backends,
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Between the first signal and the first refused call.
    pub delay: Duration,
    /// For what is in flight then.
    pub deadline: Duration,
}

/// This process's certificate and the authority for its callers'.
pub struct MeshTls {
    pub identity: Identity,
    pub client_ca: Certificate,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{flag}: cannot read `{}`: {source}\nhint: {hint}", path.display())]
    Unreadable {
        flag: &'static str,
        path: PathBuf,
        source: io::Error,
        hint: &'static str,
    },
    #[error("{flag}: `{}` is larger than {PEM_BYTES_MAX} bytes\nhint: is this the right file?", path.display())]
    TooLarge { flag: &'static str, path: PathBuf },
    #[error("{flag}: `{}` holds no {what} in PEM", path.display())]
    NotPem {
        flag: &'static str,
        path: PathBuf,
        what: &'static str,
    },
    #[error("--drain-deadline: `{0:?}` is not between 1s and 10min")]
    DrainDeadline(Duration),
    #[error(
        "--drain-delay: `{0:?}` is longer than 10min\nhint: such as 5s; 0s where nothing sends calls by itself"
    )]
    DrainDelay(Duration),
    #[error(transparent)]
    DataDir(#[from] db::FileError),
    #[error("--keyring: {0}")]
    KeyRing(#[from] crypto::KeyRingError),
    #[error(transparent)]
    Backends(#[from] backends::Error),
    #[error("--trust-domain or --allowed-peers: {0}")]
    Peer(#[from] peer::PolicyError),
}

impl Flags {
    /// Checks everything and reads the TLS files; makes nothing.
    ///
    /// # Errors
    /// The first flag whose value can't be used.
    pub fn settings(&self) -> Result<Settings, Error> {
        if self.drain_deadline < Duration::from_secs(1) || self.drain_deadline > DRAIN_DEADLINE_MAX
        {
            return Err(Error::DrainDeadline(self.drain_deadline));
        }
        if self.drain_delay > DRAIN_DEADLINE_MAX {
            return Err(Error::DrainDelay(self.drain_delay));
        }
        db::check_dir(&self.data_dir)?;
        if let Some(path) = &self.keyring {
            // Read again by each service; here only a bad one is told in time.
            KeyRing::load(path)?;
        }
        Ok(Settings {
            grpc: self.grpc,
            admin: self.admin,
            data_dir: self.data_dir.clone(),
            tls: self.mesh_tls()?,
            peers: PeerPolicy::new(&self.trust_domain, &self.allowed_peers)?,
            trust_domain: self.trust_domain.clone(),
            service_keys: self.service_keys.clone(),
            stop: Stop {
                delay: self.drain_delay,
                deadline: self.drain_deadline,
            },
            policies: self.policies.clone(),
            keyring: self.keyring.clone(),
            backends: self.backends.settings()?,
        })
    }

    fn mesh_tls(&self) -> Result<MeshTls, Error> {
        let cert = pem("--tls-cert", &self.tls_cert)?;
        require_certificates("--tls-cert", &self.tls_cert, &cert)?;
        let key = pem("--tls-key", &self.tls_key)?;
        if PrivateKeyDer::from_pem_slice(&key).is_err() {
            return Err(Error::NotPem {
                flag: "--tls-key",
                path: self.tls_key.clone(),
                what: "private key",
            });
        }
        let ca = pem("--tls-ca", &self.tls_ca)?;
        require_certificates("--tls-ca", &self.tls_ca, &ca)?;
        Ok(MeshTls {
            identity: Identity::from_pem(cert, key),
            client_ca: Certificate::from_pem(ca),
        })
    }
}

fn pem(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable {
        flag,
        path: path.to_owned(),
        source,
        hint: "make the development certificates first, or name others with this flag",
    };
    if fs::metadata(path).map_err(unreadable)?.len() > PEM_BYTES_MAX {
        return Err(Error::TooLarge {
            flag,
            path: path.to_owned(),
        });
    }
    fs::read(path).map_err(unreadable)
}

/// At least one certificate, and all of them parse: an authority that silently
/// dropped out would show only when a caller is refused.
fn require_certificates(flag: &'static str, path: &Path, pem: &[u8]) -> Result<(), Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(()),
        _ => Err(Error::NotPem {
            flag,
            path: path.to_owned(),
            what: "certificate",
        }),
    }
}

/// A duration with its unit: `500ms`, `25s`, `5min`.
///
/// # Errors
/// Text saying what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected(text))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "min" => number
            .checked_mul(60)
            .map(Duration::from_secs)
            .ok_or_else(|| expected(text)),
        _ => Err(expected(text)),
    }
}

fn expected(text: &str) -> String {
    format!("`{text}` is not a duration; hint: write a number and a unit, such as 500ms, 25s, 5min")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(
                duration(text).ok(),
                expected.map(Duration::from_millis),
                "{text}"
            );
        };
        check("500ms", Some(500));
        check("25s", Some(25_000));
        check("2min", Some(120_000));
        for wrong in [
            "",
            "25",
            "s",
            "-1s",
            "1.5s",
            "25 s",
            "99999999999999999999s",
            "18446744073709551615min",
        ] {
            check(wrong, None);
        }
    }

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn error_of(arguments: &[&str]) -> String {
        let cli = <Cli as clap::Parser>::try_parse_from(arguments).unwrap();
        cli.flags.settings().err().unwrap().to_string()
    }

    #[test]
    fn errors_name_the_flag() {
        let dir = tempfile::tempdir().unwrap();
        let junk = dir.path().join("junk.pem");
        fs::write(&junk, "not a certificate").unwrap();
        let junk = junk.to_str().unwrap();
        for (arguments, part) in [
            (
                vec!["core", "--tls-cert", "/nonexistent.pem"],
                "--tls-cert: cannot read `/nonexistent.pem`",
            ),
            (vec!["core", "--tls-cert", junk], "holds no certificate"),
            (vec!["core", "--drain-deadline", "0s"], "--drain-deadline"),
        ] {
            let message = error_of(&arguments);
            assert!(message.contains(part), "{message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = duration(&text);
        }
    }
}
