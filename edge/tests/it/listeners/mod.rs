//! What clients may hold, whose word about them is taken, and how slow they may be.
//!
//! Each attack has its bounds asserted (time to close, CPU and memory of the edge, requests that
//! reached the upstream, the counter of its reason), and a well-behaved client beside it.

mod addresses;
mod forwarded;
mod proxy_protocol;
mod slow_clients;
mod slow_readers;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::Edge;
use crate::harness::files::Files;
use crate::harness::waiting::{until, within};
use crate::upstream::Origin;

/// Where clients come from that are not 127.0.0.1.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// An edge with this `listeners` map, in front of an origin.
struct Guarded {
    edge: Edge,
    origin: Origin,
}

fn listeners(map: &str) -> String {
    format!("version: 1\nlisteners: {{ {map} }}\n")
}

impl Guarded {
    async fn start(map: &str) -> Self {
        Self::start_with(map, "connect_retries: 0").await
    }

    /// With this further key of the cluster.
    async fn start_with(map: &str, cluster: &str) -> Self {
        let origin = Origin::h1().await;
        let rest = format!(
            "version: 1
clusters:
  - {{ name: origin, endpoints: [\"{}\"], {cluster} }}
limits:
  - {{ name: one, key: client_address, rate: 1/h }}
routes:
  - name: all
    matches: [{{ path: {{ prefix: / }} }}]
    plain_http: true
    request_body_max: 64MiB
    cluster: origin
  - name: one
    matches: [{{ path: /echo/one }}]
    plain_http: true
    limits: [one]
    cluster: origin
  - name: secure
    matches: [{{ path: /echo/secure }}]
    cluster: origin
",
            origin.address
        );
        let policies = [("listeners.yaml", &*listeners(map)), ("rest.yaml", &*rest)];
        let files = Files::with_policies(&policies);
        let edge = Edge::start_with(files, &[]).await;
        Self { edge, origin }
    }

    /// Connections and streams refused for this reason.
    async fn refused(&self, reason: &str, times: usize) {
        let series = format!("palisade_connections_refused_total{{reason=\"{reason}\"}}");
        self.counted(&series, times).await;
    }

    /// Counters run a little behind what clients see, so they are waited for.
    async fn counted(&self, series: &str, times: usize) {
        until(format!("{series} {times}"), || async {
            let count = self.edge.metric(series).await.unwrap_or(0.0);
            assert!(count <= times as f64, "{series}: {count}");
            (count == times as f64).then_some(())
        })
        .await;
    }

    /// A gauge that others may still hold up.
    async fn counted_down(&self, series: &str, to: usize) {
        until(format!("{series} {to}"), || async {
            let now = self.edge.metric(series).await;
            (now == Some(to as f64)).then_some(())
        })
        .await;
    }
}

/// A TCP connection from this address of ours.
async fn connect_from(source: IpAddr, target: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::new(source, 0))
        .expect("every 127.x.x.x is ours");
    let connection = within("a connection", socket.connect(target)).await;
    let connection = connection.expect("the kernel accepts");
    connection.set_nodelay(true).expect("a socket");
    connection
}

/// A request with these further lines of its head, and the end of the connection asked for.
fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{lines}connection: close\r\n\r\n")
}

/// All that comes until the edge closes; a reset is an end like any other.
async fn read_to_end(mut socket: impl AsyncRead + Unpin) -> String {
    let mut answer = Vec::new();
    let _ = within("the edge to close", socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status and JSON body of one exchange on this connection, which ends with it.
async fn exchange(mut socket: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> (u16, Value) {
    // The edge may refuse before the last byte is written.
    let _ = socket.write_all(request).await;
    let answer = read_to_end(socket).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let start = body.find('{').unwrap_or(body.len());
    let end = body.rfind('}').map_or(start, |end| end + 1);
    let body = serde_json::from_str(body.get(start..end).unwrap_or_default());
    (status.unwrap_or(0), body.unwrap_or(Value::Null))
}

/// A field as the origin echoed it.
fn echoed<'v>(echo: &'v Value, name: &str) -> Option<&'v str> {
    let fields = echo["headers"].as_array()?;
    let mut found = fields.iter().filter(|field| field[0] == name);
    let value = found.next()?[1].as_str();
    assert!(found.next().is_none(), "{name} came twice: {echo}");
    value
}
