//! What is known of a client by its certificate: read once for all requests of a connection.

use std::io;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

/// Longest chain that upstreams are told: servers take about 8 KiB of header in all.
const CHAIN_BYTES_MAX: usize = 6 * 1024;

/// Bytes of a name that rules can ask for; longer ones match nothing.
const NAME_BYTES_MAX: usize = 4 * 1024;
/// Alternative names of one certificate that rules can ask for.
const NAMES_MAX: usize = 100;

/// A certificate that was verified, as upstreams are told it (RFC 9440).
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// Unix seconds; the connection may outlive it.
    pub not_after: i64,
    /// `client-cert`: the certificate as a structured byte sequence.
    pub leaf: HeaderValue,
    /// `client-cert-chain`: the others the client sent, unless they are too many.
    pub chain: Option<HeaderValue>,
    /// As RFC 4514 writes it: the last part first.
    pub subject: String,
    /// DNS names, URIs and mail addresses among the subject alternative names.
    pub sans: Vec<String>,
    /// Of the certificate in DER.
    pub sha256: [u8; 32],
}

impl ClientCertificate {
    /// None without a certificate.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> io::Result<Option<Self>> {
        let Some((leaf, rest)) = chain.split_first() else {
            return Ok(None);
        };
        // It was verified, so only what the verifier does not read can be wrong.
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(io::Error::other)?;
        let rest: Vec<String> = rest.iter().map(|one| byte_sequence(one)).collect();
        let rest =
            Some(rest.join(", ")).filter(|text| !text.is_empty() && text.len() <= CHAIN_BYTES_MAX);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, leaf).as_ref());
        let value = |text: String| HeaderValue::try_from(text).map_err(io::Error::other);
        Ok(Some(Self {
            not_after: parsed.validity().not_after.timestamp(),
            subject: distinguished_name(parsed.subject()).unwrap_or_default(),
            sans: alternative_names(&parsed),
            sha256,
            leaf: value(byte_sequence(leaf))?,
            chain: rest.map(value).transpose()?,
        }))
    }
}

/// RFC 4514, 2. None where a part is no text, which then no rule can ask for.
fn distinguished_name(name: &X509Name<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.iter_rdn() {
        let attributes: Option<Vec<String>> = part
            .iter()
            .map(|attribute| {
                let id = attribute.attr_type().to_id_string();
                let value = escaped(attribute.as_str().ok()?);
                Some(format!("{}={value}", attribute_name(&id)))
            })
            .collect();
        parts.push(attributes?.join("+"));
    }
    parts.reverse();
    let text = parts.join(",");
    (text.len() <= NAME_BYTES_MAX).then_some(text)
}

/// The names of RFC 4514, 3 and those that certificates have besides; others in digits.
fn attribute_name(id: &str) -> &str {
    match id {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "SERIALNUMBER",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "EMAILADDRESS",
        other => other,
    }
}

/// RFC 4514, 2.4: an `O` of `a,CN=admin` must not read like two parts.
fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => out.extend(['\\', c]),
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            c if c.is_control() => {
                for byte in c.to_string().bytes() {
                    out.push_str(&format!("\\{byte:02X}"));
                }
            }
            c => out.push(c),
        }
    }
    out
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
                Some(*text)
            }
            _ => None,
        });
    let fitting = names.filter(|name| name.len() <= NAME_BYTES_MAX);
    fitting.take(NAMES_MAX).map(str::to_owned).collect()
}

/// RFC 9651, 3.3.5.
fn byte_sequence(bytes: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(bytes))
}
