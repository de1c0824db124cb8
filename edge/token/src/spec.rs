//! What is configured about an issuer, and what of it cannot work.
//!
//! Invariant: an [`crate::Issuer`] is only made from a specification that [`IssuerSpec::check`] passed.
//! Refuses: key sets over clear text from other machines, and credentials inside a URL, which would end
//! up in logs.

use crate::algorithm::Algorithm;
use reqwest::Url;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// More clock difference than this is a broken clock, and hides that a token was stolen.
pub(crate) const LEEWAY_MAX: Duration = Duration::from_secs(300);
/// A file is compared this often at most; the default is 2 s.
const FILE_REFRESH_MIN: Duration = Duration::from_millis(100);
/// Faster than this is a load test of the issuer.
const URL_REFRESH_MIN: Duration = Duration::from_secs(1);
/// A removed key must stop working some day without anybody's help.
const REFRESH_MAX: Duration = Duration::from_secs(24 * 3600);
/// Under a second, unknown key ids would turn requests into fetches.
const COOLDOWN_MIN: Duration = Duration::from_secs(1);
/// Most audiences, and most token types, of one issuer.
const NAMES_MAX: usize = 64;

/// Where a JWK set comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// A file on this machine, read again on every refresh.
    File(PathBuf),
    /// An `https` address; `http` only on the loopback interface.
    Url(Url),
}

impl fmt::Display for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url.as_str()),
        }
    }
}

/// One trusted issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSpec {
    /// Its name in the policy and in metrics; unique.
    pub name: String,
    /// `iss`, compared byte by byte.
    pub issuer: String,
    /// A token must name one of these in `aud`. Not empty.
    pub audiences: Vec<String>,
    /// Algorithms accepted. Not empty.
    pub algorithms: Vec<Algorithm>,
    /// Clock difference tolerated at `exp` and `nbf`, at most 5 min, whole seconds count.
    pub leeway: Duration,
    /// Whether `nbf` must be there.
    pub require_nbf: bool,
    /// Accepted `typ` values. Empty: `JWT`, `at+jwt` or none; otherwise `typ` must be there.
    pub token_types: Vec<String>,
    /// Where its keys are.
    pub source: JwksSource,
    /// A PEM file of certificate authorities trusted beside the system's, for [`JwksSource::Url`].
    pub ca: Option<PathBuf>,
    /// How often the keys are read again, give or take a tenth.
    pub refresh: Duration,
    /// How often at most unknown key ids make them be read at once.
    pub cooldown: Duration,
}

/// Why a specification cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("issuer `{issuer}`: {fault}")]
pub struct SpecError {
    /// The name of the issuer.
    pub issuer: String,
    /// What is wrong with it.
    pub fault: String,
}

impl IssuerSpec {
    /// With the defaults: RS256, ES256 and EdDSA, 30 s leeway, a refresh every 10 min (2 s for a file),
    /// 30 s between fetches for unknown key ids. PS256 is left out because big issuers publish RSA keys
    /// without `alg`, which only one RSA algorithm makes usable.
    pub fn new(name: &str, issuer: &str, audiences: &[&str], source: JwksSource) -> Self {
        let refresh = match source {
            JwksSource::File(_) => Duration::from_secs(2),
            JwksSource::Url(_) => Duration::from_secs(600),
        };
        Self {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            audiences: audiences.iter().map(|name| (*name).to_owned()).collect(),
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
            leeway: Duration::from_secs(30),
            require_nbf: false,
            token_types: Vec::new(),
            source,
            ca: None,
            refresh,
            cooldown: Duration::from_secs(30),
        }
    }

