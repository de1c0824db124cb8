//! A Redis server of our own.
//! Invariant: a write that was answered is on file, so that a restart loses
//! nothing; a test that wants it lost says FLUSHALL.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    ops::Deref,
    path::Path,
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use crate::server::{Program, Server, folder, found, which};

/// A paused server accepts and says nothing.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// The server that the tests of this process share; they keep apart by their keys.
pub fn redis() -> &'static Redis {
    static SHARED: OnceLock<Redis> = OnceLock::new();
    SHARED.get_or_init(Redis::start)
}

/// The server; what any [`Server`] can, it can.
pub struct Redis(Server);

impl Redis {
    pub fn start() -> Self {
        let program = Program {
            name: "Redis",
            command,
            is_ready: |port| answers(port, "PING\r\n", "+PONG"),
        };
        Self(Server::start(program, folder("redis")))
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// What `redis-cli` prints for a command, byte for byte, as scripts get it.
    pub fn cli(&self, words: &[&str]) -> Vec<u8> {
        let program = found(which("redis-cli"), "redis-cli", "redis-tools");
        let port = self.port().to_string();
        let mut command = Command::new(program);
        command.args(["-p", &port, "--raw"]).args(words);
        let output = command.output().expect("redis-cli starts");
        assert!(output.status.success(), "redis-cli {words:?}: {output:?}");
        output.stdout
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

fn command(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(found(which("redis-server"), "redis-server", "redis-server"));
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--dir"])
        .arg(folder);
    command
}

/// Does the server answer `question` with a line that begins so?
pub(crate) fn answers(port: u16, question: &str, expected: &str) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, ANSWERS_WITHIN) else {
        return false;
    };
    let mut answer = vec![0; expected.len()];
    stream.set_read_timeout(Some(ANSWERS_WITHIN)).is_ok()
        && stream.write_all(question.as_bytes()).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == expected.as_bytes()
}
