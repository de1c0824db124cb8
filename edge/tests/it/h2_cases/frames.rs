//! Each type of frame: RFC 9113, section 6.

use super::Expect::{Alive, Closed, Comes, GoAway, Reset, Status};
use super::Step::{Answered, Data, Send};
use super::*;

fn post(path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &request("POST", path, &[]))
}

fn ends(frame: &Frame) -> bool {
    frame.kind == DATA && frame.payload.len() == 1
}

pub(super) fn cases() -> Vec<Case> {
    [
        data_and_headers(),
        small_frames(),
        settings_and_ping(),
        windows(),
        continuations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn data_and_headers() -> Vec<Case> {
    let padded = |padding: &[u8]| {
        [
            &[u8::try_from(padding.len()).expect("it is short")][..],
            &request("GET", "/echo", &[]),
            padding,
        ]
        .concat()
    };
    vec![
        case(
            "6.1",
            "DATA in several frames",
            [
                post("/echo"),
                frame(DATA, 0, 1, b"a"),
                frame(DATA, END_STREAM, 1, b"b"),
            ]
            .concat(),
            Status(200),
        ),
        case(
            "6.1",
            "padded DATA",
            [
                post("/echo"),
                frame(DATA, END_STREAM | PADDED, 1, b"\x03abc\0\0\0"),
            ]
            .concat(),
            Status(200),
        ),
        case(
            "6.1",
            "an empty DATA frame as the end",
            [
                post("/echo"),
                frame(DATA, 0, 1, b"a"),
                frame(DATA, END_STREAM, 1, b""),
            ]
            .concat(),
            Status(200),
        ),
        case(
            "6.1",
            "DATA on stream 0",
            frame(DATA, END_STREAM, 0, b"x"),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.1",
            "more padding than payload",
            [
                post("/count/small"),
                frame(DATA, END_STREAM | PADDED, 1, b"\x04abc"),
            ]
            .concat(),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.1",
            "PADDED without a length",
            [
                post("/count/small"),
                frame(DATA, END_STREAM | PADDED, 1, b""),
            ]
            .concat(),
            GoAway(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
        case(
            "6.2",
            "padded HEADERS",
            frame(HEADERS, WHOLE | PADDED, 1, &padded(&[0; 9])),
            Status(200),
        ),
        case(
            "6.2",
            "HEADERS on stream 0",
            get(0, NEVER),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.2",
            "HEADERS with more padding than payload",
            frame(HEADERS, WHOLE | PADDED, 1, b"\xf0abc"),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.6",
            "PUSH_PROMISE from a client",
            [
                get(1, "/hang"),
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[&[0, 0, 0, 2][..], &request("GET", NEVER, &[])].concat(),
                ),
            ]
            .concat(),
            GoAway(&[PROTOCOL_ERROR]),
        ),
    ]
}

fn small_frames() -> Vec<Case> {
    vec![
        case(
            "6.3",
            "PRIORITY on stream 0",
            frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 1]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.3",
            "PRIORITY of four bytes",
            [get(1, "/hang"), frame(PRIORITY, 0, 1, &[0; 4])].concat(),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "6.4",
            "RST_STREAM on stream 0",
            reset(0, CANCEL),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.4",
            "RST_STREAM of three bytes",
            [get(1, "/hang"), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "6.8",
            "GOAWAY on a stream",
            frame(GOAWAY, 0, 1, &[0; 8]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.8",
            "GOAWAY of seven bytes",
            frame(GOAWAY, 0, 0, &[0; 7]),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "6.8",
            "GOAWAY from the client ends an idle connection",
            frame(GOAWAY, 0, 0, &[0; 8]),
            Closed,
        ),
        case(
            "6.8",
            "GOAWAY lets a request end",
            [
                post("/echo/goaway"),
                frame(GOAWAY, 0, 0, &[0; 8]),
                frame(DATA, END_STREAM, 1, b"x"),
            ]
            .concat(),
            Closed,
        ),
    ]
}

fn settings_and_ping() -> Vec<Case> {
    let answer = |frame: &Frame| frame.is(PING, ACK) && frame.payload.as_ref() == b"12345678";
    vec![
        case(
            "6.5",
            "SETTINGS are acknowledged",
            settings(&[(0x3, 100), (0x5, 16_384)]),
            Comes(|frame| frame.is(SETTINGS, ACK)),
        ),
        case(
            "6.5",
            "SETTINGS on a stream",
            frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.5",
            "SETTINGS of seven bytes",
            frame(SETTINGS, 0, 0, &[0; 7]),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "6.5",
            "an acknowledgement with a payload",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "6.5",
            "an acknowledgement of nothing",
            frame(SETTINGS, ACK, 0, &[]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.5.2",
            "ENABLE_PUSH of 2",
            settings(&[(0x2, 2)]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.5.2",
            "INITIAL_WINDOW_SIZE over its maximum",
            settings(&[(INITIAL_WINDOW_SIZE, 1 << 31)]),
            GoAway(&[FLOW_CONTROL_ERROR, H2_CRATE]),
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE below its minimum",
            settings(&[(0x5, 16_383)]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE over its maximum",
            settings(&[(0x5, 1 << 24)]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.5.3",
            "the last of two values counts",
            [
                settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)]),
                get(1, "/bytes/100"),
            ]
            .concat(),
            Comes(ends),
        ),
        case(
            "6.7",
            "PING comes back as it was",
            frame(PING, 0, 0, b"12345678"),
            Comes(answer),
        ),
        case(
            "6.7",
            "PING on a stream",
            frame(PING, 0, 1, &[0; 8]),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.7",
            "PING of six bytes",
            frame(PING, 0, 0, &[0; 6]),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "6.7",
            "an acknowledgement that nobody waits for is ignored",
            frame(PING, ACK, 0, &[0; 8]),
            Alive,
        ),
    ]
}

fn windows() -> Vec<Case> {
    let max = (1 << 31) - 1;
    vec![
        case(
            "6.9",
            "an increment of 0 on the connection",
            window_update(0, 0),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.9",
            "an increment of 0 on a stream",
            [get(1, "/hang"), window_update(1, 0)].concat(),
            Expect::GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.9",
            "WINDOW_UPDATE of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            GoAway(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "6.9.1",
            "no more is sent than the window allows",
            [settings(&[(INITIAL_WINDOW_SIZE, 1)]), get(1, "/bytes/100")].concat(),
            Comes(ends),
        ),
        case(
            "6.9.1",
            "the connection's window over its maximum",
            [window_update(0, max), window_update(0, max)].concat(),
            GoAway(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "6.9.1",
            "a stream's window over its maximum",
            [get(1, "/hang"), window_update(1, max)].concat(),
            Reset(1, &[FLOW_CONTROL_ERROR]),
        ),
        steps(
            "6.9.2",
            "a window can be opened by SETTINGS",
            vec![
                Send(settings(&[(INITIAL_WINDOW_SIZE, 0)])),
                Send(get(1, "/bytes/100")),
                Send(settings(&[(INITIAL_WINDOW_SIZE, 1)])),
            ],
            Comes(ends),
        ),
        steps(
            "6.9.2",
            "a window below zero is filled first",
            vec![
                Send(settings(&[(INITIAL_WINDOW_SIZE, 3)])),
                Send(get(1, "/bytes/100")),
                Data(3),
                Send(settings(&[(INITIAL_WINDOW_SIZE, 2)])),
                Send(window_update(1, 2)),
            ],
            Comes(ends),
        ),
        steps(
            "6.9.2",
            "a window over its maximum by SETTINGS",
            vec![
                Send(get(1, "/hang")),
                Send(window_update(1, max - 65_535)),
                Send(settings(&[(INITIAL_WINDOW_SIZE, max)])),
            ],
            GoAway(&[FLOW_CONTROL_ERROR]),
        ),
    ]
}

fn continuations() -> Vec<Case> {
    let whole = request("GET", "/echo", &[]);
    let (first, rest) = whole.split_at(20);
    let (second, third) = rest.split_at(20);
    let begin = frame(HEADERS, END_STREAM, 1, first);
    vec![
        case(
            "6.10",
            "a field block in three frames",
            [
                begin.clone(),
                frame(CONTINUATION, 0, 1, second),
                frame(CONTINUATION, END_HEADERS, 1, third),
            ]
            .concat(),
            Status(200),
        ),
        case(
            "6.10",
            "DATA inside of a field block",
            [begin.clone(), frame(DATA, END_STREAM, 1, b"x")].concat(),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.10",
            "CONTINUATION on stream 0",
            [begin.clone(), frame(CONTINUATION, END_HEADERS, 0, rest)].concat(),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "6.10",
            "CONTINUATION of another stream",
            [begin.clone(), frame(CONTINUATION, END_HEADERS, 3, rest)].concat(),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        steps(
            "6.10",
            "CONTINUATION after the end of a field block",
            vec![
                Send(get(1, "/echo")),
                Answered(1),
                Send(frame(CONTINUATION, END_HEADERS, 1, rest)),
            ],
            GoAway(&[PROTOCOL_ERROR]),
        ),
    ]
}
