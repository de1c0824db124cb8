//! What every call passes before and after its handler, as one tower layer.
//! Invariant: the order is the security argument: a slot, the peer's
//! certificate, the RPC, the service's token, the caller's token; only then the
//! handler, until the call's deadline.
//! Refuses to look into messages: handlers call `validate`.

mod guard;
mod observe;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};

use crate::{
    clock,
    contracts::Contracts,
    deadline::{self, Inherited},
    errors,
    metrics::Metrics,
    peer::PeerPolicy,
    policy::PolicyStore,
    service_token, telemetry,
    token::Verifier,
};
use observe::{Finish, Observed};

/// Calls answered at the same time. At 64 KiB a message this bounds request
/// memory to 64 MiB; more would only wait for the same two password hashers.
pub const IN_FLIGHT_MAX: usize = 1024;

/// A call that is not answered by then: its caller has given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// tonic runs a timer of its own on `grpc-timeout` and answers CANCELLED; ours is
/// over first, as its timers go by the millisecond.
const ANSWER_MARGIN: Duration = Duration::from_millis(2);

/// The health service is open to every peer we verify, token or not.
const HEALTH_PREFIX: &str = "/grpc.health.v1.Health/";

/// Everything the layer decides from; made once.
pub struct Rules {
    pub contracts: Arc<Contracts>,
    pub peers: PeerPolicy,
    pub verifier: Verifier,
    pub metrics: Arc<Metrics>,
    /// Checks the tokens of other services; without it only the edge may call.
    services: Option<service_token::Verifier>,
    /// With the access matrix; without it nobody is in it.
    policies: Arc<PolicyStore>,
    slots: Arc<Semaphore>,
}

impl Rules {
    pub fn new(
        contracts: Arc<Contracts>,
        peers: PeerPolicy,
        verifier: Verifier,
        metrics: Arc<Metrics>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        Self {
            contracts,
            peers,
            verifier,
            metrics,
            services: None,
            policies: Arc::default(),
            slots,
        }
    }

    /// Lets the matrix say what others may call.
    #[must_use]
    pub fn policies(mut self, policies: Arc<PolicyStore>) -> Self {
        self.policies = policies;
        self
    }

    /// Lets other services call, as far as the matrix goes.
    #[must_use]
    pub fn services(mut self, tokens: service_token::Verifier) -> Self {
        self.services = Some(tokens);
        self
    }
}

/// Puts [`Rules`] in front of the routes.
#[derive(Clone)]
pub struct RpcLayer(pub Arc<Rules>);

impl<S> Layer<S> for RpcLayer {
    type Service = RpcService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RpcService {
            inner,
            rules: self.0.clone(),
        }
    }
}

/// See [`RpcLayer`].
#[derive(Clone)]
pub struct RpcService<S> {
    inner: S,
    rules: Arc<Rules>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for RpcService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        // The clone takes over; the one that is ready is used up.
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        if request.uri().path().starts_with(HEALTH_PREFIX) {
            return Box::pin(health(self.rules.clone(), inner, request));
        }
        let id = telemetry::request_id(request.headers());
        let span = span(&request, &id);
        Box::pin(answer(self.rules.clone(), inner, request, id).instrument(span))
    }
}

/// Health calls take no slot and leave no log line: a full server must still
/// say that it lives, and a watch stays open for days.
async fn health<S>(
    rules: Arc<Rules>,
    mut inner: S,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match guard::peer(&rules.peers, request.extensions()) {
        Ok(_) => inner.call(request).await,
        Err(refusal) => Ok(guard::peer_status(&refusal).into_http()),
    }
}

async fn answer<S>(
    rules: Arc<Rules>,
    inner: S,
    request: Request<Body>,
    id: String,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let rpc = rules.contracts.find(request.uri().path());
    let mut finish = Finish::new(rules.metrics.clone(), rpc, Span::current());
    let given = deadline::given(request.headers())
        .unwrap_or(CALL_TIMEOUT)
        .min(CALL_TIMEOUT);
    let deadline = Instant::now() + given.saturating_sub(ANSWER_MARGIN);
    let inherited = Inherited::new(request.headers(), &id, deadline);
    let handling = inherited.scope(handle(&rules, inner, request, &mut finish));
    let response = match timeout_at(deadline, handling).await {
        Ok(response) => response?,
        Err(_) => errors::refused(
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
            "the call took too long",
        )
        .into_http(),
    };
    finish.read(response.headers());
    Ok(response.map(|body| Body::new(Observed::new(body, finish))))
}