    /// Whether everything in it can work.
    ///
    /// # Errors
    /// The first thing that cannot.
    pub fn check(&self) -> Result<(), SpecError> {
        let fault = |fault: String| {
            Err(SpecError {
                issuer: self.name.clone(),
                fault,
            })
        };
        let unusable =
            |names: &[String]| names.len() > NAMES_MAX || names.iter().any(String::is_empty);
        if self.name.is_empty() || self.issuer.is_empty() {
            return fault("the name and the issuer identifier must not be empty".to_owned());
        }
        if self.audiences.is_empty() || unusable(&self.audiences) {
            return fault(format!(
                "1 to {NAMES_MAX} non-empty audiences are needed\nhint: without one, tokens for other services would be accepted"
            ));
        }
        if unusable(&self.token_types) {
            return fault(format!(
                "at most {NAMES_MAX} non-empty token types are allowed"
            ));
        }
        if self.algorithms.is_empty() {
            return fault("no algorithm is allowed".to_owned());
        }
        if self.leeway > LEEWAY_MAX {
            return fault(format!(
                "leeway `{:?}` is over `{LEEWAY_MAX:?}`",
                self.leeway
            ));
        }
        let refresh_min = match &self.source {
            JwksSource::File(_) => FILE_REFRESH_MIN,
            JwksSource::Url(url) => {
                if let Err(why) = check_url(url) {
                    return fault(why);
                }
                URL_REFRESH_MIN
            }
        };
        if !(refresh_min..=REFRESH_MAX).contains(&self.refresh) {
            return fault(format!(
                "refresh `{:?}` is not within `{refresh_min:?}` and `{REFRESH_MAX:?}`",
                self.refresh
            ));
        }
        if !(COOLDOWN_MIN..=REFRESH_MAX).contains(&self.cooldown) {
            return fault(format!(
                "cooldown `{:?}` is not within `{COOLDOWN_MIN:?}` and `{REFRESH_MAX:?}`",
                self.cooldown
            ));
        }
        Ok(())
    }

    /// Whether the keys fetched for `other` are the keys fetched for this one, so that only rules differ.
    pub(crate) fn same_keys(&self, other: &Self) -> bool {
        self.same_origin(other)
            && self.algorithms == other.algorithms
            && self.refresh == other.refresh
            && self.cooldown == other.cooldown
    }

    /// Whether both read the same document with the same trust.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.name == other.name
            && self.issuer == other.issuer
            && self.source == other.source
            && self.ca == other.ca
    }
}

fn check_url(url: &Url) -> Result<(), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the key set address holds credentials".to_owned());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        _ => Err(format!(
            "key set address `{url}` is not https\nhint: http is accepted for localhost, 127.0.0.1 and [::1] only"
        )),
    }
}

fn is_loopback(url: &Url) -> bool {
    // The URL parser already turned `127.1`, `0x7f000001` and the like into their one canonical form.
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut IssuerSpec), accepted: bool) {
        let source = JwksSource::Url(Url::parse("https://id.example/jwks").unwrap());
        let mut spec = IssuerSpec::new("main", "https://id.example", &["api"], source);
        change(&mut spec);
        assert_eq!(spec.check().is_ok(), accepted, "{spec:?}");
    }

    #[test]
    fn bounds() {
        check(|_| {}, true);
        check(|spec| spec.audiences.clear(), false);
        check(|spec| spec.audiences.push(String::new()), false);
        check(|spec| spec.audiences = vec!["a".to_owned(); 65], false);
        check(|spec| spec.algorithms.clear(), false);
        check(|spec| spec.name.clear(), false);
        check(|spec| spec.issuer.clear(), false);
        check(|spec| spec.leeway = Duration::from_secs(300), true);
        check(|spec| spec.leeway = Duration::from_secs(301), false);
        check(|spec| spec.refresh = Duration::from_millis(500), false);
        check(
            |spec| spec.refresh = Duration::from_secs(24 * 3600 + 1),
            false,
        );
        check(|spec| spec.cooldown = Duration::ZERO, false);
        check(|spec| spec.token_types = vec![String::new()], false);
    }

    #[test]
    fn addresses() {
        for (address, accepted) in [
            ("https://id.example/jwks", true),
            ("http://id.example/jwks", false),
            ("http://127.0.0.1:8080/jwks", true),
            ("http://127.1/jwks", true),
            ("http://[::1]/jwks", true),
            ("http://localhost/jwks", true),
            ("http://localhost.evil.example/jwks", false),
            ("http://127.0.0.1.evil.example/jwks", false),
            ("http://169.254.169.254/latest", false),
            ("https://user:secret@id.example/jwks", false),
            ("ftp://localhost/jwks", false),
            ("file:///etc/passwd", false),
        ] {
            let url = Url::parse(address).unwrap();
            check(|spec| spec.source = JwksSource::Url(url), accepted);
        }
    }
}
