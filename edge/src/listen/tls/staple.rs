//! OCSP responses beside certificates: stapled while they say that the certificate is good.
//!
//! The signature is the client's to check; what is checked here is what would make clients refuse
//! a handshake that succeeds without a staple.

use der::Decode;
use x509_ocsp::{BasicOcspResponse, CertStatus, OcspResponse, OcspResponseStatus};

/// Clocks of responders and ours differ by a little.
const CLOCK_SKEW_S: u64 = 300;

/// A response that may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Staple {
    pub(super) der: Vec<u8>,
    /// Unix seconds of its end.
    pub(super) until: u64,
}

impl Staple {
    /// A response about the certificate with this serial number that is fresh at `now`.
    pub(super) fn read(der: &[u8], serial: &[u8], now: u64) -> Result<Self, String> {
        let malformed = |error: der::Error| format!("not an OCSP response: {error}");
        let response = OcspResponse::from_der(der).map_err(malformed)?;
        if response.response_status != OcspResponseStatus::Successful {
            return Err("the responder answered with an error".to_owned());
        }
        let bytes = response.response_bytes.ok_or("no response in it")?;
        let basic = BasicOcspResponse::from_der(bytes.response.as_bytes()).map_err(malformed)?;
        let about_ours = |id: &[u8]| without_zeros(id) == without_zeros(serial);
        let responses = basic.tbs_response_data.responses;
        let single = responses
            .iter()
            .find(|single| about_ours(single.cert_id.serial_number.as_bytes()))
            .ok_or("about another certificate")?;
        if !matches!(single.cert_status, CertStatus::Good(_)) {
            return Err("the certificate is revoked or unknown to the responder".to_owned());
        }
        let from = single.this_update.0.to_unix_duration().as_secs();
        let until = single.next_update.ok_or("it has no end")?;
        let until = until.0.to_unix_duration().as_secs();
        if from > now.saturating_add(CLOCK_SKEW_S) || until <= now {
            return Err("not valid now".to_owned());
        }
        Ok(Self {
            der: der.to_vec(),
            until,
        })
    }
}

/// DER writes a zero in front of numbers whose first bit is set.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Staple::read(&bytes, &[1], 0).is_err());
        }
    }
}
