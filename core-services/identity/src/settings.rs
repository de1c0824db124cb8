//! What the operator says about this service: as typed (`Flags`), as used (`Settings`).
//! Invariant: a `Settings` was checked whole before the service starts, and none
//! of its secrets can be printed.
//! Refuses rules of the business: those are policy.

use crate::TokenSettings;

/// Longer than any name two systems have agreed on.
const NAME_BYTES_MAX: usize = 255;

/// What the operator typed. Each flag has an environment variable; the flag wins.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// `iss` of the access tokens
    #[arg(
        long,
        env = "CORE_ISSUER",
        default_value = "https://identity.palisade.internal",
        value_name = "URL"
    )]
    pub issuer: String,
    /// `aud` of the access tokens
    #[arg(
        long,
        env = "CORE_AUDIENCE",
        default_value = "palisade",
        value_name = "NAME"
    )]
    pub audience: String,
}

/// What the service uses.
pub struct Settings {
    pub tokens: TokenSettings,
}

/// A value that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{flag}: `{value}` is not usable\nhint: {hint}")]
pub struct SettingsError {
    pub flag: &'static str,
    value: String,
    hint: &'static str,
}

impl Flags {
    /// # Errors
    /// The first flag whose value can't be used, such as an issuer that is no URL
    /// (RFC 8414 section 2).
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let url = self.issuer.starts_with("https://") || self.issuer.starts_with("http://");
        if !url || !is_plain(&self.issuer) {
            return Err(SettingsError {
                flag: "--issuer",
                value: self.issuer.clone(),
                hint: "a URL such as https://identity.example.org",
            });
        }
        if !is_plain(&self.audience) {
            return Err(SettingsError {
                flag: "--audience",
                value: self.audience.clone(),
                hint: "a name without blanks, such as palisade",
            });
        }
        Ok(Settings {
            tokens: TokenSettings {
                issuer: self.issuer.clone(),
                audience: self.audience.clone(),
            },
        })
    }
}

fn is_plain(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
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

    #[test]
    fn token_names_are_checked() {
        let check = |arguments: &[&str], expected: Option<&str>| {
            let typed = ["core"].iter().chain(arguments);
            let flags = Cli::try_parse_from(typed).unwrap().flags;
            let wrong = flags.settings().err().map(|error| error.flag);
            assert_eq!(wrong, expected, "{arguments:?}");
        };
        check(&[], None);
        check(&["--issuer", "identity"], Some("--issuer"));
        check(&["--issuer", "https://a b"], Some("--issuer"));
        check(&["--audience", ""], Some("--audience"));
        check(&["--audience", "a b"], Some("--audience"));
    }
}
