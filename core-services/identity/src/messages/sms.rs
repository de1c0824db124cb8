//! Short messages, by a gateway that speaks HTTP: `POST {"to","text"}` with a bearer
//! token; the job's id is the idempotency key.
//! Invariant: an answer other than 2xx is never taken for a message sent.
//! Refuses redirects: the token is for this one address.

use std::time::Duration;

use core_platform::{config::Secret, jobs::Failure};
use reqwest::{Client, StatusCode, header, redirect::Policy};
use uuid::Uuid;

/// A gateway that says nothing for so long is asked again later.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(20);

/// How short messages leave.
#[derive(Clone, Debug)]
pub struct SmsSettings {
    pub url: String,
    pub token: Secret,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--sms-url: `{0}` is not usable\nhint: https://gateway.example.org/messages")]
    Url(String),
    #[error("the HTTP client of the SMS gateway: {0}")]
    Client(#[source] reqwest::Error),
}

/// Sends short messages.
#[derive(Clone)]
pub(crate) struct Sms {
    client: Client,
    url: reqwest::Url,
    token: Secret,
}

impl Sms {
    /// # Errors
    /// An address that is no URL of HTTP.
    pub(crate) fn new(settings: &SmsSettings) -> Result<Self, Error> {
        let url: reqwest::Url = settings
            .url
            .parse()
            .map_err(|_| Error::Url(settings.url.clone()))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(Error::Url(settings.url.clone()));
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(GATEWAY_TIMEOUT)
            .build()
            .map_err(Error::Client)?;
        Ok(Self {
            client,
            url,
            token: settings.token.clone(),
        })
    }

    pub(crate) async fn send(&self, to: &str, text: &str, id: Uuid) -> Result<(), Failure> {
        let body = serde_json::json!({ "to": to, "text": text }).to_string();
        let sent = self
            .client
            .post(self.url.clone())
            .bearer_auth(self.token.expose())
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", id.to_string())
            .body(body)
            .send()
            .await;
        // The error's own text holds the URL, which may hold a secret.
        let answer = sent.map_err(|_| Failure::retry("the SMS gateway does not answer"))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(Failure::retry("the SMS gateway asks to wait"))
            }
            status if status.is_client_error() => Err(Failure::Permanent(format!(
                "the SMS gateway refused: {}",
                status.as_u16()
            ))),
            status => Err(Failure::retry(format!(
                "the SMS gateway failed: {}",
                status.as_u16()
            ))),
        }
    }
}
