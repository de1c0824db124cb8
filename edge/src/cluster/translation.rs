//! REST to gRPC as an upstream inside the process.
//!
//! Pingora connects to a socket pair and sees an HTTP/1.1 origin, so caching, retries, limits
//! and timeouts hold for REST calls as for any other; the far end is served by the translator,
//! which calls the endpoint over gRPC channels.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use async_trait::async_trait;
use palisade_policy::model::Cluster;
use palisade_translate::Translator;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::{GetSocketDigest, SocketDigest};
use pingora_error::{ErrorType, OrErr, Result};
use std::os::fd::AsRawFd;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tracing::debug;

/// Calls at once on one channel. Servers allow 200 by default (hyper) and let the next ones wait, which
/// behind streams that last for hours would be for ever.
const CALLS_MAX: usize = 100;

const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// What every call's window fits in (RFC 9113, 6.9.1): clients that do not read hold up their own
/// streams, never those of others.
const CONNECTION_WINDOW_BYTES: u32 = CALLS_MAX as u32 * STREAM_WINDOW_BYTES;

/// Makes connections that end in the translator.
pub(super) struct Translation {
    translator: Arc<Translator>,
    channels: Channels,
}

/// The channels to one endpoint: as many as the calls under way need.
struct Channels {
    endpoint: Endpoint,
    open: Mutex<Vec<Arc<Channel>>>,
}

impl Channels {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            open: Mutex::default(),
        }
    }

    /// For one connection of ours, which has one call at a time and counts as long as it lives.
    fn take(&self) -> Arc<Channel> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut has_idle = false;
        open.retain(|channel| {
            let is_idle = Arc::strong_count(channel) == 1;
            let is_kept = !is_idle || !has_idle;
            has_idle |= is_idle;
            is_kept
        });
        // The list's own is one of them.
        let room = |channel: &&Arc<Channel>| Arc::strong_count(channel) <= CALLS_MAX;
        if let Some(channel) = open.iter().find(room) {
            return channel.clone();
        }
        let channel = Arc::new(self.endpoint.connect_lazy());
        open.push(channel.clone());
        channel
    }
}

impl Translation {
    pub(super) fn new(
        cluster: &Cluster,
        address: SocketAddr,
        translator: Arc<Translator>,
    ) -> anyhow::Result<Self> {
        let scheme = if cluster.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let timeouts = &cluster.timeouts;
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .context("endpoint address")?
            .connect_timeout(timeouts.connect)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(timeouts.idle)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if let Some(tls) = &cluster.tls {
            let mut config = ClientTlsConfig::new()
                .domain_name(&tls.server_name)
                .ca_certificate(Certificate::from_pem(&tls.ca_pem));
            if let Some(identity) = &tls.identity {
                config = config.identity(Identity::from_pem(
                    &identity.certificates_pem,
                    &identity.key_pem,
                ));
            }
            endpoint = endpoint
                .tls_config(config)
                .context("tls toward the endpoint")?;
        }
        Ok(Self {
            translator,
            channels: Channels::new(endpoint),
        })
    }
}

#[async_trait]
impl Connect for Translation {
    async fn connect(&self, _address: &PingoraAddr) -> Result<Stream> {
        let (near, far) =
            UnixStream::pair().or_err(ErrorType::SocketError, "socket pair for translation")?;
        let channel = self.channels.take();
        let serving = palisade_translate::serve_connection(
            far,
            self.translator.clone(),
            Channel::clone(&channel),
        );
        tokio::spawn(async move {
            let served = serving.await;
            drop(channel);
            if let Err(error) = served {
                debug!(%error, "translation connection ended");
            }
        });
        let digest = SocketDigest::from_raw_fd(near.as_raw_fd());
        let mut stream = Stream::from(near);
        stream.set_socket_digest(digest);
        Ok(stream)
    }
}

impl std::fmt::Debug for Translation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Translation")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_channel_for_every_hundred_calls() {
        let channels = Channels::new(Endpoint::from_static("http://127.0.0.1:1"));
        let count = || channels.open.lock().unwrap().len();
        let mut calls: Vec<_> = (0..CALLS_MAX).map(|_| channels.take()).collect();
        assert_eq!(count(), 1);
        calls.push(channels.take());
        assert_eq!(count(), 2);
        // Where one ends there is room again.
        calls.remove(0);
        let first = channels.take();
        assert!(Arc::ptr_eq(&first, &calls[0]));
        assert_eq!(count(), 2);
        drop((first, calls));
        channels.take();
        assert_eq!(count(), 1);
    }
}
