//! Requests as fields: RFC 9113, section 8.

use super::Expect::{Reset, Status};
use super::*;

const MALFORMED: Expect = Reset(1, &[PROTOCOL_ERROR]);

/// A request with these fields and no others.
fn bare_fields(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &block(fields))
}

/// A request that is all right but for what is added.
fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &request("GET", NEVER, fields))
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const AUTHORITY: (&str, &str) = (":authority", "localhost");
const PATH: (&str, &str) = (":path", NEVER);

pub(super) fn cases() -> Vec<Case> {
    [exchanges(), fields(), pseudo_fields(), lengths()]
        .into_iter()
        .flatten()
        .collect()
}

fn exchanges() -> Vec<Case> {
    let post = frame(HEADERS, END_HEADERS, 1, &request("POST", "/echo", &[]));
    let trailers = block(&[("x-trailer", "1")]);
    vec![
        case("8.1", "GET", get(1, "/echo"), Status(200)),
        case(
            "8.1",
            "HEAD",
            frame(HEADERS, WHOLE, 1, &request("HEAD", "/echo", &[])),
            Status(200),
        ),
        case(
            "8.1",
            "POST with a body",
            [post.clone(), frame(DATA, END_STREAM, 1, b"body")].concat(),
            Status(200),
        ),
        case(
            "8.1",
            "POST with trailers",
            [
                post.clone(),
                frame(DATA, 0, 1, b"body"),
                frame(HEADERS, WHOLE, 1, &trailers),
            ]
            .concat(),
            Status(200),
        ),
        case(
            "8.1",
            "trailers that do not end the stream",
            [post.clone(), frame(HEADERS, END_HEADERS, 1, &trailers)].concat(),
            MALFORMED,
        ),
        case(
            "8.1",
            "a pseudo-header field in trailers: the h2 crate takes them, and no trailer goes upstream",
            [
                post,
                frame(DATA, 0, 1, b"body"),
                frame(HEADERS, WHOLE, 1, &block(&[(":method", "GET")])),
            ]
            .concat(),
            Status(200),
        ),
        case(
            "8.4",
            "SETTINGS that allow push are taken, and nothing is pushed",
            [settings(&[(0x2, 1)]), get(1, "/echo")].concat(),
            Status(200),
        ),
        case(
            "8.5",
            "CONNECT",
            bare_fields(&[(":method", "CONNECT"), (":authority", "localhost:443")]),
            Status(405),
        ),
        case(
            "8.5",
            "CONNECT with a path",
            bare_fields(&[(":method", "CONNECT"), SCHEME, AUTHORITY, PATH]),
            MALFORMED,
        ),
        case(
            "8.5",
            "CONNECT without an authority",
            bare_fields(&[(":method", "CONNECT")]),
            Status(400),
        ),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        case(
            "8.2",
            "a name in upper case",
            with(&[("X-Upper", "1")]),
            Expect::GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "8.2.1",
            "a name with a space",
            with(&[("x bad", "1")]),
            Expect::GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "8.2.1",
            "an empty name",
            with(&[("", "1")]),
            Expect::GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "8.2.1",
            "a value with a line break",
            with(&[("x-bad", "1\r\nx-other: 2")]),
            Expect::GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "8.2.1",
            "a value with a zero byte",
            with(&[("x-bad", "1\0")]),
            Expect::GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "8.2.1",
            "a value that begins with a space",
            with(&[("x-bad", " 1")]),
            Status(400),
        ),
        case(
            "8.2.1",
            "a value that ends with a tab",
            with(&[("x-bad", "1\t")]),
            Status(400),
        ),
        case(
            "8.2.2",
            "connection",
            with(&[("connection", "close")]),
            MALFORMED,
        ),
        case(
            "8.2.2",
            "keep-alive",
            with(&[("keep-alive", "timeout=5")]),
            MALFORMED,
        ),
        case(
            "8.2.2",
            "proxy-connection",
            with(&[("proxy-connection", "keep-alive")]),
            MALFORMED,
        ),
        case(
            "8.2.2",
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
            MALFORMED,
        ),
        case(
            "8.2.2",
            "upgrade",
            with(&[("upgrade", "websocket")]),
            MALFORMED,
        ),
        case(
            "8.2.2",
            "te that is not trailers",
            with(&[("te", "gzip")]),
            MALFORMED,
        ),
        case(
            "8.2.2",
            "te: trailers",
            frame(
                HEADERS,
                WHOLE,
                1,
                &request("GET", "/echo", &[("te", "trailers")]),
            ),
            Status(200),
        ),
        case(
            "6.5.2",
            "more fields than allowed",
            with(&[("x", "y"); 110]),
            Status(431),
        ),
        case(
            "6.5.2",
            "a larger field list than allowed",
            [
                frame(
                    HEADERS,
                    END_STREAM,
                    1,
                    &request("GET", NEVER, &[("x-a", &"a".repeat(9_000))]),
                ),
                frame(
                    CONTINUATION,
                    END_HEADERS,
                    1,
                    &block(&[("x-b", &"b".repeat(9_000))]),
                ),
            ]
            .concat(),
            Status(431),
        ),
    ]
}

