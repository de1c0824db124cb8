//! Messages between two processes: JSON behind its length, descriptors beside the first byte.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::listen::generation::{GENERATIONS_MAX, Secret};

/// Listeners, the upgrade socket, and a relay for each process that may be draining.
const DESCRIPTORS_MAX: usize = 8 + GENERATIONS_MAX + 1;
/// Bytes of one message; an offer has a few hundred.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Unknown fields are ignored; a change that matters takes another `PROTOCOL`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub(super) enum Message {
    Hello {
        protocol: u32,
        version: String,
    },
    /// One descriptor for each of `sockets`, then one for each of `relays`.
    Offer {
        generation: u8,
        secret: Secret,
        sockets: Vec<String>,
        relays: Vec<u8>,
    },
    Ready {
        /// The UDP socket was taken too.
        quic: bool,
    },
    Go,
    Serving,
    Refused {
        reason: String,
    },
}

/// Send a message and receive the answer.
///
/// Errors: the other side is gone, or sent something else.
pub(super) async fn ask(
    stream: &UnixStream,
    message: &Message,
) -> io::Result<(Message, Vec<OwnedFd>)> {
    // What the other side said before it closed is worth more than that it has closed.
    let _ = send(stream, message, &[]).await;
    receive(stream).await
}

/// Send a message whole.
///
/// Errors: the other side is gone, or there are more descriptors than may be.
pub(super) async fn send(
    stream: &UnixStream,
    message: &Message,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    let bytes = [&length.to_be_bytes()[..], &text].concat();
    let mut left = bytes.as_slice();
    let mut descriptors = descriptors;
    while !left.is_empty() {
        let sent = stream
            .async_io(Interest::WRITABLE, || send_some(stream, left, descriptors))
            .await?;
        left = left.get(sent..).unwrap_or_default();
        descriptors = &[];
    }
    Ok(())
}

fn send_some(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = sendmsg(stream.as_fd(), &[IoSlice::new(bytes)], &mut control, flags)?;
    Ok(sent)
}

/// Receive a message whole, with its descriptors.
///
/// Errors: the other side is gone, or sent something else.
pub(super) async fn receive(stream: &UnixStream) -> io::Result<(Message, Vec<OwnedFd>)> {
    let mut descriptors = Vec::new();
    let mut length = [0; 4];
    fill(stream, &mut length, &mut descriptors).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::other("the message is too long"));
    }
    let mut text = vec![0; length];
    fill(stream, &mut text, &mut descriptors).await?;
    Ok((serde_json::from_slice(&text)?, descriptors))
}

async fn fill(
    stream: &UnixStream,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let left = bytes.get_mut(filled..).unwrap_or_default();
        let received = stream
            .async_io(Interest::READABLE, || {
                receive_some(stream, left, descriptors)
            })
            .await?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += received;
    }
    Ok(())
}

fn receive_some(
    stream: &UnixStream,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(
        stream.as_fd(),
        &mut [IoSliceMut::new(bytes)],
        &mut control,
        flags,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn messages_bring_their_descriptors() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let hello = Message::Hello {
            protocol: 1,
            version: "x".repeat(MESSAGE_BYTES_MAX / 2),
        };
        let descriptors = vec![listener.as_fd(); DESCRIPTORS_MAX];
        let sending = async {
            send(&ours, &hello, &descriptors).await.expect("sent");
            send(&ours, &Message::Go, &[]).await.expect("sent");
        };
        let receiving = async {
            (
                receive(&theirs).await.expect("a message"),
                receive(&theirs).await.expect("a message"),
            )
        };
        let ((), ((first, mut sockets), (second, none))) = tokio::join!(sending, receiving);
        assert!(matches!(first, Message::Hello { protocol: 1, .. }));
        assert!(matches!(second, Message::Go) && none.is_empty());
        assert_eq!(sockets.len(), DESCRIPTORS_MAX);
        let same = TcpListener::from(sockets.remove(0));
        assert_eq!(
            same.local_addr().expect("an address"),
            listener.local_addr().expect("an address")
        );
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        let cases: [(&str, &[u8]); 6] = [
            ("nothing", b""),
            ("a cut length", b"\0\0"),
            ("a cut message", b"\0\0\0\x09{"),
            ("a giant", b"\xff\xff\xff\xff"),
            ("no JSON", b"\0\0\0\x02no"),
            ("an unknown type", b"\0\0\0\x0f{\"type\":\"halt\"}"),
        ];
        for (what, bytes) in cases {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
            (&ours).write_all(bytes).expect("room");
            drop(ours);
            theirs.set_nonblocking(true).expect("a socket");
            let theirs = UnixStream::from_std(theirs).expect("a socket");
            assert!(receive(&theirs).await.is_err(), "{what}");
        }
    }

    #[test]
    fn messages_of_a_newer_version_are_read() {
        let text = r#"{"type":"hello","protocol":2,"version":"9.9.9","more":[1]}"#;
        let message = serde_json::from_str(text).expect("a message");
        assert!(matches!(message, Message::Hello { protocol: 2, .. }));
    }

    #[test]
    fn the_secret_is_not_shown() {
        let text = r#"{"type":"offer","generation":2,"secret":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"sockets":[],"relays":[]}"#;
        let message: Message = serde_json::from_str(text).expect("a message");
        assert!(format!("{message:?}").contains("secret: Secret,"));
        assert_eq!(serde_json::to_string(&message).expect("JSON"), text);
    }
}
