//! `:protocol` of an HTTP/3 request head, in words that the h3 crate knows.
//!
//! h3 0.0.8 takes `webtransport` and `connect-udp` for the whole of what extended CONNECT may ask
//! for and resets a stream that asks for `websocket` (RFC 9220). So the field is rewritten before
//! the crate reads it: `websocket` becomes `webtransport`, and everything else `connect-udp`, which
//! `h3/head` turns back. Nothing else changes, and a head without the field is not even copied.

use bytes::{BufMut, Bytes, BytesMut};
use h3::ext::Protocol;

/// Frame type (RFC 9114, 7.2.2).
const HEADERS: u8 = 0x1;
const NAME: &[u8] = b":protocol";
/// The same in the Huffman code of RFC 7541, appendix B.
const NAME_HUFFMAN: &[u8] = &[0xb9, 0x5d, 0x87, 0x49, 0xc8, 0x7a, 0x3f];
const WEBSOCKET: &[u8] = b"websocket";
const WEBSOCKET_HUFFMAN: &[u8] = &[0xf0, 0x58, 0xd0, 0x72, 0x75, 0x2a, 0x7f];

/// What `websocket` and everything else are called behind this file.
const WEBSOCKET_STAND_IN: Protocol = Protocol::WEB_TRANSPORT;
const OTHER_STAND_IN: Protocol = Protocol::CONNECT_UDP;

/// Whether a head's protocol was `websocket` on the wire.
pub(super) fn is_websocket(protocol: Protocol) -> bool {
    protocol == WEBSOCKET_STAND_IN
}

/// The HEADERS frame of a request with this field section, where it is to be read as another one.
pub(super) fn stand_in(section: &[u8]) -> Option<Bytes> {
    let section = rewritten_block(section)?;
    // Four bytes of length (RFC 9000, 16): a head is far below a GiB.
    let length = u32::try_from(section.len()).ok()? & 0x3fff_ffff;
    let mut frame = BytesMut::with_capacity(section.len() + 5);
    frame.put_u8(HEADERS);
    frame.put_u32(length | 0x8000_0000);
    frame.put_slice(&section);
    Some(frame.freeze())
}

/// A field section (RFC 9204, 4.5) with another value of `:protocol`; none where it has no such
/// field, or is not one that can be read: refusing is the h3 crate's.
fn rewritten_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut rest = block;
    integer(&mut rest, 8)?;
    integer(&mut rest, 7)?;
    let mut out = Vec::new();
    let mut copied = 0;
    while let Some(first) = rest.first().copied() {
        let mut is_protocol = false;
        let has_value = match first.leading_zeros() {
            // Indexed, in the static or dynamic table.
            0 => integer(&mut rest, 6).map(|_| false)?,
            // Name from a table.
            1 => integer(&mut rest, 4).map(|_| true)?,
            2 => {
                let name = text(&mut rest, 3)?;
                is_protocol = name == (false, NAME) || name == (true, NAME_HUFFMAN);
                true
            }
            // The same two in the dynamic table behind the base.
            3 => integer(&mut rest, 4).map(|_| false)?,
            _ => integer(&mut rest, 3).map(|_| true)?,
        };
        let value_begins = block.len() - rest.len();
        if !has_value {
            continue;
        }
        let value = text(&mut rest, 7)?;
        if is_protocol {
            let is_websocket = value == (false, WEBSOCKET) || value == (true, WEBSOCKET_HUFFMAN);
            let stand_in = match (copied, is_websocket) {
                (0, true) => WEBSOCKET_STAND_IN.as_str(),
                (0, false) => OTHER_STAND_IN.as_str(),
                // A second one: no value that the crate takes (RFC 9114, 4.3).
                _ => "",
            };
            out.extend_from_slice(block.get(copied..value_begins)?);
            out.push(u8::try_from(stand_in.len()).ok()?);
            out.extend_from_slice(stand_in.as_bytes());
            copied = block.len() - rest.len();
        }
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(block.get(copied..)?);
    Some(out)
}

/// A string literal behind `8 - bits - 1` bits: whether it is in Huffman code, and its bytes.
fn text<'b>(rest: &mut &'b [u8], bits: u32) -> Option<(bool, &'b [u8])> {
    let is_huffman = rest.first()? >> bits & 1 == 1;
    let length = usize::try_from(integer(rest, bits)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((is_huffman, text))
}

/// RFC 7541, 5.1: an integer in the last `bits` bits and what follows.
fn integer(rest: &mut &[u8], bits: u32) -> Option<u64> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    let most = (1_u64 << bits) - 1;
    let mut value = u64::from(*first) & most;
    if value < most {
        return Some(value);
    }
    let mut shift = 0;
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        // Nothing in a head is as long as this could say.
        if shift > 28 {
            return None;
        }
        value += u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `:method: CONNECT` indexed, `:scheme` by name reference, then these literals, then `x: y`.
    fn block(literals: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = vec![0, 0, 0xc0 | 15, 0x5f, 0x07, 5];
        out.extend(b"https");
        for (name, value) in literals {
            out.extend_from_slice(name);
            out.extend_from_slice(value);
        }
        out.extend(b"\x21x\x01y");
        out
    }

    fn shown(section: &[u8]) -> Vec<u8> {
        stand_in(section).map_or_else(Vec::new, Vec::from)
    }

    const PLAIN_NAME: &[u8] = b"\x27\x02:protocol";
    const HUFFMAN_NAME: &[u8] = b"\x2f\x00\xb9\x5d\x87\x49\xc8\x7a\x3f";

    fn rewritten_to(value: &[u8]) -> Vec<u8> {
        let mut out = Vec::from([1, 0x80, 0, 0]);
        let mut written = vec![value.len() as u8];
        written.extend(value);
        let block = block(&[(PLAIN_NAME, &written)]);
        out.push(block.len() as u8);
        out.extend(block);
        out
    }

    #[test]
    fn the_protocol_is_renamed_however_it_is_written() {
        let websocket = rewritten_to(b"webtransport");
        let other = rewritten_to(b"connect-udp");
        for (value, expected) in [
            (&b"\x09websocket"[..], &websocket),
            (b"\x87\xf0\x58\xd0\x72\x75\x2a\x7f", &websocket),
            (b"\x09WebSocket", &other),
            (b"\x0cwebtransport", &other),
            (b"\x00", &other),
        ] {
            let head = block(&[(PLAIN_NAME, value)]);
            assert_eq!(shown(&head), *expected, "{value:?}");
        }
        let huffman = block(&[(HUFFMAN_NAME, b"\x09websocket")]);
        let shown = shown(&huffman);
        assert!(shown.windows(12).any(|part| part == b"webtransport"));
    }

    #[test]
    fn a_second_protocol_is_none_that_is_taken() {
        let twice = block(&[
            (PLAIN_NAME, b"\x0bconnect-udp"),
            (PLAIN_NAME, b"\x09websocket"),
        ]);
        let expected = block(&[(PLAIN_NAME, b"\x0bconnect-udp"), (PLAIN_NAME, b"\x00")]);
        assert!(shown(&twice).ends_with(&expected));
    }

    #[test]
    fn a_head_without_it_stays() {
        assert_eq!(stand_in(&block(&[])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(section in proptest::collection::vec(any::<u8>(), 0..80)) {
            shown(&section);
        }
    }
}