fn pseudo_fields() -> Vec<Case> {
    let host = |host: &'static str| bare_fields(&[METHOD, SCHEME, AUTHORITY, PATH, ("host", host)]);
    let path = |path: &str| bare_fields(&[METHOD, SCHEME, AUTHORITY, (":path", path)]);
    vec![
        case(
            "8.3",
            "an unknown pseudo-header field",
            bare_fields(&[METHOD, SCHEME, AUTHORITY, PATH, (":test", "1")]),
            Expect::GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "8.3",
            "a response's pseudo-header field",
            bare_fields(&[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")]),
            MALFORMED,
        ),
        case(
            "8.3",
            "a pseudo-header field after another field",
            bare_fields(&[METHOD, SCHEME, AUTHORITY, ("accept", "*/*"), PATH]),
            MALFORMED,
        ),
        case(
            "8.3",
            ":method twice",
            bare_fields(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH]),
            MALFORMED,
        ),
        case(
            "8.3",
            ":scheme twice",
            bare_fields(&[METHOD, SCHEME, SCHEME, AUTHORITY, PATH]),
            MALFORMED,
        ),
        case(
            "8.3",
            ":path twice",
            bare_fields(&[METHOD, SCHEME, AUTHORITY, PATH, PATH]),
            MALFORMED,
        ),
        case(
            "8.3",
            ":authority twice",
            bare_fields(&[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH]),
            MALFORMED,
        ),
        case(
            "8.3.1",
            "no :method",
            bare_fields(&[SCHEME, AUTHORITY, PATH]),
            MALFORMED,
        ),
        case(
            "8.3.1",
            "no :scheme",
            bare_fields(&[METHOD, AUTHORITY, PATH]),
            MALFORMED,
        ),
        case(
            "8.3.1",
            "no :path",
            bare_fields(&[METHOD, SCHEME, AUTHORITY]),
            MALFORMED,
        ),
        case("8.3.1", "an empty :path", path(""), MALFORMED),
        case("8.3.1", "a :path without a slash", path("echo"), MALFORMED),
        case(
            "8.3.1",
            "a :path with a whole URI",
            path("https://localhost/echo/never"),
            MALFORMED,
        ),
        case(
            "8.3.1",
            "a :path with a space",
            path("/echo/never HTTP/1.1"),
            MALFORMED,
        ),
        case(
            "8.3.1",
            "no :authority and no host",
            bare_fields(&[METHOD, SCHEME, PATH]),
            Status(400),
        ),
        case(
            "8.3.1",
            "host instead of :authority",
            bare_fields(&[METHOD, SCHEME, (":path", "/echo"), ("host", "localhost")]),
            Status(200),
        ),
        case(
            "8.3.1",
            "host that differs from :authority",
            host("other"),
            Status(400),
        ),
        case(
            "8.3.1",
            "two host fields",
            bare_fields(&[
                METHOD,
                SCHEME,
                PATH,
                ("host", "localhost"),
                ("host", "localhost"),
            ]),
            Status(400),
        ),
        case(
            "8.3.1",
            ":authority with a user",
            bare_fields(&[METHOD, SCHEME, (":authority", "user@localhost"), PATH]),
            Status(400),
        ),
        case(
            "8.3.1",
            ":authority that is none",
            bare_fields(&[METHOD, SCHEME, (":authority", "a b"), PATH]),
            MALFORMED,
        ),
    ]
}

fn lengths() -> Vec<Case> {
    let post = |length: &str| {
        frame(
            HEADERS,
            END_HEADERS,
            1,
            &request("POST", NEVER, &[("content-length", length)]),
        )
    };
    vec![
        case(
            "8.1.1",
            "less DATA than content-length",
            [post("5"), frame(DATA, END_STREAM, 1, b"1234")].concat(),
            MALFORMED,
        ),
        case(
            "8.1.1",
            "more DATA than content-length",
            [post("5"), frame(DATA, 0, 1, b"123456")].concat(),
            MALFORMED,
        ),
        case(
            "8.1.1",
            "content-length and no DATA",
            with(&[("content-length", "5")]),
            MALFORMED,
        ),
        case(
            "8.1.1",
            "two content-lengths",
            with(&[("content-length", "0"), ("content-length", "1")]),
            MALFORMED,
        ),
        case(
            "8.1.1",
            "a content-length with a sign",
            post("+5"),
            MALFORMED,
        ),
        case(
            "8.1.1",
            "a content-length in hexadecimal",
            post("0x5"),
            MALFORMED,
        ),
    ]
}
