//! Reads a JWK set document from a file or a URL.
//!
//! Invariant: at most [`DOCUMENT_BYTES_MAX`] bytes and [`TOTAL_TIMEOUT`] of time are spent on one read,
//! whatever the other side does.
//! Refuses: redirects (an open redirect at the issuer would choose our keys, or make us call an inner
//! address), proxies from the environment, every status but 200, files that are no regular files.

use crate::key_set::{DOCUMENT_BYTES_MAX, KeySetError};
use crate::spec::JwksSource;
use reqwest::{Certificate, Client, Url};
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// From the first byte of the lookup to the last of the body: a body that drips ends here too.
pub(crate) const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A bundle of every public authority is 230 KiB.
const CA_BYTES_MAX: usize = 1024 * 1024;
/// Response headers of an issuer that counts on none.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// Why a document could not be read.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    #[error("cannot read `{path}`: {cause}")]
    File {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("`{0}` is not a regular file")]
    NotAFile(PathBuf),
    #[error("`{path}` is larger than {max} bytes")]
    FileTooLarge { path: PathBuf, max: usize },
    #[error("certificate authorities `{path}`: {cause}")]
    Ca { path: PathBuf, cause: String },
    #[error("no TLS provider is installed in this process")]
    NoTlsProvider,
    #[error("cannot build the HTTP client: {0}")]
    Client(String),
    #[error("request failed: {0}")]
    Http(String),
    #[error("answered with status {0}, only 200 is accepted")]
    Status(u16),
    #[error("body is larger than {DOCUMENT_BYTES_MAX} bytes")]
    BodyTooLarge,
    #[error("no answer within {TOTAL_TIMEOUT:?}")]
    Timeout,
    #[error("a key that was withdrawn is still published")]
    Withdrawn,
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

/// HTTP clients, one per way to trust: building one reads every root certificate of the system.
#[derive(Default)]
pub(crate) struct Clients {
    /// Bounded by the number of issuers; a std lock, since nothing is awaited under it.
    built: Mutex<HashMap<Trust, Client>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Trust {
    /// `http` on loopback: there is no certificate to trust.
    None,
    System,
    /// The system's and those of a file with this SHA-256, so that a replaced file takes effect.
    Extra([u8; 32]),
}

/// Entries kept before old bundles are thrown away: replacing a bundle must not add up.
const CLIENTS_MAX: usize = 64;

impl Clients {
    /// Reads the document at `source`.
    pub(crate) async fn read(
        &self,
        source: &JwksSource,
        ca: Option<&Path>,
    ) -> Result<Vec<u8>, FetchError> {
        let reading = async {
            match source {
                JwksSource::File(path) => read_file(path.clone(), DOCUMENT_BYTES_MAX).await,
                JwksSource::Url(url) => get(&self.client(url, ca).await?, url).await,
            }
        };
        // A file on a dead network mount hangs as well as a server.
        tokio::time::timeout(TOTAL_TIMEOUT, reading)
            .await
            .unwrap_or(Err(FetchError::Timeout))
    }

    async fn client(&self, url: &Url, ca: Option<&Path>) -> Result<Client, FetchError> {
        let (trust, bundle) = match ca {
            _ if url.scheme() == "http" => (Trust::None, None),
            None => (Trust::System, None),
            Some(path) => {
                let pem = read_file(path.to_owned(), CA_BYTES_MAX).await?;
                let hash = crate::saved::sha256(&[&pem]);
                (Trust::Extra(hash), Some((path.to_owned(), pem)))
            }
        };
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = built.get(&trust) {
            return Ok(client.clone());
        }
        let client = build(&trust, bundle)?;
        if built.len() >= CLIENTS_MAX {
            built.clear();
        }
        built.insert(trust, client.clone());
        Ok(client)
    }
}

fn build(trust: &Trust, bundle: Option<(PathBuf, Vec<u8>)>) -> Result<Client, FetchError> {
    // Without one, reqwest panics.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(FetchError::NoTlsProvider);
    }
    let mut builder = Client::builder()
        .user_agent("palisade")
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .https_only(*trust != Trust::None)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        // The next fetch is minutes away; an idle connection would be dead by then.
        .pool_max_idle_per_host(0);
    if *trust == Trust::None {
        builder = builder.tls_certs_only([]);
    }
    if let Some((path, pem)) = bundle {
        let fault = |cause: String| FetchError::Ca {
            path: path.clone(),
            cause,
        };
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|error| fault(chain(&error)))?;
        if certificates.is_empty() {
            return Err(fault("holds no certificate".to_owned()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|error| FetchError::Client(chain(&error)))
}

async fn get(client: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let failed = |error: reqwest::Error| {
        if error.is_timeout() {
            FetchError::Timeout
        } else {
            FetchError::Http(chain(&error.without_url()))
        }
    };
    let request = client
        .get(url.clone())
        .header("accept", "application/jwk-set+json, application/json");
    let mut response = request.send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    if response
        .content_length()
        .is_some_and(|length| length > DOCUMENT_BYTES_MAX as u64)
    {
        return Err(FetchError::BodyTooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(FetchError::BodyTooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
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

/// Reads a regular file of at most `max` bytes.
pub(crate) async fn read_file(path: PathBuf, max: usize) -> Result<Vec<u8>, FetchError> {
    let fault = |path: &Path, cause| FetchError::File {
        path: path.to_owned(),
        cause,
    };
    let at = path.clone();
    let reading = tokio::task::spawn_blocking(move || {
        // Opening a FIFO would block for ever, so look first.
        let metadata = std::fs::metadata(&path).map_err(|cause| fault(&path, cause))?;
        if !metadata.is_file() {
            return Err(FetchError::NotAFile(path));
        }
        let file = std::fs::File::open(&path).map_err(|cause| fault(&path, cause))?;
        let mut bytes = Vec::new();
        // One more than allowed, to tell "full" from "too large" while the file may be growing.
        file.take(max as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|cause| fault(&path, cause))?;
        if bytes.len() > max {
            return Err(FetchError::FileTooLarge { path, max });
        }
        Ok(bytes)
    });
    reading
        .await
        .unwrap_or_else(|error| Err(fault(&at, std::io::Error::other(error))))
}
