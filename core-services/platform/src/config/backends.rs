//! The servers that the services of a process share: cache, broker, trace collector.
//! Invariant: an address was looked at before it is used, and one with a password
//! is never shown.
//! Refuses to connect: who uses a server does that, and lives without it.

use std::path::PathBuf;

use super::{
    Faults,
    secret::{self, Secret, secret},
};

/// What the operator typed.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Flags {
    /// Redis, the second level of the cache: `redis://` or `rediss://`; without it each process has its own
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<Secret>,
    /// A file that holds REDIS_URL
    #[arg(long, env = "REDIS_URL_FILE", value_name = "FILE")]
    redis_url_file: Option<PathBuf>,
    /// NATS with JetStream, the event bus: `nats://` or `tls://`; without it events go by the database
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    nats_url: Option<Secret>,
    /// A file that holds NATS_URL
    #[arg(long, env = "NATS_URL_FILE", value_name = "FILE")]
    nats_url_file: Option<PathBuf>,
    /// Where spans are sent by OTLP over gRPC, such as `http://localhost:4317`; without it nowhere
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

/// What the process uses.
#[derive(Clone, Debug, Default)]
pub struct Backends {
    pub redis: Option<Secret>,
    pub nats: Option<Secret>,
    pub otlp: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// The value is left out: it may hold a password.
    #[error("{variable}: is not a URL with {schemes}\nhint: such as {example}")]
    Url {
        variable: &'static str,
        schemes: &'static str,
        example: &'static str,
    },
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT: `{0}` is not a URL with http\nhint: such as http://localhost:4317, a collector beside the process"
    )]
    Otlp(String),
}

impl Flags {
    /// # Errors
    /// Every address that can't be one.
    pub(super) fn settings(&self) -> Result<Backends, Faults> {
        let mut faults = Faults::default();
        let redis = faults.check(self.redis());
        let nats = faults.check(self.nats());
        let otlp = faults.check(self.otlp());
        faults.settle(|| {
            Some(Backends {
                redis: redis?,
                nats: nats?,
                otlp: otlp?,
            })
        })
    }

    fn redis(&self) -> Result<Option<Secret>, Error> {
        let (given, file) = (self.redis_url.as_ref(), self.redis_url_file.as_deref());
        let url = secret("REDIS_URL", given, file)?;
        match &url {
            Some(text) if !is_url(text.expose(), &["redis", "rediss"]) => Err(Error::Url {
                variable: "REDIS_URL",
                schemes: "redis or rediss",
                example: "redis://localhost:6379",
            }),
            _ => Ok(url),
        }
    }

    fn nats(&self) -> Result<Option<Secret>, Error> {
        let (given, file) = (self.nats_url.as_ref(), self.nats_url_file.as_deref());
        let url = secret("NATS_URL", given, file)?;
        match &url {
            Some(text) if !is_url(text.expose(), &["nats", "tls"]) => Err(Error::Url {
                variable: "NATS_URL",
                schemes: "nats or tls",
                example: "nats://localhost:4222",
            }),
            _ => Ok(url),
        }
    }

    fn otlp(&self) -> Result<Option<String>, Error> {
        let url = self.otlp_endpoint.clone().filter(|url| !url.is_empty());
        match url {
            Some(url) if !is_url(&url, &["http"]) => Err(Error::Otlp(url)),
            url => Ok(url),
        }
    }
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    url::Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: Flags,
    }

    fn settings(arguments: &[&str]) -> Result<Backends, Faults> {
        let typed = ["core"].iter().chain(arguments);
        Cli::try_parse_from(typed).unwrap().flags.settings()
    }

    #[test]
    fn addresses_are_looked_at() {
        let good = settings(&["--redis-url", "redis://:pw@localhost:6379/0"]).unwrap();
        assert_eq!(good.redis.unwrap().expose(), "redis://:pw@localhost:6379/0");
        assert!(settings(&["--nats-url", "nats://localhost:4222"]).is_ok());
        for (arguments, part) in [
            (
                ["--redis-url", "http://user:s3cret@host"],
                "REDIS_URL: is not a URL",
            ),
            (["--redis-url", "redis://"], "REDIS_URL"),
            (["--nats-url", "localhost:4222 s3cret"], "NATS_URL"),
            (["--otlp-endpoint", "localhost:4317"], "`localhost:4317`"),
        ] {
            let faults = settings(&arguments).unwrap_err();
            let message: String = faults.iter().collect();
            assert!(
                message.contains(part) && message.contains("hint: "),
                "{message}"
            );
            assert!(!message.contains("s3cret"), "{message}");
        }
    }
}
