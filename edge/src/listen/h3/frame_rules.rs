//! Which frames may come on which stream, how large, and what becomes of them (RFC 9114, 7).

use bytes::{BufMut, Bytes, BytesMut};
use h3::error::Code;

use super::field_section::{self, Part};
use super::frame_filter::{Fate, Violation, varint};
use super::protocol_field;

/// One frame of a type we do not know, reserved ones among them; they are skipped, not buffered.
const UNKNOWN_FRAME_BYTES_MAX: u64 = 64 * 1024;
/// Settings of one peer: a dozen are defined, and each takes two to sixteen bytes.
const SETTINGS_BYTES_MAX: u64 = 512;
/// GOAWAY, MAX_PUSH_ID and CANCEL_PUSH carry one varint.
const ID_BYTES_MAX: u64 = 8;

const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
const CANCEL_PUSH: u64 = 0x03;
const SETTINGS: u64 = 0x04;
const PUSH_PROMISE: u64 = 0x05;
const GOAWAY: u64 = 0x07;
const MAX_PUSH_ID: u64 = 0x0d;
/// PRIORITY, PING, WINDOW_UPDATE and CONTINUATION of HTTP/2 (RFC 9114, 7.2.8).
const RESERVED: [u64; 4] = [0x02, 0x06, 0x08, 0x09];

/// `:method: GET` of the static table: one byte that decodes to 42 (RFC 9204, appendix A and 3.2.1).
const LINE_BYTE: u8 = 0xd1;
const LINE_DECODED_BYTES: usize = 42;

const UNEXPECTED: Violation =
    Violation::Connection(Code::H3_FRAME_UNEXPECTED, "a frame that may not come here");
const BAD_LENGTH: Violation =
    Violation::Connection(Code::H3_FRAME_ERROR, "payload and length disagree");
const BAD_SETTINGS: Violation =
    Violation::Connection(Code::H3_SETTINGS_ERROR, "a setting that may not be sent");

/// The rules of one stream, and how far it came.
pub(super) struct Rules {
    stream: Stream,
    noise: u64,
}

enum Stream {
    Request {
        field_section_bytes_max: usize,
        /// Field sections begun: the head, then the trailers.
        sections: u8,
    },
    Control {
        settings_came: bool,
        push_id_max: Option<u64>,
    },
}

impl Rules {
    /// A request stream; the bound is that of `SETTINGS_MAX_FIELD_SECTION_SIZE`.
    pub(super) fn request(field_section_bytes_max: u32) -> Self {
        Self::new(Stream::Request {
            field_section_bytes_max: usize::try_from(field_section_bytes_max).unwrap_or(usize::MAX),
            sections: 0,
        })
    }

    /// The client's control stream, after its type.
    pub(super) fn control() -> Self {
        Self::new(Stream::Control {
            settings_came: false,
            push_id_max: None,
        })
    }

    fn new(stream: Stream) -> Self {
        Self { stream, noise: 0 }
    }

    pub(super) fn take_noise(&mut self) -> u64 {
        std::mem::take(&mut self.noise)
    }

    /// A frame begins.
    pub(super) fn begin(&mut self, kind: u64, length: u64) -> Result<Fate, Violation> {
        match &mut self.stream {
            Stream::Request {
                field_section_bytes_max,
                sections,
            } => match (kind, *sections) {
                (DATA, 1) if length > 0 => Ok(Fate::Pass),
                (DATA, 1) => self.skip(length),
                (HEADERS, 0 | 1) => {
                    let is_head = *sections == 0;
                    *sections += 1;
                    let bound = *field_section_bytes_max;
                    // An encoded section is no longer than what it decodes to, 32 bytes a field
                    // included, unless its encoder wastes bytes on purpose.
                    match (length > bound as u64, is_head) {
                        (false, _) => Ok(Fate::Hold),
                        (true, true) => Ok(Fate::Instead(too_large(bound))),
                        (true, false) => Err(Violation::Stream(Code::H3_EXCESSIVE_LOAD)),
                    }
                }
                (kind, _) if is_known(kind) => Err(UNEXPECTED),
                _ => self.skip(length),
            },
            Stream::Control { settings_came, .. } => match kind {
                SETTINGS if *settings_came => Err(UNEXPECTED),
                SETTINGS if length > SETTINGS_BYTES_MAX => Err(too_much("settings too large")),
                SETTINGS => {
                    *settings_came = true;
                    Ok(Fate::Hold)
                }
                // RFC 9114, 6.2.1: no other type may come first, unknown ones neither.
                _ if !*settings_came => Err(Violation::Connection(
                    Code::H3_MISSING_SETTINGS,
                    "the first frame is not SETTINGS",
                )),
                GOAWAY | MAX_PUSH_ID | CANCEL_PUSH if length > ID_BYTES_MAX => Err(BAD_LENGTH),
                GOAWAY | MAX_PUSH_ID | CANCEL_PUSH => {
                    self.noise += 1;
                    Ok(Fate::Hold)
                }
                kind if is_known(kind) => Err(UNEXPECTED),
                _ => self.skip(length),
            },
        }
    }

