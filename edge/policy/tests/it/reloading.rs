//! What becomes of a change: in force as a whole, or refused with the last good policy kept.

use std::path::PathBuf;
use std::sync::Arc;

use palisade_policy::{Loaded, PolicyStore, Reloader, StartError, Status};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::folder::Scratch;
use crate::watching::{PATIENCE, one_file, outcome, policy};

/// What is built: the ports, with the generation it was built after.
type Built = (String, Option<String>);

struct Running {
    scratch: Scratch,
    store: Arc<PolicyStore<Built>>,
    seen: mpsc::UnboundedReceiver<Status>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Port 13 cannot be built.
async fn build(loaded: Loaded, previous: Option<Arc<Built>>) -> Result<Built, String> {
    let ports = outcome(Ok(loaded));
    if ports == "13" {
        return Err("port 13 is bad luck".to_owned());
    }
    Ok((ports, previous.map(|previous| previous.0.clone())))
}

async fn run(scratch: Scratch) -> Running {
    let reloader = Reloader::start(scratch.policies(), build).await.unwrap();
    let store = reloader.store();
    let (send, seen) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let observe = move |status: &Status| send.send(status.clone()).unwrap();
    let task = tokio::spawn(reloader.run(observe, stopped));
    Running {
        scratch,
        store,
        seen,
        stop,
        task,
    }
}

impl Running {
    async fn until(&mut self, holds: impl Fn(&Status) -> bool) -> Status {
        loop {
            let status = timeout(PATIENCE, self.seen.recv())
                .await
                .expect("no such status")
                .unwrap();
            if holds(&status) {
                return status;
            }
        }
    }
}

#[tokio::test]
async fn the_last_good_policy_stays() {
    let mut running = run(one_file()).await;
    let first = running.store.status();
    assert_eq!(
        (first.generation, first.reloads_ok, first.reloads_failed),
        (1, 0, 0)
    );
    assert_eq!(*running.store.current(), ("1".to_owned(), None));

    running.scratch.write("a.yaml", "version: 1\nrouts: []\n");
    let status = running
        .until(|status| {
            status
                .last_error
                .as_ref()
                .is_some_and(|error| error.text.contains("P012"))
        })
        .await;
    assert_eq!((status.generation, &status.hash), (1, &first.hash));
    assert!(
        status
            .last_error
            .unwrap()
            .text
            .contains("a.yaml:2:1: unknown key `routs`")
    );
    assert_eq!(running.store.current().0, "1");

    // Taken back: in force again without being built again.
    running.scratch.write("a.yaml", &policy(1));
    let status = running.until(|status| status.last_error.is_none()).await;
    assert_eq!(
        (status.generation, status.reloads_ok, &status.hash),
        (1, 0, &first.hash)
    );

    running.scratch.write("a.yaml", &policy(13));
    let status = running
        .until(|status| {
            status
                .last_error
                .as_ref()
                .is_some_and(|error| error.text.contains("bad luck"))
        })
        .await;
    assert_eq!(status.generation, 1);

    running.scratch.write("a.yaml", &policy(2));
    let status = running.until(|status| status.generation == 2).await;
    assert_eq!((status.reloads_ok, status.last_error), (1, None));
    assert!(
        status.hash != first.hash
            && status.loaded_at >= first.loaded_at
            && status.reloads_failed >= 2
    );
    assert_eq!(
        *running.store.current(),
        ("2".to_owned(), Some("1".to_owned()))
    );

    running.stop.send(()).unwrap();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn there_is_no_start_without_a_policy() {
    let start = |dir: PathBuf| Reloader::start(dir, build);
    let bad = Scratch::with(&[("a.yaml", "version: 2\n")]);
    assert!(matches!(
        start(bad.policies()).await,
        Err(StartError::Policy(_))
    ));
    let unlucky = Scratch::with(&[("a.yaml", &policy(13))]);
    let Err(error) = start(unlucky.policies()).await else {
        panic!("it started")
    };
    assert_eq!(
        error.to_string(),
        "the policies cannot be put in force: port 13 is bad luck"
    );
}

#[tokio::test]
async fn the_record_is_json() {
    let running = run(one_file()).await;
    let json = serde_json::to_value(running.store.status()).unwrap();
    assert_eq!(json["generation"], 1);
    assert_eq!(json["files"][0]["path"], "a.yaml");
    assert_eq!(json["last_error"], serde_json::Value::Null);
    assert!(json["loaded_at"].as_str().unwrap().ends_with('Z'), "{json}");
    running.task.abort();
}
