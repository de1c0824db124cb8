//! Who the client is, where proxies of ours stand between it and us.
//!
//! The peer's word counts only while the peer is trusted, so the walk goes from the peer to the
//! left and ends at the first address that is not one of our proxies. Whatever a client wrote
//! itself stands further left and is never reached.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use palisade_policy::model::{ForwardedField, Listeners};

/// Proxies in a row; nobody has more, and a longer walk would be the client's doing.
const HOPS_MAX: usize = 16;
/// The longest IPv6 address as text, and what separates it from the next.
const ADDRESS_CHARS_MAX: usize = 48;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// Whether it came by TLS or QUIC.
    pub encrypted: bool,
    /// Its proxies that we trust, nearest to it first; empty where it is the peer itself.
    pub proxies: Vec<IpAddr>,
}

/// One hop as a proxy wrote it.
struct Hop {
    address: IpAddr,
    encrypted: Option<bool>,
}

/// The client behind `peer`. To be called before the fields are removed as a client's own.
pub fn resolve(headers: &HeaderMap, peer: IpAddr, encrypted: bool, policy: &Listeners) -> Client {
    let mut client = Client {
        address: peer.to_canonical(),
        encrypted,
        proxies: Vec::new(),
    };
    let trusted = &policy.trusted_proxies;
    if !is_trusted(client.address, trusted) {
        return client;
    }
    match policy.client_address_from {
        ForwardedField::XForwardedFor => {
            walk(&mut client, hops(headers, &X_FORWARDED_FOR, plain), trusted);
            client.encrypted = proto(headers).unwrap_or(encrypted);
        }
        ForwardedField::Forwarded => {
            walk(&mut client, hops(headers, &FORWARDED, element), trusted);
        }
    }
    client
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|range| range.contains(&address))
}

/// Ends at the first hop that is not ours, or that says nothing we understand.
fn walk(client: &mut Client, hops: impl Iterator<Item = Option<Hop>>, trusted: &[IpNet]) {
    for hop in hops.take(HOPS_MAX) {
        let Some(hop) = hop else { return };
        client.proxies.insert(0, client.address);
        client.address = hop.address;
        client.encrypted = hop.encrypted.unwrap_or(client.encrypted);
        if !is_trusted(client.address, trusted) {
            return;
        }
    }
}

/// The members of a list, over all its lines, from the last to the first; none for a member that
/// is no hop.
fn hops<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    parse: fn(&str) -> Option<Hop>,
) -> impl Iterator<Item = Option<Hop>> + use<'h> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(move |line| {
        // A line that is not text is one member that nobody understands.
        let mut rest = Some(line.to_str().unwrap_or("?"));
        std::iter::from_fn(move || {
            let (before, member) = split_last(rest?, ',');
            rest = before;
            Some(member.trim_matches([' ', '\t']))
        })
        // Empty members are to be ignored (RFC 9110, 5.6.1).
        .filter(|member| !member.is_empty())
        .map(parse)
    })
}

/// What follows the last `at` outside of quotes, and what is before it. From the right, because a
/// client may have left a quote open on the left of what our proxies added.
fn split_last(text: &str, at: char) -> (Option<&str>, &str) {
    let mut quoted = false;
    let bytes = text.as_bytes();
    for (index, found) in text.char_indices().rev() {
        if found == '"' {
            let before = bytes.get(..index).unwrap_or_default().iter().rev();
            let escapes = before.take_while(|byte| **byte == b'\\').count();
            quoted ^= !quoted || escapes % 2 == 0;
        } else if found == at && !quoted {
            let (before, member) = text.split_at(index);
            return (Some(before), member.get(1..).unwrap_or(""));
        }
    }
    (None, text)
}

/// A member of `X-Forwarded-For`: an address, with a port where a proxy adds one.
fn plain(member: &str) -> Option<Hop> {
    Some(Hop {
        address: address(member)?,
        encrypted: None,
    })
}

/// An element of `Forwarded` (RFC 7239, 4): pairs, each name once, of which `for` must be there.
fn element(element: &str) -> Option<Hop> {
    let (mut client, mut encrypted) = (None, None);
    let mut rest = Some(element);
    while let Some(text) = rest {
        let (before, pair) = split_last(text, ';');
        rest = before;
        let pair = pair.trim_matches([' ', '\t']);
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let value = unquoted(value)?;
        if name.eq_ignore_ascii_case("for") {
            if client.replace(node(value)?).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case("proto") && encrypted.replace(scheme(value)).is_some() {
            return None;
        }
    }
    Some(Hop {
        address: client?,
        encrypted: encrypted.flatten(),
    })
}

/// A token, or what is in the quotes. Values we care about need no escapes.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        None => Some(value).filter(|value| !value.is_empty() && !value.contains('"')),
        Some(rest) => rest.strip_suffix('"'),
    }
}

/// RFC 7239, 6: an IPv6 address has brackets. `unknown` and `_names` are no addresses.
fn node(value: &str) -> Option<IpAddr> {
    address(value).filter(|address| address.is_ipv4() || value.starts_with('['))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|pair| pair.ip());
    let v6 = || bracketed().map(IpAddr::V6);
    let found: IpAddr = text.parse().ok().or_else(v6).or_else(with_port)?;
    // A zone means something on the proxy's machine only.
    Some(found.to_canonical()).filter(|_| !text.contains('%'))
}

/// `X-Forwarded-Proto`, where there is one of one value.
fn proto(headers: &HeaderMap) -> Option<bool> {
    let mut lines = headers.get_all(X_FORWARDED_PROTO).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    scheme(line.to_str().ok()?)
}

fn scheme(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("https") => Some(true),
        _ if text.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

impl Client {
    /// `x-forwarded-for` for upstreams: the client, then the proxies between it and us.
    pub fn forwarded_for(&self) -> HeaderValue {
        let mut chain = String::with_capacity(ADDRESS_CHARS_MAX * (1 + self.proxies.len()));
        // Writing to a string cannot fail.
        let _ = write!(chain, "{}", self.address);
        for proxy in &self.proxies {
            let _ = write!(chain, ", {proxy}");
        }
        // Digits, dots, colons, commas and a-f: always a header value.
        HeaderValue::from_maybe_shared(Bytes::from(chain))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests;
