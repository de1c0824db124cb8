//! Keeps a certificate for each name: looks at what is on disk, and orders what is due.
//!
//! Invariant: a name is not ordered again before its wait is over, whatever failed (the authority,
//! the proof, our own disk), in this process or in one before it.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{debug, info, warn};

use crate::certificate::inspect;
use crate::files::{FileError, Files, Pair, Record};
use crate::http_client::AcmeHttp;
use crate::order::{OrderError, Orderer};
use crate::pending::Pending;
use crate::schedule::{Validity, next_order_after, retry_after};
use crate::settings::{NAMES_MAX, Name, Settings, SetupError};
use crate::standing::{Due, Found, Standing};

/// How often the folder is looked at: another process may have renewed, an operator removed a file.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Everything an order does, each of its requests and polls being bounded by itself.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Characters of a cause in the log: some of it is the authority's text.
const CAUSE_CHARS_MAX: usize = 1_000;

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure,
}

/// Orders and renews; does nothing before [`Renewer::run`].
pub struct Renewer {
    orderer: Arc<Orderer>,
    names: Vec<Managed>,
}

/// A name and what is remembered of it while the process runs.
struct Managed {
    name: Name,
    /// From 0 to 1, drawn once: the time of renewal does not wander.
    jitter: f64,
    /// Where it stood when that was last logged.
    logged: Option<Standing>,
    /// Holds also where the record could not be written.
    retry_at: OffsetDateTime,
}

impl Renewer {
    /// Checks and makes what can be checked and made before anything runs.
    pub fn new(mut settings: Settings) -> Result<Self, SetupError> {
        settings.names.sort();
        settings.names.dedup();
        if settings.names.len() > NAMES_MAX {
            return Err(SetupError::TooManyNames(settings.names.len()));
        }
        let files = Files::new(&settings.certificates, &settings.state)?;
        let http = AcmeHttp::new(settings.authority.as_deref())?;
        let managed = |name: &Name| Managed {
            name: name.clone(),
            jitter: fastrand::f64(),
            logged: None,
            retry_at: OffsetDateTime::UNIX_EPOCH,
        };
        Ok(Self {
            names: settings.names.iter().map(managed).collect(),
            orderer: Arc::new(Orderer {
                settings,
                files,
                http,
                pending: Arc::default(),
            }),
        })
    }

    /// Where the edge finds the answers to challenges.
    pub fn pending(&self) -> Arc<Pending> {
        self.orderer.pending.clone()
    }

    /// Never returns. The edge must already be listening: a first order starts at once.
    pub async fn run(mut self, observe: impl Fn(Outcome) + Send) {
        loop {
            let mut wake_at = now() + LOOK_INTERVAL;
            for managed in &mut self.names {
                let next = managed.keep(&self.orderer, &observe).await;
                wake_at = wake_at.min(next.unwrap_or(wake_at));
            }
            let pause = wake_at - now();
            let pause = Duration::try_from(pause).unwrap_or_default();
            tokio::time::sleep(pause.max(Duration::from_secs(1))).await;
        }
    }
}

impl Managed {
    /// Order where it is time to. Returns when to look again, if that is soon.
    async fn keep(
        &mut self,
        orderer: &Arc<Orderer>,
        observe: &(impl Fn(Outcome) + Send),
    ) -> Option<OffsetDateTime> {
        let mut standing = self.look(orderer).await;
        if matches!(standing, Standing::Due(_)) {
            let _lock = match orderer.files.lock() {
                Ok(Some(lock)) => lock,
                Ok(None) => {
                    debug!(name = %self.name, "another process orders certificates now");
                    return None;
                }
                Err(error) => {
                    warn!(%error, "no certificate can be ordered");
                    return None;
                }
            };
            // Another process may have ordered it in between.
            standing = self.look(orderer).await;
            if let Standing::Due(due) = standing {
                observe(self.renew(orderer, due).await);
                standing = self.look(orderer).await;
            }
        }
        match standing {
            Standing::InForce { renew_at: at, .. } | Standing::Waiting { retry_at: at, .. } => {
                Some(at)
            }
            Standing::Due(_) | Standing::Unknown(_) => None,
        }
    }

