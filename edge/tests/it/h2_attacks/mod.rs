//! HTTP/2 clients that mean harm: what they cost, when they are cut, and who is served meanwhile.
//!
//! Every bound is far from what a loaded machine needs and far from what an attack takes where
//! nothing stops it; the upstream's record says what it cost others.

mod floods;
mod memory;
mod resets;
mod silence;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::Protocol;
use crate::client::raw_h2::{RawH2, drain};
use crate::harness::waiting::{until, within};
use crate::matrix::World;

/// What an attack sends if nobody stops it.
const FLOOD_BYTES: usize = 64 * 1024 * 1024;
/// Of the edge, while one connection is flooded: unoptimised code, and the neighbour's requests.
const CPU_SECONDS_MAX: f64 = 10.0;

/// A client that behaves, busy for as long as an attack goes on.
struct Neighbour {
    stop: CancellationToken,
    task: JoinHandle<usize>,
}

impl Neighbour {
    async fn start(world: &World) -> Self {
        let mut client = world.client(Protocol::H2).await;
        assert_eq!(client.get("/echo/neighbour").await.status, 200);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut served = 0;
            while !stopped.is_cancelled() {
                let answer = within("the neighbour's answer", client.get("/echo/neighbour")).await;
                assert_eq!(answer.status, 200);
                served += 1;
            }
            served
        });
        Self { stop, task }
    }

    /// Every request was answered, and there were some.
    async fn was_served(self) {
        self.stop.cancel();
        let served = self.task.await.expect("the neighbour is served");
        assert!(served > 0, "the neighbour got nothing");
    }
}

/// Send what `next` makes until the edge ends it. Returns the code of its GOAWAY.
async fn flood(h2: RawH2, mut next: impl FnMut() -> Vec<u8>) -> Option<u32> {
    let (reading, mut writing) = h2.split();
    let code = tokio::spawn(drain(reading));
    let sending = async {
        let mut sent = 0;
        while sent < FLOOD_BYTES {
            let mut piece = Vec::new();
            while piece.len() < 16 * 1024 {
                piece.extend(next());
            }
            if write(&mut writing, &piece).await.is_err() {
                return sent;
            }
            sent += piece.len();
        }
        sent
    };
    let sent = within("the flood to be cut off", sending).await;
    assert!(sent < FLOOD_BYTES, "nobody stopped the flood");
    code.await.expect("a reader")
}

async fn write(writing: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> std::io::Result<()> {
    writing.write_all(piece).await?;
    writing.flush().await
}

/// How many connections were closed for one of these.
async fn closed_for(world: &World, reasons: &[&str]) -> f64 {
    let mut closed = 0.0;
    for reason in reasons {
        let series = format!("palisade_connections_refused_total{{reason=\"{reason}\"}}");
        closed += world.edge.metric(&series).await.unwrap_or(0.0);
    }
    closed
}

/// The GOAWAY is out before its connection is counted.
async fn counts(world: &World, reasons: &[&str], count: f64) {
    until(format!("{count} closed for {reasons:?}"), || async {
        (closed_for(world, reasons).await >= count).then_some(())
    })
    .await;
}

/// The connections of an attack are gone, and only the neighbour's may be left.
async fn connections_are_closed(world: &World) {
    until("the attacker's connections to be closed", || async {
        let open = world
            .edge
            .metric("palisade_connections_open{listener=\"https\"}")
            .await;
        (open? <= 1.0).then_some(())
    })
    .await;
}
