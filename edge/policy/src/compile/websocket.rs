//! WebSocket connections of a route: from which pages, and for how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use url::{Origin, Url};

use super::routes::is_on;
use super::{Compiler, quoted};
use crate::codes;
use crate::diagnostic::{Fault, shown};
use crate::document::{ClusterDoc, ProtocolDoc, RouteDoc};
use crate::field::At;
use crate::model::WebSocket;

/// Compared one by one, at each upgrade.
const ORIGINS_MAX: usize = 64;
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const IDLE_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(86_400);
const LIFETIME: Duration = Duration::from_secs(86_400);
const LIFETIME_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(30 * 86_400);

impl Compiler<'_> {
    pub(super) fn websocket(
        &mut self,
        route: &RouteDoc,
        clusters: &[&At<ClusterDoc>],
    ) -> Option<WebSocket> {
        let written = route.websocket.given()?;
        let doc = &written.value;
        for cluster in clusters {
            let protocol = cluster.value.protocol.given().map(|at| at.value);
            // The translation takes connections itself, whatever the cluster behind it speaks.
            if is_on(&route.translate) || matches!(protocol, None | Some(ProtocolDoc::Http1)) {
                continue;
            }
            let name = cluster.value.name.given().map_or("", |name| &name.value);
            let message = format!(
                "`websocket` needs a cluster with `protocol: http1`, which {} is not",
                quoted(name)
            );
            let fault = Fault::new(codes::CONTRADICTION, message);
            self.report.push(
                written.mark,
                fault.hint("`translate: true` gives streams of gRPC services to WebSockets"),
            );
        }
        if let Some(end_with_token) = doc.end_with_token.given()
            && route.auth.is_absent()
        {
            self.report.push(
                end_with_token.mark,
                Fault::new(
                    codes::CONTRADICTION,
                    "`end_with_token` has no effect on a route that asks for no token",
                ),
            );
        }
        if let Some(origins) = doc.origins.given()
            && origins.value.is_empty()
        {
            self.report.push(
                origins.mark,
                Fault::new(
                    codes::CONTRADICTION,
                    "an empty list of `origins` would let no page in and reads as if it let all in",
                ),
            );
        }
        Some(WebSocket {
            origins: self.texts(&doc.origins, ORIGINS_MAX, origin),
            idle_timeout: self.duration(&doc.idle_timeout, IDLE_TIMEOUT, IDLE_BOUNDS),
            lifetime: self.duration(&doc.lifetime, LIFETIME, LIFETIME_BOUNDS),
            end_with_token: doc.end_with_token.given().is_none_or(|at| at.value),
        })
    }
}

/// As browsers write it (RFC 6454, 6.2), because it is compared byte by byte.
fn origin(text: &str) -> Result<(), Fault> {
    let fault = || Fault::new(codes::TEXT, format!("{} is not a web origin", shown(text)));
    let url = Url::parse(text).map_err(|_| fault().hint("write `https://app.example.com`"))?;
    let origin = url.origin();
    if !matches!(origin, Origin::Tuple(..)) {
        return Err(fault().hint("write `https://app.example.com`"));
    }
    let serialized = origin.ascii_serialization();
    if serialized != text {
        return Err(fault().hint(format!("write {}", shown(&serialized))));
    }
    Ok(())
}
