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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A server that gives every connection the same answer; its URL, and its certificate as a file.
    async fn server(answer: String) -> (String, tempfile::NamedTempFile) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), certificate.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}/",
            listener.local_addr().unwrap().port()
        );
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else {
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        (url, file)
    }

    async fn get(url: &str, authority: &Path) -> Result<BytesResponse, Error> {
        let client = AcmeHttp::new(Some(authority)).unwrap();
        let request = Request::builder().uri(url).body(BodyWrapper::default());
        client.request(request.unwrap()).await
    }

    fn answer(body_bytes: usize) -> String {
        let body = "x".repeat(body_bytes);
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn answers_are_read_up_to_a_bound() {
        let (url, file) = server(answer(RESPONSE_BYTES_MAX)).await;
        let mut response = get(&url, file.path()).await.unwrap();
        let body = response.body.into_bytes().await.unwrap();
        assert_eq!(body.len(), RESPONSE_BYTES_MAX);
        let (url, file) = server(answer(RESPONSE_BYTES_MAX + 1)).await;
        let error = get(&url, file.path()).await.err().unwrap().to_string();
        assert!(error.contains("larger than"), "{error}");
    }

    #[tokio::test]
    async fn nobody_else_is_trusted_and_no_redirect_followed() {
        let (elsewhere, other) = server(answer(1)).await;
        let redirect =
            format!("HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        let (url, file) = server(redirect).await;
        let response = get(&url, file.path()).await.unwrap();
        assert_eq!(response.parts.status, 302);
        let error = get(&url, other.path()).await.err().unwrap().to_string();
        assert!(error.contains("certificate"), "{error}");
        let plain = url.replace("https://", "http://");
        assert!(get(&plain, file.path()).await.is_err());
    }
}
