//! Raw bytes of HTTP/1.1 and what becomes of them: a refusal of which nothing goes upstream, or
//! exactly the requests that the bytes mean. The origin's own log of bytes is the proof.
//!
//! The tables name for each case the section that decides it; every refused case has a good
//! request right behind it, which must not get through either.

mod accepted;
mod answers;
mod bad_bodies;
mod bad_fields;
mod bad_framing;
mod bad_start_lines;
mod sequences;
mod socket;
mod verdicts;

use crate::harness::Edge;
use crate::upstream::Origin;
use crate::upstream::wire::WireOrigin;

/// Name, deciding section, status, bytes.
type Refused = (&'static str, &'static str, u16, &'static [u8]);
/// Name, deciding section, bytes, and the requests that the origin must see: line and body.
type Accepted = (
    &'static str,
    &'static str,
    &'static [u8],
    &'static [(&'static str, &'static str)],
);

/// Comes behind every refused case.
const MARKER: &[u8] = b"GET /marker HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// One edge in front of an origin that logs its bytes; everything is served in plain text too.
struct World {
    edge: Edge,
    origin: WireOrigin,
    /// Another behind it, which speaks HTTP/2.
    h2: Origin,
}

impl World {
    async fn start() -> Self {
        let (origin, h2) = (WireOrigin::start().await, Origin::h2().await);
        let policy = format!(
            "version: 1
clusters:
  - {{ name: wire, endpoints: [\"{}\"] }}
  - {{ name: h2, endpoints: [\"{}\"], protocol: http2 }}
routes:
  - {{ name: stored, matches: [{{ path: {{ prefix: /fresh }} }}], plain_http: true, cache: {{}}, cluster: wire }}
  - {{ name: h2, matches: [{{ path: {{ prefix: /chunked }} }}, {{ path: {{ prefix: /bytes }} }}, {{ path: {{ prefix: /count }} }}], plain_http: true, cluster: h2 }}
  - {{ name: all, matches: [{{ path: {{ prefix: / }} }}], plain_http: true, websocket: {{}}, cluster: wire }}
",
            origin.address, h2.address
        );
        Self {
            edge: Edge::start(&[("all.yaml", &policy)]).await,
            origin,
            h2,
        }
    }
}
