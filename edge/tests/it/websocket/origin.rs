//! A WebSocket upstream: what it does is in the path, what it saw is on record.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::waiting::within;

const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Of one message of `/flood`.
const FLOOD_BYTES: usize = 64 * 1024;

/// Between two messages of `/ticks`.
const TICK: Duration = Duration::from_millis(170);

/// A connection as the upstream saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) fields: Vec<(String, String)>,
    /// Code of the Close frame, where one came.
    pub(crate) close: Option<u16>,
    pub(crate) ended: bool,
    pub(crate) messages: usize,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

type Record = watch::Sender<Vec<Seen>>;

pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    record: Arc<Record>,
    _stop: DropGuard,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let record = Arc::new(watch::channel(Vec::new()).0);
        let stop = CancellationToken::new();
        let all = record.clone();
        let stopped = stop.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).expect("a socket");
                tokio::spawn(
                    stopped
                        .clone()
                        .run_until_cancelled_owned(connection(socket, all.clone())),
                );
            }
        }));
        Self {
            address,
            record,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.record.borrow().clone()
    }

    /// Wait for a connection for which `condition` holds.
    pub(crate) async fn wait(&self, what: &str, condition: impl Fn(&Seen) -> bool) -> Seen {
        let mut record = self.record.subscribe();
        let all = within(what, record.wait_for(|all| all.iter().any(&condition))).await;
        let all = all.expect("the origin lives");
        all.iter()
            .find(|seen| condition(seen))
            .expect("one")
            .clone()
    }
}

impl Origin {
    /// Wait until so many connections were closed with this code.
    pub(crate) async fn wait_for_closes(&self, what: &str, count: usize, code: u16) {
        let mut record = self.record.subscribe();
        let closed = |all: &Vec<Seen>| {
            let closed = all.iter().filter(|seen| seen.close == Some(code));
            closed.count() == count
        };
        let all = within(what, record.wait_for(closed)).await;
        all.expect("the origin lives");
    }

    pub(crate) async fn wait_until_all_ended(&self, what: &str) {
        let mut record = self.record.subscribe();
        let ended = |all: &Vec<Seen>| all.iter().all(|seen| seen.ended);
        let all = within(what, record.wait_for(ended)).await;
        all.expect("the origin lives");
    }
}

/// A connection's place in the record.
struct Entry {
    record: Arc<Record>,
    number: usize,
}

impl Entry {
    fn new(record: Arc<Record>, seen: Seen) -> Self {
        let mut number = 0;
        record.send_modify(|all| {
            number = all.len();
            all.push(seen);
        });
        Self { record, number }
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        self.record
            .send_modify(|all| change(all.get_mut(self.number).expect("an entry stays")));
    }
}

async fn connection(socket: TcpStream, record: Arc<Record>) {
    let mut seen = Seen::default();
    #[allow(
        clippy::result_large_err,
        reason = "the callback's type is the library's"
    )]
    let note = |request: &Request, response: Response| {
        seen.path = request.uri().path().to_owned();
        let fields = request.headers().iter();
        seen.fields = fields
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        Ok(response)
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let Ok(socket) = accept_hdr_async_with_config(socket, note, Some(config)).await else {
        return;
    };
    let path = seen.path.clone();
    let entry = Entry::new(record, seen);
    if path.ends_with("/flood") {
        flood(socket, &entry).await;
    } else if path.ends_with("/ticks") {
        tick(socket).await;
    } else if path.ends_with("/deaf") {
        std::future::pending::<()>().await;
    } else if !path.ends_with("/cut") {
        echo(socket, &entry, !path.ends_with("/sink")).await;
    }
    entry.change(|seen| seen.ended = true);
}

async fn flood(mut socket: WebSocketStream<TcpStream>, entry: &Entry) {
    let message = Message::Binary(Bytes::from(vec![7; FLOOD_BYTES]));
    while socket.send(message.clone()).await.is_ok() {
        entry.change(|seen| seen.messages += 1);
    }
}

async fn tick(mut socket: WebSocketStream<TcpStream>) {
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(_)) => {}
                _ => return,
            },
            () = tokio::time::sleep(TICK) => {
                if socket.send(Message::text("tick")).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn echo(mut socket: WebSocketStream<TcpStream>, entry: &Entry, answers: bool) {
    while let Some(Ok(message)) = socket.next().await {
        entry.change(|seen| seen.messages += 1);
        if let Message::Close(frame) = &message {
            let code = frame.as_ref().map_or(1005, |frame| frame.code.into());
            entry.change(|seen| seen.close = Some(code));
        }
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_data && answers && socket.send(message).await.is_err() {
            return;
        }
    }
}
