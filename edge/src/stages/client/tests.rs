//! Forwarded fields, honest and forged, and who the client is by them.

use super::*;
use http::HeaderMap;
use proptest::prelude::*;

/// 10.0.0.0/8 and fd00::/8 are ours.
fn policy(field: ForwardedField) -> Listeners {
    Listeners {
        trusted_proxies: ["10.0.0.0/8", "fd00::/8"]
            .map(|range| range.parse().unwrap())
            .to_vec(),
        client_address_from: field,
        ..Listeners::default()
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(*name, value);
    }
    headers
}

/// The chain that upstreams are told, from this peer over plain text.
fn chain(field: ForwardedField, peer: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
    let client = resolve(
        &headers(lines),
        peer.parse().unwrap(),
        false,
        &policy(field),
    );
    let chain = client.forwarded_for().to_str().unwrap().to_owned();
    (chain, client.encrypted)
}

#[test]
fn x_forwarded_for() {
    // Peer, lines of the field, the chain.
    let cases: &[(&str, &[&str], &str)] = &[
        ("192.0.2.9", &["1.2.3.4"], "192.0.2.9"),
        ("192.0.2.9", &["10.1.1.1", "1.2.3.4"], "192.0.2.9"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &[""], "10.0.0.1"),
        ("10.0.0.1", &["1.2.3.4"], "1.2.3.4, 10.0.0.1"),
        ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4, 10.0.0.1"),
        ("10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4, 10.0.0.1"),
        ("10.0.0.1", &["1.2.3.4", ""], "1.2.3.4, 10.0.0.1"),
        ("10.0.0.1", &["1.2.3.4 , ,"], "1.2.3.4, 10.0.0.1"),
        (
            "10.0.0.1",
            &["1.2.3.4,10.0.0.2"],
            "1.2.3.4, 10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            &["6.6.6.6, 10.9.9.9, 1.2.3.4", "10.0.0.3, 10.0.0.2"],
            "1.2.3.4, 10.0.0.3, 10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            &["10.0.0.3, 10.0.0.2"],
            "10.0.0.3, 10.0.0.2, 10.0.0.1",
        ),
        ("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4, 10.0.0.1"),
        ("10.0.0.1", &["2001:db8::1"], "2001:db8::1, 10.0.0.1"),
        ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1, 10.0.0.1"),
        ("10.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1, 10.0.0.1"),
        ("10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4, 10.0.0.1"),
        ("10.0.0.1", &["::ffff:10.0.0.2"], "10.0.0.2, 10.0.0.1"),
        ("::ffff:10.0.0.1", &["1.2.3.4"], "1.2.3.4, 10.0.0.1"),
        ("fd00::1", &["1.2.3.4"], "1.2.3.4, fd00::1"),
        ("10.0.0.1", &["1.2.3.4, unknown"], "10.0.0.1"),
        (
            "10.0.0.1",
            &["1.2.3.4, unknown, 10.0.0.2"],
            "10.0.0.2, 10.0.0.1",
        ),
        ("10.0.0.1", &["1.2.3.4 5.6.7.8"], "10.0.0.1"),
        ("10.0.0.1", &["1.2.3.4;5.6.7.8"], "10.0.0.1"),
        ("10.0.0.1", &["01.2.3.4"], "10.0.0.1"),
        ("10.0.0.1", &["1.2.3"], "10.0.0.1"),
        ("10.0.0.1", &["0x1.2.3.4"], "10.0.0.1"),
        ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1"),
        ("10.0.0.1", &["[1.2.3.4]"], "10.0.0.1"),
        ("10.0.0.1", &["1.2.3.4:"], "10.0.0.1"),
        ("10.0.0.1", &["localhost"], "10.0.0.1"),
        ("10.0.0.1", &["\"1.2.3.4\""], "10.0.0.1"),
        ("10.0.0.1", &["\u{e9}, 1.2.3.4"], "10.0.0.1"),
        ("10.0.0.1", &["\", 1.2.3.4"], "1.2.3.4, 10.0.0.1"),
    ];
    for (peer, lines, expected) in cases {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        let (chain, _) = chain(ForwardedField::XForwardedFor, peer, &lines);
        assert_eq!(chain, *expected, "{peer} {lines:?}");
    }
}

