//! What operators see and do, on both databases.

use std::{collections::BTreeMap, sync::Arc};

use core_proto::platform::v1::{
    GetStatusRequest, ListDeadLettersRequest, ListJobsRequest, ListSagasRequest,
    PurgeDeadLettersRequest, ReplayDeadLettersRequest, RetryJobRequest, SetLogLevelRequest,
    ops_service_server::OpsService,
};
use core_testing::{Database, both_databases, eventually};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{Request, Status as Refusal};
use tonic_types::StatusExt;

use super::{grpc::Ops, *};
use crate::{
    clock,
    contracts::Contracts,
    crypto::{KeyRing, Vault},
    cursor::Cursors,
    db::{Location, query},
    events::{
        Bus, Consumer, EventMetrics, Events, Failure, NewEvent, Settings, bus::Embedded, publish,
    },
    jobs::{NewJob, enqueue},
    metrics::Metrics,
    policy::PolicyStore,
    telemetry::LogFilter,
    token::{Caller, Kind},
    validate::Validator,
};

const SERVICE: &str = "probe";
const USER: Uuid = Uuid::from_u128(7);

/// A service's database and the RPCs of its process.
struct World {
    db: Db,
    audit: Audit,
    events: Events,
    ops: Ops,
    _ring: tempfile::TempDir,
    _bus: Database,
}

async fn open(at: &Database, name: &str) -> Db {
    let location = Location::from_setting(&at.setting()).unwrap();
    Db::open(&location, name).await.unwrap()
}

async fn world(at: &Database) -> World {
    let db = open(at, SERVICE).await;
    db.migrate(&[], None).await.unwrap();
    let ring = tempfile::tempdir().unwrap();
    let keys = KeyRing::open(None, ring.path()).unwrap();
    let vault = Vault::start(&db, keys, clock::now()).await.unwrap();
    let audit = Audit::new(&vault).unwrap();
    let metrics = Metrics::new().unwrap();
    let seen = Arc::new(EventMetrics::new(&metrics).unwrap());
    let place = Database::sqlite();
    let settings = Settings::default();
    let bus = Embedded::open(open(&place, "events").await, &settings)
        .await
        .unwrap();
    let events = Events {
        db: db.clone(),
        bus: Bus::Embedded(bus),
        metrics: seen.clone(),
        service: SERVICE,
        settings,
    };
    let contracts = Contracts::new(core_proto::DESCRIPTOR_SET, &[("core", GRPC)]).unwrap();
    let served = Served {
        db: db.clone(),
        tables: &[],
        audit: audit.clone(),
        cursors: Cursors::new(&vault).unwrap(),
        consumers: vec![("mailer", vec!["user"])],
        entities: Vec::new(),
    };
    let process = Process {
        version: "1.2.3",
        started: clock::now(),
        policies: Arc::new(PolicyStore::default()),
        events: seen,
        filter: Arc::new(LogFilter::detached("info")),
        stop: CancellationToken::new(),
    };
    World {
        db,
        audit,
        events,
        ops: Ops {
            process,
            services: BTreeMap::from([(SERVICE, served)]),
            validator: Arc::new(Validator::new(&contracts).unwrap()),
        },
        _ring: ring,
        _bus: place,
    }
}

impl World {
    async fn actions(&self) -> Vec<(String, String, String)> {
        let entries = self.audit.list(&self.db, &audit::Filter::default()).await;
        let entries = entries.unwrap().into_iter().rev();
        entries
            .map(|entry| (entry.action, entry.actor, entry.detail))
            .collect()
    }

