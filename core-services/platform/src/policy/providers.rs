//! Where else users may sign in: `oidc-providers.yaml`.
//! Invariant: a provider is spoken to at the origins written down for it and at no others,
//! over TLS; clear text is for this machine only.
//! Refuses secrets: the file names the file that holds one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use palisade_documents::{
    codes,
    decode::Versioned,
    diagnostic::{Fault, Mark, shown},
    field::{At, Field, List, items},
    report::Report,
};
use serde::Deserialize;
use url::Url;

use super::load::{is_name, missing};

/// More buttons than a page has room for.
const PROVIDERS_MAX: usize = 16;
/// Of a provider's further hosts, and of its scopes.
const LIST_MAX: usize = 16;
/// Of an address, an id, a name: longer than any provider's.
const TEXT_BYTES_MAX: usize = 512;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Document {
    version: Field<u64>,
    providers: List<ProviderDoc>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ProviderDoc {
    /// Part of the paths: `/v1/auth/oidc/NAME/start`.
    name: Field<String>,
    /// For those who read the file.
    #[allow(dead_code, reason = "part of the language, and for people only")]
    description: Field<String>,
    profile: Field<Profile>,
    /// As its ID tokens write it; of the other profiles, where the sign-in page is.
    issuer: Field<String>,
    /// Of the other profiles: where it tells who signed in.
    api: Field<String>,
    /// Where its endpoints are besides.
    hosts: List<String>,
    client_id: Field<String>,
    client_secret_file: Field<String>,
    scopes: List<String>,
}

/// What a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// OpenID Connect, found by discovery.
    #[default]
    Oidc,
    /// OAuth 2.0 and GitHub's own API.
    Github,
    /// OAuth 2.0 and Discord's own API.
    Discord,
}

impl Profile {
    fn issuer(self) -> &'static str {
        match self {
            Self::Oidc => "",
            Self::Github => "https://github.com",
            Self::Discord => "https://discord.com",
        }
    }

    fn api(self) -> &'static str {
        match self {
            Self::Oidc => "",
            Self::Github => "https://api.github.com",
            Self::Discord => "https://discord.com/api",
        }
    }

    fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Oidc => &["openid", "email", "profile"],
            Self::Github => &["read:user", "user:email"],
            Self::Discord => &["identify", "email"],
        }
    }
}

impl Versioned for Document {
    fn version(&self) -> &Field<u64> {
        &self.version
    }
}

/// One provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    pub name: String,
    pub profile: Profile,
    /// Without a slash at its end, unless it was written with one.
    pub issuer: String,
    pub api: String,
    /// `https://host`, `https://host:port`: where it may be spoken to.
    pub origins: BTreeSet<String>,
    pub client_id: String,
    pub client_secret_file: PathBuf,
    pub scopes: Vec<String>,
}

/// The providers, by name. The default knows none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Providers(BTreeMap<String, Provider>);

impl Providers {
    pub fn get(&self, name: &str) -> Option<&Provider> {
        self.0.get(name)
    }

    /// What is written, faults to `report`.
    pub(super) fn compile(document: &Document, report: &mut Report) -> Self {
        let mut providers = BTreeMap::new();
        bound(&document.providers, PROVIDERS_MAX, report);
        for at in items(&document.providers) {
            let Some(name) = missing(&at.value.name, at.mark, "provider", "name", report) else {
                continue;
            };
            if !is_name(name, "provider", report) {
                continue;
            }
            if providers.contains_key(&name.value) {
                let message = format!("the provider {} is there twice", shown(&name.value));
                report.push(name.mark, Fault::new(codes::DEFINED_TWICE, message));
                continue;
            }
            if let Some(provider) = provider(&name.value, at, report) {
                providers.insert(name.value.clone(), provider);
            }
        }
        Self(providers)
    }
}

