//! Process settings: as typed (`Flags`) and as used (`Settings`).
//! Invariant: a `Settings` was checked whole before any port is bound; all that is
//! wrong is told at once, each fault with the flag, the value and what to write.
//! Refuses files for rules of the business: those are policy, not settings.

mod backends;
mod faults;
mod secret;
mod tls;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    crypto::{self, KeyRing},
    db,
    peer::PeerPolicy,
    telemetry,
    token::JwksSource,
};

pub use backends::Backends;
pub use faults::Faults;
pub use secret::{Error as SecretError, Secret, secret};
pub use tls::MeshTls;

/// Longer than any orchestrator waits before it kills; a typo such as `25h` is refused.
const DRAIN_DEADLINE_MAX: Duration = Duration::from_secs(600);

/// What the operator typed. Each flag has an environment variable; the flag wins. Values
/// are parsed here and not by clap, which would end at the first that is none.
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
    grpc: String,
    /// Address of the admin listener (plain HTTP: health, metrics, keys); keep it off public networks
    #[arg(
        long,
        env = "CORE_ADMIN",
        default_value = "127.0.0.1:8100",
        value_name = "ADDR"
    )]
    admin: String,
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
    /// Keys of the access tokens (JWK set) where identity is not in the process: a URL such as `http://127.0.0.1:8100/.well-known/jwks.json`, or a file
    #[arg(long, env = "CORE_TOKEN_KEYS", value_name = "URL")]
    token_keys: Option<String>,
    /// How long calls are still served after a stop began, so that load balancers hear of it
    #[arg(
        long,
        env = "CORE_DRAIN_DELAY",
        default_value = "5s",
        value_name = "DURATION"
    )]
    drain_delay: String,
    /// How long a stop may wait for calls in flight then, such as `25s`
    #[arg(
        long,
        env = "CORE_DRAIN_DEADLINE",
        default_value = "25s",
        value_name = "DURATION"
    )]
    drain_deadline: String,
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
    /// Of a process that makes no tokens itself.
    pub token_keys: Option<JwksSource>,
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

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{flag}: `{value}` is not an address\nhint: write an IP address and a port, such as 127.0.0.1:{port}"
    )]
    Address {
        flag: &'static str,
        value: String,
        port: u16,
    },
    #[error("{flag}: {reason}")]
    Duration { flag: &'static str, reason: String },
    #[error("--drain-deadline: `{0}` is not between 1s and 10min\nhint: such as 25s")]
    DrainDeadline(String),
    #[error(
        "--drain-delay: `{0}` is longer than 10min\nhint: such as 5s; 0s where nothing sends calls by itself"
    )]
    DrainDelay(String),
    #[error(
        "--token-keys: `{0}` is no URL\nhint: such as http://127.0.0.1:8100/.well-known/jwks.json, or a file"
    )]
    TokenKeys(String),
    #[error("--keyring: {0}")]
    KeyRing(#[from] crypto::KeyRingError),
}

impl Flags {
    /// Checks everything and reads the TLS files; makes nothing.
    ///
    /// # Errors
    /// Every flag whose value can't be used.
    pub fn settings(&self) -> Result<Settings, Faults> {
        let mut faults = Faults::default();
        let grpc = faults.check(address("--grpc", &self.grpc, 50051));
        let admin = faults.check(address("--admin", &self.admin, 8100));
        faults.check(db::check_dir(&self.data_dir));
        let tls = faults.check(tls::read(&self.tls_cert, &self.tls_key, &self.tls_ca));
        let peers = PeerPolicy::new(&self.trust_domain, &self.allowed_peers);
        let peers = faults.check(peers.map_err(Faults::all));
        let token_keys = faults.check(self.token_keys());
        let delay = faults.check(self.drain_delay());
        let deadline = faults.check(self.drain_deadline());
        if let Some(path) = &self.keyring {
            // Read again by each service; here only a bad one is told in time.
            faults.check(KeyRing::load(path).map_err(Error::KeyRing));
        }
        faults.check(telemetry::filter(&self.log));
        let backends = faults.check(self.backends.settings());
        faults.settle(|| {
            Some(Settings {
                grpc: grpc?,
                admin: admin?,
                data_dir: self.data_dir.clone(),
                tls: tls?,
                peers: peers?,
                trust_domain: self.trust_domain.clone(),
                service_keys: self.service_keys.clone(),
                token_keys: token_keys?,
                stop: Stop {
                    delay: delay?,
                    deadline: deadline?,
                },
                policies: self.policies.clone(),
                keyring: self.keyring.clone(),
                backends: backends?,
            })
        })
    }