/// Peer, lines of the field, the chain, whether the client came by https.
const FORWARDED_CASES: &[(&str, &[&str], &str, bool)] = &[
    (
        "192.0.2.9",
        &["for=1.2.3.4;proto=https"],
        "192.0.2.9",
        false,
    ),
    ("10.0.0.1", &["for=1.2.3.4"], "1.2.3.4, 10.0.0.1", false),
    (
        "10.0.0.1",
        &["FOR=1.2.3.4;Proto=HTTPS"],
        "1.2.3.4, 10.0.0.1",
        true,
    ),
    (
        "10.0.0.1",
        &["by=10.0.0.1; for=1.2.3.4 ;proto=https;"],
        "1.2.3.4, 10.0.0.1",
        true,
    ),
    (
        "10.0.0.1",
        &["for=\"1.2.3.4:47011\""],
        "1.2.3.4, 10.0.0.1",
        false,
    ),
    (
        "10.0.0.1",
        &["for=\"[2001:db8::1]\""],
        "2001:db8::1, 10.0.0.1",
        false,
    ),
    (
        "10.0.0.1",
        &["for=\"[2001:db8::1]:80\""],
        "2001:db8::1, 10.0.0.1",
        false,
    ),
    (
        "10.0.0.1",
        &["for=6.6.6.6, for=1.2.3.4"],
        "1.2.3.4, 10.0.0.1",
        false,
    ),
    (
        "10.0.0.1",
        &["for=6.6.6.6", "for=1.2.3.4"],
        "1.2.3.4, 10.0.0.1",
        false,
    ),
    (
        "10.0.0.1",
        &["for=1.2.3.4;proto=https, for=10.0.0.2;proto=http"],
        "1.2.3.4, 10.0.0.2, 10.0.0.1",
        true,
    ),
    (
        "10.0.0.1",
        &["for=1.2.3.4, for=10.0.0.2;proto=https"],
        "1.2.3.4, 10.0.0.2, 10.0.0.1",
        true,
    ),
    // An open quote on the left hides nothing that stands behind it.
    (
        "10.0.0.1",
        &["for=\", for=1.2.3.4"],
        "1.2.3.4, 10.0.0.1",
        false,
    ),
    (
        "10.0.0.1",
        &["for=\"\\, for=1.2.3.4"],
        "1.2.3.4, 10.0.0.1",
        false,
    ),
    (
        "10.0.0.1",
        &["x=\"a,b;for=6.6.6.6\";for=1.2.3.4"],
        "1.2.3.4, 10.0.0.1",
        false,
    ),
    (
        "10.0.0.1",
        &["x=\"a\\\",b\";for=1.2.3.4"],
        "1.2.3.4, 10.0.0.1",
        false,
    ),
    ("10.0.0.1", &["for=unknown"], "10.0.0.1", false),
    ("10.0.0.1", &["for=_hidden"], "10.0.0.1", false),
    ("10.0.0.1", &["for=1.2.3.4, for=_hidden"], "10.0.0.1", false),
    ("10.0.0.1", &["proto=https"], "10.0.0.1", false),
    ("10.0.0.1", &["for=1.2.3.4;for=5.6.7.8"], "10.0.0.1", false),
    (
        "10.0.0.1",
        &["for=1.2.3.4;proto=http;proto=https"],
        "10.0.0.1",
        false,
    ),
    ("10.0.0.1", &["for=2001:db8::1"], "10.0.0.1", false),
    ("10.0.0.1", &["for=\"1.2.3.4"], "10.0.0.1", false),
    ("10.0.0.1", &["for=1.2.3.4\""], "10.0.0.1", false),
    ("10.0.0.1", &["for = 1.2.3.4"], "10.0.0.1", false),
    ("10.0.0.1", &["for"], "10.0.0.1", false),
    ("10.0.0.1", &["for="], "10.0.0.1", false),
    (
        "10.0.0.1",
        &["for=1.2.3.4;proto=gopher"],
        "1.2.3.4, 10.0.0.1",
        false,
    ),
    ("10.0.0.1", &["1.2.3.4"], "10.0.0.1", false),
    ("10.0.0.1", &[""], "10.0.0.1", false),
];

#[test]
fn forwarded() {
    for (peer, lines, expected, encrypted) in FORWARDED_CASES {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        let found = chain(ForwardedField::Forwarded, peer, &lines);
        assert_eq!(
            found,
            ((*expected).to_owned(), *encrypted),
            "{peer} {lines:?}"
        );
    }
}

#[test]
fn only_the_field_of_the_policy_is_read() {
    let both = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "1.2.3.4")];
    let by = |field| chain(field, "10.0.0.1", &both).0;
    assert_eq!(by(ForwardedField::XForwardedFor), "1.2.3.4, 10.0.0.1");
    assert_eq!(by(ForwardedField::Forwarded), "6.6.6.6, 10.0.0.1");
}

#[test]
fn x_forwarded_proto() {
    for (peer, lines, encrypted) in [
        ("10.0.0.1", &["https"][..], true),
        ("10.0.0.1", &["HTTPS"], true),
        ("10.0.0.1", &["http"], false),
        ("10.0.0.1", &["https, http"], false),
        ("10.0.0.1", &["https", "https"], false),
        ("10.0.0.1", &["wss"], false),
        ("192.0.2.9", &["https"], false),
    ] {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-proto", *line))
            .collect();
        let found = chain(ForwardedField::XForwardedFor, peer, &lines).1;
        assert_eq!(found, encrypted, "{peer} {lines:?}");
    }
}

#[test]
fn the_walk_has_an_end() {
    let many = vec!["10.0.0.2"; 1_000].join(",");
    let client = resolve(
        &headers(&[("x-forwarded-for", &many)]),
        "10.0.0.1".parse().unwrap(),
        false,
        &policy(ForwardedField::XForwardedFor),
    );
    assert_eq!(client.proxies.len(), HOPS_MAX);
}

proptest! {
    /// Whatever a client sends on the left, the hop that our proxy added decides.
    #[test]
    fn what_our_proxy_adds_decides(forged in "[ -~]{0,60}", own_line in any::<bool>()) {
        let added = [("forwarded", ForwardedField::Forwarded, "for=1.2.3.4"), ("x-forwarded-for", ForwardedField::XForwardedFor, "1.2.3.4")];
        for (name, field, added) in added {
            let joined = format!("{forged}, {added}");
            let lines = if own_line { vec![(name, &*forged), (name, added)] } else { vec![(name, &*joined)] };
            prop_assert_eq!(chain(field, "10.0.0.1", &lines).0, "1.2.3.4, 10.0.0.1");
        }
    }

    #[test]
    fn any_bytes_are_taken(value in proptest::collection::vec(0x20_u8..=0xff, 0..80), field in any::<bool>()) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.append("forwarded", value.clone());
            headers.append("x-forwarded-for", value);
        }
        let field = if field { ForwardedField::Forwarded } else { ForwardedField::XForwardedFor };
        let client = resolve(&headers, "10.0.0.1".parse().unwrap(), true, &policy(field));
        prop_assert!(client.proxies.len() <= HOPS_MAX);
    }
}
