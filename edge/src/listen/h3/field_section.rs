//! The shape of an encoded field section: no dynamic table, and pseudo-header fields in order.
//!
//! Names are looked at and values are only stepped over; decoding stays with the h3 crate, which
//! does not see the order of pseudo-header fields, nor one that comes twice.

use h3::error::Code;

use super::frame_filter::Violation;

/// Lines of the static table (RFC 9204, appendix A).
const STATIC_LINES: u64 = 99;
/// Longest integer in bytes after its first: QPACK's need 62 bits at most (RFC 9204, 4.1.1).
const INTEGER_BYTES_MAX: u32 = 9;

const MALFORMED: Violation = Violation::Stream(Code::H3_MESSAGE_ERROR);
const UNDECODABLE: Violation = Violation::Connection(
    Code::QPACK_DECOMPRESSION_FAILED,
    "a field section that cannot be decoded",
);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Head,
    Trailers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    /// One of `PSEUDO`.
    Pseudo(usize),
    /// Begins with a colon and belongs to responses, or to nothing.
    NotOfRequests,
    Regular,
}

const PATH: usize = 3;
/// Those of requests, raw and in the one Huffman coding that they have (RFC 7541, 5.2).
const PSEUDO: [(&[u8], &[u8]); 5] = [
    (b":method", &[0xb9, 0x49, 0x53, 0x39, 0xe4]),
    (b":scheme", &[0xb8, 0x82, 0x4e, 0x5a, 0x4b]),
    (
        b":authority",
        &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f],
    ),
    (b":path", &[0xb9, 0x58, 0xd3, 0x3f]),
    (b":protocol", &[0xb9, 0x5d, 0x87, 0x49, 0xc8, 0x7a, 0x3f]),
];
/// The seven bits of a colon, at the top of a byte.
const HUFFMAN_COLON: u8 = 0x5c << 1;

/// Fails with what the section breaks of RFC 9204, 4.5 (the connection) or RFC 9114, 4.3 (the stream).
pub(super) fn check(section: &[u8], part: Part) -> Result<(), Violation> {
    let mut order = Order {
        part,
        seen: [false; PSEUDO.len()],
        regular: false,
    };
    let mut lines = Lines(section);
    lines.prefix().ok_or(UNDECODABLE)?;
    while !lines.0.is_empty() {
        let (name, value_bytes) = lines.line().ok_or(UNDECODABLE)?;
        order.check(name, value_bytes)?;
    }
    Ok(())
}

struct Order {
    part: Part,
    seen: [bool; PSEUDO.len()],
    regular: bool,
}

impl Order {
    /// RFC 9114, 4.3: ahead of the others, each once, none in trailers, none of responses.
    fn check(&mut self, name: Name, value_bytes: Option<u64>) -> Result<(), Violation> {
        let pseudo = match name {
            Name::Regular => {
                self.regular = true;
                return Ok(());
            }
            Name::NotOfRequests => return Err(MALFORMED),
            Name::Pseudo(pseudo) => pseudo,
        };
        let is_empty_path = pseudo == PATH && value_bytes == Some(0);
        let seen = self.seen.get_mut(pseudo);
        let is_second = seen.is_some_and(|seen| std::mem::replace(seen, true));
        if self.part == Part::Trailers || self.regular || is_second || is_empty_path {
            return Err(MALFORMED);
        }
        Ok(())
    }
}

struct Lines<'a>(&'a [u8]);

impl Lines<'_> {
    /// RFC 9204, 4.5.1: our table has no capacity, so a section can refer to nothing in it.
    fn prefix(&mut self) -> Option<()> {
        let (_, required_inserts) = self.integer(8)?;
        let (first, _) = self.integer(7)?;
        (required_inserts == 0 && first & 0x80 == 0).then_some(())
    }

    /// A field line: its name, and the bytes of its value where they are spelt out.
    fn line(&mut self) -> Option<(Name, Option<u64>)> {
        let first = *self.0.first()?;
        match first {
            // Indexed, static (RFC 9204, 4.5.2).
            0xc0.. => Some((static_name(self.integer(6)?.1)?, None)),
            // Literal with a name of the static table (4.5.4).
            0x50..=0x5f | 0x70..=0x7f => {
                let name = static_name(self.integer(4)?.1)?;
                Some((name, Some(self.string(7)?.1.len() as u64)))
            }
            // Literal (4.5.6).
            0x20..=0x3f => {
                let (first, name) = self.string(3)?;
                let name = literal_name(name, first & 0x08 != 0);
                Some((name, Some(self.string(7)?.1.len() as u64)))
            }
            // All others refer to the dynamic table.
            _ => None,
        }
    }

    /// A string whose length is behind `bits` bits (RFC 9204, 4.1.2), with its first byte.
    fn string(&mut self, bits: u32) -> Option<(u8, &[u8])> {
        let (first, length) = self.integer(bits)?;
        let (string, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some((first, string))
    }

    /// An integer in the last `bits` bits of a byte and what follows (RFC 7541, 5.1), with that byte.
    fn integer(&mut self, bits: u32) -> Option<(u8, u64)> {
        let (first, mut rest) = self.0.split_first()?;
        let mask = u64::from(u8::MAX >> (8 - bits));
        let mut value = u64::from(*first) & mask;
        if value == mask {
            let mut last = false;
            for shift in (0..INTEGER_BYTES_MAX).map(|byte| byte * 7) {
                let (byte, more) = rest.split_first()?;
                rest = more;
                value = value.checked_add(u64::from(byte & 0x7f) << shift)?;
                last = byte & 0x80 == 0;
                if last {
                    break;
                }
            }
            if !last {
                return None;
            }
        }
        self.0 = rest;
        Some((*first, value))
    }
}

