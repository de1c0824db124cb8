//! The new process's side: take the sockets, say when they may be used.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::net::UnixStream;
use tracing::info;

use super::message::{Message, ask};
use super::{PROTOCOL, check_user, socket_path};
use crate::listen::generation::Older;
use crate::listen::{Generation, Inherited};

/// The serving process answers at once; one that does not is no help.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a process starts with.
pub struct TakenOver {
    /// Who must be told; none if nobody is replaced.
    pub predecessor: Option<Predecessor>,
    pub inherited: Inherited,
    pub generation: Generation,
}

impl TakenOver {
    /// Of a process that replaces nobody.
    ///
    /// Errors: the system has no random numbers.
    pub fn nothing() -> anyhow::Result<Self> {
        Ok(Self {
            predecessor: None,
            inherited: Inherited::default(),
            generation: Generation::first()?,
        })
    }
}

/// The process that serves until we do.
pub struct Predecessor(UnixStream);

/// Ask the serving process for its sockets; with none there, start as if not asked to replace it.
///
/// Errors: it refuses, does not answer, or is not to be trusted.
pub async fn take_over(state: &Path) -> anyhow::Result<TakenOver> {
    let path = socket_path(state);
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error) => {
            info!(path = %path.display(), %error, "no process to replace, starting");
            return TakenOver::nothing();
        }
    };
    check_user(&stream)?;
    let hello = Message::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let (offer, descriptors) = tokio::time::timeout(ANSWER_TIMEOUT, ask(&stream, &hello))
        .await
        .context("the serving process does not answer")?
        .context("the serving process does not hand over")?;
    let Message::Offer {
        generation,
        secret,
        sockets,
        relays,
    } = offer
    else {
        return Err(refusal(offer));
    };
    ensure!(
        descriptors.len() == sockets.len() + relays.len(),
        "the offer has {} descriptors for {} sockets and {} relays",
        descriptors.len(),
        sockets.len(),
        relays.len()
    );
    let mut descriptors = descriptors.into_iter();
    let sockets: Vec<(String, OwnedFd)> = sockets.into_iter().zip(descriptors.by_ref()).collect();
    let older = relays.into_iter().zip(descriptors);
    let older = older.map(|(number, relay)| Older { number, relay });
    Ok(TakenOver {
        predecessor: Some(Predecessor(stream)),
        inherited: Inherited::new(sockets),
        generation: Generation {
            number: generation,
            secret,
            older: older.collect(),
        },
    })
}

impl Predecessor {
    /// All is loaded; returns when the sockets may be read.
    ///
    /// Errors: the serving process goes on, and we must not.
    pub async fn ready(&self, quic: bool) -> anyhow::Result<()> {
        let ready = Message::Ready { quic };
        let (answer, _) = tokio::time::timeout(ANSWER_TIMEOUT, ask(&self.0, &ready))
            .await
            .context("the serving process does not answer")?
            .context("the serving process goes on")?;
        match answer {
            Message::Go => Ok(()),
            other => Err(refusal(other)),
        }
    }

    /// We serve: the other one may drain.
    ///
    /// Errors: it has given us up and goes on.
    pub async fn serving(self) -> anyhow::Result<()> {
        // It closes when it has understood, and says so when it goes on.
        match ask(&self.0, &Message::Serving).await {
            Ok((message, _)) => Err(refusal(message)),
            Err(_) => Ok(()),
        }
    }
}

fn refusal(message: Message) -> anyhow::Error {
    match message {
        Message::Refused { reason } => anyhow::anyhow!("not replaced: {reason}"),
        other => anyhow::anyhow!("the serving process sent {other:?}"),
    }
}
