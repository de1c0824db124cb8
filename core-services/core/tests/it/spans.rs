//! Spans reach a collector, and belong to the trace of who called.

use std::{net::SocketAddr, sync::Mutex};

use core_proto::auth::v1::LoginRequest;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, async_trait, transport::Server};

use crate::harness::{EMAIL, PASSWORD, World};

/// A collector that keeps what it gets.
#[derive(Default)]
struct Collector(Mutex<Vec<Span>>);

#[async_trait]
impl TraceService for &'static Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector() -> (SocketAddr, &'static Collector) {
    let collector: &Collector = Box::leak(Box::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(collector);
    let incoming = TcpListenerStream::new(listener);
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    (address, collector)
}

#[tokio::test]
async fn spans_are_sent_and_the_last_ones_at_the_stop() {
    let (address, collector) = collector().await;
    let world = World::new();
    let endpoint = format!("http://{address}");
    let mut core = world.start_with(&["--otlp-endpoint", &endpoint]).await;
    let mut login = Request::new(LoginRequest {
        email: EMAIL.to_owned(),
        password: PASSWORD.to_owned(),
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let metadata = login.metadata_mut();
    metadata.insert("traceparent", parent.parse().unwrap());
    let edge = world.edge(&core);
    edge.auth.clone().login(login).await.unwrap_err();
    core.signal("TERM");
    assert_eq!(core.ended().await.code(), Some(0), "{:?}", core.errors());
    let spans = collector.0.lock().unwrap().clone();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let ours = spans.iter().find(|span| hex(&span.trace_id) == trace);
    let ours = ours.unwrap_or_else(|| panic!("{spans:?}"));
    assert_eq!(
        (ours.name.as_str(), hex(&ours.parent_span_id).as_str()),
        ("rpc", "00f067aa0ba902b7")
    );
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let world = World::new();
    let mut core = world.start_with(&["--otlp-endpoint", &endpoint]).await;
    assert!(world.edge(&core).register(EMAIL).await.is_ok());
    core.signal("TERM");
    assert_eq!(core.ended().await.code(), Some(0), "{:?}", core.errors());
}
