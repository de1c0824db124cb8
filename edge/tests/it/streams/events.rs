//! What a browser and curl make of a stream of events.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{Coming, EVENTS, World};
use crate::client::Protocol;
use crate::harness::files::certificate_file;
use crate::harness::waiting::within;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
    last_id: String,
}

/// The HTML standard, 9.2.6, "Interpreting an event stream", by its letter.
#[derive(Default)]
struct Source {
    events: Vec<Event>,
    data: String,
    name: String,
    last_id: String,
    retry_ms: Option<u64>,
    comments: usize,
}

impl Source {
    fn of(stream: &str) -> Self {
        let mut source = Self::default();
        let normal = stream.replace("\r\n", "\n").replace('\r', "\n");
        let stream = normal.strip_prefix('\u{feff}').unwrap_or(&normal);
        // What no line end follows is thrown away.
        let whole = stream.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.split('\n') {
            source.line(line);
        }
        source
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments += 1,
            "event" => self.name = value.to_owned(),
            "data" => self.data += &format!("{value}\n"),
            "id" if !value.contains('\0') => self.last_id = value.to_owned(),
            "retry" if value.bytes().all(|b| b.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok();
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        let Some(data) = data.strip_suffix('\n') else {
            return;
        };
        let name = if name.is_empty() { "message" } else { &name };
        self.events.push(Event {
            name: name.to_owned(),
            data: data.to_owned(),
            last_id: self.last_id.clone(),
        });
    }

    fn shapes(&self) -> Vec<(&str, &str)> {
        let events = self.events.iter();
        events
            .map(|event| (&*event.name, &*event.last_id))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_as_a_browser_sees_them() {
    let world = World::start().await;
    for protocol in Protocol::ALL {
        let mut client = world.client(protocol).await;
        let target = "/v1/count/3?from=1&pause=0.25s";
        let mut coming = Coming::get(&mut client, target, EVENTS).await;
        assert!(coming.end().await, "{protocol:?}");
        let source = Source::of(&coming.seen);
        assert_eq!(source.retry_ms, Some(2_000));
        assert!(source.comments >= 3, "{}", coming.seen);
        let expected = [("odd", "1"), ("even", "2"), ("odd", "3"), ("end", "3")];
        assert_eq!(source.shapes(), expected, "{protocol:?}");
        for (event, number) in source.events.iter().zip(1..=3) {
            let data: serde_json::Value = serde_json::from_str(&event.data).expect("json");
            assert_eq!(data["number"], number.to_string());
        }

        // It connects again with the last id it has seen.
        let headers = [("accept", EVENTS), ("last-event-id", "2")];
        let again = client.get_with("/v1/count/3", &headers).await;
        let again = Source::of(std::str::from_utf8(&again.body).expect("text"));
        assert_eq!(again.shapes(), [("odd", "3"), ("end", "3")], "{protocol:?}");

        let target = "/v1/count/3?fail_after=1&fail.code=8&fail.message=enough";
        let failed = client.get_with(target, &[("accept", EVENTS)]).await;
        let failed = Source::of(std::str::from_utf8(&failed.body).expect("text"));
        assert_eq!(failed.shapes(), [("even", "0"), ("error", "0")]);
        let problem = failed.events.last().expect("an event");
        let problem: serde_json::Value = serde_json::from_str(&problem.data).expect("json");
        assert_eq!(
            (&problem["status"], &problem["detail"]),
            (&429.into(), &"enough".into())
        );

        let missing = client.get_with("/v1/count/x", &[("accept", EVENTS)]).await;
        missing.assert_problem(400, "invalid_path");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_prints_events_as_they_come() {
    let world = World::start().await;
    for protocol in ["--http1.1", "--http2"] {
        let url = format!(
            "https://localhost:{}/v1/count/0?from=1&pause=0.01s",
            world.edge.https.port()
        );
        let mut curl = Command::new("curl")
            .args(["-sSN", protocol, "--cacert"])
            .arg(certificate_file("ca.pem"))
            .args(["-H", "accept: text/event-stream", &url])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("curl");
        let printed = curl.stdout.take().expect("its output");
        let mut lines = BufReader::new(printed).lines();
        let mut seen = String::new();
        while !seen.contains("id: 3\n") {
            let line = within("a line of curl", lines.next_line()).await;
            seen += &line.expect("text").expect("no end");
            seen.push('\n');
        }
        let source = Source::of(&seen);
        assert_eq!(
            source.shapes()[..2],
            [("odd", "1"), ("even", "2")],
            "{seen}"
        );
        assert_eq!(world.echo.under_way(), 1);
        curl.kill().await.expect("an end");
        world.until_idle().await;
    }
}
