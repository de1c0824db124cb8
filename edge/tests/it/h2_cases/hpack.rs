//! Field compression: RFC 7541, as far as a decoder can get it wrong.

use super::Expect::{GoAway, Status};
use super::*;

/// Indexed fields of the static table: GET, https, `/`.
const GET_HTTPS: &[u8] = &[0x82, 0x87];
/// `:authority` as a literal whose name is indexed: `www.example.com` in Huffman code (C.4.1).
const AUTHORITY_HUFFMAN: &[u8] = &[
    0x01, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
];

/// The pseudo-header fields of a good request, then these bytes.
fn then(bytes: &[u8]) -> Vec<u8> {
    let mut block = request("GET", NEVER, &[]);
    block.extend(bytes);
    frame(HEADERS, WHOLE, 1, &block)
}

fn good(bytes: &[u8]) -> Vec<u8> {
    let mut block = request("GET", "/echo", &[]);
    block.extend(bytes);
    frame(HEADERS, WHOLE, 1, &block)
}

const BROKEN: Expect = GoAway(&[COMPRESSION_ERROR, H2_CRATE]);

pub(super) fn cases() -> Vec<Case> {
    let indexed = [GET_HTTPS, AUTHORITY_HUFFMAN, &[0x04, 0x05], b"/echo"].concat();
    let mut before = vec![0x3f, 0xe1, 0x1f];
    before.extend(request("GET", "/echo", &[]));
    vec![
        case(
            "RFC 7541 2.3.3",
            "an index beyond both tables",
            then(&[0xff, 0x7f]),
            BROKEN,
        ),
        case(
            "RFC 7541 2.3.3",
            "an index of the empty dynamic table",
            then(&[0xbe]),
            BROKEN,
        ),
        case(
            "RFC 7541 4.2",
            "a new table size at the end of a block",
            then(&[0x20]),
            BROKEN,
        ),
        case(
            "RFC 7541 5.1",
            "an integer that overflows",
            then(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            BROKEN,
        ),
        case(
            "RFC 7541 5.2",
            "a string longer than its block",
            then(&[0x00, 0x01, b'x', 0x7f, 0x20]),
            BROKEN,
        ),
        case(
            "RFC 7541 5.2",
            "Huffman padding of more than seven bits",
            then(&[0x00, 0x01, b'x', 0x82, 0x1f, 0xff]),
            BROKEN,
        ),
        case(
            "RFC 7541 5.2",
            "Huffman padding with zeros",
            then(&[0x00, 0x01, b'x', 0x81, 0x18]),
            BROKEN,
        ),
        case(
            "RFC 7541 5.2",
            "the end of string in Huffman code",
            then(&[0x00, 0x01, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
            BROKEN,
        ),
        case(
            "RFC 7541 6.1",
            "indexed fields and a Huffman string",
            frame(HEADERS, WHOLE, 1, &indexed),
            Status(200),
        ),
        case("RFC 7541 6.1", "an index of 0", then(&[0x80]), BROKEN),
        case(
            "RFC 7541 6.2.1",
            "a field that is indexed and used again",
            good(b"\x40\x03x-a\x011\xbe\xbe"),
            Status(200),
        ),
        case(
            "RFC 7541 6.2.3",
            "a field that is never indexed",
            good(b"\x10\x03x-a\x011"),
            Status(200),
        ),
        case(
            "RFC 7541 6.3",
            "a table size within the bound",
            frame(HEADERS, WHOLE, 1, &before),
            Status(200),
        ),
        case(
            "RFC 7541 6.3",
            "a table size over the bound",
            frame(
                HEADERS,
                WHOLE,
                1,
                &[&[0x3f, 0xe2, 0x1f][..], &request("GET", NEVER, &[])].concat(),
            ),
            BROKEN,
        ),
    ]
}