    fn skip(&mut self, length: u64) -> Result<Fate, Violation> {
        if length > UNKNOWN_FRAME_BYTES_MAX {
            return Err(too_much("an unknown frame too large"));
        }
        self.noise += 1 + length / 1024;
        Ok(Fate::Skip)
    }

    /// A held frame is whole; whether the reader gets it.
    pub(super) fn end(&mut self, kind: u64, payload: &[u8]) -> Result<bool, Violation> {
        match &mut self.stream {
            Stream::Request { sections: 1, .. } => {
                field_section::check(payload, Part::Head)?;
                Ok(true)
            }
            // Pingora forwards no trailers of requests; without them the body ends with the stream.
            Stream::Request { .. } => {
                field_section::check(payload, Part::Trailers)?;
                Ok(false)
            }
            Stream::Control { push_id_max, .. } => match kind {
                SETTINGS => settings(payload).map(|()| true),
                GOAWAY => only_varint(payload).map(|_| true),
                MAX_PUSH_ID => {
                    let id = only_varint(payload)?;
                    if push_id_max.replace(id).is_some_and(|before| id < before) {
                        return Err(Violation::Connection(
                            Code::H3_ID_ERROR,
                            "MAX_PUSH_ID became smaller",
                        ));
                    }
                    Ok(false)
                }
                // We promise nothing, so there is nothing to cancel (RFC 9114, 7.2.3).
                _ => {
                    only_varint(payload)?;
                    Err(Violation::Connection(
                        Code::H3_ID_ERROR,
                        "CANCEL_PUSH without a promise",
                    ))
                }
            },
        }
    }

    /// What the reader gets in place of the held frame.
    pub(super) fn stand_in(&self, payload: &[u8]) -> Option<Bytes> {
        match self.stream {
            Stream::Request { .. } => protocol_field::stand_in(payload),
            Stream::Control { .. } => None,
        }
    }
}

fn is_known(kind: u64) -> bool {
    let defined = [
        DATA,
        HEADERS,
        CANCEL_PUSH,
        SETTINGS,
        PUSH_PROMISE,
        GOAWAY,
        MAX_PUSH_ID,
    ];
    defined.contains(&kind) || RESERVED.contains(&kind)
}

fn too_much(reason: &'static str) -> Violation {
    Violation::Connection(Code::H3_EXCESSIVE_LOAD, reason)
}

/// A small section that decodes to more than the bound: the h3 crate answers it with 431, as it
/// does for one that is too large only when decoded (RFC 9114, 4.2.2).
fn too_large(bound: usize) -> Bytes {
    let lines = bound / LINE_DECODED_BYTES + 1;
    let length = u32::try_from(lines + 2).unwrap_or(u32::MAX) & 0x3fff_ffff;
    let mut frame = BytesMut::with_capacity(lines + 8);
    frame.put_u8(1);
    frame.put_u32(length | 0x8000_0000);
    frame.put_slice(&[0, 0]);
    frame.put_bytes(LINE_BYTE, lines);
    frame.freeze()
}

/// RFC 9114, 7.1: a payload is exactly its fields.
fn only_varint(payload: &[u8]) -> Result<u64, Violation> {
    match varint(payload) {
        Some((id, [])) => Ok(id),
        _ => Err(BAD_LENGTH),
    }
}

/// RFC 9114, 7.2.4: pairs, none twice, and none of HTTP/2's.
fn settings(mut payload: &[u8]) -> Result<(), Violation> {
    /// Of HTTP/2, without a meaning in HTTP/3 (RFC 9114, 7.2.4.1 and 11.2.2).
    const HTTP2: [u64; 5] = [0x00, 0x02, 0x03, 0x04, 0x05];
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 9220) and SETTINGS_H3_DATAGRAM (RFC 9297).
    const SWITCHES: [u64; 2] = [0x08, 0x33];
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let (id, rest) = varint(payload).ok_or(BAD_LENGTH)?;
        let (value, rest) = varint(rest).ok_or(BAD_LENGTH)?;
        let is_wrong =
            HTTP2.contains(&id) || seen.contains(&id) || (SWITCHES.contains(&id) && value > 1);
        if is_wrong {
            return Err(BAD_SETTINGS);
        }
        seen.push(id);
        payload = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_stands_for_one_too_large_is_too_large() {
        for bound in [1024, 32 * 1024, 1024 * 1024] {
            let frame = too_large(bound);
            let (length, section) = varint(&frame[1..]).expect("a length");
            assert_eq!(length, section.len() as u64);
            assert!((section.len() - 2) * LINE_DECODED_BYTES > bound);
            assert!(section.len() < bound / 32);
        }
    }

    #[test]
    fn settings_of_at_most_sixteen_bytes_each_are_compared_in_a_moment() {
        let reserved = |n: u8| [0x40 | (n >> 3), n << 5 | 1, 0];
        let mut payload = Vec::new();
        for n in 2..100 {
            payload.extend(reserved(n));
        }
        assert_eq!(settings(&payload), Ok(()));
        payload.extend(reserved(50));
        assert_eq!(settings(&payload), Err(BAD_SETTINGS));
    }
}
