//! A request that nobody sent: as it is asked about, and as the stages read it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use http::header::HOST;
use http::{HeaderName, HeaderValue, Method};
use palisade_policy::hosts::TlsVersion;
use palisade_policy::routing;
use palisade_token::Claims;
use pingora_http::RequestHeader;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::identity::Introspected;
use crate::observe::trace::TraceContext;
use crate::request_ctx::Now;
use crate::request_id::RequestId;
use crate::snapshot::Snapshot;
use crate::stages::client::{self, Client};
use crate::stages::host::Proof;
use crate::stages::{Downstream, Rehearsal};

/// Where redirects to https point when nobody says: URLs then have no port.
const HTTPS_PORT: u16 = 443;
/// Who asks when nobody says.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A request, and what is assumed about who sends it.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub method: String,
    /// `https://host/path?query` comes by the encrypted listener, with the handshake that the host
    /// asks for; `http://` by the plain one.
    pub url: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The address that connects.
    #[serde(default)]
    pub client: Option<IpAddr>,
    /// Of a token that counts as verified.
    #[serde(default)]
    pub claims: Option<Map<String, Value>>,
    /// Of the connection; counts as verified for the host.
    #[serde(default)]
    pub certificate: Option<Certificate>,
    /// Unix time in seconds; now where it is not given.
    #[serde(default)]
    pub at: Option<u64>,
    /// 32 hex digits: what a choice among weighted backends goes by.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Port of the https listener, as redirects name it.
    #[serde(default)]
    pub https_port: Option<u16>,
    /// Among the rules only those of this route, whatever kept them from the request.
    #[serde(default)]
    pub of_route: Option<String>,
}

/// A verified client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// As RFC 4514 writes it.
    #[serde(default)]
    pub subject: String,
    #[serde(default)]
    pub sans: Vec<String>,
    /// Of the certificate in DER, hex.
    #[serde(default)]
    pub sha256: Option<String>,
}

impl Certificate {
    /// The first of a PEM file; none where there is none.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let sans = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
                Some((*text).to_owned())
            }
            _ => None,
        });
        let digest = digest(&SHA256, &der);
        let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        Some(Self {
            subject: parsed.subject().to_string(),
            sans: sans.collect(),
            sha256: Some(digits.collect()),
        })
    }
}

// Fields and claims may hold credentials.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("method", &self.method)
            .field("url", &self.url.split('?').next())
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// Why a question is not one about a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unaskable {
    #[error("`{0}` is not a method")]
    Method(String),
    #[error(
        "`{0}` is not the URL of a request\nhint: write `https://host/path` or `http://host/path`"
    )]
    Url(String),
    #[error("`{0}` is not a header field")]
    Header(String),
    #[error("the claims are not those of a token: {0}")]
    Claims(String),
    #[error("`{0}` is not a SHA-256\nhint: it has 64 hex digits")]
    Digest(String),
    #[error("`{0}` is not a request id\nhint: it has 32 hex digits")]
    RequestId(String),
    #[error("no route is called `{0}`")]
    Route(String),
}

/// What is known of a request besides its head.
pub(super) struct Asked {
    pub(super) client: Client,
    pub(super) now: Now,
    pub(super) request_id: RequestId,
    pub(super) trace: TraceContext,
    /// By the encrypted listener.
    pub(super) encrypted: bool,
    pub(super) https_port: u16,
    pub(super) of_route: Option<String>,
    proof: Option<Proof>,
    certificate: Option<Shown>,
    rehearsal: Rehearsal,
}

impl Asked {
    /// A question in the stages' words.
    pub(super) fn of(
        question: &Question,
        snapshot: &Snapshot,
    ) -> Result<(RequestHeader, Self), Unaskable> {
        let url = Url::split(&question.url)?;
        let head = head(question, &url)?;
        let peer = question.client.unwrap_or(CLIENT);
        let listeners = &snapshot.policy.listeners;
        let client = client::resolve(&head.headers, peer, url.encrypted, listeners);
        let trace = TraceContext::from_headers(&head.headers);
        let mut now = Now::read();
        if let Some(at) = question.at {
            now.wall = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        }
        let claims = question.claims.clone().map(Claims::assumed).transpose();
        let claims = claims.map_err(|refusal| Unaskable::Claims(refusal.to_string()))?;
        let request_id = match &question.request_id {
            None => RequestId::random(),
            Some(text) => RequestId::of(text).ok_or_else(|| Unaskable::RequestId(text.clone()))?,
        };
        let certificate = question.certificate.as_ref().map(Shown::of).transpose()?;
        let routes = &snapshot.policy.routes;
        if let Some(name) = question
            .of_route
            .as_deref()
            .filter(|name| !routes.has(name))
        {
            return Err(Unaskable::Route(name.to_owned()));
        }
        let handshake = || proof(snapshot, url.name(), certificate.is_some());
        let proof = url.encrypted.then(handshake);
        let asked = Self {
            proof,
            // A host that asks for none is shown none.
            certificate: certificate.filter(|_| proof.is_some_and(|it| it.client_until.is_some())),
            encrypted: url.encrypted,
            https_port: question.https_port.unwrap_or(HTTPS_PORT),
            of_route: question.of_route.clone(),
            rehearsal: Rehearsal {
                claims: claims.map(Arc::new),
            },
            client,
            now,
            request_id,
            trace,
        };
        Ok((head, asked))
    }

