//! Rules that follow their files.
//! Invariant: either all files of a folder come into force or none does; what is
//! at fault is told once, and the last good rules go on.

use std::{path::PathBuf, sync::Arc};

use palisade_documents::watch::Changes;
use tokio_util::sync::CancellationToken;

use super::{
    Loaded, PolicyStore,
    load::{FILES, load},
};
use crate::metrics::{CounterOf, GaugeOf, Metrics};

/// `policy_reload_total{file,result}` and `policy_generation`.
struct Counters {
    reloads: CounterOf,
    generation: GaugeOf,
}

impl Counters {
    fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Ok(Self {
            reloads: metrics.counter(
                "policy_reload_total",
                "Changed policy files, by what became of them.",
                &["file", "result"],
            )?,
            generation: metrics.gauge(
                "policy_generation",
                "How often policies came into force in this process.",
            )?,
        })
    }

    fn tell(&self, store: &PolicyStore) {
        let generation = i64::try_from(store.generation()).unwrap_or(i64::MAX);
        self.generation.set(generation);
    }
}

/// Keeps `store` in step with `dir` until `stop`.
///
/// # Errors
/// Its metrics are there already: it may run once.
pub fn follow(
    store: Arc<PolicyStore>,
    dir: PathBuf,
    metrics: &Metrics,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + use<>, prometheus::Error> {
    let counters = Counters::new(metrics)?;
    counters.tell(&store);
    Ok(async move {
        let following = following(&store, dir, &counters);
        stop.run_until_cancelled(following).await;
    })
}

async fn following(store: &PolicyStore, dir: PathBuf, counters: &Counters) {
    let mut changes = Changes::of(dir).await;
    loop {
        let look = changes.look().await;
        let dir = changes.dir().to_owned();
        match tokio::task::spawn_blocking(move || load(&dir)).await {
            Ok(loaded) => apply(store, counters, loaded),
            Err(_) => tracing::error!("reading the policies failed unexpectedly"),
        }
        changes.was_read(look, &[]).await;
        changes.next().await;
    }
}

fn apply(store: &PolicyStore, counters: &Counters, loaded: Loaded) {
    let before = store.seen.swap(Arc::new(loaded.seen));
    let now = store.seen.load();
    if before.hash == now.hash {
        return;
    }
    let changed = FILES
        .into_iter()
        .filter(|file| before.texts.get(file) != now.texts.get(file));
    let mut changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        // A file that nobody reads: its name is no label, anybody could choose it.
        changed.push("other");
    }
    let result = match loaded.outcome {
        Ok(policies) => {
            store.replace(policies);
            tracing::info!(
                ?changed,
                generation = store.generation(),
                "policies changed"
            );
            "applied"
        }
        Err(diagnostics) => {
            tracing::error!(
                ?changed,
                %diagnostics,
                generation = store.generation(),
                "policies refused, the last good ones stay in force"
            );
            store.refuse(diagnostics);
            "refused"
        }
    };
    for file in changed {
        counters.reloads.with_label_values(&[file, result]).inc();
    }
    counters.tell(store);
}
