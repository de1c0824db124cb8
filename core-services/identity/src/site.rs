//! The site as browsers and authenticators know it.
//! Invariant: passkeys and providers know it by one address, so it does not change once it
//! has users.

use url::Url;
use webauthn_rs::{Webauthn, WebauthnBuilder};

/// The site that accounts are of.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where browsers reach the edge: the origin of passkeys, the start of redirect URIs.
    pub public_url: String,
    /// What people are shown.
    pub name: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "--public-url: `{0}` is not usable\nhint: https and a host name, such as https://www.example.org"
    )]
    Url(String),
    #[error("--site-name: `{0}` is not usable\nhint: a name without colons, such as Palisade")]
    Name(String),
}

impl Default for Site {
    fn default() -> Self {
        Self {
            public_url: "https://localhost:8443".to_owned(),
            name: "Palisade".to_owned(),
        }
    }
}

impl Site {
    /// The relying party (WebAuthn Level 3 section 4).
    ///
    /// # Errors
    /// An address that browsers allow no passkeys at, or a name that authenticators can't show.
    pub(crate) fn relying_party(&self) -> Result<Webauthn, Error> {
        let wrong = || Error::Url(self.public_url.clone());
        let url = Url::parse(&self.public_url).map_err(|_| wrong())?;
        let host = url.domain().ok_or_else(wrong)?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if url.scheme() != "https" || !is_bare || !url.username().is_empty() {
            return Err(wrong());
        }
        // `otpauth://` parts site and account by one.
        if self.name.is_empty() || self.name.contains(':') {
            return Err(Error::Name(self.name.clone()));
        }
        let builder = WebauthnBuilder::new(host, &url).map_err(|_| wrong())?;
        builder.rp_name(&self.name).build().map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_need_a_name_and_tls() {
        let check = |public_url: &str, usable: bool| {
            let site = Site {
                public_url: public_url.to_owned(),
                ..Site::default()
            };
            assert_eq!(site.relying_party().is_ok(), usable, "{public_url}");
        };
        check("https://localhost:8443", true);
        check("https://www.example.org", true);
        check("https://www.example.org/", true);
        check("https://www.example.org/app", false);
        check("http://www.example.org", false);
        check("https://192.0.2.1", false);
        check("https://ada@example.org", false);
        check("example.org", false);
        check("", false);
        let colon = Site {
            name: "a:b".to_owned(),
            ..Site::default()
        };
        assert!(colon.relying_party().is_err());
    }
}
