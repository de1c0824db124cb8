//! Verdicts on heads, whole and in pieces, and beside the parser that Pingora uses.

use super::*;
use crate::listen::http1::start_line::TARGET_BYTES_MAX;
use pingora_core::protocols::http::authority::validate_request_authority;
use pingora_http::RequestHeader;
use proptest::prelude::*;

/// The verdict on a request line and fields, each line ended as it should be.
fn judged(lines: &[&str]) -> Result<Framing, Refusal> {
    let mut bytes = lines.join("\r\n").into_bytes();
    bytes.extend(b"\r\n\r\n");
    let head = check(&bytes)?.expect("a whole head");
    assert_eq!(head.range, 0..bytes.len());
    Ok(head.framing)
}

/// Fed in pieces of these sizes, then the rest.
fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Result<Option<Head>, Refusal> {
    let mut reader = HeadReader::default();
    let mut end = 0;
    for cut in cuts {
        end = (end + cut).min(bytes.len());
        if let Some(head) = reader.advance(&bytes[..end])? {
            return Ok(Some(head));
        }
    }
    reader.advance(bytes)
}

#[test]
fn bodies_are_framed() {
    let cases: [(&[&str], Body); 6] = [
        (&["GET / HTTP/1.1", "Host: a"], Body::Empty),
        (&["GET / HTTP/1.0"], Body::Empty),
        (
            &["POST / HTTP/1.1", "Host: a", "Content-Length: 0"],
            Body::Empty,
        ),
        (
            &["POST / HTTP/1.1", "Host: a", "Content-Length:\t12 "],
            Body::Length(12),
        ),
        (&["POST / HTTP/1.0", "content-length: 007"], Body::Length(7)),
        (
            &["POST / HTTP/1.1", "Host: a", "TRANSFER-ENCODING: Chunked"],
            Body::Chunked,
        ),
    ];
    for (lines, body) in cases {
        assert_eq!(
            judged(lines).map(|framing| framing.body),
            Ok(body),
            "{lines:?}"
        );
    }
}

#[test]
fn only_newer_clients_upgrade() {
    let upgrades = |lines: &[&str]| judged(lines).map(|framing| framing.upgrade);
    assert_eq!(
        upgrades(&["GET / HTTP/1.1", "Host: a", "Upgrade: WebSocket"]),
        Ok(true)
    );
    assert_eq!(
        upgrades(&["GET / HTTP/1.0", "Host: a", "Upgrade: WebSocket"]),
        Ok(false)
    );
    assert_eq!(upgrades(&["GET / HTTP/1.1", "Host: a"]), Ok(false));
}

