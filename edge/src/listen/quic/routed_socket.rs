//! The UDP socket that several processes share: all send on it, one reads it.
//!
//! The reader passes on what belongs to an older process. A process that was replaced reads what
//! is passed on to it instead of the socket.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::net::UnixDatagram;

use super::generation::{ConnectionIds, GENERATIONS_MAX, Generation, Older, Secret};
use super::relay::{self, Passed};
use crate::listen::Observer;

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
    Relay(Relay),
}

/// Where another process passes on what belongs to this one.
pub struct Relay(UnixDatagram);

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

    /// What the process that replaces this one must know, and what that one passes on to us.
    ///
    /// Errors: too many processes are still draining, or the system has no descriptors left.
    pub fn successor(&self) -> io::Result<(Generation, Relay)> {
        let (reader, relay) = relay::pair()?;
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
        let next = Generation {
            number,
            secret: self.secret.clone(),
            older,
        };
        Ok((next, Relay(reader)))
    }

    /// Leave the socket to another process and read what that one passes on.
    pub fn read_relay(&self, relay: Relay) {
        self.read(Source::Relay(relay));
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
            Source::Relay(relay) => return relay::poll_receive(&relay.0, cx, buffers, metas),
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use quinn::ConnectionIdGenerator;

    use super::*;
    use crate::listen::Listener;

    /// Segments of one size, as the kernel joins them; the last may be shorter.
    const STRIDE: usize = 20;

    #[derive(Debug, Default)]
    struct Network(Mutex<VecDeque<Vec<u8>>>);

    impl AsyncUdpSocket for Network {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            unreachable!("nothing is sent")
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            unreachable!("nothing is sent")
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            buffers: &mut [IoSliceMut<'_>],
            metas: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            let Some(next) = self.0.lock().expect("a queue").pop_front() else {
                return Poll::Pending;
            };
            buffers[0][..next.len()].copy_from_slice(&next);
            metas[0] = RecvMeta {
                addr: ([127, 0, 0, 1], 1).into(),
                len: next.len(),
                stride: STRIDE,
                ecn: None,
                dst_ip: None,
            };
            Poll::Ready(Ok(1))
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 2).into())
        }
    }

    #[derive(Default)]
    struct Relayed(AtomicUsize);

    impl Observer for Relayed {
        fn connection_opened(&self, _: Listener) -> Box<dyn Send + Sync> {
            Box::new(())
        }

        fn connection_refused(&self, _: &'static str) {}

        fn address_asked(&self) {}

        fn datagrams_relayed(&self, delivered: bool) {
            assert!(delivered);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Process {
        network: Arc<Network>,
        relayed: Arc<Relayed>,
        socket: RoutedSocket,
    }

    impl Process {
        fn new(generation: Generation) -> Self {
            let (network, relayed) = (Arc::new(Network::default()), Arc::new(Relayed::default()));
            Self {
                socket: RoutedSocket::new(network.clone(), generation, relayed.clone()),
                network,
                relayed,
            }
        }

        /// Datagrams for these processes, each full but for the last.
        fn receive(&self, parts: &[(&Process, u8)]) -> Vec<u8> {
            let datagram = |(process, mark): &(&Process, u8)| {
                let id = process.socket.ids().clone().generate_cid();
                let mut datagram = [&[0x40], &*id].concat();
                datagram.resize(STRIDE, *mark);
                datagram
            };
            let mut all: Vec<u8> = parts.iter().flat_map(datagram).collect();
            all.truncate(all.len() - 1);
            self.network
                .0
                .lock()
                .expect("a queue")
                .push_back(all.clone());
            all
        }

        async fn read(&self) -> Vec<u8> {
            let mut buffer = vec![0; 10 * STRIDE];
            let mut metas = [RecvMeta::default()];
            let mut buffers = [IoSliceMut::new(&mut buffer)];
            let received = poll_fn(|cx| self.socket.poll_recv(cx, &mut buffers, &mut metas)).await;
            assert_eq!(received.expect("datagrams"), 1);
            assert!(metas[0].len == 0 || metas[0].stride == STRIDE);
            buffer.truncate(metas[0].len);
            buffer
        }
    }

    fn segments(all: &[u8], wanted: &[usize]) -> Vec<u8> {
        let all: Vec<&[u8]> = all.chunks(STRIDE).collect();
        wanted.iter().flat_map(|at| all[*at].to_vec()).collect()
    }

    #[tokio::test]
    async fn each_process_reads_what_is_its_own() {
        let first = Process::new(Generation::first().expect("a generation"));
        let (next, relay) = first.socket.successor().expect("a generation");
        let second = Process::new(next);
        first.socket.read_relay(relay);
        let (next, relay) = second.socket.successor().expect("a generation");
        let third = Process::new(next);
        second.socket.read_relay(relay);

        let all = third.receive(&[
            (&first, 1),
            (&third, 2),
            (&first, 3),
            (&first, 4),
            (&second, 5),
            (&third, 6),
        ]);
        assert_eq!(third.read().await, segments(&all, &[1, 5]));
        assert!(first.read().await.is_empty(), "asked whether it lives");
        assert_eq!(first.read().await, segments(&all, &[0]));
        assert_eq!(first.read().await, segments(&all, &[2, 3]));
        assert_eq!(second.read().await, segments(&all, &[4]));
        assert_eq!(third.relayed.0.load(Ordering::Relaxed), 3);

        let all = third.receive(&[(&first, 1), (&first, 2)]);
        assert!(third.read().await.is_empty());
        assert_eq!(first.read().await, all);
    }

    #[tokio::test]
    async fn what_nobody_reads_stays() {
        let first = Process::new(Generation::first().expect("a generation"));
        let (next, relay) = first.socket.successor().expect("a generation");
        let second = Process::new(next);
        drop(relay);
        for _ in 0..2 {
            let all = second.receive(&[(&second, 1), (&first, 2)]);
            assert_eq!(second.read().await, all);
        }
        let (next, _relay) = second.socket.successor().expect("a generation");
        let older: Vec<u8> = next.older.iter().map(|older| older.number).collect();
        assert_eq!(older, [2], "the dead are not handed on");
    }

    #[tokio::test]
    async fn the_reader_follows_the_source() {
        let process = Process::new(Generation::first().expect("a generation"));
        let (_, relay) = process.socket.successor().expect("a generation");
        let process = Arc::new(process);
        process.socket.read_relay(relay);
        let waiting = process.clone();
        let waiting = tokio::spawn(async move { waiting.read().await });
        tokio::task::yield_now().await;
        let all = process.receive(&[(&*process, 1)]);
        process.socket.read_network();
        assert_eq!(waiting.await.expect("a reader"), all);
    }

    #[tokio::test]
    async fn too_many_draining_processes_are_refused() {
        let mut last = Process::new(Generation::first().expect("a generation"));
        let mut relays = Vec::new();
        for _ in 0..GENERATIONS_MAX {
            let (next, relay) = last.socket.successor().expect("a generation");
            relays.push(relay);
            last = Process::new(next);
        }
        assert!(last.socket.successor().is_err());
        relays.pop();
        assert!(last.socket.successor().is_ok());
    }
}
