//! How many connections there may be: in all, in their handshake, and from one address.
//!
//! Counts with guards that give back when dropped. The bounds come with each call, because a
//! reload may change them; what is open already is never closed for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Bounds;

/// One address may hold this part of the handshakes, so that it cannot keep the others out.
const HANDSHAKES_SHARE: usize = 4;

/// Shared by all listeners.
#[derive(Default)]
pub(super) struct Caps {
    connections: Arc<Count>,
    addresses: Arc<Addresses>,
    /// Apart, because anybody can begin a QUIC handshake in another's name.
    tcp: Handshakes,
    quic: Handshakes,
}

#[derive(Default)]
struct Handshakes {
    all: Arc<Count>,
    addresses: Arc<Addresses>,
}

#[derive(Clone, Copy)]
pub(super) enum Transport {
    Tcp,
    Quic,
}

/// Which cap is reached, as the metric names it.
pub(super) type Full = &'static str;

impl Caps {
    /// For as long as the connection is open.
    pub(super) fn connection(&self, bounds: &Bounds) -> Result<Place, Full> {
        let place = self.connections.take(bounds.connections_max);
        place.ok_or("connection_cap")
    }

    /// For as long as the handshake lasts. Without a peer where its address is not proved yet.
    pub(super) fn handshake(
        &self,
        transport: Transport,
        peer: Option<IpAddr>,
        bounds: &Bounds,
    ) -> Result<HandshakePlace, Full> {
        let handshakes = match transport {
            Transport::Tcp => &self.tcp,
            Transport::Quic => &self.quic,
        };
        let share = bounds.handshakes_max.div_ceil(HANDSHAKES_SHARE);
        let address = match peer.filter(|peer| !bounds.trusts(*peer)) {
            None => None,
            Some(peer) => {
                let place = handshakes.addresses.take(network(peer), share);
                Some(place.ok_or("address_handshake_cap")?)
            }
        };
        let place = handshakes.all.take(bounds.handshakes_max);
        Ok(HandshakePlace {
            _all: place.ok_or("handshake_cap")?,
            _address: address,
        })
    }

    /// QUIC handshakes under way.
    pub(super) fn quic_handshakes(&self) -> usize {
        self.quic.all.0.load(Ordering::Relaxed)
    }

    /// For as long as the connection is open; none is needed by a trusted proxy, which speaks
    /// for many.
    pub(super) fn address(
        &self,
        client: IpAddr,
        bounds: &Bounds,
    ) -> Result<Option<AddressPlace>, Full> {
        if bounds.trusts(client) {
            return Ok(None);
        }
        let place = self
            .addresses
            .take(network(client), bounds.connections_per_address);
        place.map(Some).ok_or("address_cap")
    }
}

/// Given back when dropped.
pub(super) struct HandshakePlace {
    _all: Place,
    _address: Option<AddressPlace>,
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn take(self: &Arc<Self>, max: usize) -> Option<Place> {
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Place(self.clone()))
    }
}

/// Given back when dropped.
pub(super) struct Place(Arc<Count>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Addresses with open connections, so never more of them than connections.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl Addresses {
    fn take(self: &Arc<Self>, network: IpAddr, max: usize) -> Option<AddressPlace> {
        let mut open = self.open();
        let taken = open.get(&network).copied().unwrap_or(0);
        if taken >= max {
            return None;
        }
        open.insert(network, taken + 1);
        Some(AddressPlace {
            addresses: self.clone(),
            network,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Held for a look-up; whole after every statement that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Given back when dropped.
pub(super) struct AddressPlace {
    addresses: Arc<Addresses>,
    network: IpAddr,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut open = self.addresses.open();
        match open.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.network);
            }
        }
    }
}

/// An IPv6 subscriber holds at least a /64, so that is what counts as one client.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(connections_max: usize, connections_per_address: usize) -> Bounds {
        Bounds {
            connections_max,
            connections_per_address,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Bounds::default()
        }
    }

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_come_back_and_bounds_are_live() {
        let caps = Caps::default();
        let first = caps.connection(&bounds(2, 1)).ok().unwrap();
        let _second = caps.connection(&bounds(2, 1)).ok().unwrap();
        assert_eq!(caps.connection(&bounds(2, 1)).err(), Some("connection_cap"));
        let third = caps.connection(&bounds(3, 1)).ok().unwrap();
        drop((first, third));
        assert!(caps.connection(&bounds(1, 1)).is_err());
        assert!(caps.connection(&bounds(2, 1)).is_ok());
    }

    #[test]
    fn addresses_are_counted_by_network() {
        let caps = Caps::default();
        let bounds = bounds(9, 2);
        let held: Vec<_> = [
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "2001:db8::1",
            "2001:db8::2",
        ]
        .map(|client| caps.address(at(client), &bounds).ok().unwrap())
        .into();
        for full in ["192.0.2.1", "2001:db8::3"] {
            assert_eq!(
                caps.address(at(full), &bounds).err(),
                Some("address_cap"),
                "{full}"
            );
        }
        for free in ["192.0.2.2", "2001:db8:0:1::1"] {
            assert!(caps.address(at(free), &bounds).is_ok(), "{free}");
        }
        drop(held);
        assert!(caps.addresses.open().is_empty());
    }

    #[test]
    fn no_address_holds_all_handshakes() {
        let caps = Caps::default();
        let bounds = Bounds {
            handshakes_max: 8,
            ..bounds(99, 99)
        };
        let take = |transport, peer: Option<&str>| caps.handshake(transport, peer.map(at), &bounds);
        let mut held = Vec::new();
        for (peer, full) in [
            ("192.0.2.1", "address_handshake_cap"),
            ("192.0.2.2", "address_handshake_cap"),
            ("10.0.0.1", "handshake_cap"),
        ] {
            let more = std::iter::from_fn(|| take(Transport::Tcp, Some(peer)).ok());
            held.extend(more.take(9));
            assert_eq!(take(Transport::Tcp, Some(peer)).err(), Some(full), "{peer}");
        }
        assert_eq!(held.len(), 8);
        assert!(take(Transport::Quic, None).is_ok());
        drop(held);
        assert!(take(Transport::Tcp, Some("192.0.2.1")).is_ok());
        assert!(caps.tcp.addresses.open().is_empty());
    }

    #[test]
    fn proxies_speak_for_many() {
        let caps = Caps::default();
        let held: Vec<_> = (0..5)
            .map(|_| caps.address(at("10.1.2.3"), &bounds(9, 1)))
            .collect();
        assert!(held.iter().all(|place| matches!(place, Ok(None))));
    }
}
