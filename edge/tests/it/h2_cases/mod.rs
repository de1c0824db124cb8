//! HTTP/2 rule by rule (RFC 9113, RFC 7541): what is sent, and what has to come back. In the order of
//! `h2spec`, whose sections these are; every case has a connection of its own.
//!
//! The h2 crate ends a connection with PROTOCOL_ERROR where a few rules name another code; these
//! cases say so with [`H2_CRATE`].

#![allow(clippy::too_many_lines, reason = "tables, one case after the other")]

mod connection;
mod frames;
mod hpack;
mod messages;
mod streams;

use std::time::Duration;

use futures::StreamExt;

use crate::client::raw_h2::*;
use crate::matrix::World;

/// Accepted beside the code that the RFC names: the connection ends all the same.
const H2_CRATE: u32 = PROTOCOL_ERROR;

/// For one answer; long enough for a loaded machine.
const CASE_TIMEOUT: Duration = Duration::from_secs(20);
/// Cases at once.
const CASES_AT_ONCE: usize = 8;

/// A request for this never reaches the origin.
const NEVER: &str = "/echo/never";

enum Step {
    Send(Vec<u8>),
    /// Wait until the answer on a stream is complete.
    Answered(u32),
    /// Wait for a DATA frame of this length.
    Data(usize),
}

enum Expect {
    /// An answer on stream 1, and a connection that lives on.
    Status(u16),
    /// The stream is reset with one of these codes, and the connection lives on.
    Reset(u32, &'static [u32]),
    /// The connection ends with one of these codes.
    GoAway(&'static [u32]),
    /// The connection ends, with or without a reason.
    Closed,
    Alive,
    /// A frame for which this holds.
    Comes(fn(&Frame) -> bool),
}

struct Case {
    section: &'static str,
    what: &'static str,
    steps: Vec<Step>,
    expect: Expect,
    /// Without preface and SETTINGS, which the steps bring themselves.
    bare: bool,
}

/// One piece of bytes after the exchange of SETTINGS.
fn case(
    section: &'static str,
    what: &'static str,
    bytes: impl AsRef<[u8]>,
    expect: Expect,
) -> Case {
    steps(
        section,
        what,
        vec![Step::Send(bytes.as_ref().to_vec())],
        expect,
    )
}

fn steps(section: &'static str, what: &'static str, steps: Vec<Step>, expect: Expect) -> Case {
    Case {
        section,
        what,
        steps,
        expect,
        bare: false,
    }
}

impl Case {
    fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// What was wrong, if anything.
    async fn run(self, world: &World) -> Option<String> {
        // The origin's answers are larger than this header table: nothing comes indexed.
        let mut h2 = RawH2::bare(&world.edge).await;
        if !self.bare {
            h2.greet(&[(0x1, 0)]).await;
        }
        for step in self.steps {
            match step {
                Step::Send(bytes) => {
                    h2.send(&bytes).await;
                }
                Step::Data(length) => {
                    let is_it = |frame: &Frame| frame.kind == DATA && frame.payload.len() == length;
                    h2.wait("DATA", is_it).await;
                }
                Step::Answered(stream) => {
                    let ends = |frame: &Frame| {
                        frame.stream == stream
                            && frame.kind <= HEADERS
                            && frame.is(frame.kind, END_STREAM)
                    };
                    h2.wait("an answer", ends).await;
                }
            }
        }
        let judged = tokio::time::timeout(CASE_TIMEOUT, judge(&mut h2, &self.expect));
        let found = judged.await.unwrap_or(Err("nothing came".to_owned()));
        found
            .err()
            .map(|found| format!("{} {}: {found}", self.section, self.what))
    }
}

async fn judge(h2: &mut RawH2, expect: &Expect) -> Result<(), String> {
    let wanted = |frame: &Frame| match expect {
        Expect::Status(_) => frame.kind == HEADERS && frame.stream == 1,
        Expect::Reset(stream, _) => frame.kind == RST_STREAM && frame.stream == *stream,
        Expect::Comes(matches) => matches(frame),
        Expect::GoAway(_) | Expect::Closed | Expect::Alive => false,
    };
    match expect {
        Expect::Alive => return alive(h2).await,
        Expect::Closed => {
            h2.ended().await;
            return Ok(());
        }
        Expect::GoAway(codes) => {
            let code = h2.ended().await;
            let right = code.is_some_and(|code| codes.contains(&code));
            return right.then_some(()).ok_or(format!("ended with {code:?}"));
        }
        _ => {}
    }
    let mut others = Vec::new();
    let frame = loop {
        match h2.next().await {
            Some(frame) if wanted(&frame) => break frame,
            Some(frame) => others.push(frame),
            None => return Err(format!("the connection ended after {others:?}")),
        }
    };
    match expect {
        Expect::Status(status) if frame.status() != *status => {
            return Err(format!("status {}", frame.status()));
        }
        Expect::Reset(_, codes) if !codes.contains(&frame.code()) => {
            return Err(format!("reset with {}", frame.code()));
        }
        _ => {}
    }
    alive(h2).await
}

async fn alive(h2: &mut RawH2) -> Result<(), String> {
    let alive = h2.is_alive().await;
    alive.then_some(()).ok_or("the connection ended".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_is_kept() {
    let world = World::start().await;
    let cases: Vec<Case> = [
        connection::cases(),
        streams::cases(),
        frames::cases(),
        messages::cases(),
        hpack::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let results = futures::stream::iter(cases.into_iter().map(|case| case.run(&world)));
    let results: Vec<_> = results.buffer_unordered(CASES_AT_ONCE).collect().await;
    let wrong: Vec<String> = results.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        world.origin.record().count(NEVER),
        0,
        "a malformed request went on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn split_cookies_are_one_field_upstream() {
    let world = World::start().await;
    let mut h2 = RawH2::connect(&world.edge, &[(0x1, 0)]).await;
    let crumbs = [
        ("cookie", "a=1"),
        ("accept", "*/*"),
        ("cookie", "b=2"),
        ("cookie", "c=3"),
    ];
    h2.send(&frame(
        HEADERS,
        WHOLE,
        1,
        &request("GET", "/echo/crumbs", &crumbs),
    ))
    .await;
    assert_eq!(judge(&mut h2, &Expect::Status(200)).await, Ok(()));
    let seen = world.origin.last("/echo/crumbs");
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2; c=3"]);
}
