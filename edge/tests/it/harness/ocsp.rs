//! OCSP responses (RFC 6960, 4.2.1) with a signature that nobody checks.

use std::ops::Range;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Tags of the certificate's status, which the content depends on.
pub(crate) const GOOD: u8 = 0x80;
pub(crate) const REVOKED: u8 = 0xa1;

const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;

/// The serial number of the first certificate in PEM.
pub(crate) fn serial(pem: &[u8]) -> Vec<u8> {
    let der = CertificateDer::from_pem_slice(pem).expect("PEM");
    let (_, certificate) = X509Certificate::from_der(&der).expect("X.509");
    certificate.raw_serial().to_vec()
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).expect("a short value");
    let [high, low] = length.to_be_bytes();
    let head = match length {
        0..128 => vec![tag, low],
        128..256 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, content].concat()
}

fn time(from_now: i64) -> Vec<u8> {
    let at = OffsetDateTime::now_utc() + time::Duration::seconds(from_now);
    let (date, time) = (at.date(), at.time());
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    der(0x18, &[text.as_bytes()])
}

/// About one certificate, valid in these seconds from now.
pub(crate) fn response(serial: &[u8], status: u8, valid: Range<i64>) -> Vec<u8> {
    let sha1 = der(SEQUENCE, &[&der(OID, &[&[0x2b, 0x0e, 0x03, 0x02, 0x1a]])]);
    let hash = der(OCTETS, &[&[7; 20]]);
    let id = der(SEQUENCE, &[&sha1, &hash, &hash, &der(0x02, &[serial])]);
    let status = match status {
        GOOD => der(GOOD, &[]),
        tag => der(tag, &[&time(-60)]),
    };
    let (this, next) = (time(valid.start), der(0xa0, &[&time(valid.end)]));
    let single = der(SEQUENCE, &[&id, &status, &this, &next]);
    let responder = der(0xa2, &[&hash]);
    let data = der(
        SEQUENCE,
        &[&responder, &time(-60), &der(SEQUENCE, &[&single])],
    );
    let ecdsa_sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let algorithm = der(SEQUENCE, &[&der(OID, &[&ecdsa_sha256])]);
    let basic = der(SEQUENCE, &[&data, &algorithm, &der(0x03, &[&[0, 1, 2, 3]])]);
    let pkix_ocsp_basic = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
    let bytes = der(
        SEQUENCE,
        &[&der(OID, &[&pkix_ocsp_basic]), &der(OCTETS, &[&basic])],
    );
    der(SEQUENCE, &[&der(0x0a, &[&[0]]), &der(0xa0, &[&bytes])])
}
