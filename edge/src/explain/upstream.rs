//! Where a request goes on to, and what it looks like there.

use std::time::Duration;

use palisade_policy::model::{Cluster, ClusterId, UpstreamProtocol};
use pingora_http::RequestHeader;

use super::compose::{Judged, place};
use super::explanation::{FieldChange, UpstreamSeen};
use super::fields;
use crate::request_ctx::Now;
use crate::respond;
use crate::stages::{Admitted, rewrite};

/// Made anew for each request: its value says nothing.
const OWN_SPAN: &str = "(of this request)";

pub(super) fn seen(judged: &Judged<'_>, admitted: &Admitted) -> Option<UpstreamSeen> {
    let id = admitted.cluster?;
    let cluster = judged.snapshot.policy.clusters.get(id.0)?;
    let state = judged.snapshot.cluster(id)?;
    let endpoint = state.peek(Now::monotonic());
    let endpoint = endpoint.and_then(|pick| pick.cluster.address(pick.index));
    let forward = admitted.route.forward()?;
    let sent = sent(judged, admitted);
    let host = sent.headers.get(http::header::HOST);
    Some(UpstreamSeen {
        cluster: cluster.name.to_string(),
        at: place(&cluster.origin),
        endpoint: endpoint.map(|address| address.to_string()),
        protocol: protocol(cluster).to_owned(),
        weights: weights(judged, admitted),
        translated: forward.translate && !respond::is_grpc(judged.head),
        method: sent.method.to_string(),
        path: sent
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned(),
        host: host
            .and_then(|host| host.to_str().ok())
            .unwrap_or("")
            .to_owned(),
        headers: changes(judged, &sent),
        timeouts: timeouts(admitted, cluster),
    })
}

/// The head as the endpoint gets it, by the function that makes it.
pub(super) fn sent(judged: &Judged<'_>, admitted: &Admitted) -> RequestHeader {
    let asked = judged.asked;
    let mut head = judged.head.clone();
    let forwarding = rewrite::Forwarding {
        client: &asked.client,
        request_id: &asked.request_id,
        trace: &asked.trace,
        time_left: match admitted.websocket {
            None => admitted.deadline.map(|deadline| deadline.length),
            Some(_) => None,
        },
    };
    // What fails here fails the request; what was done until then is shown.
    let _ = rewrite::request(&mut head, admitted, &forwarding);
    head
}

fn changes(judged: &Judged<'_>, sent: &RequestHeader) -> Vec<FieldChange> {
    let mut changes = fields::changes(&judged.raw.headers, &sent.headers);
    for change in &mut changes {
        if change.name == "traceparent" {
            change.value = OWN_SPAN.to_owned();
        }
    }
    changes
}

fn protocol(cluster: &Cluster) -> &'static str {
    match (cluster.protocol, cluster.tls.is_some()) {
        (UpstreamProtocol::Http1, false) => "http1",
        (UpstreamProtocol::Http1, true) => "http1 over TLS",
        (UpstreamProtocol::Http2, false) => "http2",
        (UpstreamProtocol::Http2, true) => "http2 over TLS",
        (UpstreamProtocol::Grpc, false) => "grpc",
        (UpstreamProtocol::Grpc, true) => "grpc over TLS",
    }
}

fn weights(judged: &Judged<'_>, admitted: &Admitted) -> Vec<(String, u32)> {
    let backends = admitted.route.backends();
    if backends.len() < 2 {
        return Vec::new();
    }
    let name = |id: ClusterId| {
        let cluster = judged.snapshot.policy.clusters.get(id.0);
        cluster.map_or_else(String::new, |cluster| cluster.name.to_string())
    };
    let weights = backends.iter();
    weights
        .map(|backend| (name(backend.cluster), backend.weight))
        .collect()
}

fn timeouts(admitted: &Admitted, cluster: &Cluster) -> Vec<(String, String)> {
    let of = &cluster.timeouts;
    let mut timeouts = vec![
        ("request", admitted.route.request_timeout),
        ("connect", Some(of.connect)),
        ("read", Some(of.read)),
        ("write", Some(of.write)),
    ];
    if let Some(terms) = &admitted.websocket {
        timeouts.truncate(2);
        timeouts.push(("silence", Some(terms.idle_timeout)));
        timeouts.push(("lifetime", Some(terms.ends_in)));
    }
    if let Some(deadline) = admitted.deadline.filter(|deadline| deadline.by_client) {
        timeouts.insert(1, ("client", Some(deadline.length)));
    }
    let shown = |timeout: Option<Duration>| {
        timeout.map_or_else(|| "none".to_owned(), |timeout| format!("{timeout:?}"))
    };
    let timeouts = timeouts.into_iter();
    timeouts
        .map(|(name, timeout)| (name.to_owned(), shown(timeout)))
        .collect()
}
