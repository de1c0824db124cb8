//! A NATS server of our own, with JetStream.
//! Invariant: its streams are on file and outlive a kill.

use std::{ops::Deref, path::Path, process::Command, sync::OnceLock};

use crate::{
    redis::answers,
    server::{Program, Server, folder, found, which},
};

/// The server that the tests of this process share; they keep apart by their streams.
pub fn nats() -> &'static Nats {
    static SHARED: OnceLock<Nats> = OnceLock::new();
    SHARED.get_or_init(Nats::start)
}

/// The server; what any [`Server`] can, it can.
pub struct Nats(Server);

impl Nats {
    pub fn start() -> Self {
        let program = Program {
            name: "NATS",
            command,
            // It greets first.
            is_ready: |port| answers(port, "", "INFO "),
        };
        Self(Server::start(program, folder("nats")))
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }
}

impl Deref for Nats {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

fn command(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(found(which("nats-server"), "nats-server", "nats-server"));
    command
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(folder.join("store"));
    command
}
