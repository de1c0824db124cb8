//! Clients that change their address in the middle of a connection (RFC 9000, 9).

use crate::client::Client;
use crate::client::h3::H3Client;
use crate::harness::Edge;
use crate::upstream::Origin;

const ROUTES: &str = "
limits: [{ name: three, key: client_address, rate: 3/h }]
routes: [{ name: open, matches: [{ path: { prefix: /echo } }], limits: [three], cluster: origin }]
";

/// A new address is anybody's until it is validated, and quinn does not say when that is: limits,
/// logs and upstreams stay with the one that the handshake has proved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_moves_takes_its_limits_along() {
    let origin = Origin::h1().await;
    let cluster = format!(
        "version: 1\nclusters: [{{ name: origin, endpoints: [\"{}\"] }}]{ROUTES}",
        origin.address
    );
    let edge = Edge::start(&[("routes.yaml", &cluster)]).await;
    let h3 = H3Client::connect(edge.https, None).await;
    let h3 = h3.expect("a connection");
    let mut client = Client::H3(h3.clone());
    for (number, address) in [[127, 0, 0, 1], [127, 0, 2, 1], [127, 0, 2, 2]]
        .iter()
        .enumerate()
    {
        h3.move_to(*address);
        let target = format!("/echo/{number}");
        assert_eq!(client.get(&target).await.status, 200, "{address:?}");
        let forwarded = origin.last(&target);
        assert_eq!(forwarded.header("x-forwarded-for"), Some("127.0.0.1"));
        let logged = edge
            .log_line("the request", |line| line["path"] == target.as_str())
            .await;
        assert_eq!(logged["client"], "127.0.0.1", "{logged}");
    }
    h3.move_to([127, 0, 2, 3]);
    assert_eq!(client.get("/echo/4").await.status, 429);
}
