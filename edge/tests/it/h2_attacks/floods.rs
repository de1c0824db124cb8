//! Frames without end that bring nothing.

use super::*;
use crate::client::raw_h2::*;

struct Flood {
    what: &'static str,
    /// Sent once.
    before: Vec<u8>,
    /// Sent again and again, with the number of the frame.
    frame: fn(u32) -> Vec<u8>,
    /// What the connection is closed for, as the metric says.
    reasons: &'static [&'static str],
}

fn stream(number: u32) -> u32 {
    2 * number + 1
}

fn open_post() -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS,
        1,
        &request("POST", "/count/small", &[]),
    )
}

#[allow(clippy::too_many_lines, reason = "a table, one flood after the other")]
fn floods() -> Vec<Flood> {
    let flood = |what, before, frame, reasons| Flood {
        what,
        before,
        frame,
        reasons,
    };
    let nothing = Vec::new;
    let unfinished = || frame(HEADERS, END_STREAM, 1, &request("GET", "/hang", &[]));
    vec![
        flood(
            "PING",
            nothing(),
            |_| frame(PING, 0, 0, &[7; 8]),
            &["h2_ping_flood"],
        ),
        flood(
            "PING acknowledgements",
            nothing(),
            |_| frame(PING, ACK, 0, &[7; 8]),
            &["h2_ping_flood"],
        ),
        flood(
            "empty SETTINGS",
            nothing(),
            |_| settings(&[]),
            &["h2_settings_flood"],
        ),
        flood(
            "SETTINGS that change every window",
            get(1, "/hang"),
            |number| settings(&[(INITIAL_WINDOW_SIZE, 1 + number % 2)]),
            &["h2_settings_flood"],
        ),
        flood(
            "PRIORITY churn",
            nothing(),
            |number| frame(PRIORITY, 0, stream(number % 1000), &[0, 0, 8, 1, 9]),
            &["h2_priority_flood"],
        ),
        flood(
            "PRIORITY_UPDATE",
            nothing(),
            |_| frame(0x10, 0, 0, b"\0\0\0\x01u=1"),
            &["h2_unknown_frame_flood"],
        ),
        flood(
            "large frames of an unknown type",
            nothing(),
            |_| frame(0x7e, 0, 0, &[0; 16_384]),
            &["h2_unknown_frame_flood"],
        ),
        flood(
            "WINDOW_UPDATE of one byte",
            get(1, "/hang"),
            |_| window_update(1, 1),
            &["h2_window_update_flood"],
        ),
        flood(
            "empty DATA",
            open_post(),
            |_| frame(DATA, 0, 1, &[]),
            &["h2_empty_frame_flood", "h2_flood"],
        ),
        flood(
            "DATA of padding alone",
            open_post(),
            |_| frame(DATA, PADDED, 1, &[0]),
            &["h2_empty_frame_flood", "h2_flood"],
        ),
        flood(
            "empty CONTINUATION",
            unfinished(),
            |_| frame(CONTINUATION, 0, 1, &[]),
            &["h2_empty_frame_flood", "h2_flood"],
        ),
        flood(
            "CONTINUATION with fields",
            unfinished(),
            |_| frame(CONTINUATION, 0, 1, &block(&[("x", "y")])),
            &["h2_empty_frame_flood", "h2_flood"],
        ),
        flood(
            "GOAWAY again and again",
            get(1, "/hang"),
            |_| frame(GOAWAY, 0, 0, &[0; 8]),
            &["h2_empty_frame_flood"],
        ),
        flood(
            "RST_STREAM of one stream",
            [get(1, "/hang"), reset(1, CANCEL)].concat(),
            |_| reset(1, CANCEL),
            &["h2_reset_flood"],
        ),
        flood(
            "more streams than allowed",
            nothing(),
            |number| get(stream(number), "/hang"),
            &["h2_flood"],
        ),
        flood(
            "requests that nobody can answer",
            nothing(),
            |number| {
                let fields = [
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", "a"),
                    (":path", "/echo"),
                    ("host", "b"),
                ];
                frame(HEADERS, WHOLE, stream(number), &block(&fields))
            },
            &["h2_malformed_flood"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_are_cut_off() {
    let world = World::start().await;
    let neighbour = Neighbour::start(&world).await;
    for flood in floods() {
        let cpu = world.edge.cpu_seconds();
        let rss = world.edge.rss_bytes();
        let closed = closed_for(&world, flood.reasons).await;
        let mut h2 = RawH2::connect(&world.edge, &[]).await;
        h2.send(&flood.before).await;
        let mut number = 0;
        let code = super::flood(h2, || {
            number += 1;
            (flood.frame)(number)
        })
        .await;
        let what = flood.what;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{what}");
        counts(&world, flood.reasons, closed + 1.0).await;
        let cpu = world.edge.cpu_seconds() - cpu;
        assert!(cpu < CPU_SECONDS_MAX, "{what}: {cpu} CPU seconds");
        let grown = world.edge.rss_bytes().saturating_sub(rss);
        assert!(grown < 16 * 1024 * 1024, "{what}: {grown} bytes more");
    }
    connections_are_closed(&world).await;
    neighbour.was_served().await;
}

/// The same frames at the pace of a client that uses them: PINGs between answers, cancelled requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_client_is_no_flood() {
    let world = World::start().await;
    let mut h2 = RawH2::connect(&world.edge, &[(0x1, 0)]).await;
    for number in 0..1_500 {
        let stream = stream(number);
        let bytes = [
            frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 15]),
            get(stream, "/echo"),
            frame(PING, 0, 0, &[7; 8]),
            window_update(0, 1_000),
            window_update(stream, 10),
        ];
        h2.send(&bytes.concat()).await;
        let answered = |frame: &Frame| frame.stream == stream && frame.is(frame.kind, END_STREAM);
        h2.wait("an answer", answered).await;
        if number % 3 == 0 {
            h2.send(&reset(stream, CANCEL)).await;
        }
    }
    assert!(h2.is_alive().await);
}
