//! Replacing the running process: sockets go over, requests in flight stay and end.
//!
//! ```text
//!  new process                         serving process
//!   hello          ------------------>  (one at a time; same user only)
//!                  <------------------  offer: sockets, generation, secret, relays
//!   loads policies and certificates
//!   ready          ------------------>  stops reading the UDP socket
//!                  <------------------  go
//!   reads and accepts
//!   serving        ------------------>  stops accepting, drains, ends
//! ```
//!
//! Whatever goes wrong before `serving` (an end, a wrong message, silence), the serving process
//! goes on as if nobody had come: until then it has given nothing up but the UDP socket, for as
//! long as one message takes, and what arrives there in between waits in the kernel.

mod message;
mod respawn;
mod serving;
mod successor;

use std::path::{Path, PathBuf};

use anyhow::ensure;
use tokio::net::UnixStream;
use tracing::debug;

pub use respawn::Respawn;
pub use serving::Station;
pub use successor::{Predecessor, TakenOver, take_over};

/// Of the messages, the connection ids and the relayed datagrams. Only equals hand over.
const PROTOCOL: u32 = 1;
/// In the state folder.
const SOCKET_FILE: &str = "upgrade.sock";
/// The name under which that socket is handed over itself.
const SOCKET_NAME: &str = "upgrade";

/// Tell systemd, if it started us, that we serve and are the process to watch from here on.
pub fn tell_service_manager() {
    use sd_notify::NotifyState;
    let state = [NotifyState::Ready, NotifyState::MainPid(std::process::id())];
    if let Err(error) = sd_notify::notify(&state) {
        debug!(%error, "systemd was not told");
    }
}

fn socket_path(state: &Path) -> PathBuf {
    state.join(SOCKET_FILE)
}

/// Who holds the sockets holds the traffic: both sides must be of one user, or root.
fn check_user(stream: &UnixStream) -> anyhow::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    ensure!(
        peer == own || peer == 0,
        "the other process belongs to another user ({peer})"
    );
    Ok(())
}
