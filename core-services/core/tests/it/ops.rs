//! What operators look at and do, by RPC and by command, on running services.

use std::{
    fs,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use core_platform::{
    clock,
    contracts::{Access, Contracts},
    db::{Db, Location, query},
    events::{
        Bus, Consumer, EventMetrics, Events, Failure, Settings,
        bus::{Embedded, Nats as NatsBus, NatsSettings},
    },
    jobs::{NewJob, enqueue},
    metrics::Metrics,
};
use core_proto::{
    platform::v1::{
        GetStatusRequest, ListDeadLettersRequest, ListJobsRequest, ListSagasRequest,
        PurgeDeadLettersRequest, ReplayDeadLettersRequest, SetLogLevelRequest,
        ops_service_client::OpsServiceClient,
    },
    user::v1::{ListAuditEventsRequest, admin_service_client::AdminServiceClient},
};
use core_testing::{Database, Nats, both_databases};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};
use tonic_prost::ProstCodec;
use uuid::Uuid;

use crate::harness::{Core, EDGE, EMAIL, PASSWORD, World, eventually, reason, with_token};

const OPS: &str = "platform.v1.OpsService";
const CONSUMER: &str = "probe";

/// A process with its databases, and somebody to operate it.
struct Place {
    world: World,
    identity: Database,
    events: Database,
    nats: Option<Nats>,
}

impl Place {
    fn new(identity: Database, nats: Option<Nats>) -> Self {
        let world = World::new();
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/services");
        let roles = world.policies().join("rbac.yaml");
        fs::copy(format!("{policies}/rbac.yaml"), roles).unwrap();
        let events = if identity.is_sqlite() {
            Database::sqlite()
        } else {
            Database::postgresql()
        };
        Self {
            world,
            identity,
            events,
            nats,
        }
    }

    fn command(&self, subcommand: &str) -> std::process::Command {
        let mut command = self.world.command(subcommand);
        command
            .env("DATABASE_URL__IDENTITY", self.identity.setting())
            .env("DATABASE_URL__EVENTS", self.events.setting());
        if let Some(nats) = &self.nats {
            command.env("NATS_URL", nats.url());
        }
        command
    }

    async fn start(&self) -> Core {
        World::start_command(self.command("all")).await
    }

    /// Exit status, standard output, standard error.
    fn ops(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.command("ops");
        let Output {
            status,
            stdout,
            stderr,
        } = command.args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (status, out, err) = self.ops(&[arguments, &["--json"]].concat());
        assert_eq!((status, err.as_str()), (Some(0), ""), "{arguments:?}");
        serde_json::from_str(&out).unwrap()
    }

    async fn db(&self) -> Db {
        open(&self.identity, "identity").await
    }

    /// The access token of a user with this role.
    async fn token(&self, core: &Core, email: &str, role: &str) -> String {
        let edge = self.world.edge(core);
        edge.register(email).await.unwrap();
        if role != "user" {
            let granted = self.ops(&["grant-role", email, role]);
            assert_eq!(granted.0, Some(0), "{}", granted.2);
        }
        edge.login(email, PASSWORD).await.unwrap().access_token
    }

    fn client(&self, core: &Core) -> OpsServiceClient<Channel> {
        OpsServiceClient::new(self.world.channel(core, &[EDGE]))
    }

    /// A replica of the service, as far as one consumer goes: it fails until it is healed.
    async fn consumer(&self, healed: Arc<AtomicBool>) -> AbortOnDropHandle<()> {
        let settings = Settings::default();
        let bus = match &self.nats {
            None => {
                let bus = open(&self.events, "events").await;
                Bus::Embedded(Embedded::open(bus, &settings).await.unwrap())
            }
            Some(nats) => {
                let nats = NatsSettings {
                    url: nats.url(),
                    name: CONSUMER.to_owned(),
                    ca: None,
                    identity: None,
                    replicas: 1,
                };
                Bus::Nats(Box::new(NatsBus::connect(&nats, &settings).await.unwrap()))
            }
        };
        let events = Events {
            db: self.db().await,
            bus,
            metrics: Arc::new(EventMetrics::new(&Metrics::new().unwrap()).unwrap()),
            service: "identity",
            settings,
        };
        let consumer = Consumer::new(CONSUMER, &["user.created"], move |_, _| {
            let healed = healed.load(Ordering::Acquire);
            Box::pin(async move {
                let poisoned = || Failure::Permanent("the event is poisonous".to_owned());
                if healed { Ok(()) } else { Err(poisoned()) }
            })
        });
        let running = events.run(vec![consumer], CancellationToken::new());
        AbortOnDropHandle::new(tokio::spawn(running))
    }
}

