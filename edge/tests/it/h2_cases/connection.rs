//! Starting HTTP/2, and frames as such: RFC 9113, sections 3 and 4, and what extensions may do.

use super::Expect::{Alive, Closed, Comes, GoAway, Status};
use super::*;

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(super) fn cases() -> Vec<Case> {
    let whole = request("GET", "/echo", &[]);
    let first = whole[..20].to_vec();
    let rest = whole[20..].to_vec();
    let mut reserved = get(1, "/echo");
    reserved[5] |= 0x80;
    let mut flagged = get(1, "/echo");
    flagged[4] |= 0x52;
    vec![
        case(
            "3.4",
            "a preface and SETTINGS are answered with SETTINGS",
            bytes(&[PREFACE, &settings(&[])]),
            Comes(|frame| frame.is(SETTINGS, 0)),
        )
        .bare(),
        case(
            "3.4",
            "a preface that is another protocol",
            b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
            Closed,
        )
        .bare(),
        case(
            "3.4",
            "a preface with one wrong byte",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
            Closed,
        )
        .bare(),
        case(
            "3.4",
            "PING instead of the first SETTINGS",
            bytes(&[PREFACE, &frame(PING, 0, 0, &[0; 8])]),
            GoAway(&[PROTOCOL_ERROR]),
        )
        .bare(),
        case(
            "3.4",
            "a request instead of the first SETTINGS",
            bytes(&[PREFACE, &get(1, NEVER)]),
            GoAway(&[PROTOCOL_ERROR]),
        )
        .bare(),
        case(
            "3.4",
            "an acknowledgement instead of the first SETTINGS",
            bytes(&[PREFACE, &frame(SETTINGS, ACK, 0, &[])]),
            GoAway(&[PROTOCOL_ERROR]),
        )
        .bare(),
        case(
            "3.4",
            "a request before our SETTINGS were acknowledged",
            bytes(&[PREFACE, &settings(&[]), &get(1, "/echo")]),
            Comes(|frame| frame.kind == HEADERS),
        )
        .bare(),
        case(
            "4.1",
            "a frame of an unknown type is ignored",
            frame(0x16, 0, 0, b"12345678"),
            Alive,
        ),
        case(
            "4.1",
            "undefined flags are ignored",
            frame(PING, 0xfe, 0, b"areuthr!"),
            Comes(|frame| frame.is(PING, ACK)),
        ),
        case(
            "4.1",
            "undefined flags on a request are ignored",
            flagged,
            Status(200),
        ),
        case("4.1", "the reserved bit is ignored", reserved, Status(200)),
        case(
            "4.2",
            "a DATA frame of the largest size",
            bytes(&[
                &frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &request("POST", "/count/small", &[]),
                ),
                &frame(DATA, END_STREAM, 1, &[0; 16_384]),
            ]),
            Status(200),
        ),
        case(
            "4.2",
            "a DATA frame over the largest size",
            bytes(&[
                &frame(
                    HEADERS,
                    END_HEADERS,
                    1,
                    &request("POST", NEVER, &[("content-length", "16385")]),
                ),
                &frame(DATA, END_STREAM, 1, &[0; 16_385]),
            ]),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "4.2",
            "a HEADERS frame over the largest size",
            frame(
                HEADERS,
                WHOLE,
                1,
                &request("GET", NEVER, &[("x", &"a".repeat(16_385))]),
            ),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "4.2",
            "an unknown frame over the largest size",
            frame(0x16, 0, 0, &[0; 16_385]),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "4.3",
            "a field block that cannot be decoded",
            frame(HEADERS, WHOLE, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            GoAway(&[COMPRESSION_ERROR, H2_CRATE]),
        ),
        case(
            "4.3",
            "a field block cut off inside of a field",
            frame(HEADERS, WHOLE, 1, &whole[..whole.len() - 1]),
            GoAway(&[COMPRESSION_ERROR, H2_CRATE]),
        ),
        case(
            "4.3",
            "PRIORITY inside of a field block",
            bytes(&[
                &frame(HEADERS, END_STREAM, 1, &first),
                &frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]),
                &frame(CONTINUATION, END_HEADERS, 1, &rest),
            ]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "4.3",
            "another stream's HEADERS inside of a field block",
            bytes(&[&frame(HEADERS, END_STREAM, 1, &first), &get(3, NEVER)]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.4.1",
            "after an error of the connection it is closed",
            frame(PING, 0, 1, &[0; 8]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.5",
            "unknown settings are ignored",
            settings(&[(0xff, 1), (0x8, 0)]),
            Comes(|frame| frame.is(SETTINGS, ACK)),
        ),
        case(
            "5.5",
            "an unknown frame inside of a field block",
            bytes(&[
                &frame(HEADERS, END_STREAM, 1, &first),
                &frame(0x16, 0, 1, &[0; 8]),
                &frame(CONTINUATION, END_HEADERS, 1, &rest),
            ]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "7",
            "an unknown code in GOAWAY",
            frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]),
            Closed,
        ),
        case(
            "7",
            "an unknown code in RST_STREAM",
            bytes(&[
                &frame(HEADERS, WHOLE, 1, &request("GET", "/hang", &[])),
                &reset(1, 0xff),
            ]),
            Alive,
        ),
    ]
}