/// RFC 9204, appendix A.
fn static_name(index: u64) -> Option<Name> {
    Some(match index {
        15..=21 => Name::Pseudo(0),
        22 | 23 => Name::Pseudo(1),
        0 => Name::Pseudo(2),
        1 => Name::Pseudo(PATH),
        24..=28 | 63..=71 => Name::NotOfRequests,
        STATIC_LINES.. => return None,
        _ => Name::Regular,
    })
}

fn literal_name(name: &[u8], is_huffman: bool) -> Name {
    let of_requests = PSEUDO
        .iter()
        .position(|(raw, huffman)| name == if is_huffman { *huffman } else { *raw });
    let begins_with_colon = match (name.first(), is_huffman) {
        (Some(first), true) => first & 0xfe == HUFFMAN_COLON,
        (first, false) => first == Some(&b':'),
        (None, true) => false,
    };
    match of_requests {
        Some(pseudo) => Name::Pseudo(pseudo),
        None if begins_with_colon => Name::NotOfRequests,
        None => Name::Regular,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A name behind three bits; those of tests are shorter than 134 bytes.
    fn literal(name: &str, value: &str) -> Vec<u8> {
        let length = u8::try_from(name.len()).expect("short");
        let mut line = match length.checked_sub(7) {
            Some(rest) => vec![0x27, rest],
            None => vec![0x20 | length],
        };
        line.extend(name.as_bytes());
        line.push(u8::try_from(value.len()).expect("short"));
        line.extend(value.as_bytes());
        line
    }

    fn section(lines: &[&[u8]]) -> Vec<u8> {
        let mut section = vec![0, 0];
        section.extend(lines.concat());
        section
    }

    const GET: &[u8] = &[0xd1];
    const HTTPS: &[u8] = &[0xd7];
    const SLASH: &[u8] = &[0xc1];

    #[test]
    fn pseudo_fields_come_first_and_once() {
        let authority = literal(":authority", "a.test");
        let regular = literal("x-a", "1");
        let good = [GET, HTTPS, &authority, SLASH, &regular];
        assert_eq!(check(&section(&good), Part::Head), Ok(()));
        let method_in_huffman = [&[0x2d][..], PSEUDO[0].1, &[3], b"GET"].concat();
        let protocol_twice = literal(":protocol", "x");
        let status_in_huffman = [&[0x2d, 0xb8, 0x84, 0x8d, 0x36, 0xa3][..], &[3], b"200"].concat();
        let malformed: [&[&[u8]]; 9] = [
            &[GET, GET],
            &[GET, &regular, SLASH],
            &[GET, &method_in_huffman],
            &[&authority, &authority],
            &[&protocol_twice, &protocol_twice],
            &[&[0xd9]],
            &[&status_in_huffman],
            &[&literal(":nothing", "1")],
            &[&[0x51, 0]],
        ];
        for lines in malformed {
            let found = check(&section(lines), Part::Head);
            assert_eq!(found, Err(MALFORMED), "{lines:x?}");
        }
        assert_eq!(check(&section(&[&regular]), Part::Trailers), Ok(()));
        assert_eq!(check(&section(&[GET]), Part::Trailers), Err(MALFORMED));
    }

    #[test]
    fn nothing_refers_to_a_dynamic_table() {
        let undecodable: [&[u8]; 10] = [
            &[],
            &[0],
            &[2, 0],
            &[0, 0x80],
            &[0, 0, 0x80],
            &[0, 0, 0x10],
            &[0, 0, 0x40, 0],
            &[0, 0, 0x00, 0],
            // Static line 99, and a value that ends too early.
            &[0, 0, 0xff, 36],
            &[0, 0, 0x51, 5, b'/'],
        ];
        for section in undecodable {
            assert_eq!(check(section, Part::Head), Err(UNDECODABLE), "{section:x?}");
        }
        let endless = [&[0, 0, 0xff][..], &[0x80; 64]].concat();
        assert_eq!(check(&endless, Part::Head), Err(UNDECODABLE));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(section in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = check(&section, Part::Head);
        }
    }
}
