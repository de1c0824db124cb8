//! Headers of both versions, good and bad, whole and in pieces.

use super::*;
use proptest::prelude::*;

/// Version 2 with this command, kind and what follows.
fn v2(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, kind]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

/// 192.0.2.1:56324 to 192.0.2.2:443.
const V4: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb];

fn v6(source: &str) -> Vec<u8> {
    let mut bytes = source.parse::<Ipv6Addr>().unwrap().octets().to_vec();
    bytes.extend(Ipv6Addr::LOCALHOST.octets());
    bytes.extend([0xdc, 0x04, 0x01, 0xbb]);
    bytes
}

fn with(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A whole header, and the source it names.
fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let tlv: &[u8] = &[0x03, 0, 4, 1, 2, 3, 4];
    let longest = format!(
        "PROXY UNKNOWN {} {} 65535 65535\r\n",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    );
    assert_eq!(longest.len(), LINE_BYTES_MAX);
    let text = |line: &str| format!("{line}\r\n").into_bytes();
    vec![
        (
            text("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443"),
            Some("192.0.2.1:56324"),
        ),
        (
            text("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535"),
            Some("0.0.0.0:0"),
        ),
        (
            text("PROXY TCP6 2001:db8::1 ::1 56324 443"),
            Some("[2001:db8::1]:56324"),
        ),
        (
            text("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 443"),
            Some("192.0.2.1:1"),
        ),
        (text("PROXY UNKNOWN"), None),
        (text("PROXY UNKNOWN what ever it says"), None),
        (longest.into_bytes(), None),
        (v2(0x21, 0x11, V4), Some("192.0.2.1:56324")),
        (v2(0x21, 0x11, &with(&[V4, tlv])), Some("192.0.2.1:56324")),
        (
            v2(0x21, 0x11, &with(&[V4, tlv, tlv])),
            Some("192.0.2.1:56324"),
        ),
        (
            v2(0x21, 0x11, &with(&[V4, &[0x04, 0, 0]])),
            Some("192.0.2.1:56324"),
        ),
        (
            v2(0x21, 0x21, &v6("2001:db8::1")),
            Some("[2001:db8::1]:56324"),
        ),
        (
            v2(0x21, 0x21, &v6("::ffff:192.0.2.1")),
            Some("192.0.2.1:56324"),
        ),
        (v2(0x21, 0x31, &[b'/'; 216]), None),
        (v2(0x21, 0x00, &[]), None),
        (v2(0x21, 0x00, b"anything"), None),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, V4), None),
        (v2(0x20, 0x11, &[]), None),
        (v2(0x20, 0x22, b"to be skipped"), None),
    ]
}

#[test]
fn headers_are_read_and_nothing_behind_them() {
    for (header, source) in good() {
        let whole = Progress::Whole {
            length: header.len(),
            source: source.map(|text| text.parse().unwrap()),
        };
        for behind in ["", "GET / HTTP/1.1\r\n", "\r\n", "PROXY "] {
            let bytes = with(&[&header, behind.as_bytes()]);
            assert_eq!(parse(&bytes), Ok(whole), "{}", bytes.escape_ascii());
        }
        for cut in 0..header.len() {
            let part = &header[..cut];
            assert_eq!(
                parse(part),
                Ok(Progress::Incomplete),
                "{}",
                part.escape_ascii()
            );
        }
    }
}

#[test]
fn what_is_no_header_is_refused() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX));
    let lines = [
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 \r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 080 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2  443\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 443\r\n",
        "PROXY TCP4 192.0.02.1 192.0.2.2 1 443\r\n",
        "PROXY TCP4 2001:db8::1 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 443\r\n",
        "PROXY TCP6 [::1] ::1 1 443\r\n",
        "PROXY TCP6 2001:db8::1%eth0 ::1 1 443\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 443\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 443\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 443\r\n",
        "PROXY TCP4 192.0.2.1\r 192.0.2.2 1 443\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}",
        &long,
    ];
    for line in lines {
        assert!(parse(line.as_bytes()).is_err(), "{line:?}");
    }
    let mut signature = v2(0x21, 0x11, V4);
    signature[11] = b'\r';
    let mut too_long = v2(0x21, 0x11, &with(&[V4, &[0; 0]]));
    too_long[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    let binary = [
        signature,
        too_long,
        v2(0x11, 0x11, V4),
        v2(0x22, 0x11, V4),
        v2(0x01, 0x11, V4),
        v2(0x21, 0x12, V4),
        v2(0x21, 0x22, &v6("::1")),
        v2(0x21, 0x41, V4),
        v2(0x21, 0x10, V4),
        v2(0x21, 0x01, V4),
        v2(0x21, 0x11, &V4[..11]),
        v2(0x21, 0x21, V4),
        v2(0x21, 0x31, &[b'/'; 215]),
        v2(0x21, 0x11, &with(&[V4, &[0x03]])),
        v2(0x21, 0x11, &with(&[V4, &[0x03, 0]])),
        v2(0x21, 0x11, &with(&[V4, &[0x03, 0, 1]])),
        v2(0x21, 0x11, &with(&[V4, &[0x03, 0xff, 0xff, 1, 2]])),
    ];
    for bytes in binary {
        assert!(parse(&bytes).is_err(), "{}", bytes.escape_ascii());
    }
}

proptest! {
    #[test]
    fn a_verdict_never_changes_with_more_bytes(
        kind in 0..3_usize, bytes in proptest::collection::vec(any::<u8>(), 0..160), text in "[A-Z0-9 .:]{0,60}(\r\n)?",
    ) {
        let begin: &[u8] = [WORD, SIGNATURE, b""][kind];
        let bytes = if kind == 0 { with(&[begin, text.as_bytes()]) } else { with(&[begin, &bytes]) };
        let mut verdict = None;
        for cut in 0..=bytes.len() {
            let now = parse(&bytes[..cut]);
            if let Some(before) = verdict {
                prop_assert_eq!(now, before);
            } else if now != Ok(Progress::Incomplete) {
                if let Ok(Progress::Whole { length, .. }) = now {
                    prop_assert_eq!(length, cut);
                }
                verdict = Some(now);
            }
        }
    }
}