    async fn publish(&self, kind: &'static str) {
        let mut tx = self.db.begin().await.unwrap();
        let event = NewEvent::new(SERVICE, kind, USER.to_string(), clock::now());
        publish(&mut tx, event).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Relay and consumer, until dropped.
    fn run(&self, consumer: Consumer) -> AbortOnDropHandle<()> {
        let running = self.events.clone();
        let running = running.run(vec![consumer], CancellationToken::new());
        AbortOnDropHandle::new(tokio::spawn(running))
    }

    async fn letters(&self) -> Vec<core_proto::platform::v1::DeadLetter> {
        let asked = ListDeadLettersRequest {
            service: SERVICE.to_owned(),
            ..ListDeadLettersRequest::default()
        };
        let found = self.ops.list_dead_letters(by_user(asked)).await.unwrap();
        found.into_inner().dead_letters
    }

    async fn status(&self) -> core_proto::platform::v1::GetStatusResponse {
        let asked = GetStatusRequest {
            service: SERVICE.to_owned(),
        };
        let found = self.ops.get_status(by_user(asked)).await.unwrap();
        found.into_inner()
    }
}

fn by_user<T>(message: T) -> Request<T> {
    by(USER, message)
}

fn by<T>(user: Uuid, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller {
        user,
        session: Uuid::from_u128(1),
        scopes: Vec::new(),
        roles: Vec::new(),
        auth_time: None,
        amr: Vec::new(),
        acr: None,
        kind: Kind::User,
    });
    request
}

fn reason(status: &Refusal) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

/// Handles nothing while the table `healed` is empty.
fn patient() -> Consumer {
    Consumer::new("mailer", &["user.created"], |tx, _| {
        Box::pin(async move {
            let healed = query("SELECT n FROM healed LIMIT 1")
                .fetch_optional(tx)
                .await?;
            match healed {
                Some(_) => Ok(()),
                None => Err(Failure::Permanent("no such template".to_owned())),
            }
        })
    })
}

async fn run(db: &Db, sql: &'static str) {
    let mut tx = db.begin().await.unwrap();
    query(sql).execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
}

