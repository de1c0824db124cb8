//! Clients that ask again and again while processes come and go.
//!
//! A connection may end between two requests, if its client was told so or had sent nothing: then
//! the client makes another. Whatever goes wrong after a request was sent is a failure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use tokio::task::JoinSet;

use crate::client::{Broken, Client, Protocol};
use crate::harness::waiting::until;

/// Bytes of one answer: several packets, and more than one frame.
const BODY: u64 = 40_000;
/// A client does one thing at a time: this many of each.
const EVERYTHING: [(Protocol, Style, usize); 6] = [
    (Protocol::H1, Style::KeepAlive, 2),
    (Protocol::H2, Style::KeepAlive, 2),
    (Protocol::H3, Style::KeepAlive, 2),
    (Protocol::H1, Style::Fresh, 2),
    (Protocol::H2, Style::Fresh, 2),
    (Protocol::H3, Style::Fresh, 2),
];

#[derive(Clone, Copy)]
pub(crate) enum Style {
    /// As many requests on one connection as it takes.
    KeepAlive,
    /// A connection for each request.
    Fresh,
}

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    answered: AtomicUsize,
    reconnected: AtomicUsize,
}

/// Clients of every protocol, until told to stop.
pub(crate) struct Load {
    tally: Arc<Tally>,
    clients: JoinSet<Result<(), String>>,
}

impl Load {
    pub(crate) fn start(https: SocketAddr) -> Self {
        Self::of(&EVERYTHING, https)
    }

    /// So many clients of each kind.
    pub(crate) fn of(kinds: &[(Protocol, Style, usize)], https: SocketAddr) -> Self {
        let tally = Arc::new(Tally::default());
        let mut clients = JoinSet::new();
        for (protocol, style, count) in kinds {
            for _ in 0..*count {
                clients.spawn(ask(*protocol, *style, https, tally.clone()));
            }
        }
        Self { tally, clients }
    }

    /// Wait for this many more answers.
    pub(crate) async fn answers(&self, more: usize) {
        let goal = self.tally.answered.load(Ordering::Relaxed) + more;
        until("the clients to be served", || async {
            // A client that failed is found at the end.
            let stopped = self.tally.stop.load(Ordering::Relaxed);
            (stopped || self.tally.answered.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// Stop, and fail the test with every failure there was.
    pub(crate) async fn finish(mut self) -> (usize, usize) {
        self.tally.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            failures.extend(ended.expect("a client does not panic").err());
        }
        let answered = self.tally.answered.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "of {answered} requests: {failures:#?}");
        (answered, self.tally.reconnected.load(Ordering::Relaxed))
    }
}

/// Returns the first failure, which stops all clients.
async fn ask(
    protocol: Protocol,
    style: Style,
    https: SocketAddr,
    tally: Arc<Tally>,
) -> Result<(), String> {
    while !tally.stop.load(Ordering::Relaxed) {
        let connected = Client::connect_to(protocol, https).await;
        let result = match connected {
            Ok(client) => requests(client, style, &tally).await,
            Err(broken) => Err(format!("connect: {broken:?}")),
        };
        if let Err(failure) = result {
            tally.stop.store(true, Ordering::Relaxed);
            return Err(format!("{protocol:?} {failure}"));
        }
        tally.reconnected.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// On one connection, until it ends or is told to.
async fn requests(mut client: Client, style: Style, tally: &Tally) -> Result<(), String> {
    for number in 0.. {
        match request(&mut client).await {
            Ok(Some(more)) => {
                tally.answered.fetch_add(1, Ordering::Relaxed);
                let stop = tally.stop.load(Ordering::Relaxed);
                if !more || stop || matches!(style, Style::Fresh) {
                    return Ok(());
                }
            }
            // A connection just made must take a request.
            Ok(None) if number == 0 => return Err("turned away before its first request".into()),
            Ok(None) => return Ok(()),
            Err(broken) => return Err(format!("request {number}: {broken:?}")),
        }
    }
    Ok(())
}

/// Whether more may follow; none if nothing was sent.
async fn request(client: &mut Client) -> Result<Option<bool>, Broken> {
    let opened = client
        .open(Method::GET, &format!("/bytes/{BODY}"), &[], false)
        .await;
    let Ok((_, pending)) = opened else {
        return Ok(None);
    };
    let (head, mut download) = match pending.head().await {
        Ok(answer) => answer,
        Err(broken) if was_not_sent(&broken) => return Ok(None),
        Err(broken) => return Err(broken),
    };
    let received = download.check().await?;
    if (head.status, received.bytes, received.is_intact()) != (200, BODY, true) {
        return Err(Broken::from((head.status, received)));
    }
    let closes = head.headers.get("connection");
    Ok(Some(closes.is_none_or(|value| value != "close")))
}

/// hyper took the request before it saw that the connection ends: then its h2 says that there was
/// a GOAWAY without error, after which it sends nothing. The origin's count proves it.
fn was_not_sent(broken: &Broken) -> bool {
    let text = format!("{broken:?}");
    text.contains("Canceled") || text.contains("GoAway(b\"\", NO_ERROR, Remote)")
}
