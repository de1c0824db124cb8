//! A new process takes over: nothing that clients have begun is lost, and one that cannot serve
//! changes nothing.

pub(crate) mod load;
mod under_load;
mod failures;
mod lifetimes;

use crate::harness::Edge;
use crate::harness::files::Files;
use crate::upstream::Origin;
use crate::upstream::tunnel::EchoTunnel;

/// An edge whose successors drain until their last request has ended.
const PATIENT: &[&str] = &["--drain-seconds", "240"];

/// Everything to the origin, but for tunnels.
fn policy(origin: &Origin, echo: &EchoTunnel) -> String {
    format!(
        "version: 1
clusters:
  - {{ name: origin, endpoints: [\"{}\"] }}
  - {{ name: echo, endpoints: [\"{}\"] }}
routes:
  - {{ name: tunnels, matches: [{{ path: /tunnel }}], websocket: {{}}, cluster: echo }}
  - {{ name: all, matches: [{{ path: {{ prefix: / }} }}], request_timeout: 10m, request_body_max: 64MiB, cluster: origin }}
",
        origin.address, echo.address
    )
}

/// An edge, its origin and a server of tunnels.
struct Site {
    edge: Edge,
    origin: Origin,
    _echo: EchoTunnel,
}

impl Site {
    async fn start(flags: &[&str]) -> Self {
        let (origin, echo) = (Origin::h1().await, EchoTunnel::start().await);
        let files = Files::with_policies(&[("all.yaml", &policy(&origin, &echo))]);
        Self {
            edge: Edge::start_with(files, flags).await,
            origin,
            _echo: echo,
        }
    }

    /// Replace the edge; returns the one before, which drains.
    async fn upgrade(&mut self, flags: &[&str]) -> Edge {
        let successor = self.edge.successor(flags).await;
        std::mem::replace(&mut self.edge, successor)
    }
}
