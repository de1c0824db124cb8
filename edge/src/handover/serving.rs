//! The serving process's side: answer who wants to replace it, and give up nothing too early.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use super::message::{Message, receive, send};
use super::{PROTOCOL, SOCKET_NAME, check_user, socket_path};
use crate::listen::{Inherited, Relay, RoutedSocket};

/// The first message of a process that connects.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// From `go` to `serving`: nobody reads the UDP socket for as long. The work is milliseconds.
pub(super) const SERVING_TIMEOUT: Duration = Duration::from_secs(5);
/// After an accept error such as "too many open files": do not spin.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Where a process that replaces this one reports.
pub struct Station {
    listener: UnixListener,
    path: PathBuf,
    /// Duplicates of our listeners; closed with this, so that a stop really closes them.
    sockets: Vec<(String, OwnedFd)>,
    /// From the offer to `ready`.
    deadline: Duration,
    /// The file is ours to remove: not before we serve, and not once another process does.
    serving: bool,
}

/// Whether the UDP socket is read by the other process; reads it again unless that one serves.
struct Lent<'a> {
    quic: &'a RoutedSocket,
    lent: bool,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if self.lent {
            self.quic.read_network();
        }
    }
}

impl Station {
    /// Listen in the state folder, or on the socket handed over.
    ///
    /// Errors: the folder cannot be used, or another process serves from it.
    pub fn open(
        state: &Path,
        sockets: Vec<(String, OwnedFd)>,
        inherited: &mut Inherited,
        deadline: Duration,
    ) -> anyhow::Result<Self> {
        let path = socket_path(state);
        let listener = match inherited.unix(SOCKET_NAME)? {
            Some(listener) => listener,
            None => bind(state, &path)?,
        };
        let mut sockets = sockets;
        sockets.push((
            SOCKET_NAME.to_owned(),
            listener.as_fd().try_clone_to_owned()?,
        ));
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path,
            sockets,
            deadline,
            serving: false,
        })
    }

    /// From when we serve; returns when another process does in our place.
    pub async fn replaced(mut self, quic: &RoutedSocket) {
        self.serving = true;
        loop {
            let stream = self.next().await;
            let outcome = tokio::select! {
                outcome = self.hand_over(&stream, quic) => outcome,
                never = self.refuse_others() => match never {},
            };
            match outcome {
                Ok(()) => {
                    self.serving = false;
                    return;
                }
                Err(error) => {
                    warn!(error = format!("{error:#}"), "not replaced, going on");
                    refuse(&stream, &format!("{error:#}")).await;
                }
            }
        }
    }

    async fn next(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(_) => tokio::time::sleep(ACCEPT_ERROR_PAUSE).await,
            }
        }
    }

    async fn refuse_others(&self) -> std::convert::Infallible {
        loop {
            let stream = self.next().await;
            refuse(&stream, "another process is about to replace this one").await;
        }
    }

    async fn hand_over(&self, stream: &UnixStream, quic: &RoutedSocket) -> anyhow::Result<()> {
        check_user(stream)?;
        let hello = tokio::time::timeout(HELLO_TIMEOUT, receive(stream))
            .await
            .context("no hello")?
            .context("hello")?;
        let Message::Hello { protocol, version } = hello.0 else {
            bail!("the other process began with {:?}", hello.0);
        };
        if protocol != PROTOCOL {
            bail!(
                "version {version} hands over by protocol {protocol}, this one by {PROTOCOL}: restart instead"
            );
        }
        info!(%version, "a process wants to replace this one");
        let relay = self.offer(stream, quic).await?;
        let (ready, _) = tokio::time::timeout(self.deadline, receive(stream))
            .await
            .context("the new process was not ready in time")?
            .context("the new process ended before it was ready")?;
        let Message::Ready { quic: takes_quic } = ready else {
            bail!("the new process sent {ready:?} instead of being ready");
        };
        let mut lent = Lent { quic, lent: false };
        if takes_quic {
            quic.read_relay(relay);
            lent.lent = true;
        }
        send(stream, &Message::Go, &[]).await?;
        let (serving, _) = tokio::time::timeout(SERVING_TIMEOUT, receive(stream))
            .await
            .context("the new process did not come to serve in time")?
            .context("the new process ended before it served")?;
        let Message::Serving = serving else {
            bail!("the new process sent {serving:?} instead of serving");
        };
        lent.lent = false;
        Ok(())
    }

    async fn offer(&self, stream: &UnixStream, quic: &RoutedSocket) -> anyhow::Result<Relay> {
        let (next, relay) = quic.successor()?;
        let offer = Message::Offer {
            generation: next.number,
            secret: next.secret,
            sockets: self.sockets.iter().map(|(name, _)| name.clone()).collect(),
            relays: next.older.iter().map(|older| older.number).collect(),
        };
        let sockets = self.sockets.iter().map(|(_, socket)| socket.as_fd());
        let relays = next.older.iter().map(|older| older.relay.as_fd());
        let descriptors: Vec<BorrowedFd<'_>> = sockets.chain(relays).collect();
        send(stream, &offer, &descriptors).await.context("offer")?;
        Ok(relay)
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        if self.serving {
            // A file that is left behind is taken for what it is by the next process.
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn refuse(stream: &UnixStream, reason: &str) {
    let refused = Message::Refused {
        reason: reason.to_owned(),
    };
    // Nothing is owed to one that does not even read.
    let _ = tokio::time::timeout(HELLO_TIMEOUT, send(stream, &refused, &[])).await;
}

fn bind(state: &Path, path: &Path) -> anyhow::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::net::{UnixListener, UnixStream};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)?;
    match UnixStream::connect(path) {
        Ok(_) => bail!("another process serves from this folder"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Left behind by a process that ended without warning.
        Err(_) => fs::remove_file(path)?,
    }
    let listener = UnixListener::bind(path)?;
    // Until here others could connect; whoever does must be of our user anyway.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
