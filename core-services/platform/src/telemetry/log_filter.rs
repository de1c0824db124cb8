//! What is logged, and changing it while the process runs.
//! Invariant: a change with an end ends, and then what the process was started with is
//! in force; what is shown is what is in force.
//! Refuses a filter that does not parse: the one before stays.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, Registry, filter::ParseError, reload};

use crate::clock::UnixMicros;

/// The layer that decides.
pub(super) type FilterLayer = reload::Layer<EnvFilter, Registry>;

/// A handle to the process's log filter.
pub struct LogFilter {
    layer: reload::Handle<EnvFilter, Registry>,
    /// What the process was started with.
    own: String,
    /// What is in force.
    set: watch::Sender<Set>,
}

#[derive(Clone, Debug)]
struct Set {
    shown: Level,
    end: Option<Instant>,
}

/// What is logged, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pub filter: String,
    /// None: until the process ends.
    pub until: Option<UnixMicros>,
}

#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("not a log filter: {0}")]
    Filter(#[from] ParseError),
    #[error("the log cannot be changed: {0}")]
    Gone(#[from] reload::Error),
}

impl LogFilter {
    /// `own`: the text that `filter` was made of.
    pub(super) fn new(filter: EnvFilter, own: &str) -> (FilterLayer, Self) {
        let (layer, handle) = reload::Layer::new(filter);
        let (set, _) = watch::channel(Set::own(own));
        let filter = Self {
            layer: handle,
            own: own.to_owned(),
            set,
        };
        (layer, filter)
    }

    /// One that nothing is logged by.
    #[cfg(test)]
    pub(crate) fn detached(own: &str) -> Self {
        let (layer, filter) = Self::new(own.parse().unwrap(), own);
        // The handle knows its layer weakly, and tests end.
        std::mem::forget(layer);
        filter
    }

    /// Whether `filter` could be set.
    ///
    /// # Errors
    /// It does not parse.
    pub fn check(filter: &str) -> Result<(), SetError> {
        EnvFilter::try_new(filter)?;
        Ok(())
    }

    /// Puts another filter in force: for this long, or until the process ends. The empty
    /// one stands for what the process was started with.
    ///
    /// # Errors
    /// It does not parse; the one before stays.
    pub fn set(
        &self,
        filter: &str,
        length: Option<Duration>,
        now: UnixMicros,
    ) -> Result<Level, SetError> {
        let set = match (filter, length) {
            ("", _) => Set::own(&self.own),
            (filter, length) => Set {
                shown: Level {
                    filter: filter.to_owned(),
                    until: length.map(|length| now + length),
                },
                end: length.map(|length| Instant::now() + length),
            },
        };
        let shown = set.shown.clone();
        self.replace(set, |_| true)?;
        Ok(shown)
    }

    pub fn current(&self) -> Level {
        self.set.borrow().shown.clone()
    }

    /// Ends what has an end, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut changes = self.set.subscribe();
        loop {
            let end = changes.borrow_and_update().end;
            let over = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                // The sender is ours: it is not dropped before.
                _ = changes.changed() => {}
                () = over => self.fall_back(end),
            }
        }
    }

    /// Unless somebody set another one at the last moment.
    fn fall_back(&self, end: Option<Instant>) {
        match self.replace(Set::own(&self.own), |in_force| in_force.end == end) {
            Ok(()) => tracing::info!(filter = self.own, "the log is what it was at the start"),
            Err(error) => tracing::error!(%error, "the log stays as it is"),
        }
    }

    /// Changes the layer and what is shown of it as one, under the lock of `set`.
    fn replace(&self, to: Set, may: impl FnOnce(&Set) -> bool) -> Result<(), SetError> {
        let mut outcome = Ok(());
        self.set.send_if_modified(|in_force| {
            if !may(in_force) {
                return false;
            }
            outcome = self.put(&to.shown.filter);
            // What failed must not be tried again at once, so its end goes, too.
            *in_force = match &outcome {
                Ok(()) => to,
                Err(_) => Set {
                    end: None,
                    ..in_force.clone()
                },
            };
            true
        });
        outcome
    }

    fn put(&self, filter: &str) -> Result<(), SetError> {
        Ok(self.layer.reload(EnvFilter::try_new(filter)?)?)
    }
}

impl Set {
    fn own(filter: &str) -> Self {
        Self {
            shown: Level {
                filter: filter.to_owned(),
                until: None,
            },
            end: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);

    #[test]
    fn what_is_set_is_what_is_logged() {
        let (layer, filter) = LogFilter::new("info".parse().unwrap(), "info");
        with_default(tracing_subscriber::registry().with(layer), || {
            let debugs = || tracing::enabled!(tracing::Level::DEBUG);
            assert!(!debugs());
            let level = filter.set("debug", None, NOW).unwrap();
            assert_eq!((level.filter.as_str(), level.until), ("debug", None));
            assert!(debugs());
            assert!(matches!(
                filter.set("info,core_identity=loud", None, NOW),
                Err(SetError::Filter(_))
            ));
            assert!(debugs(), "the one before stays");
            assert_eq!(filter.current(), level);
            filter.set("", None, NOW).unwrap();
            assert!(!debugs());
            assert_eq!(filter.current().filter, "info");
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_with_an_end_ends() {
        let (layer, filter) = LogFilter::new("info".parse().unwrap(), "info");
        let filter = Arc::new(filter);
        let _kept = layer;
        let stop = CancellationToken::new();
        let (ending, stopped) = (filter.clone(), stop.clone());
        let running = tokio::spawn(async move { ending.run(stopped).await });
        let minute = Duration::from_secs(60);
        let level = filter.set("debug", Some(minute), NOW).unwrap();
        assert_eq!(level.until, Some(NOW + minute));
        tokio::time::sleep(minute / 2).await;
        // A later word counts, also about the end.
        filter.set("trace", Some(minute), NOW).unwrap();
        tokio::time::sleep(minute * 3 / 4).await;
        assert_eq!(filter.current().filter, "trace");
        let mut changes = filter.set.subscribe();
        changes.changed().await.unwrap();
        let level = filter.current();
        assert_eq!((level.filter.as_str(), level.until), ("info", None));
        stop.cancel();
        running.await.unwrap();
    }
}
