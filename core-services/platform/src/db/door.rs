//! A PostgreSQL server that refuses connections: found out soon, and told to all at once.
//! Invariant: while it refuses, one caller in each `PAUSE` tries again and the others are
//! told; nobody who gets a connection in time is asked to wait for anything here.
//! Needed because sqlx's pool tries again until its caller's time is over and then does
//! not say why. Refuses to judge servers that are silent: those only time can tell.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::postgres::PgConnectOptions;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::watch,
    time::{Instant, sleep},
};

use super::Error;

/// Who waits for longer has met no idle connection; a new one takes a few milliseconds.
const KNOCK_AFTER: Duration = Duration::from_millis(100);
/// Between two looks, and from a refusal to the next try. Each look costs the server a process.
const PAUSE: Duration = Duration::from_secs(1);

enum Address {
    Host(String, u16),
    Socket(PathBuf),
}

pub(super) struct Door {
    address: Address,
    /// It refused: until then nobody tries.
    shut_until: watch::Sender<Option<Instant>>,
    looked: Mutex<Option<Instant>>,
}

impl Door {
    pub(super) fn of(options: &PgConnectOptions) -> Self {
        let (host, port) = (options.get_host(), options.get_port());
        let folder = options.get_socket().map(PathBuf::as_path);
        let folder = folder.or_else(|| host.starts_with('/').then(|| Path::new(host)));
        let address = match folder {
            Some(folder) => Address::Socket(folder.join(format!(".s.PGSQL.{port}"))),
            None => Address::Host(host.to_owned(), port),
        };
        Self {
            address,
            shut_until: watch::Sender::new(None),
            looked: Mutex::default(),
        }
    }

    /// Whether it is worth trying.
    pub(super) fn admits(&self, now: Instant) -> Result<(), Error> {
        if self.shut_until.borrow().is_none() {
            return Ok(());
        }
        let mut is_shut = false;
        self.shut_until.send_if_modified(|until| {
            is_shut = until.is_some_and(|until| now < until);
            if let Some(until) = until.as_mut().filter(|_| !is_shut) {
                *until = now + PAUSE;
            }
            false
        });
        if is_shut { Err(self.refusal()) } else { Ok(()) }
    }

    /// It does not refuse.
    pub(super) fn answered(&self) {
        if self.shut_until.borrow().is_some() {
            self.shut_until.send_replace(None);
        }
    }

    /// Ready if the server refuses, and else never.
    pub(super) async fn refused(&self) -> Error {
        sleep(KNOCK_AFTER).await;
        let mut shut_until = self.shut_until.subscribe();
        loop {
            if self.is_due(Instant::now()) {
                if self.knock().await {
                    let until = Instant::now() + PAUSE;
                    self.shut_until.send_replace(Some(until));
                } else {
                    self.answered();
                }
            }
            tokio::select! {
                // This look, or another's.
                _ = shut_until.wait_for(Option::is_some) => return self.refusal(),
                () = sleep(PAUSE) => {}
            }
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked.is_none_or(|at| now >= at + PAUSE);
        if is_due {
            *looked = Some(now);
        }
        is_due
    }

    /// Is nobody at home? A server takes a connection that says nothing for no fault.
    async fn knock(&self) -> bool {
        let error = match &self.address {
            Address::Host(host, port) => TcpStream::connect((host.as_str(), *port)).await.err(),
            Address::Socket(path) => UnixStream::connect(path).await.err(),
        };
        let kind = error.map(|error| error.kind());
        // A socket's file goes with its server.
        let is_gone = matches!(self.address, Address::Socket(_));
        kind == Some(io::ErrorKind::ConnectionRefused)
            || (is_gone && kind == Some(io::ErrorKind::NotFound))
    }

    fn refusal(&self) -> Error {
        let text = format!("`{}` refuses connections", self.name());
        away(io::ErrorKind::ConnectionRefused, text)
    }

    /// It neither takes a connection nor refuses it.
    pub(super) fn silence(&self) -> Error {
        let text = format!("`{}` does not answer", self.name());
        away(io::ErrorKind::TimedOut, text)
    }

    fn name(&self) -> String {
        match &self.address {
            Address::Host(host, port) => format!("{host}:{port}"),
            Address::Socket(path) => path.display().to_string(),
        }
    }
}

fn away(kind: io::ErrorKind, text: String) -> Error {
    Error::Away(sqlx::Error::Io(io::Error::new(kind, text)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn door(host: &str, port: u16) -> Door {
        Door::of(&PgConnectOptions::new().host(host).port(port))
    }

    #[tokio::test]
    async fn while_it_refuses_one_in_a_second_tries() {
        let port = {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let door = door("127.0.0.1", port);
        assert!(door.admits(Instant::now()).is_ok());
        let refused = door.refused().await.to_string();
        let expected = format!("`127.0.0.1:{port}` refuses connections");
        assert!(refused.contains(&expected), "{refused}");
        let now = Instant::now();
        assert!(door.admits(now).is_err());
        assert!(door.admits(now + PAUSE).is_ok());
        assert!(door.admits(now + PAUSE).is_err(), "the first is still out");
        assert!(door.admits(now + PAUSE * 2).is_ok());
        door.answered();
        assert!(door.admits(now).is_ok() && door.admits(now).is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let door = door(dir.path().to_str().unwrap(), 5432);
        let refused = door.refused().await.to_string();
        assert!(refused.contains("/.s.PGSQL.5432` refuses"), "{refused}");
    }

    #[tokio::test]
    async fn a_server_that_is_busy_does_not_refuse() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let door = door("127.0.0.1", listener.local_addr().unwrap().port());
        // It did a moment ago.
        door.shut_until.send_replace(Some(Instant::now() + PAUSE));
        let opened = core_testing::eventually("the door to open", async || {
            door.shut_until.borrow().is_none().then_some(())
        });
        tokio::select! {
            refused = door.refused() => panic!("{refused}"),
            () = opened => {}
        }
        assert!(door.admits(Instant::now()).is_ok());
    }
}
