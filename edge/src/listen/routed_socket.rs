//! The UDP socket that several processes share: all send on it, one reads it.
//!
//! The reader passes on what belongs to an older process. A process that was replaced reads what
//! is passed on to it instead of the socket.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::net::UnixDatagram;

use super::Observer;
use super::generation::{ConnectionIds, GENERATIONS_MAX, Generation, Older, Secret};
use super::relay::{self, Passed};

/// A socket and who reads it.
pub struct RoutedSocket {
    network: Arc<dyn AsyncUdpSocket>,
    ids: ConnectionIds,
    secret: Secret,
    observer: Arc<dyn Observer>,
    reading: Mutex<Reading>,
}

struct Reading {
    source: Source,
    older: Vec<Older>,
    /// The endpoint's task, which must look again when the source changes.
    reader: Option<Waker>,
}

enum Source {
    Network,
    Relay(UnixDatagram),
}

impl RoutedSocket {
    pub(super) fn new(
        network: Arc<dyn AsyncUdpSocket>,
        generation: Generation,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            network,
            ids: ConnectionIds::new(generation.number, &generation.secret),
            secret: generation.secret,
            observer,
            reading: Mutex::new(Reading {
                source: Source::Network,
                older: generation.older,
                reader: None,
            }),
        }
    }

    pub(super) fn ids(&self) -> &ConnectionIds {
        &self.ids
    }

    /// What the process that replaces this one must know; `relay` leads to this one.
    ///
    /// Errors: too many processes are still draining, or the system has no descriptors left.
    pub fn successor(&self, relay: OwnedFd) -> io::Result<Generation> {
        let mut reading = self.reading();
        reading.older.retain(|older| relay::is_read(&older.relay));
        if reading.older.len() >= GENERATIONS_MAX {
            return Err(io::Error::other("too many processes are still draining"));
        }
        let number = Generation::number_after(self.ids.number(), &reading.older);
        let mut older = Vec::with_capacity(reading.older.len() + 1);
        for known in &reading.older {
            older.push(Older {
                number: known.number,
                relay: known.relay.try_clone()?,
            });
        }
        older.push(Older {
            number: self.ids.number(),
            relay,
        });
        Ok(Generation {
            number,
            secret: self.secret.clone(),
            older,
        })
    }

    /// Leave the socket to another process and read what that one passes on.
    ///
    /// Errors: the relay cannot be watched; then nothing has changed.
    pub fn read_relay(&self, relay: std::os::unix::net::UnixDatagram) -> io::Result<()> {
        relay.set_nonblocking(true)?;
        self.read(Source::Relay(UnixDatagram::from_std(relay)?));
        Ok(())
    }

    /// Read the socket again: the other process did not come to serve.
    pub fn read_network(&self) {
        self.read(Source::Network);
    }

    pub(super) fn is_relayed(&self) -> bool {
        matches!(self.reading().source, Source::Relay(_))
    }

    /// When this returns, nothing more is read from the source before.
    fn read(&self, source: Source) {
        let mut reading = self.reading();
        reading.source = source;
        let reader = reading.reader.take();
        drop(reading);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pass on what belongs to others, and keep the rest: `meta.len` is what stays in `buffer`.
    fn sift(&self, older: &mut Vec<Older>, buffer: &mut [u8], meta: &mut RecvMeta) {
        let length = meta.len.min(buffer.len());
        let (mut kept, mut start) = (0, 0);
        while start < length {
            let owner = self.owner(older, buffer, start..length, meta.stride);
            let mut end = start;
            // Together what came together: most often all of it has one owner.
            while end < length && self.owner(older, buffer, end..length, meta.stride) == owner {
                end = end.saturating_add(meta.stride).min(length);
            }
            let datagrams = buffer.get(start..end).unwrap_or_default();
            if !self.pass(older, owner, meta, datagrams) {
                buffer.copy_within(start..end, kept);
                kept += end - start;
            }
            start = end;
        }
        meta.len = kept;
    }

    /// The generation, if an older one, of the first datagram in a part of the buffer.
    fn owner(
        &self,
        older: &[Older],
        buffer: &[u8],
        part: std::ops::Range<usize>,
        stride: usize,
    ) -> Option<u8> {
        let datagrams = buffer.get(part)?;
        let first = datagrams.get(..stride.min(datagrams.len()))?;
        let number = self.ids.foreign(first)?;
        let known = older.iter().any(|older| older.number == number);
        known.then_some(number)
    }

    /// False if nobody is there to take it: then it is ours to answer, with a stateless reset.
    fn pass(
        &self,
        older: &mut Vec<Older>,
        owner: Option<u8>,
        meta: &RecvMeta,
        datagrams: &[u8],
    ) -> bool {
        let Some(at) = owner.and_then(|owner| older.iter().position(|o| o.number == owner)) else {
            return false;
        };
        let passed = older
            .get(at)
            .map_or(Passed::Gone, |o| relay::pass(&o.relay, meta, datagrams));
        if passed == Passed::Gone {
            older.swap_remove(at);
            return false;
        }
        self.observer.datagrams_relayed(passed == Passed::Delivered);
        true
    }
}

impl AsyncUdpSocket for RoutedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.network.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.network.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let reading = &mut *self.reading();
        match &mut reading.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let received = match &reading.source {
            Source::Relay(relay) => return relay::poll_receive(relay, cx, buffers, metas),
            Source::Network => ready!(self.network.poll_recv(cx, buffers, metas))?,
        };
        if !reading.older.is_empty() {
            for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()).take(received) {
                self.sift(&mut reading.older, buffer, meta);
            }
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.network.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.network.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.network.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.network.may_fragment()
    }
}

impl fmt::Debug for RoutedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutedSocket")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}
