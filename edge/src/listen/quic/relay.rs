//! Datagrams of one process, passed on by another that reads the socket.
//!
//! A message on the socket pair is an envelope of fixed size, then the datagrams as they came: one,
//! or several of one size that the kernel had joined. Its form is part of the hand-over protocol:
//! change `handover::PROTOCOL` with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut};
use quinn::udp::{EcnCodepoint, RecvMeta};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

const ENVELOPE_BYTES: usize = 46;
/// What may wait for its reader; the kernel grants what `net.core.wmem_max` allows.
const QUEUE_BYTES: usize = 1024 * 1024;

const SOURCE_IS_V6: u8 = 1;
const HAS_LOCAL: u8 = 2;
const LOCAL_IS_V6: u8 = 4;

/// The reader's end, and the end that others pass datagrams to.
pub(super) fn pair() -> io::Result<(UnixDatagram, OwnedFd)> {
    let (reader, writer) = std::os::unix::net::UnixDatagram::pair()?;
    reader.set_nonblocking(true)?;
    // Less loses more of a burst; nothing else.
    let _ = socket2::SockRef::from(&writer).set_send_buffer_size(QUEUE_BYTES);
    Ok((UnixDatagram::from_std(reader)?, writer.into()))
}

/// How a message went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    Delivered,
    /// Its reader is behind; QUIC sends again.
    Lost,
    /// Nobody reads any more.
    Gone,
}

/// Pass on what was received together; never waits.
pub(super) fn pass(relay: impl AsFd, meta: &RecvMeta, datagrams: &[u8]) -> Passed {
    let envelope = encode(meta);
    let parts = [IoSlice::new(&envelope), IoSlice::new(datagrams)];
    send(relay, &parts)
}

/// Whether somebody still reads: an empty message is ignored.
pub(super) fn is_read(relay: impl AsFd) -> bool {
    send(relay, &[]) != Passed::Gone
}

fn send(relay: impl AsFd, parts: &[IoSlice<'_>]) -> Passed {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(relay, parts, &mut SendAncillaryBuffer::default(), flags) {
        Ok(_) => Passed::Delivered,
        Err(error) => match io::Error::from(error).kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => Passed::Lost,
            _ => Passed::Gone,
        },
    }
}

/// As `AsyncUdpSocket::poll_recv`, from a relay.
pub(super) fn poll_receive(
    relay: &UnixDatagram,
    cx: &mut Context<'_>,
    buffers: &mut [IoSliceMut<'_>],
    metas: &mut [RecvMeta],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(relay.poll_recv_ready(cx))?;
        let mut filled = 0;
        let read = relay.try_io(Interest::READABLE, || {
            for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()) {
                match receive(relay, buffer) {
                    // A place left empty is passed over by its reader.
                    Ok(received) => *meta = received.unwrap_or_default(),
                    Err(_) if filled > 0 => break,
                    // Any other error means as much: an endpoint would not outlive it.
                    Err(_) => return Err(io::ErrorKind::WouldBlock.into()),
                }
                filled += 1;
            }
            Ok(())
        });
        if read.is_ok() {
            return Poll::Ready(Ok(filled));
        }
    }
}

/// None for what is no message of ours, or does not fit.
fn receive(relay: &UnixDatagram, buffer: &mut [u8]) -> io::Result<Option<RecvMeta>> {
    let mut envelope = [0; ENVELOPE_BYTES];
    let mut parts = [IoSliceMut::new(&mut envelope), IoSliceMut::new(buffer)];
    let mut control = RecvAncillaryBuffer::default();
    let received = recvmsg(relay, &mut parts, &mut control, RecvFlags::DONTWAIT)?;
    let Some(length) = received.bytes.checked_sub(ENVELOPE_BYTES) else {
        return Ok(None);
    };
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Ok(None);
    }
    Ok(decode(&envelope, length))
}

fn encode(meta: &RecvMeta) -> [u8; ENVELOPE_BYTES] {
    let mut envelope = [0; ENVELOPE_BYTES];
    let mut flags = 0;
    let (flowinfo, scope) = match meta.addr {
        SocketAddr::V4(_) => (0, 0),
        SocketAddr::V6(address) => {
            flags |= SOURCE_IS_V6;
            (address.flowinfo(), address.scope_id())
        }
    };
    if let Some(local) = meta.dst_ip {
        flags |= HAS_LOCAL;
        flags |= if local.is_ipv6() { LOCAL_IS_V6 } else { 0 };
    }
    let mut out = envelope.as_mut_slice();
    out.put_u8(flags);
    out.put_u8(meta.ecn.map_or(0, |ecn| ecn as u8));
    // The kernel joins at most 64 KiB.
    out.put_u16(u16::try_from(meta.stride).unwrap_or(u16::MAX));
    out.put_u128(bits(meta.addr.ip()));
    out.put_u16(meta.addr.port());
    out.put_u32(flowinfo);
    out.put_u32(scope);
    out.put_u128(meta.dst_ip.map_or(0, bits));
    envelope
}

