//! The HTTP client that speaks to the directory: instant-acme's requests through reqwest.
//!
//! Invariant: one exchange takes at most [`TIMEOUT`] and [`RESPONSE_BYTES_MAX`]. Refuses plain http,
//! redirects and proxies from the environment: the directory's URLs say where to go.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use reqwest::{Certificate, Client};

use crate::settings::SetupError;

/// From the lookup to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A chain is a few KiB; the longest answers are directories with terms in them.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;
/// Response headers of an authority that counts on none.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct AcmeHttp(Client);

impl AcmeHttp {
    /// With `authority`, a file in PEM, nothing else is trusted.
    pub(crate) fn new(authority: Option<&Path>) -> Result<Self, SetupError> {
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .https_only(true)
            .timeout(TIMEOUT)
            .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
            // The next order is weeks away.
            .pool_max_idle_per_host(1);
        if let Some(path) = authority {
            let failed = |reason: String| SetupError::Authority {
                path: path.into(),
                reason,
            };
            let pem = fs::read(path).map_err(|error| failed(error.to_string()))?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|error| failed(chain(&error)))?;
            if certificates.is_empty() {
                return Err(failed("holds no certificate".into()));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder
            .build()
            .map_err(|error| SetupError::Client(chain(&error)))?;
        Ok(Self(client))
    }
}

impl HttpClient for AcmeHttp {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(exchange(self.0.clone(), request))
    }
}

async fn exchange(
    client: Client,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Error> {
    let failed = |error: reqwest::Error| Error::Other(chain(&error).into());
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let request = reqwest::Request::try_from(Request::from_parts(parts, body)).map_err(failed)?;
    let mut answer = client.execute(request).await.map_err(failed)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = std::mem::take(answer.headers_mut());
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > RESPONSE_BYTES_MAX {
            let reason = format!("answer is larger than {RESPONSE_BYTES_MAX} bytes");
            return Err(Error::Other(reason.into()));
        }
        body.extend_from_slice(&piece);
    }
    Ok(response.body(Full::new(Bytes::from(body)))?.into())
}

/// The cause of a reqwest error is two sources deep; its own text is "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
