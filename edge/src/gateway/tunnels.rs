//! Requests that become WebSocket connections: the tunnel's limits, and the upstream's consent.

use std::time::Duration;

use http::StatusCode;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::Gateway;
use super::on_reload::Tied;
use crate::listen::extended_connect::is_extended_connect;
use crate::listen::tunnel::{self, Ending, Limits};
use crate::request_ctx::{Now, RequestCtx, TunnelFacts};
use crate::stages::websocket;

/// Close codes of RFC 6455, 7.4.1; the reasons are labels of a metric, too.
const GOING_AWAY: u16 = 1001;
const POLICY_VIOLATION: u16 = 1008;
const IDLE: Ending = Ending {
    code: GOING_AWAY,
    reason: "idle",
};
const LIFETIME: Ending = Ending {
    code: GOING_AWAY,
    reason: "lifetime",
};
const TOKEN_EXPIRED: Ending = Ending {
    code: POLICY_VIOLATION,
    reason: "token_expired",
};
const DRAINING: Ending = Ending {
    code: GOING_AWAY,
    reason: "draining",
};

/// Beyond the tunnel's own bound, which ends it with a Close frame.
const UPSTREAM_SILENCE_SLACK: Duration = Duration::from_secs(10);

impl Gateway {
    /// Where the request is to become a tunnel: from here on its session is one.
    pub(super) fn open_tunnel(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
        let admitted = ctx.admitted()?;
        let Some(terms) = admitted.websocket else {
            return Ok(());
        };
        let cluster = admitted
            .cluster
            .and_then(|id| ctx.snapshot.policy.clusters.get(id.0));
        let answer_in = cluster.map_or(Duration::ZERO, |cluster| cluster.timeouts.read);
        let time_left = ctx.time_left(Now::monotonic()).unwrap_or(answer_in);
        let ending = if terms.ends_with_token {
            TOKEN_EXPIRED
        } else {
            LIFETIME
        };
        let limits = Limits {
            handshake_timeout: answer_in.min(time_left),
            idle: (terms.idle_timeout, IDLE),
            deadline: (terms.ends_in, ending),
            drain: (self.tunnels.clone(), DRAINING),
            recall: ctx.tied.as_ref().map(Tied::of_tunnel),
        };
        ctx.tunnel = Some(TunnelFacts {
            upstream_silence_max: terms.idle_timeout + UPSTREAM_SILENCE_SLACK,
            opened_after: None,
            ended_by: tunnel::wrap(session, limits),
        });
        Ok(())
    }

    /// A 101 must answer the handshake, and an extended CONNECT has no other way to succeed: to its
    /// client any 2xx says that the tunnel is open (RFC 8441, 5).
    pub(super) fn check_upgrade(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let head = session.req_header();
        let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
        let is_accepted = ctx.tunnel.is_some()
            && response.version == http::Version::HTTP_11
            && websocket::is_accepted(&head.headers, &response.headers);
        let misleads = response.status.is_success() && is_extended_connect(head);
        if switches && !is_accepted || misleads {
            return Error::e_explain(
                ErrorType::InvalidHTTPHeader,
                "the answer to an upgrade is none",
            )
            .map_err(|error: Box<Error>| error.into_up());
        }
        if let Some(tunnel) = ctx.tunnel.as_mut().filter(|_| switches) {
            let now = Now::monotonic();
            tunnel.opened_after = Some(now.saturating_duration_since(ctx.started.monotonic));
            // It may last for days, and most of the time it is silent.
            ctx.in_flight = None;
            self.metrics.tunnel_opened(ctx.route_name().unwrap_or(""));
        }
        Ok(())
    }
}

/// A 1xx with another answer to come; 101 is the last one (RFC 9110, 15.2).
pub(super) fn is_interim(response: &ResponseHeader) -> bool {
    response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
}
