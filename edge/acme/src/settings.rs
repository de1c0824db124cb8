//! What to order, from whom and where to keep it; types whose values have been checked.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;

/// Orders are made one after the other; more names than this belong to more than one edge.
pub(crate) const NAMES_MAX: usize = 100;
/// RFC 1035, 2.3.4: octets of a whole name and of one label.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// One certificate is kept for each name.
#[derive(Debug, Clone)]
pub struct Settings {
    pub names: Vec<Name>,
    /// Where the authority may write to: an e-mail address.
    pub contact: Option<String>,
    pub directory: DirectoryUrl,
    pub challenge: ChallengeType,
    /// The one CA to trust for the directory itself, in PEM; the system's where there is none.
    pub authority: Option<PathBuf>,
    /// Where certificates go: the folder the edge reads.
    pub certificates: PathBuf,
    /// Where the account, the record of each name and the lock are kept.
    pub state: PathBuf,
}

/// Why nothing can be ordered at all; found before anything runs.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{0} names, more than {NAMES_MAX}")]
    TooManyNames(usize),
    #[error("cannot use folder `{}`: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("certificate authority `{}`: {reason}", path.display())]
    Authority { path: PathBuf, reason: String },
    #[error("cannot build the http client: {0}")]
    Client(String),
}

/// A host name in lower case; also a safe file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

/// Why a text is not a [`Name`], a [`DirectoryUrl`] or a [`ChallengeType`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(&'static str);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.starts_with("*.") {
            return Err(Invalid(
                "a wildcard needs the dns-01 challenge, which is not supported",
            ));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(Invalid("an address is not a host name"));
        }
        if text.len() > NAME_BYTES_MAX || !text.split('.').all(is_label) {
            return Err(Invalid(
                "not a host name; hint: international names are written as `xn--`",
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// Letters, digits and inner hyphens (RFC 1123, 2.1).
fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    !bytes.is_empty()
        && bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The directory of an ACME server: `https` only, as its answers decide what is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryUrl(Url);

impl DirectoryUrl {
    /// Let's Encrypt, production.
    pub const DEFAULT: &str = "https://acme-v02.api.letsencrypt.org/directory";

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// As part of a file name: an account belongs to one directory.
    pub(crate) fn file_stem(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let url = self.0.as_str().trim_start_matches("https://");
        url.chars().map(plain).collect()
    }
}

impl fmt::Display for DirectoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DirectoryUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // A file name holds 255 bytes.
        if text.len() > 200 {
            return Err(Invalid("longer than 200 bytes"));
        }
        let url = Url::parse(text).map_err(|_| Invalid("not a URL"))?;
        if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
            return Err(Invalid("not an https URL without credentials"));
        }
        Ok(Self(url))
    }
}

/// How control of a name is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeType {
    /// RFC 8555, 8.3: an answer on port 80.
    Http01,
    /// RFC 8737: a certificate on port 443.
    TlsAlpn01,
}

impl ChallengeType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

impl FromStr for ChallengeType {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "http-01" => Ok(Self::Http01),
            "tls-alpn-01" => Ok(Self::TlsAlpn01),
            _ => Err(Invalid("neither `http-01` nor `tls-alpn-01`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_host_names_and_never_paths() {
        let name = |text: &str| text.parse::<Name>();
        assert_eq!(name("Shop.Example").unwrap().as_str(), "shop.example");
        assert_eq!(
            name("xn--bcher-kva.test").unwrap().as_str(),
            "xn--bcher-kva.test"
        );
        assert_eq!(name("localhost").unwrap().as_str(), "localhost");
        let label = "a".repeat(64);
        let long = ["abcdefgh"; 30].join(".");
        for bad in [
            "",
            ".",
            "a..b",
            "a.",
            ".a",
            "../a",
            "a/b",
            "a b",
            "-a.test",
            "a-.test",
            "bücher.test",
            "*.shop.example",
            "192.0.2.1",
            "::1",
            "a_b.test",
            &label,
            &long,
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn directories_are_https_and_have_a_file_each() {
        let url = |text: &str| text.parse::<DirectoryUrl>();
        let production = url(DirectoryUrl::DEFAULT).unwrap();
        assert_eq!(
            production.file_stem(),
            "acme-v02-api-letsencrypt-org-directory"
        );
        let local = url("https://127.0.0.1:8443/acme/local/directory").unwrap();
        assert_eq!(local.file_stem(), "127-0-0-1-8443-acme-local-directory");
        for bad in [
            "",
            "acme.test",
            "http://acme.test/",
            "https://a:b@acme.test/",
            "https://",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
