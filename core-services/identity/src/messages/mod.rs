//! Mails and short messages to account holders: written in the transaction that they
//! are about, sent by a job after it.
//! Invariant: what is to be sent lies sealed in the job; the log names the template
//! and the job, never the receiver or the text.
//! Refuses to send what came too late: a code that has expired helps nobody.

mod mail;
mod sms;
mod templates;

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use core_platform::{
    clock::UnixMicros,
    crypto::{Error as CryptoError, Field, SERVICE_SUBJECT, SubjectKey, Vault},
    db::Tx,
    jobs::{self, Failure, Job, JobContext, NewJob, Options},
};
use serde::{Deserialize, Serialize};
use tonic::async_trait;
use uuid::Uuid;

pub use mail::MailSettings;
pub(crate) use mail::{Error as MailError, Mailer};
pub use sms::SmsSettings;
pub(crate) use sms::{Error as SmsError, Sms};
pub(crate) use templates::Template;

use crate::contacts::{Contact, Kind};

/// The job that sends one message.
pub(crate) const SEND: &str = "identity.send-message";
const SEALED: Field = Field::new("identity.message");
/// One relay, one gateway: more at once would only queue there.
const PARALLEL_MAX: usize = 4;
/// Beyond what a relay takes to answer each of its lines (RFC 5321 section 4.5.3.2
/// allows minutes; ours are near).
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// News such as "your password was changed" is worth sending for so long.
pub(crate) const NEWS_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// One message.
#[derive(Serialize, Deserialize)]
pub(crate) struct Message {
    /// `None`: nobody has this contact. Such a message is made and dropped like any
    /// other, so that asking for it takes the same time.
    pub(crate) to: Option<Contact>,
    pub(crate) template: Template,
    /// What its placeholders stand for.
    pub(crate) values: BTreeMap<String, String>,
    /// Not sent later than this.
    pub(crate) until: i64,
}

impl Message {
    pub(crate) fn new(to: Option<Contact>, template: Template, until: UnixMicros) -> Self {
        Self {
            to,
            template,
            values: BTreeMap::new(),
            until: until.0,
        }
    }

    pub(crate) fn value(mut self, name: &str, value: impl Into<String>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }
}

/// What lies in the job.
#[derive(Serialize, Deserialize)]
struct Payload {
    /// Whose data key opens it: when that is gone, so is the message.
    subject: Uuid,
    sealed: String,
}

/// Sends `message` once `tx` has committed.
pub(crate) async fn post(
    tx: &mut Tx,
    key: &SubjectKey,
    message: &Message,
    now: UnixMicros,
) -> Result<(), crate::Error> {
    let text = serde_json::to_vec(message)?;
    let payload = Payload {
        subject: key.subject(),
        sealed: STANDARD.encode(key.seal(SEALED, &text)?),
    };
    jobs::enqueue(tx, NewJob::new(SEND, &payload)?, now).await?;
    Ok(())
}

/// Runs the jobs.
pub(crate) struct Sender {
    pub(crate) vault: Vault,
    pub(crate) mail: Mailer,
    pub(crate) sms: Option<Sms>,
}

impl Sender {
    pub(crate) fn options() -> Options {
        Options {
            parallel_max: PARALLEL_MAX,
            timeout: SEND_TIMEOUT,
        }
    }

    async fn open(&self, context: &JobContext) -> Result<Option<Message>, Failure> {
        let payload: Payload = context.payload()?;
        let opened = if payload.subject == SERVICE_SUBJECT {
            Ok(self.vault.service_key().clone())
        } else {
            self.vault.key(&context.db, payload.subject).await
        };
        let key = match opened {
            Ok(key) => key,
            // The account was deleted meanwhile: there is nobody to write to.
            Err(CryptoError::Shredded | CryptoError::NoKey) => return Ok(None),
            Err(CryptoError::Db(error)) => return Err(error.into()),
            Err(error) => return Err(Failure::Permanent(error.to_string())),
        };
        let damaged = || Failure::Permanent("the message does not open".to_owned());
        open(&key, &payload.sealed).map(Some).ok_or_else(damaged)
    }
}

/// What `post` sealed.
pub(crate) fn open(key: &SubjectKey, sealed: &str) -> Option<Message> {
    let text = key.open(SEALED, &STANDARD.decode(sealed).ok()?).ok()?;
    serde_json::from_slice(&text).ok()
}

#[async_trait]
impl Job for Sender {
    async fn run(&self, context: &JobContext) -> Result<(), Failure> {
        let Some(message) = self.open(context).await? else {
            return Ok(());
        };
        let Some(to) = &message.to else { return Ok(()) };
        if message.until < context.now.0 {
            tracing::warn!(job = %context.id, template = ?message.template, "message came too late");
            return Ok(());
        }
        let text = message.template.render(&message.values);
        match to.kind {
            Kind::Email => {
                self.mail
                    .send(&to.value, &text, context.id, context.now)
                    .await
            }
            Kind::Phone => match &self.sms {
                Some(sms) => sms.send(&to.value, &text.body, context.id).await,
                None => self.mail.write_sms(&to.value, &text.body, context.id),
            },
        }?;
        tracing::info!(job = %context.id, template = ?message.template, "message sent");
        Ok(())
    }
}
