//! SIGUSR2: start the binary that is on disk now, with our flags, to replace this process.

use std::convert::Infallible;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::serving::SERVING_TIMEOUT;

const FLAG: &str = "--upgrade";

/// The signal, taken from when this is made: by default it would end the process.
pub struct Respawn(Signal);

impl Respawn {
    /// Errors: the system lets no handler be set.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::user_defined2())?))
    }

    /// Start a process for each signal; one that does not get to serve within `deadline` is ended.
    ///
    /// Without a `station` none is started: it would replace whoever serves from our folder.
    pub async fn run(mut self, station: bool, deadline: Duration) -> Infallible {
        loop {
            if self.0.recv().await.is_none() {
                return std::future::pending().await;
            }
            if station {
                start(deadline + SERVING_TIMEOUT).await;
            } else {
                error!("SIGUSR2 ignored: this process can be restarted, not replaced");
            }
        }
    }
}

/// Only returns while we serve: a child that replaces us outlives the caller.
async fn start(patience: Duration) {
    let (program, arguments) = command_line(std::env::args_os());
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return error!(program = %program.display(), %error, "cannot start a process to replace this one");
        }
    };
    info!(pid = child.id(), "started a process to replace this one");
    match tokio::time::timeout(patience, child.wait()).await {
        Ok(Ok(status)) => warn!(%status, "the new process ended, going on"),
        Ok(Err(error)) => warn!(%error, "the new process cannot be watched"),
        Err(_) => {
            warn!("the new process did not come to serve in time, ending it");
            let _ = child.kill().await;
        }
    }
}

/// By the name that we were started with: a link to the newest version is followed again.
fn command_line(own: impl IntoIterator<Item = OsString>) -> (OsString, Vec<OsString>) {
    let mut own = own.into_iter();
    let program = own.next().unwrap_or_else(|| "palisade".into());
    let mut arguments: Vec<OsString> = own.filter(|argument| argument != FLAG).collect();
    arguments.push(FLAG.into());
    (program, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_given_once() {
        for own in [
            &["/opt/palisade", "run", "--http", "[::]:80"][..],
            &["/opt/palisade", "run", "--upgrade", "--http", "[::]:80"],
        ] {
            let (program, arguments) = command_line(own.iter().map(OsString::from));
            assert_eq!(program, "/opt/palisade");
            assert_eq!(arguments, ["run", "--http", "[::]:80", "--upgrade"]);
        }
    }
}