    /// Where the name stands; said in the log when it has changed.
    async fn look(&mut self, orderer: &Arc<Orderer>) -> Standing {
        let standing = match self.found(orderer).await {
            Ok(found) => {
                let directory = orderer.settings.directory.as_str();
                found.standing(directory, self.jitter, self.retry_at, now())
            }
            Err(error) => Standing::Unknown(error.to_string()),
        };
        if self.logged.as_ref() != Some(&standing) {
            self.log(&standing);
            self.logged = Some(standing.clone());
        }
        standing
    }

    fn log(&self, standing: &Standing) {
        let name = &self.name;
        match standing {
            Standing::InForce {
                not_after,
                renew_at,
            } => {
                let (not_after, renew_at) = (text(*not_after), text(*renew_at));
                info!(%name, not_after, renew_at, "certificate in force");
            }
            Standing::Waiting { failures, retry_at } => {
                let retry_at = text(*retry_at);
                info!(%name, failures, retry_at, "certificate is due, its next order waits");
            }
            Standing::Unknown(error) => warn!(%name, error, "certificate not looked after"),
            Standing::Due(_) => {}
        }
    }

    async fn found(&self, orderer: &Arc<Orderer>) -> Result<Found, FileError> {
        let (orderer, name) = (orderer.clone(), self.name.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let pair = orderer.files.pair(&name)?;
            // What cannot be served is as good as missing; the edge says why by itself.
            let validity = pair.and_then(|pair| inspect(&pair, &name).ok());
            let record = orderer.files.record(&name)?;
            Ok(Found { validity, record })
        });
        // A panic is a bug; what it kept us from reading counts as missing.
        reading.await.unwrap_or_else(|_| Ok(Found::default()))
    }

    /// One order, and its record. What fails leaves the certificate in force as it is.
    async fn renew(&mut self, orderer: &Arc<Orderer>, due: Due) -> Outcome {
        let name = &self.name;
        let Settings {
            directory,
            challenge,
            ..
        } = &orderer.settings;
        let challenge = challenge.as_str();
        info!(%name, %directory, challenge, why = due.why, "ordering certificate");
        let ordering = tokio::time::timeout(ORDER_TIMEOUT, orderer.order(name));
        let result = match ordering.await {
            Ok(Ok(pair)) => self.save(orderer, pair).await,
            Ok(Err(error)) => Err(cause(&error)),
            Err(_) => Err(format!("no end within {ORDER_TIMEOUT:?}")),
        };
        let error = match result {
            Ok(validity) => {
                self.retry_at = now() + next_order_after(validity.lifetime());
                info!(%name, "certificate ordered");
                return Outcome::Success;
            }
            Err(error) => error,
        };
        let failures = due.failures.saturating_add(1);
        warn!(%name, error, failures, "certificate not ordered, what is in force stays");
        self.retry_at = now() + retry_after(failures, due.lifetime);
        let record = Record {
            directory: directory.as_str().to_owned(),
            issued: false,
            failures,
            retry_at: self.retry_at.unix_timestamp(),
        };
        if let Err(error) = self.write(orderer, None, record).await {
            warn!(name = %self.name, error, "failure not recorded");
        }
        Outcome::Failure
    }

    /// A chain that cannot be served must not replace one that can.
    async fn save(&self, orderer: &Arc<Orderer>, pair: Pair) -> Result<Validity, String> {
        let validity = inspect(&pair, &self.name)?;
        let record = Record {
            directory: orderer.settings.directory.as_str().to_owned(),
            issued: true,
            failures: 0,
            retry_at: 0,
        };
        self.write(orderer, Some(pair), record).await?;
        Ok(validity)
    }

    /// Once begun it is done, even where the process is told to stop meanwhile.
    async fn write(
        &self,
        orderer: &Arc<Orderer>,
        pair: Option<Pair>,
        record: Record,
    ) -> Result<(), String> {
        let (orderer, name) = (orderer.clone(), self.name.clone());
        let writing = tokio::task::spawn_blocking(move || {
            if let Some(pair) = pair {
                orderer.files.write_pair(&name, &pair)?;
            }
            orderer.files.write_record(&name, &record)
        });
        let written = writing.await.map_err(|error| error.to_string())?;
        written.map_err(|error: FileError| error.to_string())
    }
}

fn cause(error: &OrderError) -> String {
    error.to_string().chars().take(CAUSE_CHARS_MAX).collect()
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// RFC 3339, for the log.
fn text(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