async fn open(at: &Database, name: &str) -> Db {
    let location = Location::from_setting(&at.setting()).unwrap();
    Db::open(&location, name).await.unwrap()
}

fn service() -> String {
    "identity".to_owned()
}

/// Dies in a consumer, is seen, and is handled after a replay by `replay`.
async fn a_life(place: &Place, replay: impl AsyncFnOnce(&Core, &str, &str) -> u64) {
    let core = place.start().await;
    let healed = Arc::new(AtomicBool::new(false));
    let _consumer = place.consumer(healed.clone()).await;
    let token = place.token(&core, EMAIL, "operator").await;
    let letters = async || {
        let asked = ListDeadLettersRequest {
            service: service(),
            consumer: CONSUMER.to_owned(),
            ..ListDeadLettersRequest::default()
        };
        let mut client = place.client(&core);
        let found = client.list_dead_letters(with_token(asked, &token)).await;
        found.unwrap().into_inner().dead_letters
    };
    let letter = eventually("a dead letter", async || letters().await.pop()).await;
    assert_eq!(
        (letter.r#type.as_str(), letter.last_error.as_str()),
        ("user.created", "the event is poisonous")
    );

    let list = ["dead-letters", "list", "--service", "identity"];
    let listed = place.json(&list);
    assert_eq!(listed[0]["event_id"], letter.event_id.as_str());
    assert_eq!(listed[0]["replaying"], false);
    let (_, table, _) = place.ops(&list);
    assert!(
        table.starts_with("SEQ") && table.contains("the event is poisonous"),
        "{table}"
    );
    assert!(!table.contains(EMAIL), "{table}");
    let status = ["status", "--service", "identity"];
    assert_eq!(place.json(&status)[0]["dead_letters"], 1);

    healed.store(true, Ordering::Release);
    assert_eq!(replay(&core, &token, &letter.event_id).await, 1);
    eventually("the letter's end", async || {
        letters().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(place.json(&list), Value::Array(Vec::new()));
    assert_eq!(place.json(&status)[0]["dead_letters"], 0);
}

#[tokio::test]
async fn a_poisonous_event_on_sqlite_is_replayed_by_rpc() {
    let place = Place::new(Database::sqlite(), None);
    let by_rpc = async |core: &Core, token: &str, id: &str| {
        let asked = ReplayDeadLettersRequest {
            service: service(),
            consumer: CONSUMER.to_owned(),
            event_ids: vec![id.to_owned()],
            all: false,
        };
        let mut client = place.client(core);
        let replayed = client.replay_dead_letters(with_token(asked, token)).await;
        u64::try_from(replayed.unwrap().into_inner().count).unwrap()
    };
    a_life(&place, by_rpc).await;
}

#[tokio::test]
async fn a_poisonous_event_on_nats_and_postgresql_is_replayed_by_command() {
    let place = Place::new(Database::postgresql(), Some(Nats::start()));
    let by_command = async |_: &Core, _: &str, id: &str| {
        let whose = ["--service", "identity", "--consumer", CONSUMER];
        let replay = [&["dead-letters", "replay"], &whose[..], &["--event", id]].concat();
        let (status, out, err) = place.ops(&replay);
        assert_eq!(status, Some(0), "{err}");
        let count = out.strip_prefix("replaying: ").unwrap();
        count.trim().parse().unwrap()
    };
    a_life(&place, by_command).await;
}

/// Calls with a message that says nothing.
async fn call(channel: Channel, path: &str, token: Option<&str>) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let request = match token {
        Some(token) => with_token((), token),
        None => Request::new(()),
    };
    let path = PathAndQuery::try_from(path).unwrap();
    let codec = ProstCodec::<(), ()>::default();
    client.unary(request, path, codec).await.map(drop)
}

#[tokio::test]
async fn every_rpc_is_for_operators_only() {
    let place = Place::new(Database::sqlite(), None);
    let core = place.start().await;
    let user = place.token(&core, "user@example.org", "user").await;
    let support = place.token(&core, "support@example.org", "support").await;
    let operator = place.token(&core, EMAIL, "operator").await;
    let contracts = Contracts::new(core_proto::DESCRIPTOR_SET, &[("core", OPS)]).unwrap();
    let declared = contracts.pool().get_service_by_name(OPS).unwrap();
    let mut checked = 0;
    for method in declared.methods() {
        let path = format!("/{OPS}/{}", method.name());
        let rpc = contracts.find(&path).unwrap();
        let reads = ["List", "Get"]
            .iter()
            .any(|verb| method.name().starts_with(verb));
        let scope = if reads { "ops:read" } else { "ops:write" };
        assert_eq!(rpc.access, Access::Permission(scope.to_owned()), "{path}");
        assert_eq!(rpc.step_up, method.name().starts_with("Purge"), "{path}");
        for (who, token, expected) in [
            ("nobody", None, "TOKEN_MISSING"),
            ("user", Some(&user), "SCOPE_MISSING"),
            ("support", Some(&support), "SCOPE_MISSING"),
            // Let in, and asked which service.
            ("operator", Some(&operator), "INVALID_INPUT"),
        ] {
            let channel = place.world.channel(&core, &[EDGE]);
            let refused = call(channel, &path, token.map(String::as_str)).await;
            let refused = refused.unwrap_err();
            assert_eq!(reason(&refused), expected, "{path} by {who}: {refused}");
        }
        checked += 1;
    }
    assert_eq!(checked, 8);
}

#[tokio::test]
async fn a_service_that_does_not_run_here_is_unknown() {
    let place = Place::new(Database::sqlite(), None);
    let core = place.start().await;
    let token = place.token(&core, EMAIL, "operator").await;
    let mut client = place.client(&core);
    let elsewhere = || "catalog".to_owned();
    let status = GetStatusRequest {
        service: elsewhere(),
    };
    let jobs = ListJobsRequest {
        service: elsewhere(),
        ..ListJobsRequest::default()
    };
    let sagas = ListSagasRequest {
        service: elsewhere(),
        ..ListSagasRequest::default()
    };
    let purge = PurgeDeadLettersRequest {
        service: elsewhere(),
        consumer: CONSUMER.to_owned(),
        event_ids: Vec::new(),
        all: true,
    };
    let log = SetLogLevelRequest {
        service: elsewhere(),
        ..SetLogLevelRequest::default()
    };
    for refused in [
        client
            .get_status(with_token(status, &token))
            .await
            .map(drop),
        client.list_jobs(with_token(jobs, &token)).await.map(drop),
        client.list_sagas(with_token(sagas, &token)).await.map(drop),
        client
            .purge_dead_letters(with_token(purge, &token))
            .await
            .map(drop),
        client
            .set_log_level(with_token(log, &token))
            .await
            .map(drop),
    ] {
        let refused = refused.unwrap_err();
        let expected = (Code::NotFound, "UNKNOWN_SERVICE");
        assert_eq!((refused.code(), reason(&refused).as_str()), expected);
    }
}

#[tokio::test]
async fn the_log_tells_more_for_a_while() {
    let place = Place::new(Database::sqlite(), None);
    let core = place.start().await;
    let token = place.token(&core, EMAIL, "admin").await;
    let mut client = place.client(&core);
    let set = |filter: &str, seconds| {
        let asked = SetLogLevelRequest {
            service: service(),
            filter: filter.to_owned(),
            seconds,
        };
        with_token(asked, &token)
    };
    let status = async || {
        let asked = GetStatusRequest { service: service() };
        let found = place
            .client(&core)
            .get_status(with_token(asked, &token))
            .await;
        found.unwrap().into_inner()
    };
    let own = status().await.log_level.unwrap();
    assert_eq!(own.until, None);
    let is_debug = |line: &String| line.contains(r#""level":"DEBUG""#);
    assert!(!core.output().iter().any(is_debug));

    client.set_log_level(set("debug", 0)).await.unwrap();
    eventually("more to read", async || {
        status().await;
        core.output().iter().any(is_debug).then_some(())
    })
    .await;
    let level = client.set_log_level(set("trace", 1)).await.unwrap();
    assert!(level.into_inner().log_level.unwrap().until.is_some());
    eventually("what it was at the start", async || {
        (status().await.log_level.as_ref() == Some(&own)).then_some(())
    })
    .await;

    let asked = ListAuditEventsRequest {
        action: "log_level.set".to_owned(),
        ..ListAuditEventsRequest::default()
    };
    let mut admin = AdminServiceClient::new(place.world.channel(&core, &[EDGE]));
    let written = admin.list_audit_events(with_token(asked, &token)).await;
    let written = written.unwrap().into_inner().events;
    assert_eq!(written.len(), 2);
    assert!(written[0].detail.contains("trace"), "{}", written[0].detail);
    assert_eq!(written[0].actor_kind, "user");

    let found = status().await;
    assert_eq!(found.version, env!("CARGO_PKG_VERSION"));
    assert!(found.schema > 0 && found.policies.unwrap().generation > 0);
    assert!(!found.pools.is_empty());
}

#[test]
fn commands_say_what_they_lack() {
    let place = Place::new(Database::sqlite(), None);
    let replay = [
        "dead-letters",
        "replay",
        "--service",
        "identity",
        "--consumer",
        "x",
    ];
    let event = Uuid::from_u128(1).to_string();
    let both = [&replay[..], &["--all", "--event", &event]].concat();
    let many = [event.as_str(); 65].join(",");
    let many = [&replay[..], &["--event", &many]].concat();
    for (arguments, status, expected) in [
        (&replay[..], 2, "--event <IDS>|--all"),
        (&both[..], 2, "cannot be used with"),
        (&many[..], 2, "hint: at most 64, or --all"),
        (
            &["jobs", "list", "--service", "catalog"][..],
            2,
            "invalid value 'catalog'",
        ),
        (
            &["jobs", "list", "--service", "identity", "--state", "lost"][..],
            2,
            "'lost'",
        ),
        (&["status"][..], 1, "there is nothing of identity in"),
    ] {
        let (code, out, err) = place.ops(arguments);
        assert_eq!(
            (code, out.as_str()),
            (Some(status), ""),
            "{arguments:?}: {err}"
        );
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
}

both_databases! {
    #[tokio::test]
    async fn a_failed_job_is_run_again_by_command(at: Database) {
        let place = Place::new(at, None);
        let (status, _, err) = {
            let Output { status, stdout, stderr } = place.command("migrate").output().unwrap();
            (status.code(), stdout, String::from_utf8(stderr).unwrap())
        };
        assert_eq!(status, Some(0), "{err}");
        let db = place.db().await;
        let mut tx = db.begin().await.unwrap();
        let job = NewJob::new("probe", &"of a person").unwrap();
        let id = enqueue(&mut tx, job, clock::now()).await.unwrap();
        let fail = "UPDATE jobs SET state = 'failed', attempts = 10, finished_at = $2,
             last_error = 'no luck' WHERE id = $1";
        query(fail).bind(id).bind(clock::now()).execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();

        let list = ["jobs", "list", "--service", "identity", "--state", "failed"];
        let (_, table, _) = place.ops(&list);
        assert!(table.contains("no luck") && !table.contains("of a person"), "{table}");
        assert_eq!(place.json(&list)[0]["id"], id.to_string());
        let retry = |id: Uuid| place.ops(&["jobs", "retry", &id.to_string(), "--service", "identity"]);
        let (status, _, err) = retry(Uuid::from_u128(1));
        assert_eq!(status, Some(1));
        assert!(err.contains("no job that failed or waits"), "{err}");
        let (status, out, err) = retry(id);
        assert_eq!((status, err.as_str()), (Some(0), ""));
        assert_eq!(out, format!("queued: {id}\n"));
        assert_eq!(place.json(&list), Value::Array(Vec::new()));
        let found = place.json(&["status"]);
        assert_eq!((&found[0]["service"], &found[0]["jobs_queued"]), (&"identity".into(), &1.into()));
        let sagas = place.json(&["sagas", "list", "--service", "identity"]);
        assert_eq!(sagas, Value::Array(Vec::new()));
        let entries = "SELECT actor_kind, subject FROM audit_log WHERE action = 'job.retried'";
        let rows = query(entries).fetch_all(&db).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].get::<String>(0).unwrap(), "operator");
        assert_eq!(rows[0].get::<String>(1).unwrap(), id.to_string());
        db.close().await;
    }
}
