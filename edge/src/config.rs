//! Process settings: read once from flags and environment; a change needs a restart.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use palisade_acme::{ChallengeType, DirectoryUrl, Name};

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Folder of policy files, watched for changes.
    #[arg(long, env = "PALISADE_POLICIES", default_value = "policies")]
    pub policies: PathBuf,
    /// One fault in the policy files refuses all of them, instead of the files or routes at fault.
    #[arg(long, env = "PALISADE_STRICT")]
    pub strict: bool,
    /// Folder of server certificates (NAME.pem or NAME.crt, with NAME.key), watched for changes.
    #[arg(long, env = "PALISADE_CERTS", default_value = "certs/dev")]
    pub certs: PathBuf,
    /// TLS over TCP, and QUIC over UDP on the same port.
    #[arg(long, env = "PALISADE_HTTPS", default_value = "127.0.0.1:8443")]
    pub https: SocketAddr,
    /// Plain HTTP/1.1: redirects to https unless a route allows plain http.
    #[arg(long, env = "PALISADE_HTTP", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// Let the plain port also take HTTP/2 without TLS, by prior knowledge (h2c).
    #[arg(long, env = "PALISADE_HTTP_H2C")]
    pub http_h2c: bool,
    /// Metrics, health and policy status. Keep it off the internet.
    #[arg(long, env = "PALISADE_ADMIN", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,
    /// Worker threads; 0 is one for each core.
    #[arg(long, env = "PALISADE_THREADS", default_value_t = 0)]
    pub threads: usize,
    /// Memory of the response cache in MiB.
    #[arg(long, env = "PALISADE_CACHE_MIB", default_value_t = 256)]
    pub cache_mib: u64,
    /// Longest time for requests in flight after a stop signal, in seconds.
    #[arg(long, env = "PALISADE_DRAIN_SECONDS", default_value_t = 25)]
    pub drain_seconds: u64,
    /// Where the last good key sets of token issuers, the policies that were in force and the ACME
    /// account are kept, and where a process that replaces this one reports.
    #[arg(long, env = "PALISADE_STATE", default_value = ".palisade/edge")]
    pub state: PathBuf,
    /// Replace the process that serves from the same --state: take its sockets, let it drain. With
    /// none there, start. A running process does the same by itself on SIGUSR2.
    #[arg(long)]
    pub upgrade: bool,
    /// Longest time a process that replaces this one may take to load, in seconds.
    #[arg(long, env = "PALISADE_UPGRADE_SECONDS", default_value_t = 60)]
    pub upgrade_seconds: u64,
    /// One JSON line a request.
    #[arg(long, env = "PALISADE_ACCESS_LOG", default_value = "stdout")]
    pub access_log: AccessLogTarget,
    /// What the process logs about itself: error, warn, info, debug, trace, or filters by module.
    /// A client can make the h2 module warn as often as it likes.
    #[arg(long, env = "PALISADE_LOG", default_value = "info,h2=error")]
    pub log: String,
    #[command(flatten)]
    pub acme: AcmeArgs,
}

/// Certificates by ACME: off where no domain is given.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Automatic certificates (ACME)")]
pub struct AcmeArgs {
    /// Order and renew a certificate for this host name; more than once, or separated by commas.
    #[arg(
        id = "acme_domain",
        long = "acme-domain",
        env = "PALISADE_ACME_DOMAIN",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub domains: Vec<Name>,
    /// Agree to the terms of service of the certificate authority.
    #[arg(
        id = "acme_agree_tos",
        long = "acme-agree-tos",
        env = "PALISADE_ACME_AGREE_TOS"
    )]
    pub agree_tos: bool,
    /// Where the authority may write to.
    #[arg(
        id = "acme_email",
        long = "acme-email",
        env = "PALISADE_ACME_EMAIL",
        value_name = "ADDRESS"
    )]
    pub email: Option<String>,
    /// The authority's directory. For tries: `https://acme-staging-v02.api.letsencrypt.org/directory`.
    #[arg(id = "acme_directory", long = "acme-directory", env = "PALISADE_ACME_DIRECTORY", value_name = "URL", default_value = DirectoryUrl::DEFAULT)]
    pub directory: DirectoryUrl,
    /// How names are proved: http-01 (port 80 of each name leads to --http) or tls-alpn-01
    /// (port 443 of each name leads to --https).
    #[arg(
        id = "acme_challenge",
        long = "acme-challenge",
        env = "PALISADE_ACME_CHALLENGE",
        value_name = "TYPE",
        default_value = "http-01"
    )]
    pub challenge: ChallengeType,
    /// Trust only the CA in this PEM file for the directory itself: for a private authority.
    #[arg(
        id = "acme_ca",
        long = "acme-ca",
        env = "PALISADE_ACME_CA",
        value_name = "FILE"
    )]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccessLogTarget {
    Stdout,
    Off,
}

impl RunArgs {
    /// Worker threads, with 0 resolved.
    pub fn worker_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    pub fn upgrade_deadline(&self) -> Duration {
        Duration::from_secs(self.upgrade_seconds)
    }

    pub fn drain_deadline(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}
