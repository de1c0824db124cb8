//! Requests to providers.
//! Invariant: a request goes to an origin that is written down for its provider, and spends
//! at most `TOTAL_TIMEOUT` and `BODY_BYTES_MAX`, whatever the other side does.
//! Refuses redirects and proxies: both would send secrets to places nobody wrote down.

use std::time::Duration;

use core_platform::policy::Provider;
use reqwest::{Client, Method, StatusCode, Url, header, redirect::Policy};
use serde::de::DeserializeOwned;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Somebody waits before an empty page.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(6);
/// Discovery documents and profiles are a few KiB.
const BODY_BYTES_MAX: usize = 128 * 1024;

/// Why there is no answer. For the log: no address, no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Trying again later may help.
    #[error("{0}")]
    Away(&'static str),
    /// It never helps.
    #[error("{0}")]
    Bad(&'static str),
}

/// Who asks.
pub(super) enum Auth<'a> {
    Nobody,
    Bearer(&'a str),
    /// RFC 6749 section 2.3.1.
    Basic(&'a str, &'a str),
}

pub(super) struct Outbound(Client);

impl Outbound {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            // GitHub answers nobody without a name.
            .user_agent("palisade-core")
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT);
        Ok(Self(client.build()?))
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        provider: &Provider,
        address: &str,
        auth: Auth<'_>,
    ) -> Result<T, Trouble> {
        let url = allowed(provider, address)?;
        self.send(Method::GET, url, None, auth).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        provider: &Provider,
        address: &str,
        form: &[(&str, &str)],
        auth: Auth<'_>,
    ) -> Result<T, Trouble> {
        let url = allowed(provider, address)?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        self.send(Method::POST, url, Some(form), auth).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        form: Option<String>,
        auth: Auth<'_>,
    ) -> Result<T, Trouble> {
        let mut request = self
            .0
            .request(method, url)
            .header(header::ACCEPT, "application/json");
        request = match auth {
            Auth::Nobody => request,
            Auth::Bearer(token) => request.bearer_auth(token),
            Auth::Basic(name, password) => {
                request.basic_auth(encoded(name), Some(encoded(password)))
            }
        };
        if let Some(form) = form {
            let kind = "application/x-www-form-urlencoded";
            request = request.header(header::CONTENT_TYPE, kind).body(form);
        }
        // The error's own text holds the address.
        let away = |_: reqwest::Error| Trouble::Away("no answer");
        let mut response = request.send().await.map_err(away)?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Trouble::Away("answers that it cannot answer"));
            }
            _ => return Err(Trouble::Bad("refuses")),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(Trouble::Bad("the answer is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body)
            .map_err(|_| Trouble::Bad("the answer is not what was asked for"))
    }
}

/// As an address that the provider may be spoken to at.
pub(super) fn allowed(provider: &Provider, address: &str) -> Result<Url, Trouble> {
    let url =
        Url::parse(address).map_err(|_| Trouble::Bad("names something that is no address"))?;
    let is_named = provider
        .origins
        .contains(&url.origin().ascii_serialization());
    if !is_named || !url.username().is_empty() || url.password().is_some() {
        return Err(Trouble::Bad("names a host that is not written down for it"));
    }
    Ok(url)
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::PathBuf};

    use core_platform::policy::Profile;

    use super::*;

    #[test]
    fn a_provider_is_spoken_to_where_it_is_written_down() {
        let origins = ["https://id.example", "https://keys.example:8443"];
        let provider = Provider {
            name: "id".to_owned(),
            profile: Profile::Oidc,
            issuer: "https://id.example".to_owned(),
            api: String::new(),
            origins: BTreeSet::from(origins.map(str::to_owned)),
            client_id: "us".to_owned(),
            client_secret_file: PathBuf::new(),
            scopes: Vec::new(),
        };
        let check = |address: &str, expected: bool| {
            assert_eq!(allowed(&provider, address).is_ok(), expected, "{address}");
        };
        check("https://id.example/token?a=b", true);
        check("https://ID.example:443/token", true);
        check("https://keys.example:8443/jwks", true);
        check("https://keys.example/jwks", false);
        check("http://id.example/token", false);
        check("https://id.example.evil.example/token", false);
        check("https://id.example@evil.example/token", false);
        check("https://ada:secret@id.example/token", false);
        check("http://169.254.169.254/latest/meta-data", false);
        check("http://127.0.0.1:8100/metrics", false);
        check("file:///etc/passwd", false);
        check("/token", false);
    }
}
