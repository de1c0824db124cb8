//! Chunked bodies that break off in the middle: the head was good, what follows was not.

use super::Refused;

/// With the head before it.
macro_rules! chunked {
    ($body:literal) => {
        concat!(
            "POST /case HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
            $body
        )
        .as_bytes()
    };
}

#[rustfmt::skip]
pub(super) const CASES: &[Refused] = &[
    ("an empty chunk size", "9112 7.1", 400, chunked!("\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size with a plus", "9112 7.1", 400, chunked!("+3\r\nabc\r\n0\r\n\r\n")),
    ("a negative chunk size", "9112 7.1", 400, chunked!("-3\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size with a prefix", "9112 7.1", 400, chunked!("0x3\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size after a space", "9112 7.1", 400, chunked!(" 3\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size before a space", "9112 7.1", 400, chunked!("3 \r\nabc\r\n0\r\n\r\n")),
    ("a chunk size before a tab", "9112 7.1", 400, chunked!("3\t\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size with an underscore", "9112 7.1", 400, chunked!("0_3\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size of no number", "9112 7.1", 400, chunked!("three\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size with NUL", "9112 7.1", 400, chunked!("3\0\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size of 2^64 and three", "9112 7.1", 400, chunked!("10000000000000003\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size of 2^63", "9112 7.1", 400, chunked!("8000000000000000\r\nabc\r\n0\r\n\r\n")),
    ("a chunk size of many zeros", "9112 7.1", 400, chunked!("00000000000000000003\r\nabc\r\n0\r\n\r\n")),
    ("bare LF after a chunk size", "9112 7.1", 400, chunked!("3\nabc\r\n0\r\n\r\n")),
    ("bare CR after a chunk size", "9112 7.1", 400, chunked!("3\rabc\r\n0\r\n\r\n")),
    ("bare LF after chunk data", "9112 7.1", 400, chunked!("3\r\nabc\n0\r\n\r\n")),
    ("bare CR after chunk data", "9112 7.1", 400, chunked!("3\r\nabc\r0\r\n\r\n")),
    ("nothing after chunk data", "9112 7.1", 400, chunked!("3\r\nabc0\r\n\r\n")),
    ("a chunk longer than its size", "9112 7.1", 400, chunked!("3\r\nabcd\r\n0\r\n\r\n")),
    ("a chunk shorter than its size", "9112 7.1", 400, chunked!("5\r\nabc\r\n0\r\n\r\n")),
    ("a bad second chunk", "9112 7.1", 400, chunked!("3\r\nabc\r\nx\r\ndef\r\n0\r\n\r\n")),
    ("bare LF at the end of a body", "9112 7.1", 400, chunked!("0\r\n\n")),
    ("bare LF after the last chunk", "9112 7.1", 400, chunked!("0\n\r\n")),
    ("bare CR at the end of a body", "9112 7.1", 400, chunked!("0\r\n\rX")),
    ("an empty extension", "9112 7.1.1", 400, chunked!("3;\r\nabc\r\n0\r\n\r\n")),
    ("an extension after a space", "9112 7.1.1", 400, chunked!("3 ;x\r\nabc\r\n0\r\n\r\n")),
    ("an extension with a space", "9112 7.1.1", 400, chunked!("3; x\r\nabc\r\n0\r\n\r\n")),
    ("an extension without a name", "9112 7.1.1", 400, chunked!("3;=y\r\nabc\r\n0\r\n\r\n")),
    ("an extension without a value", "9112 7.1.1", 400, chunked!("3;x=\r\nabc\r\n0\r\n\r\n")),
    ("an extension with an open quote", "9112 7.1.1", 400, chunked!("3;x=\"y\r\nabc\r\n0\r\n\r\n")),
    ("an extension with a line end in quotes", "9112 7.1.1", 400, chunked!("3;x=\"\r\n\"\r\nabc\r\n0\r\n\r\n")),
    ("an extension with bare LF", "9112 7.1.1", 400, chunked!("3;x\nabc\r\n0\r\n\r\n")),
    ("an extension with LF in its value", "9112 7.1.1", 400, chunked!("3;x=y\nz\r\nabc\r\n0\r\n\r\n")),
    ("an extension with NUL", "9112 7.1.1", 400, chunked!("3;x=\"\0\"\r\nabc\r\n0\r\n\r\n")),
    ("a trailer without a colon", "9112 7.1.2", 400, chunked!("3\r\nabc\r\n0\r\nx\r\n\r\n")),
    ("a trailer with a space before the colon", "9112 7.1.2", 400, chunked!("3\r\nabc\r\n0\r\nx : y\r\n\r\n")),
    ("a folded trailer", "9112 7.1.2", 400, chunked!("3\r\nabc\r\n0\r\nx: y\r\n z\r\n\r\n")),
    ("a trailer with bare LF", "9112 7.1.2", 400, chunked!("3\r\nabc\r\n0\r\nx: y\n\r\n")),
    ("a trailer with NUL", "9110 5.5", 400, chunked!("3\r\nabc\r\n0\r\nx: \0\r\n\r\n")),
    ("a length as trailer", "9110 6.5.1", 400, chunked!("3\r\nabc\r\n0\r\ncontent-length: 3\r\n\r\n")),
    ("a coding as trailer", "9110 6.5.1", 400, chunked!("3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n")),
    ("a host as trailer", "9110 6.5.1", 400, chunked!("3\r\nabc\r\n0\r\nHost: other\r\n\r\n")),
    ("a token as trailer", "9110 6.5.1", 400, chunked!("3\r\nabc\r\n0\r\nauthorization: Bearer x\r\n\r\n")),
];
