//! `palisade.echo.v1.EchoService` on a port of its own; it does as its requests say.

use std::net::SocketAddr;

use palisade_echo::{Echo, EchoServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::waiting::until;

/// The service; stops when dropped.
pub(crate) struct EchoUpstream {
    pub(crate) address: SocketAddr,
    pub(crate) echo: Echo,
    _stop: DropGuard,
}

impl EchoUpstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let echo = Echo::default();
        let service = EchoServiceServer::new(echo.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(
            server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped),
        );
        Self {
            address,
            echo,
            _stop: stop.drop_guard(),
        }
    }

    /// Wait until nothing is left running.
    pub(crate) async fn idle(&self) {
        until("calls to end", || async {
            (self.echo.under_way() == 0).then_some(())
        })
        .await;
    }
}
