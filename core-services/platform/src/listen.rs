//! Accepting TCP connections, never more than a set number at a time.
//! Invariant: a connection holds its slot and its place in the gauge until it
//! is dropped; without a free slot the kernel's queue waits, not our memory.
//! Refuses to spin when the process is out of file descriptors.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::Stream;
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    accepted::Accepted,
    peer::{Peer, Refusal},
};

/// After EMFILE the next accept fails as well until something closes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound listener with its cap.
pub struct Listener {
    inner: TcpListener,
    slots: Arc<Semaphore>,
    open: IntGauge,
}

/// What an RPC can know about its connection.
#[derive(Clone, Debug)]
pub struct ConnectInfo {
    pub remote: SocketAddr,
    /// Filled by the first call on the connection: certificates don't change in it.
    pub(crate) peer: Arc<OnceLock<Result<Peer, Refusal>>>,
}

pub type Connection = Accepted<TcpStream, ConnectInfo, Slot>;

/// What a connection takes of the listener.
pub struct Slot {
    open: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// Binds; `connections_max` caps what is open at a time, `open` counts it.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn bind(
        address: SocketAddr,
        connections_max: usize,
        open: IntGauge,
    ) -> io::Result<Self> {
        let inner = TcpListener::bind(address).await?;
        Ok(Self {
            inner,
            slots: Arc::new(Semaphore::new(connections_max)),
            open,
        })
    }

    /// # Errors
    /// The socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The next connection. Waits for a slot first.
    pub async fn accept(&self) -> Connection {
        loop {
            let permit = self.slots.clone().acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            match self.inner.accept().await {
                Ok((stream, remote)) => {
                    // Only latency is lost if the kernel refuses.
                    let _ = stream.set_nodelay(true);
                    let info = ConnectInfo {
                        remote,
                        peer: Arc::default(),
                    };
                    return Connection {
                        stream,
                        info,
                        _held: Slot::new(&self.open, permit),
                    };
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// All connections to come; dropping it closes the socket.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        futures::stream::unfold(self, |listener| async move {
            let connection = listener.accept().await;
            Some((Ok(connection), listener))
        })
    }
}

impl Slot {
    fn new(open: &IntGauge, permit: OwnedSemaphorePermit) -> Self {
        open.inc();
        Self {
            open: open.clone(),
            _permit: permit,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_full_listener_waits_for_a_slot() {
        let open = IntGauge::new("open", "open").unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 1, open.clone())
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let _first = TcpStream::connect(address).await.unwrap();
        let held = listener.accept().await;
        assert_eq!(open.get(), 1);
        let _second = TcpStream::connect(address).await.unwrap();
        assert!(listener.accept().now_or_never().is_none());
        drop(held);
        assert_eq!(open.get(), 0);
        let _accepted = listener.accept().await;
        assert_eq!(open.get(), 1);
    }
}
