//! Being told to stop.
//! Invariant: the first SIGTERM or SIGINT starts an orderly end, the second one
//! ends the process at once.
//! Refuses to decide what an orderly end is: the binary does.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit status after a second signal.
const EXIT_FORCED: i32 = 1;

/// Both stop signals, caught from now on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// The process may not install signal handlers.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns at the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Ends the process at the next signal.
    pub async fn exit_at_next(mut self) {
        self.next().await;
        tracing::warn!("second signal: exiting at once");
        std::process::exit(EXIT_FORCED);
    }
}
