//! The one task that listens to a cluster's revocations.
//!
//! Invariant: the cursor moves when a batch was taken in, so a stream that ends is begun again
//! without a gap. A stream that says nothing for `SILENCE_MAX` is broken: the service gives signs of
//! life. What is known stays in force while nothing is heard.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::{sleep, timeout};
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tracing::{debug, info, warn};

use super::messages::{Revocations, WATCH_REVOCATIONS, WatchRevocationsRequest};
use super::revoked::Revoked;
use crate::backoff::Backoff;
use crate::request_ctx::Now;

/// Three signs of life of the service that have not come; for connecting, too.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// One message: the service puts 500 revocations of some 100 bytes into each.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Before it is listened again.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(10),
};
/// Longest text of a failure that is logged, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Listens to these endpoints, one at a time, from now on.
pub(super) async fn follow(cluster: Arc<str>, endpoints: Vec<Endpoint>, revoked: Arc<Revoked>) {
    let mut follower = Follower {
        cluster,
        revoked,
        cursor: 0,
        failures: 0,
    };
    for endpoint in endpoints.iter().cycle() {
        let lost = match follower.listen(endpoint).await {
            Ok(()) => "the stream has ended".to_owned(),
            Err(lost) => lost,
        };
        follower.lost(&lost);
        sleep(BACKOFF.after(follower.failures)).await;
    }
}

struct Follower {
    cluster: Arc<str>,
    revoked: Arc<Revoked>,
    cursor: i64,
    /// In a row.
    failures: u32,
}

impl Follower {
    /// As long as there are signs of life.
    async fn listen(&mut self, endpoint: &Endpoint) -> Result<(), String> {
        let silent = |_| format!("nothing was heard for `{SILENCE_MAX:?}`");
        let opening = open(endpoint, self.cursor);
        let mut stream = timeout(SILENCE_MAX, opening).await.map_err(silent)??;
        let mut is_first = true;
        loop {
            let next = timeout(SILENCE_MAX, stream.message()).await;
            let next = next.map_err(silent)?;
            let Some(batch) = next.map_err(|status| told(&status))? else {
                return Ok(());
            };
            self.revoked.take_in(&batch, Now::read())?;
            // Of a database that was set back: what follows is all of it again.
            self.cursor = batch.cursor;
            if std::mem::take(&mut is_first) {
                let entries = self.revoked.entries();
                info!(cluster = &*self.cluster, entries, "revocations are heard");
            } else {
                // A service that says one word and ends is not asked again at once.
                self.failures = 0;
            }
        }
    }

    fn lost(&mut self, error: &str) {
        self.revoked.connected(false);
        self.failures = self.failures.saturating_add(1);
        let (cluster, failures) = (&*self.cluster, self.failures);
        // Once for each time that it is away.
        if failures == 1 {
            warn!(
                cluster,
                error, "revocations are not heard; what is known stays in force"
            );
        } else {
            debug!(cluster, error, failures, "revocations are not heard");
        }
    }
}

async fn open(endpoint: &Endpoint, after: i64) -> Result<Streaming<Revocations>, String> {
    let channel = endpoint.connect().await.map_err(|error| chain(&error))?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready().await.map_err(|error| chain(&error))?;
    let request = Request::new(WatchRevocationsRequest { after });
    let path = PathAndQuery::from_static(WATCH_REVOCATIONS);
    let codec: ProstCodec<WatchRevocationsRequest, Revocations> = ProstCodec::default();
    let answer = grpc.server_streaming(request, path, codec).await;
    Ok(answer.map_err(|status| told(&status))?.into_inner())
}

fn told(status: &Status) -> String {
    shortened(format!("{:?}: {}", status.code(), status.message()))
}

/// tonic's own text is "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    shortened(text)
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
