//! What the operator says about this service: as typed (`Flags`), as used (`Settings`).
//! Invariant: a `Settings` was checked whole before the service starts, and none
//! of its secrets can be printed.
//! Refuses rules of the business: those are policy.

use std::{path::PathBuf, time::Duration};

use core_platform::config::{Faults, Secret, SecretError, secret};

use crate::{Breached, MailSettings, Policy, Site, SmsSettings, TokenSettings};

/// Longer than any name two systems have agreed on.
const NAME_BYTES_MAX: usize = 255;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer than any law asks to wait with it.
const DELETION_GRACE_DAYS_MAX: u32 = 365;

/// What the operator typed. Each flag has an environment variable; the flag wins.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
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
    /// Where browsers reach the edge; passkeys and other providers know this site by it
    #[arg(
        long,
        env = "CORE_PUBLIC_URL",
        default_value = "https://localhost:8443",
        value_name = "URL"
    )]
    public_url: String,
    /// What authenticators call this site
    #[arg(
        long,
        env = "CORE_SITE_NAME",
        default_value = "Palisade",
        value_name = "NAME"
    )]
    site_name: String,
    /// Let only those sign in who have verified their e-mail address
    #[arg(long, env = "CORE_REQUIRE_VERIFIED")]
    require_verified: bool,
    /// Passwords nobody may choose, one on each line
    #[arg(
        long,
        env = "CORE_BREACHED_PASSWORDS",
        default_value = "policies/services/breached-passwords.txt",
        value_name = "FILE"
    )]
    breached_passwords: PathBuf,
    /// Days from closing an account until everything of it goes; signing in before keeps it
    #[arg(
        long,
        env = "CORE_DELETION_GRACE_DAYS",
        default_value = "14",
        value_name = "DAYS"
    )]
    deletion_grace_days: String,
    /// Mail relay: `smtp://host:25`, `smtps://host:465`, `smtp://host:587?tls=required`; without it mails are written into the data directory, under `outbox`
    #[arg(long, env = "CORE_SMTP_URL", value_name = "URL")]
    smtp_url: Option<String>,
    /// Name to sign in to the mail relay with
    #[arg(long, env = "CORE_SMTP_USER", value_name = "NAME")]
    smtp_user: Option<String>,
    /// The password for that name
    #[arg(
        long,
        env = "CORE_SMTP_PASSWORD",
        hide_env_values = true,
        value_name = "TEXT"
    )]
    smtp_password: Option<Secret>,
    /// A file that holds CORE_SMTP_PASSWORD
    #[arg(long, env = "CORE_SMTP_PASSWORD_FILE", value_name = "FILE")]
    smtp_password_file: Option<PathBuf>,
    /// Sender of mails
    #[arg(
        long,
        env = "CORE_MAIL_FROM",
        default_value = "Palisade <no-reply@palisade.internal>",
        value_name = "ADDRESS"
    )]
    mail_from: String,
    /// SMS gateway, which takes `POST {"to","text"}`; without it short messages go where mails go
    #[arg(long, env = "CORE_SMS_URL", value_name = "URL")]
    sms_url: Option<String>,
    /// The gateway's bearer token
    #[arg(
        long,
        env = "CORE_SMS_TOKEN",
        hide_env_values = true,
        value_name = "TEXT"
    )]
    sms_token: Option<Secret>,
    /// A file that holds CORE_SMS_TOKEN
    #[arg(long, env = "CORE_SMS_TOKEN_FILE", value_name = "FILE")]
    sms_token_file: Option<PathBuf>,
}

/// What the service uses.
pub struct Settings {
    pub tokens: TokenSettings,
    pub policy: Policy,
    pub mail: MailSettings,
    pub sms: Option<SmsSettings>,
}

/// A value that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{flag}: `{value}` is not usable\nhint: {hint}")]
    Value {
        flag: &'static str,
        value: String,
        hint: &'static str,
    },
    #[error("{given} is set, but not {missing}\nhint: set both, or neither")]
    Half {
        given: &'static str,
        missing: &'static str,
    },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Sms(#[from] crate::messages::SmsError),
}

impl Flags {
    /// # Errors
    /// Every flag whose value can't be used, such as an issuer that is no URL
    /// (RFC 8414 section 2).
    pub fn settings(&self) -> Result<Settings, Faults> {
        let mut faults = Faults::default();
        let issuer = faults.check(self.issuer());
        let audience = faults.check(self.audience());
        let breached = faults.check(Breached::load(&self.breached_passwords));
        let site = Site {
            public_url: self.public_url.clone(),
            name: self.site_name.clone(),
        };
        faults.check(site.relying_party());
        let deletion_grace = faults.check(self.deletion_grace());
        let mail = faults.check(self.mail());
        let sms = faults.check(self.sms());
        faults.settle(|| {
            Some(Settings {
                tokens: TokenSettings {
                    issuer: issuer?,
                    audience: audience?,
                },
                policy: Policy {
                    require_verified: self.require_verified,
                    breached: breached?,
                    site,
                    deletion_grace: deletion_grace?,
                },
                mail: mail?,
                sms: sms?,
            })
        })
    }

    fn issuer(&self) -> Result<String, SettingsError> {
        let url = self.issuer.starts_with("https://") || self.issuer.starts_with("http://");
        if !url || !is_plain(&self.issuer) {
            return Err(SettingsError::Value {
                flag: "--issuer",
                value: self.issuer.clone(),
                hint: "a URL such as https://identity.example.org",
            });
        }
        Ok(self.issuer.clone())
    }

    fn audience(&self) -> Result<String, SettingsError> {
        if !is_plain(&self.audience) {
            return Err(SettingsError::Value {
                flag: "--audience",
                value: self.audience.clone(),
                hint: "a name without blanks, such as palisade",
            });
        }
        Ok(self.audience.clone())
    }

