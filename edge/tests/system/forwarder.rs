//! A second address of the core: bytes as they come, in both directions.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Stops when dropped.
pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    _stop: DropGuard,
}

impl Forwarder {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let accepting = async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(
                    stopped
                        .clone()
                        .run_until_cancelled_owned(forward(near, target)),
                );
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
        Self {
            address,
            _stop: stop.drop_guard(),
        }
    }
}

async fn forward(mut near: TcpStream, target: SocketAddr) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
}