fn provider(name: &str, at: &At<ProviderDoc>, report: &mut Report) -> Option<Provider> {
    let written = &at.value;
    let profile = written
        .profile
        .given()
        .map_or(Profile::default(), |profile| profile.value);
    if profile == Profile::Oidc {
        missing(&written.issuer, at.mark, "provider", "issuer", report);
    }
    let client_id = missing(&written.client_id, at.mark, "provider", "client_id", report);
    let secret_file = &written.client_secret_file;
    let secret_file = missing(
        secret_file,
        at.mark,
        "provider",
        "client_secret_file",
        report,
    );
    let issuer = address(&written.issuer, profile.issuer(), report);
    let api = address(&written.api, profile.api(), report);
    let mut origins = BTreeSet::new();
    origins.extend(issuer.as_deref().and_then(origin));
    origins.extend(api.as_deref().and_then(origin));
    bound(&written.hosts, LIST_MAX, report);
    for host in items(&written.hosts) {
        match origin(&format!("https://{}", host.value)) {
            Some(origin) if origin == format!("https://{}", host.value) => {
                origins.insert(origin);
            }
            _ => {
                let message = format!("{} is not a host", shown(&host.value));
                let fault = Fault::new(codes::HOST, message).hint("such as oauth2.googleapis.com");
                report.push(host.mark, fault);
            }
        }
    }
    bound(&written.scopes, LIST_MAX, report);
    let mut scopes: Vec<_> = items(&written.scopes)
        .filter_map(|scope| plain(scope, report))
        .collect();
    if scopes.is_empty() {
        scopes.extend(profile.scopes().iter().map(|scope| (*scope).to_owned()));
    }
    Some(Provider {
        name: name.to_owned(),
        profile,
        issuer: issuer?,
        api: api?,
        origins,
        client_id: plain(client_id?, report)?,
        client_secret_file: PathBuf::from(&secret_file?.value),
        scopes,
    })
}

/// An address that may be spoken to, as it was written; the profile's own without one.
fn address(written: &Field<String>, default: &str, report: &mut Report) -> Option<String> {
    let Some(at) = written.given() else {
        return Some(default.to_owned());
    };
    if origin(&at.value).is_some() {
        return Some(at.value.clone());
    }
    let message = format!("{} is not an address of a provider", shown(&at.value));
    let hint = "https://accounts.example.org, without a query; http for 127.0.0.1, [::1] and localhost only";
    report.push(at.mark, Fault::new(codes::ISSUER, message).hint(hint));
    None
}

/// The origin of a plain address (RFC 6454), if it may be spoken to.
fn origin(address: &str) -> Option<String> {
    let url = Url::parse(address)
        .ok()
        .filter(|_| address.len() <= TEXT_BYTES_MAX)?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    (is_plain && is_safe).then(|| url.origin().ascii_serialization())
}

/// Visible ASCII: it becomes part of a header or an address.
fn plain(at: &At<String>, report: &mut Report) -> Option<String> {
    let text = &at.value;
    let is_plain = (1..=TEXT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain {
        let message = format!("{} is empty, too long, or has blanks", shown(text));
        report.push(at.mark, Fault::new(codes::TEXT, message));
    }
    is_plain.then(|| text.clone())
}

fn bound<T>(list: &List<T>, max: usize, report: &mut Report) {
    if let Some(at) = list.given()
        && at.value.len() > max
    {
        let mark: Mark = at.mark;
        report.push(
            mark,
            Fault::new(codes::TOO_MUCH, format!("more than {max} of them")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_safe_or_of_this_machine() {
        let check = |address: &str, expected: Option<&str>| {
            assert_eq!(origin(address).as_deref(), expected, "{address}");
        };
        check(
            "https://accounts.google.com",
            Some("https://accounts.google.com"),
        );
        check(
            "https://id.example:8443/realms/a",
            Some("https://id.example:8443"),
        );
        check("http://127.0.0.1:9000", Some("http://127.0.0.1:9000"));
        check(
            "http://localhost:9000/github",
            Some("http://localhost:9000"),
        );
        check("http://id.example", None);
        check("http://169.254.169.254/latest", None);
        check("http://localhost.evil.example", None);
        check("https://user:secret@id.example", None);
        check("https://id.example/?a=b", None);
        check("ftp://localhost", None);
        check("", None);
    }
}
