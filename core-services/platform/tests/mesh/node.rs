//! A running service: the relay behind the platform's layer, on a socket and a pipe.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use core_platform::{
    contracts::Contracts,
    listen::Listener,
    memory::{self, Dialer},
    metrics::Metrics,
    peer::PeerPolicy,
    policy::{Matrix, Policies, PolicyStore},
    rpc::{RpcLayer, Rules},
    serve,
};
use futures::future::BoxFuture;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    body::Body,
    client::{Grpc, GrpcService},
    server::NamedService,
    service::Routes,
};
use tonic_prost::ProstCodec;

use crate::world::{DOMAIN, RELAY, World};

type Handling = BoxFuture<'static, Result<(), Status>>;
pub(crate) type Handler = Arc<dyn Fn(Seen) -> Handling + Send + Sync>;

/// A call as its handler sees it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) has_caller: bool,
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) dialer: Dialer,
    policies: Arc<PolicyStore>,
    pub(crate) metrics: Arc<Metrics>,
    seen: Arc<Mutex<Vec<Seen>>>,
    contracts: Arc<Contracts>,
    stop: CancellationToken,
}

/// A handler that is always well.
pub(crate) fn fine() -> Handler {
    Arc::new(|_| Box::pin(async { Ok(()) }))
}

impl Node {
    /// Serves as `name`; `access` as in the file.
    pub(crate) async fn start(
        world: &World,
        name: &'static str,
        access: &[(&str, &str)],
        handler: Handler,
    ) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let contracts = Arc::new(Contracts::new(&world.descriptors, &[(name, RELAY)]).unwrap());
        let policies = Arc::new(PolicyStore::default());
        policies.replace(rules_of(&contracts, access));
        let rules = || {
            let names = ["edge", "first", "second", "third"].map(str::to_owned);
            let peers = PeerPolicy::new(DOMAIN, &names).unwrap();
            let rules = Rules::new(
                contracts.clone(),
                peers,
                world.user_tokens(),
                metrics.clone(),
            );
            let rules = rules.policies(policies.clone());
            RpcLayer(Arc::new(rules.services(world.service_tokens(name))))
        };
        let open = metrics.connections.with_label_values(&["core"]);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 64, open).await;
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let (dialer, incoming) = memory::listener();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let relay = Relay {
            handler,
            seen: seen.clone(),
        };
        let routes = || Routes::new(relay.clone());
        let stop = CancellationToken::new();
        let stopped = || stop.clone().cancelled_owned();
        let tls = world.tls(name);
        tokio::spawn(serve::grpc(listener, tls, rules(), routes(), stopped()));
        tokio::spawn(serve::memory(incoming, rules(), routes(), stopped()));
        Self {
            address,
            dialer,
            policies,
            metrics,
            seen,
            contracts,
            stop,
        }
    }

    pub(crate) fn allow(&self, access: &[(&str, &str)]) {
        self.policies.replace(rules_of(&self.contracts, access));
    }

    /// The calls that reached the handler.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Caller and RPC, such as `("first", "Read")`.
fn rules_of(contracts: &Contracts, access: &[(&str, &str)]) -> Policies {
    let mut matrix = Matrix::default();
    for (caller, rpc) in access {
        let rpc = format!("{RELAY}/{rpc}");
        matrix.allow(caller, &rpc, contracts.pool()).unwrap();
    }
    Policies {
        access: matrix,
        ..Policies::default()
    }
}

#[derive(Clone)]
struct Relay {
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl NamedService for Relay {
    const NAME: &'static str = RELAY;
}

impl tower::Service<http::Request<Body>> for Relay {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let seen = Seen {
            headers: request.headers().clone(),
            has_caller: request
                .extensions()
                .get::<core_platform::token::Caller>()
                .is_some(),
        };
        self.seen.lock().unwrap().push(seen.clone());
        let handling = (self.handler)(seen);
        let mut handling = Some(handling);
        let service = tower::service_fn(move |_: Request<()>| {
            let handling = handling.take().unwrap();
            async move { handling.await.map(Response::new) }
        });
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<(), ()>::default());
            Ok(grpc.unary(service, request).await)
        })
    }
}

/// One call of an RPC of the relay.
pub(crate) async fn call<C>(channel: C, rpc: &str, request: Request<()>) -> Result<(), Status>
where
    C: GrpcService<Body>,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut grpc = Grpc::new(channel);
    let ready = grpc.ready().await.map_err(|error| error.into());
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = format!("/{RELAY}/{rpc}").parse().unwrap();
    let codec = ProstCodec::<(), ()>::default();
    grpc.unary(request, path, codec).await.map(|_| ())
}

/// A request that carries a header.
pub(crate) fn with(name: &'static str, value: &str) -> Request<()> {
    let mut request = Request::new(());
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}
