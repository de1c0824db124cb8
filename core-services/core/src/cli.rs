//! The commands and their flags.
//! Invariant: every flag has an environment variable `CORE_…`; the flag wins.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use core_identity::TokenSettings;
use core_platform::config;

/// The core services behind the Palisade edge
#[derive(Parser)]
#[command(name = "palisade-core", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve all services in this process
    All(ServeFlags),
    /// Bring the databases' schema to a version, then exit
    Migrate(MigrateFlags),
    /// Check the settings, print them, bind nothing
    CheckConfig(ServeFlags),
    /// Write the contracts as a protobuf FileDescriptorSet
    Descriptors(DescriptorsFlags),
}

#[derive(Args)]
pub(crate) struct ServeFlags {
    #[command(flatten)]
    pub(crate) process: config::Flags,
    /// `iss` of the access tokens
    #[arg(
        long,
        env = "CORE_ISSUER",
        default_value = "https://identity.palisade.internal",
        value_name = "URL"
    )]
    issuer: String,
    /// `aud` of the access tokens
    #[arg(
        long,
        env = "CORE_AUDIENCE",
        default_value = "palisade",
        value_name = "NAME"
    )]
    audience: String,
}

#[derive(Args)]
pub(crate) struct MigrateFlags {
    /// Where the databases live; created with mode 0700
    #[arg(
        long,
        env = "CORE_DATA_DIR",
        default_value = ".palisade/core",
        value_name = "DIR"
    )]
    pub(crate) data_dir: PathBuf,
    /// The version to go to, also downwards; 0 removes everything [default: the newest]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) to: Option<i64>,
}

#[derive(Args)]
pub(crate) struct DescriptorsFlags {
    /// The file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// A name in a token that nothing could be compared with.
#[derive(Debug, thiserror::Error)]
#[error("{flag}: `{value}` is not usable\nhint: {hint}")]
pub(crate) struct BadName {
    flag: &'static str,
    value: String,
    hint: &'static str,
}

impl ServeFlags {
    /// # Errors
    /// An issuer that is no URL (RFC 8414 section 2), or an empty audience.
    pub(crate) fn tokens(&self) -> Result<TokenSettings, BadName> {
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let url = self.issuer.starts_with("https://") || self.issuer.starts_with("http://");
        let bad = |flag, value: &String, hint| {
            Err(BadName {
                flag,
                value: value.clone(),
                hint,
            })
        };
        if !url || !plain(&self.issuer) {
            return bad(
                "--issuer",
                &self.issuer,
                "a URL such as https://identity.example.org",
            );
        }
        if !plain(&self.audience) {
            return bad(
                "--audience",
                &self.audience,
                "a name without blanks, such as palisade",
            );
        }
        Ok(TokenSettings {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn token_names_are_checked() {
        let check = |arguments: &[&str], expected: Option<&str>| {
            let all = ["palisade-core", "all"].iter().chain(arguments);
            let Ok(Cli {
                command: Command::All(flags),
            }) = Cli::try_parse_from(all)
            else {
                panic!("{arguments:?}");
            };
            assert_eq!(
                flags.tokens().err().map(|bad| bad.flag),
                expected,
                "{arguments:?}"
            );
        };
        check(&[], None);
        check(&["--issuer", "identity"], Some("--issuer"));
        check(&["--issuer", "https://a b"], Some("--issuer"));
        check(&["--audience", ""], Some("--audience"));
        check(&["--audience", "a b"], Some("--audience"));
    }
}