fn decode(envelope: &[u8; ENVELOPE_BYTES], length: usize) -> Option<RecvMeta> {
    let mut input = envelope.as_slice();
    let flags = input.try_get_u8().ok()?;
    let ecn = EcnCodepoint::from_bits(input.try_get_u8().ok()?);
    let stride = usize::from(input.try_get_u16().ok()?);
    let ip = input.try_get_u128().ok()?;
    let port = input.try_get_u16().ok()?;
    let (flowinfo, scope) = (input.try_get_u32().ok()?, input.try_get_u32().ok()?);
    let local = input.try_get_u128().ok()?;
    if stride == 0 {
        return None;
    }
    let addr = match address(ip, flags & SOURCE_IS_V6 != 0) {
        IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, port)),
        IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, flowinfo, scope)),
    };
    let dst_ip = (flags & HAS_LOCAL != 0).then(|| address(local, flags & LOCAL_IS_V6 != 0));
    Some(RecvMeta {
        addr,
        len: length,
        stride,
        ecn,
        dst_ip,
    })
}

/// The family travels beside: to a connection, a mapped address is another path.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(bits: u128, is_v6: bool) -> IpAddr {
    if is_v6 {
        return Ipv6Addr::from_bits(bits).into();
    }
    // What the sender put there fits.
    Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(0)).into()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;

    use super::*;

    fn meta(addr: &str, dst_ip: Option<&str>, ecn: Option<EcnCodepoint>) -> RecvMeta {
        RecvMeta {
            addr: addr.parse().expect("an address"),
            len: 5,
            stride: 3,
            ecn,
            dst_ip: dst_ip.map(|ip| ip.parse().expect("an address")),
        }
    }

    #[test]
    fn envelopes_bring_back_what_was_put_in() {
        let mut scoped = meta("[fe80::1]:9", Some("fe80::2"), None);
        if let SocketAddr::V6(address) = &mut scoped.addr {
            address.set_scope_id(3);
            address.set_flowinfo(4);
        }
        let cases = [
            meta("127.0.0.1:443", Some("127.0.0.2"), Some(EcnCodepoint::Ce)),
            meta("[::ffff:10.0.0.1]:65535", Some("::ffff:10.0.0.2"), None),
            meta("[2001:db8::1]:1", None, Some(EcnCodepoint::Ect0)),
            meta("10.0.0.1:1", None, Some(EcnCodepoint::Ect1)),
            scoped,
        ];
        for case in cases {
            let decoded = decode(&encode(&case), case.len).expect("an envelope");
            assert_eq!(format!("{decoded:?}"), format!("{case:?}"));
        }
    }

    #[tokio::test]
    async fn messages_arrive_and_probes_do_not() {
        let (theirs, ours) = pair().expect("a pair");
        let sent = meta("127.0.0.1:1", None, None);
        assert!(is_read(&ours));
        assert_eq!(pass(&ours, &sent, b"abcde"), Passed::Delivered);
        let mut first = [0; 8];
        let mut second = [0; 8];
        let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let mut metas = [RecvMeta::default(); 2];
        let filled = poll_fn(|cx| poll_receive(&theirs, cx, &mut buffers, &mut metas)).await;
        assert_eq!(filled.expect("messages"), 2);
        assert_eq!(metas[0].len, 0, "the probe");
        assert_eq!(format!("{:?}", metas[1]), format!("{sent:?}"));
        assert_eq!(&second[..5], b"abcde");
        drop(theirs);
        assert!(!is_read(&ours));
        assert_eq!(pass(&ours, &sent, b"abcde"), Passed::Gone);
    }

    #[tokio::test]
    async fn a_reader_that_is_behind_loses_messages() {
        let (_theirs, ours) = pair().expect("a pair");
        let sent = meta("127.0.0.1:1", None, None);
        let lost = (0..100_000).any(|_| pass(&ours, &sent, &[0; 1200]) == Passed::Lost);
        assert!(lost, "the queue has no end");
    }

    proptest! {
        #[test]
        fn any_envelope_is_judged(envelope in proptest::array::uniform(any::<u8>()), length: usize) {
            if let Some(meta) = decode(&envelope, length) {
                prop_assert!(meta.stride > 0);
            }
        }
    }
}
