//! The life of a stream: RFC 9113, section 5.

use super::Expect::{Alive, GoAway, Reset, Status};
use super::Step::{Answered, Send};
use super::*;

/// A request whose body is still to come.
fn open(path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &request("POST", path, &[]))
}

fn hanging() -> Vec<u8> {
    get(1, "/hang")
}

const PRIORITY_PAYLOAD: &[u8] = &[0, 0, 0, 0, 15];

pub(super) fn cases() -> Vec<Case> {
    let trailers = block(&[("x-trailer", "1")]);
    let many: Vec<u8> = (0..101).flat_map(|n| get(1 + 2 * n, "/hang")).collect();
    vec![
        case(
            "5.1",
            "idle: PRIORITY is taken",
            [frame(PRIORITY, 0, 1, PRIORITY_PAYLOAD), get(1, "/echo")].concat(),
            Status(200),
        ),
        case(
            "5.1",
            "idle: DATA",
            frame(DATA, END_STREAM, 1, b"x"),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.1",
            "idle: RST_STREAM",
            reset(1, CANCEL),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.1",
            "idle: WINDOW_UPDATE",
            window_update(1, 100),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.1",
            "idle: CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 1, &request("GET", NEVER, &[])),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.1",
            "half-closed: WINDOW_UPDATE is taken",
            [get(1, "/echo"), window_update(1, 100)].concat(),
            Status(200),
        ),
        case(
            "5.1",
            "half-closed: PRIORITY is taken",
            [get(1, "/echo"), frame(PRIORITY, 0, 1, PRIORITY_PAYLOAD)].concat(),
            Status(200),
        ),
        case(
            "5.1",
            "half-closed: RST_STREAM is taken",
            [hanging(), reset(1, CANCEL)].concat(),
            Alive,
        ),
        case(
            "5.1",
            "half-closed: DATA",
            [hanging(), frame(DATA, END_STREAM, 1, b"x")].concat(),
            GoAway(&[STREAM_CLOSED, H2_CRATE]),
        ),
        case(
            "5.1",
            "half-closed: HEADERS",
            [hanging(), frame(HEADERS, WHOLE, 1, &trailers)].concat(),
            GoAway(&[STREAM_CLOSED, H2_CRATE]),
        ),
        case(
            "5.1",
            "half-closed: CONTINUATION",
            [hanging(), frame(CONTINUATION, END_HEADERS, 1, &trailers)].concat(),
            GoAway(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        case(
            "5.1",
            "closed by RST_STREAM: DATA",
            [
                hanging(),
                reset(1, CANCEL),
                frame(DATA, END_STREAM, 1, b"x"),
            ]
            .concat(),
            Reset(1, &[STREAM_CLOSED]),
        ),
        case(
            "5.1",
            "closed by RST_STREAM: HEADERS",
            [
                hanging(),
                reset(1, CANCEL),
                frame(HEADERS, WHOLE, 1, &trailers),
            ]
            .concat(),
            GoAway(&[STREAM_CLOSED, H2_CRATE]),
        ),
        case(
            "5.1",
            "closed by RST_STREAM: CONTINUATION",
            [
                hanging(),
                reset(1, CANCEL),
                frame(CONTINUATION, END_HEADERS, 1, &trailers),
            ]
            .concat(),
            GoAway(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        case(
            "5.1",
            "closed by RST_STREAM: WINDOW_UPDATE and RST_STREAM are taken",
            [
                hanging(),
                reset(1, CANCEL),
                window_update(1, 1),
                reset(1, CANCEL),
            ]
            .concat(),
            Alive,
        ),
        steps(
            "5.1",
            "closed: DATA",
            vec![
                Send(get(1, "/echo")),
                Answered(1),
                Send(frame(DATA, END_STREAM, 1, b"x")),
            ],
            Reset(1, &[STREAM_CLOSED]),
        ),
        steps(
            "5.1",
            "closed: HEADERS",
            vec![
                Send(get(1, "/echo")),
                Answered(1),
                Send(frame(HEADERS, WHOLE, 1, &request("GET", NEVER, &[]))),
            ],
            GoAway(&[STREAM_CLOSED, H2_CRATE]),
        ),
        steps(
            "5.1",
            "closed: PRIORITY is taken",
            vec![
                Send(get(1, "/echo")),
                Answered(1),
                Send(frame(PRIORITY, 0, 1, PRIORITY_PAYLOAD)),
            ],
            Alive,
        ),
        steps(
            "5.1",
            "closed: WINDOW_UPDATE is taken",
            vec![
                Send(get(1, "/echo")),
                Answered(1),
                Send(window_update(1, 1)),
            ],
            Alive,
        ),
        case(
            "5.1.1",
            "a stream with an even identifier",
            get(2, NEVER),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.1.1",
            "a stream with an identifier below an earlier one",
            [get(5, "/echo"), get(3, NEVER)].concat(),
            GoAway(&[PROTOCOL_ERROR]),
        ),
        case(
            "5.1.2",
            "more streams than allowed",
            many,
            Reset(201, &[REFUSED_STREAM, PROTOCOL_ERROR]),
        ),
        case(
            "5.3",
            "priority fields in HEADERS are ignored",
            frame(
                HEADERS,
                WHOLE | WITH_PRIORITY,
                1,
                &[PRIORITY_PAYLOAD, &request("GET", "/echo", &[])].concat(),
            ),
            Status(200),
        ),
        case(
            "5.3.1",
            "HEADERS that depend on their own stream",
            frame(
                HEADERS,
                WHOLE | WITH_PRIORITY,
                1,
                &[&[0, 0, 0, 1, 15], &*request("GET", NEVER, &[])].concat(),
            ),
            Reset(1, &[PROTOCOL_ERROR]),
        ),
        case(
            "5.3.1",
            "PRIORITY that depends on its own stream",
            [
                open("/count/small"),
                frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 15]),
            ]
            .concat(),
            Reset(1, &[PROTOCOL_ERROR]),
        ),
    ]
}