    fn token_keys(&self) -> Result<Option<JwksSource>, Error> {
        let Some(text) = &self.token_keys else {
            return Ok(None);
        };
        if !text.contains("://") {
            return Ok(Some(JwksSource::File(text.into())));
        }
        let url = text.parse().map_err(|_| Error::TokenKeys(text.clone()))?;
        Ok(Some(JwksSource::Url(url)))
    }

    fn drain_delay(&self) -> Result<Duration, Error> {
        let delay = duration_of("--drain-delay", &self.drain_delay)?;
        if delay > DRAIN_DEADLINE_MAX {
            return Err(Error::DrainDelay(self.drain_delay.clone()));
        }
        Ok(delay)
    }

    fn drain_deadline(&self) -> Result<Duration, Error> {
        let deadline = duration_of("--drain-deadline", &self.drain_deadline)?;
        if deadline < Duration::from_secs(1) || deadline > DRAIN_DEADLINE_MAX {
            return Err(Error::DrainDeadline(self.drain_deadline.clone()));
        }
        Ok(deadline)
    }
}

fn address(flag: &'static str, value: &str, port: u16) -> Result<SocketAddr, Error> {
    let wrong = |_| Error::Address {
        flag,
        value: value.to_owned(),
        port,
    };
    value.parse().map_err(wrong)
}

fn duration_of(flag: &'static str, text: &str) -> Result<Duration, Error> {
    duration(text).map_err(|reason| Error::Duration { flag, reason })
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
    format!("`{text}` is not a duration\nhint: write a number and a unit, such as 500ms, 25s, 5min")
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

    fn faults_of(arguments: &[&str]) -> Vec<String> {
        let cli = <Cli as clap::Parser>::try_parse_from(arguments).unwrap();
        let faults = cli.flags.settings().err().unwrap();
        faults.iter().map(str::to_owned).collect()
    }

    #[test]
    fn every_fault_is_told_with_its_flag_and_what_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let junk = dir.path().join("junk.pem");
        std::fs::write(&junk, "not a certificate").unwrap();
        let arguments = [
            ("--grpc", "localhost", "127.0.0.1:50051"),
            ("--admin", ":8100", "127.0.0.1:8100"),
            ("--data-dir", "/dev/null", "not a directory"),
            ("--tls-cert", "/nonexistent.pem", "hint: "),
            ("--tls-key", junk.to_str().unwrap(), "BEGIN PRIVATE KEY"),
            ("--tls-ca", junk.to_str().unwrap(), "BEGIN CERTIFICATE"),
            ("--trust-domain", "A.b", "hint: "),
            ("--allowed-peers", "Edge!", "hint: "),
            ("--token-keys", "http://:8100/keys", ".well-known/jwks.json"),
            ("--drain-delay", "11min", "hint: "),
            ("--drain-deadline", "1h", "hint: "),
            ("--keyring", "/nonexistent.keys", "hint: "),
            ("--log", "info,=x=", "hint: "),
        ];
        let typed = arguments
            .iter()
            .flat_map(|(flag, value, _)| [*flag, *value]);
        let typed: Vec<_> = ["core"].into_iter().chain(typed).collect();
        let faults = faults_of(&typed);
        assert_eq!(faults.len(), arguments.len(), "{faults:#?}");
        for (fault, (flag, value, instead)) in faults.iter().zip(arguments) {
            assert!(fault.starts_with(&format!("{flag}: ")), "{fault}");
            assert!(fault.contains(&format!("`{value}`")), "{fault}");
            assert!(fault.contains(instead), "{fault}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = duration(&text);
        }
    }
}
