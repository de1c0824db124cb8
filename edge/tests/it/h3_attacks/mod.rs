//! Clients that try to wear the edge out over QUIC. Each costs what its bound says, whatever it
//! sends, and somebody else is served beside it.

mod handshakes;
mod paths;
mod streams;
mod transport;

use crate::client::Protocol;
use crate::harness::Edge;
use crate::matrix::World;

const MIB: u64 = 1024 * 1024;
/// RFC 9114, 8.1.
const H3_EXCESSIVE_LOAD: u64 = 0x107;
const H3_REQUEST_INCOMPLETE: u64 = 0x10d;

/// What the edge spent since.
struct Meter<'a> {
    edge: &'a Edge,
    cpu_seconds: f64,
    rss_bytes: u64,
}

impl<'a> Meter<'a> {
    fn start(edge: &'a Edge) -> Self {
        Self {
            edge,
            cpu_seconds: edge.cpu_seconds(),
            rss_bytes: edge.rss_bytes(),
        }
    }

    /// The bounds are for an unoptimised build.
    #[track_caller]
    fn assert(&self, cpu_seconds_max: f64, growth_bytes_max: u64) {
        let cpu_seconds = self.edge.cpu_seconds() - self.cpu_seconds;
        let growth = self.edge.peak_rss_bytes().saturating_sub(self.rss_bytes);
        assert!(
            cpu_seconds <= cpu_seconds_max,
            "{cpu_seconds} s of CPU time, more than {cpu_seconds_max}"
        );
        assert!(
            growth <= growth_bytes_max,
            "{growth} bytes of memory, more than {growth_bytes_max}"
        );
    }
}

/// The attack's result; and all the while somebody connects anew and is served.
async fn beside<T>(world: &World, attack: impl Future<Output = T>) -> T {
    let mut attack = Box::pin(attack);
    let mut result = None;
    loop {
        let request = async {
            let mut client = world.client(Protocol::H3).await;
            client.get("/echo/bystander").await.status
        };
        let mut request = Box::pin(request);
        let status = loop {
            tokio::select! {
                done = &mut attack, if result.is_none() => result = Some(done),
                status = &mut request => break status,
            }
        };
        assert_eq!(status, 200, "the bystander");
        if let Some(result) = result {
            return result;
        }
    }
}

/// Connections over QUIC that the edge holds now.
async fn open_connections(world: &World) -> f64 {
    let series = "palisade_connections_open{listener=\"h3\"}";
    world.edge.metric(series).await.unwrap_or(0.0)
}

async fn refused(world: &World, reason: &str) -> f64 {
    let series = format!("palisade_connections_refused_total{{reason=\"{reason}\"}}");
    world.edge.metric(&series).await.unwrap_or(0.0)
}