both_databases! {
    #[tokio::test]
    async fn a_poisonous_event_dies_is_seen_and_is_handled_after_all(at: Database) {
        let world = world(&at).await;
        run(&world.db, "CREATE TABLE healed (n INTEGER)").await;
        let _running = world.run(patient());
        world.publish("user.created").await;
        let letter = eventually("a dead letter", || async {
            world.letters().await.pop()
        }).await;
        assert_eq!(
            (letter.r#type.as_str(), letter.consumer.as_str(), letter.reason.as_str()),
            ("user.created", "mailer", "permanent")
        );
        assert_eq!((letter.last_error.as_str(), letter.replaying), ("no such template", false));
        let status = world.status().await;
        assert_eq!(status.dead_letters, 1);
        assert_eq!(status.consumers[0].name, "mailer");

        run(&world.db, "INSERT INTO healed (n) VALUES (1)").await;
        let replay = |consumer: &str, event_ids: &[&String], all| by_user(ReplayDeadLettersRequest {
            service: SERVICE.to_owned(),
            consumer: consumer.to_owned(),
            event_ids: event_ids.iter().map(|id| (*id).clone()).collect(),
            all,
        });
        let id = &letter.event_id;
        for unclear in [replay("mailer", &[], false), replay("mailer", &[id], true)] {
            let refused = world.ops.replay_dead_letters(unclear).await.unwrap_err();
            assert_eq!(reason(&refused), "INVALID_INPUT");
        }
        let other = world.ops.replay_dead_letters(replay("other", &[id], false)).await;
        let other = other.unwrap_err();
        assert_eq!(reason(&other), "NO_DEAD_LETTERS");
        assert_eq!(other.message(), "`other` has given up no event\nhint: these have: `mailer`");
        let done = world.ops.replay_dead_letters(replay("mailer", &[id], false)).await;
        assert_eq!(done.unwrap().into_inner().count, 1);
        eventually("the letter's end", || async {
            world.letters().await.is_empty().then_some(())
        }).await;
        let actions = world.actions().await;
        assert_eq!(actions.len(), 1, "{actions:?}");
        let (action, actor, detail) = &actions[0];
        assert_eq!((action.as_str(), actor), ("dead_letters.replayed", &USER.to_string()));
        assert!(detail.contains(id) && detail.contains("\"count\":1"), "{detail}");
    }

    #[tokio::test]
    async fn what_is_purged_is_gone_and_written_down(at: Database) {
        let world = world(&at).await;
        run(&world.db, "CREATE TABLE healed (n INTEGER)").await;
        let _running = world.run(patient());
        for _ in 0..3 {
            world.publish("user.created").await;
        }
        eventually("three dead letters", || async {
            (world.letters().await.len() == 3).then_some(())
        }).await;
        let mut asked = ListDeadLettersRequest {
            service: SERVICE.to_owned(),
            consumer: "mailer".to_owned(),
            page_size: 2,
            page_token: String::new(),
        };
        let page = world.ops.list_dead_letters(by_user(asked.clone())).await.unwrap().into_inner();
        assert_eq!(page.dead_letters.len(), 2);
        asked.page_token = page.next_page_token;
        let stolen = world.ops.list_dead_letters(by(Uuid::from_u128(8), asked.clone())).await;
        assert_eq!(reason(&stolen.unwrap_err()), "INVALID_PAGE_TOKEN");
        let last = world.ops.list_dead_letters(by_user(asked)).await.unwrap().into_inner();
        assert_eq!((last.dead_letters.len(), last.next_page_token.as_str()), (1, ""));

        let purge = PurgeDeadLettersRequest {
            service: SERVICE.to_owned(),
            consumer: "mailer".to_owned(),
            event_ids: Vec::new(),
            all: true,
        };
        let purged = world.ops.purge_dead_letters(by_user(purge)).await.unwrap();
        assert_eq!(purged.into_inner().count, 3);
        assert!(world.letters().await.is_empty());
        let actions = world.actions().await;
        assert_eq!(actions[0].0, "dead_letters.purged");
        assert!(actions[0].2.contains("\"events\":\"all\""), "{actions:?}");
    }

    #[tokio::test]
    async fn jobs_are_listed_and_run_again(at: Database) {
        let (world, now) = (world(&at).await, clock::now());
        let mut ids = Vec::new();
        for n in 0..3 {
            let mut tx = world.db.begin().await.unwrap();
            let job = NewJob::new("mail", &n).unwrap().unique("one at a time");
            ids.push(enqueue(&mut tx, job, now).await.unwrap());
            // It failed for good, which frees its key; the last one waits.
            if n < 2 {
                let fail = "UPDATE jobs SET state = 'failed', attempts = 10, finished_at = $2,
                     last_error = 'refused' WHERE id = $1";
                query(fail).bind(ids[n]).bind(now).execute(&mut tx).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
        let mut asked = ListJobsRequest {
            service: SERVICE.to_owned(),
            state: "failed".to_owned(),
            page_size: 1,
            ..ListJobsRequest::default()
        };
        let page = world.ops.list_jobs(by_user(asked.clone())).await.unwrap().into_inner();
        assert_eq!((page.jobs.len(), page.jobs[0].id.clone()), (1, ids[1].to_string()));
        assert_eq!((page.jobs[0].attempts, page.jobs[0].last_error.as_str()), (10, "refused"));
        asked.page_token = page.next_page_token;
        let last = world.ops.list_jobs(by_user(asked.clone())).await.unwrap().into_inner();
        assert_eq!((last.jobs[0].id.clone(), last.next_page_token.as_str()), (ids[0].to_string(), ""));
        asked.state = "done".to_owned();
        let other = world.ops.list_jobs(by_user(asked)).await.unwrap_err();
        assert_eq!(reason(&other), "INVALID_PAGE_TOKEN", "of another filter");

        let retry = |id: Uuid| by_user(RetryJobRequest {
            service: SERVICE.to_owned(),
            id: id.to_string(),
        });
        let refused = world.ops.retry_job(retry(ids[0])).await.unwrap_err();
        assert_eq!(reason(&refused), "JOB_SUPERSEDED", "{refused}");
        let refused = world.ops.retry_job(retry(Uuid::from_u128(1))).await.unwrap_err();
        assert_eq!(reason(&refused), "NO_SUCH_JOB");
        assert!(world.actions().await.is_empty(), "nothing was done");
        let status = world.status().await;
        assert_eq!(status.jobs.as_ref().unwrap().count, 1);
        assert!(status.jobs.unwrap().oldest.is_some());
        let free = "UPDATE jobs SET unique_key = NULL WHERE state = 'queued'";
        run(&world.db, free).await;
        world.ops.retry_job(retry(ids[0])).await.unwrap();
        assert_eq!(world.status().await.jobs.unwrap().count, 2);
        assert_eq!(world.actions().await[0].0, "job.retried");
    }

    #[tokio::test]
    async fn the_state_of_a_service_is_told(at: Database) {
        let (world, now) = (world(&at).await, clock::now());
        // Nobody carries it to the bus.
        world.publish("user.created").await;
        let mut tx = world.db.begin().await.unwrap();
        let saga = "INSERT INTO sagas (id, kind, state, step, status, attempts, created_at, updated_at)
             VALUES ($1, 'order', $2, 'pay', 'running', 3, $3, $3)";
        let state = serde_json::json!({"secret": "s3cret"});
        query(saga).bind(USER).bind(state).bind(now).execute(&mut tx).await.unwrap();
        let id = enqueue(&mut tx, NewJob::new("mail", &1).unwrap(), now).await.unwrap();
        let claim = "UPDATE jobs SET state = 'running', attempts = 1, lease_owner = $2,
             heartbeat_at = $3 WHERE id = $1";
        query(claim).bind(id).bind(USER).bind(now).execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();

        let status = world.status().await;
        assert_eq!((status.service.as_str(), status.version.as_str()), (SERVICE, "1.2.3"));
        assert_eq!(status.outbox.as_ref().unwrap().count, 1);
        assert!(status.outbox.unwrap().oldest.is_some());
        assert_eq!((status.open_sagas, status.dead_letters), (1, 0));
        let lease = &status.leases[0];
        assert_eq!((&lease.job, &lease.owner), (&id.to_string(), &USER.to_string()));
        let names: Vec<_> = status.pools.iter().map(|pool| pool.name.as_str()).collect();
        let expected: &[&str] = if at.is_sqlite() { &["writer", "readers"] } else { &["postgres"] };
        assert_eq!(names, expected);
        assert!(status.pools.iter().all(|pool| pool.open <= pool.max && pool.idle <= pool.open));
        assert_eq!(status.log_level.unwrap().filter, "info");

        let asked = ListSagasRequest {
            service: SERVICE.to_owned(),
            status: "running".to_owned(),
            ..ListSagasRequest::default()
        };
        let found = world.ops.list_sagas(by_user(asked)).await.unwrap().into_inner();
        assert_eq!((found.sagas.len(), found.sagas[0].step.as_str()), (1, "pay"));
        assert!(!format!("{found:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_log_level_is_written_down_first(at: Database) {
        let world = world(&at).await;
        let set = |service: &str, filter: &str, seconds| by_user(SetLogLevelRequest {
            service: service.to_owned(),
            filter: filter.to_owned(),
            seconds,
        });
        for (service, filter, seconds, expected) in [
            ("catalog", "debug", 0, "UNKNOWN_SERVICE"),
            (SERVICE, "info,core=loud", 0, "INVALID_INPUT"),
            (SERVICE, "core[{secret=x}]", 0, "INVALID_INPUT"),
            (SERVICE, "debug", 86_401, "INVALID_INPUT"),
        ] {
            let refused = world.ops.set_log_level(set(service, filter, seconds)).await;
            assert_eq!(reason(&refused.unwrap_err()), expected, "{service} {filter} {seconds}");
        }
        assert!(world.actions().await.is_empty());
        let level = world.ops.set_log_level(set(SERVICE, "debug", 60)).await.unwrap();
        let level = level.into_inner().log_level.unwrap();
        assert_eq!(level.filter, "debug");
        assert!(level.until.is_some());
        assert_eq!(world.status().await.log_level, Some(level));
        let actions = world.actions().await;
        assert_eq!(actions[0].0, "log_level.set");
        assert!(actions[0].2.contains("debug"), "{actions:?}");
    }
}
