//! Who the client is by `Forwarded` and `X-Forwarded-For`: only the word of trusted peers counts,
//! and nothing that stands to the left of an address that is not trusted.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue};
use palisade_edge::stages::client::resolve;
use palisade_policy::model::{ForwardedField, Listeners};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

pub(crate) fn check(data: &[u8]) {
    for (name, field) in [
        ("forwarded", ForwardedField::Forwarded),
        ("x-forwarded-for", ForwardedField::XForwardedFor),
    ] {
        let Some(headers) = lines(name, data) else {
            return;
        };
        let policy = listeners(field);
        let stranger = resolve(&headers, STRANGER, false, &policy);
        assert_eq!(stranger.address, STRANGER);
        assert!(!stranger.encrypted && stranger.proxies.is_empty());
        let found = resolve(&headers, PROXY, false, &policy);
        let trusted = |address: &IpAddr| policy.trusted_proxies[0].contains(address);
        assert!(found.proxies.iter().all(trusted), "{found:?}");
        // Always a field value.
        let _ = found.forwarded_for();
        // What a client puts in front of what our proxy wrote changes nothing.
        if trusted(&found.address) {
            continue;
        }
        let mut forged = HeaderMap::new();
        forged.append(
            name_of(name),
            HeaderValue::from_static("for=203.0.113.9;proto=https, 203.0.113.9, \""),
        );
        for value in headers.get_all(name) {
            forged.append(name_of(name), value.clone());
        }
        assert_eq!(resolve(&forged, PROXY, false, &policy), found);
    }
}

fn name_of(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// A field line for each line of the input.
fn lines(name: &'static str, data: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        headers.append(name_of(name), HeaderValue::from_bytes(line).ok()?);
    }
    Some(headers)
}

fn listeners(client_address_from: ForwardedField) -> Listeners {
    Listeners {
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a range")],
        client_address_from,
        ..Listeners::default()
    }
}
