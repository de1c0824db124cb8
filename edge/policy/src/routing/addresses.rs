//! Sets of client addresses: one sorted list of ranges, and a binary search.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::model::AddressSet;

/// Bits in front of an IPv4 address that is written as IPv6 (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

impl AddressSet {
    /// Merge the ranges; ranges of mapped IPv4 addresses become ranges of IPv4.
    pub fn of(ranges: impl IntoIterator<Item = IpNet>) -> Self {
        let ranges: Vec<IpNet> = ranges.into_iter().map(canonical).collect();
        let mut ranges = IpNet::aggregate(&ranges);
        ranges.sort_by_key(IpNet::network);
        Self { ranges }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let after = self
            .ranges
            .partition_point(|range| range.network() <= address);
        let nearest = after.checked_sub(1).and_then(|at| self.ranges.get(at));
        nearest.is_some_and(|range| range.contains(&address))
    }

    /// Whether every address of the other set is in this one.
    pub fn includes(&self, other: &Self) -> bool {
        let within = |range: &IpNet| self.ranges.iter().any(|ours| ours.contains(range));
        other.ranges.iter().all(within)
    }
}

/// The peer's address is brought to the same form (RFC 4291, 2.5.5.2).
fn canonical(range: IpNet) -> IpNet {
    let mapped = match range {
        IpNet::V6(range) if range.prefix_len() >= MAPPED_BITS => range
            .network()
            .to_ipv4_mapped()
            .and_then(|network| Ipv4Net::new(network, range.prefix_len() - MAPPED_BITS).ok()),
        _ => None,
    };
    mapped.map_or(range, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ranges: &[&str]) -> AddressSet {
        AddressSet::of(ranges.iter().map(|range| range.parse().unwrap()))
    }

    #[test]
    fn ranges_are_merged() {
        let merged = set(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7/32", "fd00::/8"]);
        assert_eq!(merged, set(&["10.0.0.0/23", "fd00::/8"]));
        assert_eq!(merged.ranges.len(), 2);
        for (address, expected) in [
            ("10.0.1.255", true),
            ("10.0.2.0", false),
            ("9.255.255.255", false),
            ("::ffff:10.0.0.1", true),
            ("fdff::1", true),
            ("fc00::1", false),
        ] {
            assert_eq!(
                merged.contains(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
        assert!(!set(&[]).contains("::1".parse().unwrap()));
        assert!(set(&["::ffff:10.0.0.0/104"]).contains("10.9.9.9".parse().unwrap()));
        assert!(set(&["10.0.0.0/8"]).includes(&merged_v4()));
        assert!(!merged_v4().includes(&set(&["10.0.0.0/8"])));
    }

    fn merged_v4() -> AddressSet {
        set(&["10.0.0.0/24", "10.9.0.0/16"])
    }

    proptest! {
        #[test]
        fn the_search_finds_what_a_scan_finds(
            ranges in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..20),
            asked in any::<u32>(),
        ) {
            let nets: Vec<IpNet> = ranges
                .iter()
                .map(|(address, bits)| IpNet::V4(Ipv4Net::new((*address).into(), *bits).unwrap().trunc()))
                .collect();
            // Half of the questions are about an address that a range begins with.
            for address in [Some(asked), ranges.first().map(|(address, _)| *address)].into_iter().flatten() {
                let address = IpAddr::V4(address.into());
                let scanned = nets.iter().any(|net| net.contains(&address));
                prop_assert_eq!(AddressSet::of(nets.clone()).contains(address), scanned);
            }
        }
    }
}
