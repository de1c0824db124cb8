//! Where a call comes from: the network and the program, as the edge tells.
//! Invariant: of an address only the prefix goes on, and both are bounded.
//! Refuses to be trusted by itself: only the edge's certificate makes these true.

use std::net::IpAddr;

use tonic::metadata::MetadataMap;

/// Set by the edge; the client's address comes first, proxies between it and us after.
const FORWARDED_FOR: &str = "x-forwarded-for";
const USER_AGENT: &str = "user-agent";
/// What the edge's own client adds behind what the caller's said.
const ADDED: &str = " tonic/";
/// Browsers' are half of that; what is longer is cut.
const DEVICE_CHARS_MAX: usize = 200;

/// Where a call comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// `192.0.2.0/24`, `2001:db8::/64`; empty when the edge did not say.
    pub(crate) network: String,
    /// What the program calls itself.
    pub(crate) device: String,
}

impl Origin {
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let first = text(FORWARDED_FOR).and_then(|list| list.split(',').next());
        let network = first.and_then(|text| network(text.trim()));
        let device = text(USER_AGENT).unwrap_or_default();
        let device = device.rsplit_once(ADDED).map_or(device, |(of, _)| of);
        Self {
            network: network.unwrap_or_default(),
            device: device.chars().take(DEVICE_CHARS_MAX).collect(),
        }
    }
}

/// What one subscriber is usually given: a /24 of IPv4 (shared, but small), a /64 of IPv6.
fn network(text: &str) -> Option<String> {
    Some(match text.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            let prefix = std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
            format!("{prefix}/64")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_networks() {
        let check = |text: &str, expected: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert(FORWARDED_FOR, text.parse().unwrap());
            assert_eq!(Origin::of(&metadata).network, expected, "{text}");
        };
        check("192.0.2.77", "192.0.2.0/24");
        check("192.0.2.77, 10.0.0.1", "192.0.2.0/24");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
        check("::ffff:192.0.2.77", "192.0.2.0/24");
        check("unknown", "");
        check("", "");
    }

    #[test]
    fn devices_are_bounded() {
        let mut metadata = MetadataMap::new();
        metadata.insert(USER_AGENT, "x".repeat(5_000).parse().unwrap());
        assert_eq!(Origin::of(&metadata).device.len(), DEVICE_CHARS_MAX);
        assert_eq!(Origin::of(&MetadataMap::new()), Origin::default());
        metadata.insert(USER_AGENT, "curl/8.5.0 tonic/0.14.9".parse().unwrap());
        assert_eq!(Origin::of(&metadata).device, "curl/8.5.0");
    }
}