async fn handle<S>(
    rules: &Rules,
    mut inner: S,
    request: Request<Body>,
    finish: &mut Finish,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let (mut parts, body) = request.into_parts();
    match admit(rules, &mut parts, finish).await {
        Ok(()) => inner.call(Request::from_parts(parts, body)).await,
        Err(refused) => Ok(refused.into_http()),
    }
}

async fn admit(
    rules: &Rules,
    parts: &mut http::request::Parts,
    finish: &mut Finish,
) -> Result<(), Status> {
    let refused = |reason: &str| rules.metrics.refused.with_label_values(&[reason]).inc();
    let Ok(slot) = rules.slots.clone().try_acquire_owned() else {
        refused("overload");
        return Err(errors::busy("OVERLOADED"));
    };
    finish.hold(slot);
    match guard::judge(rules, parts, clock::now()).await {
        Ok(facts) => {
            Span::current().record("peer", facts.peer.0.as_str());
            parts.extensions.insert(facts.peer);
            if let Some(caller) = facts.caller {
                parts.extensions.insert(caller);
            }
            Ok(())
        }
        Err(refusal) => {
            refused(refusal.label());
            tracing::debug!(%refusal, "refused");
            Err(refusal.into())
        }
    }
}

fn span(request: &Request<Body>, id: &str) -> Span {
    let span = tracing::info_span!(
        "rpc",
        request_id = id,
        trace_id = telemetry::trace_id(request.headers()),
        peer = field::Empty,
    );
    telemetry::continue_trace(&span, request.headers());
    span
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::{memory::ConnectInfo, peer::Peer};

    fn layer() -> RpcLayer {
        let services = [("identity", "auth.v1.AuthService")];
        let contracts = Contracts::new(core_proto::DESCRIPTOR_SET, &services).unwrap();
        let peers = PeerPolicy::new("palisade.internal", &["edge".to_owned()]).unwrap();
        let verifier = Verifier::new("https://id.test", "palisade", [("k".to_owned(), [1; 32])]);
        let metrics = Arc::new(Metrics::new().unwrap());
        let rules = Rules::new(Arc::new(contracts), peers, verifier.unwrap(), metrics);
        RpcLayer(Arc::new(rules))
    }

    fn request(timeout: &str) -> Request<Body> {
        let request = Request::post("/auth.v1.AuthService/GetJwks")
            .header(deadline::GRPC_TIMEOUT, timeout)
            .extension(ConnectInfo(Peer("edge".to_owned())));
        request.body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn the_callers_deadline_ends_the_handler() {
        let pending = service_fn(async |_| {
            std::future::pending::<()>().await;
            Ok(Response::new(Body::empty()))
        });
        let answer = layer().layer(pending).oneshot(request("20m")).await;
        let status = Status::from_header_map(answer.unwrap().headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "DEADLINE_EXCEEDED");
    }

    #[tokio::test]
    async fn a_handler_can_see_what_is_left() {
        let inherited = Arc::new(std::sync::Mutex::new(None));
        let seen = inherited.clone();
        let handler = service_fn(move |_| {
            *seen.lock().unwrap() = Inherited::current().deadline;
            async { Ok(Response::new(Body::empty())) }
        });
        let before = Instant::now();
        let limit = before + CALL_TIMEOUT;
        layer()
            .layer(handler)
            .oneshot(request("99H"))
            .await
            .unwrap();
        let deadline = inherited.lock().unwrap().unwrap();
        // No caller can keep a handler for longer than we allow.
        assert!(deadline > before && deadline <= limit + before.elapsed());
        assert!(Inherited::current().deadline.is_none());
    }
}