    fn deletion_grace(&self) -> Result<Duration, SettingsError> {
        let days = self.deletion_grace_days.parse();
        match days {
            Ok(days) if days <= DELETION_GRACE_DAYS_MAX => Ok(DAY * days),
            _ => Err(SettingsError::Value {
                flag: "--deletion-grace-days",
                value: self.deletion_grace_days.clone(),
                hint: "a number of days up to 365, such as 14",
            }),
        }
    }

    fn mail(&self) -> Result<MailSettings, Faults> {
        let mut faults = Faults::default();
        let (given, file) = (
            self.smtp_password.as_ref(),
            self.smtp_password_file.as_deref(),
        );
        let password = faults.check(secret("CORE_SMTP_PASSWORD", given, file));
        // One that can't be read isn't also missing.
        let login = password.and_then(|password| {
            faults.check(pair(
                ("CORE_SMTP_USER", self.smtp_user.clone()),
                ("CORE_SMTP_PASSWORD", password),
            ))
        });
        let settings = MailSettings {
            url: self.smtp_url.clone(),
            login: login.flatten(),
            from: self.mail_from.clone(),
        };
        faults.check(settings.check());
        faults.settle(|| Some(settings))
    }

    fn sms(&self) -> Result<Option<SmsSettings>, SettingsError> {
        let (given, file) = (self.sms_token.as_ref(), self.sms_token_file.as_deref());
        let token = secret("CORE_SMS_TOKEN", given, file)?;
        let gateway = pair(
            ("CORE_SMS_URL", self.sms_url.clone()),
            ("CORE_SMS_TOKEN", token),
        )?;
        let gateway = gateway.map(|(url, token)| SmsSettings { url, token });
        // What is wrong with it shows before anything is bound.
        gateway
            .as_ref()
            .map(crate::messages::Sms::new)
            .transpose()?;
        Ok(gateway)
    }
}

/// Both or neither.
fn pair<A, B>(
    (one, a): (&'static str, Option<A>),
    (other, b): (&'static str, Option<B>),
) -> Result<Option<(A, B)>, SettingsError> {
    let half = |given, missing| Err(SettingsError::Half { given, missing });
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => half(one, other),
        (None, Some(_)) => half(other, one),
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

    fn install_provider() {
        // Fails where another test did it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }

    fn faults_of(arguments: &[&str]) -> Vec<String> {
        install_provider();
        let list = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../policies/services/breached-passwords.txt"
        );
        let typed = ["core", "--breached-passwords", list].into_iter();
        let flags = Cli::try_parse_from(typed.chain(arguments.iter().copied()))
            .unwrap()
            .flags;
        let faults = flags.settings().err().unwrap_or_default();
        faults.iter().map(str::to_owned).collect()
    }

    #[test]
    fn values_are_checked() {
        let check = |arguments: &[&str], expected: Option<&str>| {
            let faults = faults_of(arguments);
            assert_eq!(faults.len(), expected.iter().len(), "{faults:?}");
            for (fault, part) in faults.iter().zip(expected) {
                assert!(fault.contains(part), "{fault}");
            }
        };
        check(&[], None);
        check(&["--issuer", "identity"], Some("--issuer"));
        check(&["--issuer", "https://a b"], Some("--issuer"));
        check(&["--audience", ""], Some("--audience"));
        check(&["--audience", "a b"], Some("--audience"));
        check(
            &["--public-url", "http://x"],
            Some("--public-url: `http://x`"),
        );
        check(&["--site-name", "a:b"], Some("--site-name: `a:b`"));
        check(&["--deletion-grace-days", "366"], Some("`366`"));
        check(&["--deletion-grace-days", "soon"], Some("`soon`"));
        check(&["--mail-from", "nobody"], Some("--mail-from: `nobody`"));
        check(&["--smtp-url", "smtp://127.0.0.1:2525"], None);
        check(&["--sms-url", "http://x"], Some("CORE_SMS_TOKEN"));
        check(
            &["--sms-url", "gopher://x", "--sms-token", "t"],
            Some("--sms-url"),
        );
        check(&["--smtp-user", "ada"], Some("CORE_SMTP_PASSWORD"));
        let missing = ["--sms-url", "http://x", "--sms-token-file=/nonexistent"];
        check(&missing, Some("CORE_SMS_TOKEN_FILE"));
    }

    #[test]
    fn every_fault_is_told_and_no_password() {
        let faults = faults_of(&[
            "--issuer=identity",
            "--audience=a b",
            "--deletion-grace-days=-1",
            "--smtp-user=ada",
            "--mail-from=nobody",
            "--smtp-url=gopher://ada:s3cret@relay",
            "--sms-token=s3cret",
        ]);
        let named = [
            "--issuer: `identity`",
            "--audience: `a b`",
            "--deletion-grace-days: `-1`",
            "CORE_SMTP_PASSWORD",
            "--mail-from: `nobody`",
            "--smtp-url",
            "CORE_SMS_URL",
        ];
        assert_eq!(faults.len(), named.len(), "{faults:#?}");
        for (fault, named) in faults.iter().zip(named) {
            assert!(fault.contains(named) && fault.contains("hint: "), "{fault}");
            assert!(!fault.contains("s3cret"), "{fault}");
        }
    }

    #[test]
    fn a_missing_list_is_named() {
        let typed = ["core", "--breached-passwords", "/nonexistent.txt"];
        let flags = Cli::try_parse_from(typed).unwrap().flags;
        let faults = flags.settings().err().unwrap();
        let told: Vec<_> = faults.iter().collect();
        assert!(
            told.len() == 1 && told[0].contains("`/nonexistent.txt`"),
            "{told:?}"
        );
    }
}