#[test]
fn authorities() {
    for good in [
        "a",
        "A.example",
        "a.example.",
        "a_b",
        "a:80",
        "a:",
        "127.0.0.1:65535",
        "[::1]",
        "[::1]:443",
        "[::ffff:1.2.3.4]",
    ] {
        assert!(is_authority(good.as_bytes()), "{good}");
    }
    for bad in [
        "",
        ":80",
        "a b",
        "a,b",
        "a/b",
        "a@b",
        "a:b",
        "a:123456",
        "a:1:2",
        "[::1",
        "::1",
        "[]",
        "[x]",
        "[::1]x",
        "[::1]:x",
        "a\\b",
        "a%2e",
        "a?b",
        "caf\u{e9}",
        "a\tb",
        "[a]b]",
    ] {
        assert!(!is_authority(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn bounds_are_exact() {
    let target = |bytes: usize| format!("/{}", "a".repeat(bytes - 1));
    let line = |bytes: usize| format!("GET {} HTTP/1.1", target(bytes));
    assert!(judged(&[&line(TARGET_BYTES_MAX), "Host: a"]).is_ok());
    assert_eq!(
        judged(&[&line(TARGET_BYTES_MAX + 1), "Host: a"]),
        Err(Refusal::TargetTooLong)
    );
    let mut lines = vec!["GET / HTTP/1.1", "Host: a"];
    lines.resize(FIELDS_MAX + 1, "x: 1");
    assert!(judged(&lines).is_ok());
    lines.push("x: 1");
    assert_eq!(judged(&lines), Err(Refusal::FieldsTooLarge));
    let value = "v".repeat(HEAD_BYTES_MAX);
    let large = format!("x: {value}");
    assert_eq!(
        judged(&["GET / HTTP/1.1", "Host: a", &large]),
        Err(Refusal::FieldsTooLarge)
    );
}

#[test]
fn what_never_ends_is_refused_in_time() {
    let endless = [b'a'; START_LINE_BYTES_MAX + 1];
    assert_eq!(check(&endless), Err(Refusal::TargetTooLong));
    let mut fields = b"GET / HTTP/1.1\r\nx: ".to_vec();
    fields.resize(HEAD_BYTES_MAX + 1, b'v');
    assert_eq!(check(&fields), Err(Refusal::FieldsTooLarge));
    // The first bytes of a TLS handshake.
    assert_eq!(check(&[0x16, 3, 1]), Err(NO_METHOD));
    assert_eq!(
        check(b"GET / HTTP/1.1\rX"),
        Err(check(b"GET / HTTP/1.1\n").expect_err("bare"))
    );
    assert_eq!(check(b"GET / HTTP/1.1\r"), Ok(None));
}

/// Bytes that mean something to somebody, more often than others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = proptest::sample::select(vec![
        "GET ",
        "POST ",
        "/ ",
        "/a?b ",
        "* ",
        "http://a/ ",
        "HTTP/1.1",
        "HTTP/1.0",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r",
        "\n",
        "Host: a",
        "host:a",
        "Content-Length: 3",
        "content-length: +3",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Upgrade: x",
        "x: y",
        "x : y",
        " x: y",
        ":",
        " ",
        "\t",
        "\0",
        "\u{e9}",
        "#",
    ]);
    let framed =
        (proptest::collection::vec(pieces, 0..14), any::<bool>()).prop_map(|(pieces, good)| {
            let start = if good {
                "GET / HTTP/1.1\r\nHost: a\r\n"
            } else {
                ""
            };
            format!("{start}{}", pieces.concat()).into_bytes()
        });
    prop_oneof![framed, proptest::collection::vec(any::<u8>(), 0..60)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_cut_gives_the_same(bytes in bytes(), cuts in proptest::collection::vec(0_usize..9, 0..40)) {
        prop_assert_eq!(in_pieces(&bytes, &cuts), check(&bytes));
    }

    /// What passes here means the same to the parser that Pingora uses.
    #[test]
    fn an_independent_parser_reads_the_same(bytes in bytes()) {
        let Ok(Some(head)) = check(&bytes) else {
            return Ok(());
        };
        let text = &bytes[head.range];
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        prop_assert_eq!(request.parse(text), Ok(httparse::Status::Complete(text.len())));
        let named = |name: &str| {
            let found = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            found.map(|field| field.value).collect::<Vec<_>>()
        };
        let (codings, lengths) = (named("transfer-encoding"), named("content-length"));
        let body = match (&codings[..], &lengths[..]) {
            ([], []) => Body::Empty,
            ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Body::Chunked,
            ([], [length]) => match std::str::from_utf8(length).unwrap().parse().unwrap() {
                0 => Body::Empty,
                length => Body::Length(length),
            },
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(head.framing.body, body);
        prop_assert!(named("host").len() <= 1);
        prop_assert!(request.version == Some(0) || named("host").len() == 1);
    }

    /// Nothing is left for Pingora to refuse in words of its own.
    #[test]
    fn pingora_takes_what_passes(target in "(/|http://a|HTTPS://a:1)[!-~]{0,20}", host in "a(:1)?") {
        let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        if check(text.as_bytes()).is_ok() {
            let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
            request.insert_header("host", host).unwrap();
            validate_request_authority(&request).unwrap();
        }
    }
}