    pub(super) fn downstream(&self) -> Downstream<'_> {
        Downstream {
            client: self.client.address,
            encrypted: self.client.encrypted,
            proof: self.proof,
            https_port: self.https_port,
            is_extended_connect: false,
            certificate: self.certificate.as_ref().map(|shown| routing::Certificate {
                subject: &shown.subject,
                sans: &shown.sans,
                sha256: &shown.sha256,
            }),
            // Nobody fetches any for a rehearsal.
            keys_may_come: false,
            introspected: Some(&Introspected::Unavailable),
            request: self.request_id.number(),
            under_way: 0,
            rehearsal: Some(&self.rehearsal),
        }
    }
}

/// A certificate as rules compare it.
struct Shown {
    subject: String,
    sans: Vec<String>,
    sha256: [u8; 32],
}

impl Shown {
    fn of(certificate: &Certificate) -> Result<Self, Unaskable> {
        let mut sha256 = [0; 32];
        if let Some(text) = &certificate.sha256 {
            let wrong = || Unaskable::Digest(text.clone());
            if text.len() != 2 * sha256.len() {
                return Err(wrong());
            }
            for (at, byte) in sha256.iter_mut().enumerate() {
                let digits = text.get(2 * at..2 * at + 2).ok_or_else(wrong)?;
                *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
            }
        }
        Ok(Self {
            subject: certificate.subject.clone(),
            sans: certificate.sans.clone(),
            sha256,
        })
    }
}

/// The handshake that a server name gets, done as it asks.
fn proof(snapshot: &Snapshot, name: String, certificate: bool) -> Proof {
    let clients = snapshot
        .policy
        .hosts
        .find(&name)
        .client_certificates
        .as_ref();
    Proof {
        version: TlsVersion::Tls13,
        trust_domain: clients.map(|clients| clients.trust_domain),
        client_until: (certificate && clients.is_some()).then_some(i64::MAX),
    }
}

fn head(question: &Question, url: &Url<'_>) -> Result<RequestHeader, Unaskable> {
    let method = Method::from_bytes(question.method.as_bytes())
        .map_err(|_| Unaskable::Method(question.method.clone()))?;
    let target = url.target.as_bytes();
    let fields = question.headers.len() + 1;
    let mut head = RequestHeader::build(method, target, Some(fields))
        .map_err(|_| Unaskable::Url(question.url.clone()))?;
    if !question
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        head.insert_header(HOST, url.authority)
            .map_err(|_| Unaskable::Url(question.url.clone()))?;
    }
    for (name, value) in &question.headers {
        // The value may be a credential: only the name is told.
        let bad = || Unaskable::Header(name.clone());
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_str(value).map_err(|_| bad())?;
        head.append_header(field, value).map_err(|_| bad())?;
    }
    Ok(head)
}

/// The parts of a URL as they are sent; nothing is decoded or tidied up, since the edge must see
/// what a client would have written.
struct Url<'q> {
    encrypted: bool,
    authority: &'q str,
    target: &'q str,
}

impl<'q> Url<'q> {
    fn split(url: &'q str) -> Result<Self, Unaskable> {
        let wrong = || Unaskable::Url(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let encrypted = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        // A fragment stays with the client (RFC 9110, 7.1).
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.is_empty() || authority.contains('@') || target.starts_with('?') {
            return Err(wrong());
        }
        Ok(Self {
            encrypted,
            authority,
            target: if target.is_empty() { "/" } else { target },
        })
    }

    /// As a client names the server in its handshake.
    fn name(&self) -> String {
        let name = match self.authority.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => self.authority,
        };
        name.trim_end_matches('.').to_ascii_lowercase()
    }
}
