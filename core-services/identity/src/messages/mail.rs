//! Mail, by SMTP; in development, without a relay, into files.
//! Invariant: a message that is tried again keeps its `Message-ID`, so receivers can
//! drop what they have.
//! Refuses to tell addresses to the log: errors are reduced to what the relay said.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use core_platform::{
    clock::UnixMicros,
    config::{Faults, Secret},
    jobs::Failure,
};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{self, AsyncSmtpTransportBuilder, authentication::Credentials},
};
use tokio::time::timeout;
use uuid::Uuid;

use super::templates::Text;

/// A relay that says nothing for so long is tried again later.
const SMTP_TIMEOUT: Duration = Duration::from_secs(20);
/// Files kept in development: an outbox, not an archive.
const FILES_MAX: usize = 1_000;

/// How mail leaves.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// `smtp://host:port`, `smtps://…`, or `smtp://…?tls=required`.
    pub url: Option<String>,
    /// Name and password.
    pub login: Option<(String, Secret)>,
    pub from: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "--mail-from: `{0}` is not a mail address\nhint: such as `Palisade <no-reply@example.org>`"
    )]
    From(String),
    /// The URL is not shown: it may hold a password.
    #[error(
        "--smtp-url: is not usable\nhint: smtp://host:25, smtps://host:465, or smtp://host:587?tls=required"
    )]
    Url,
}

impl MailSettings {
    /// Looks at everything and makes nothing: what is built needs a running runtime.
    ///
    /// # Errors
    /// A sender and a relay that can't be used.
    pub(crate) fn check(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        faults.check(self.sender());
        faults.check(self.relay());
        faults.settle(|| Some(()))
    }

    fn sender(&self) -> Result<Mailbox, Error> {
        let wrong = |_| Error::From(self.from.clone());
        self.from.parse().map_err(wrong)
    }

    fn relay(&self) -> Result<Option<AsyncSmtpTransportBuilder>, Error> {
        let Some(url) = &self.url else {
            return Ok(None);
        };
        // `check-config` prints the URL, so a password has another place.
        if url.contains('@') {
            return Err(Error::Url);
        }
        let relay = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
        let mut relay = relay.map_err(|_| Error::Url)?.timeout(Some(SMTP_TIMEOUT));
        if let Some((user, password)) = &self.login {
            let password = password.expose().to_owned();
            relay = relay.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Some(relay))
    }
}

/// Sends mail.
#[derive(Clone)]
pub(crate) struct Mailer {
    from: Mailbox,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Files(PathBuf),
}

impl Mailer {
    /// `outbox`: where mails are written while there is no relay.
    ///
    /// # Errors
    /// A sender or relay that can't be used.
    pub(crate) fn new(settings: &MailSettings, outbox: &Path) -> Result<Self, Error> {
        let from = settings.sender()?;
        let way = match settings.relay()? {
            Some(relay) => Way::Smtp(relay.build()),
            None => Way::Files(outbox.to_owned()),
        };
        Ok(Self { from, way })
    }

    pub(crate) async fn send(
        &self,
        to: &str,
        text: &Text,
        id: Uuid,
        now: UnixMicros,
    ) -> Result<(), Failure> {
        let to = to
            .parse::<lettre::Address>()
            .map_err(|_| Failure::Permanent("not an address that mail can go to".to_owned()))?;
        let domain = self.from.email.domain();
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&text.subject)
            .message_id(Some(format!("<{id}@{domain}>")))
            .date(UNIX_EPOCH + Duration::from_secs(seconds))
            // RFC 3834 section 5: vacation programs leave it alone.
            .raw_header(lettre::message::header::HeaderValue::new(
                lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .header(ContentType::TEXT_PLAIN)
            .body(text.body.clone())
            .map_err(|_| Failure::Permanent("the mail cannot be written".to_owned()))?;
        match &self.way {
            // The transport's own time limit is for connecting only.
            Way::Smtp(transport) => match timeout(SMTP_TIMEOUT, transport.send(message)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(judge(&error)),
                Err(_) => Err(Failure::retry("the mail relay does not answer")),
            },
            Way::Files(dir) => write(dir, &format!("{id}.eml"), &message.formatted()),
        }
    }

    /// A short message where there is no gateway: beside the mails that have no relay.
    pub(crate) fn write_sms(&self, to: &str, body: &str, id: Uuid) -> Result<(), Failure> {
        match &self.way {
            Way::Files(dir) => write(
                dir,
                &format!("{id}.sms"),
                format!("To: {to}\n\n{body}").as_bytes(),
            ),
            Way::Smtp(_) => Err(Failure::Permanent(
                "no SMS gateway is configured".to_owned(),
            )),
        }
    }
}

/// The relay's own words may repeat the address, so its code is all that is told.
fn judge(error: &smtp::Error) -> Failure {
    let code = error.status().map(|code| code.to_string());
    let code = code.as_deref().unwrap_or("no answer");
    if error.is_permanent() {
        Failure::Permanent(format!("the mail relay refused: {code}"))
    } else {
        Failure::retry(format!("the mail relay failed: {code}"))
    }
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let written = (|| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let mut files: Vec<_> = fs::read_dir(dir)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect();
        // Names begin with the time (UUIDv7), so the first is the oldest.
        files.sort();
        for old in files.iter().rev().skip(FILES_MAX - 1) {
            fs::remove_file(old)?;
        }
        // A reader never finds half a mail.
        let half = dir.join(format!(".{name}"));
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&half)?
            .write_all(bytes)?;
        fs::rename(&half, dir.join(name))
    })();
    written.map_err(|error: std::io::Error| Failure::retry(format!("the outbox: {}", error.kind())))
}
