//! Idempotency keys on both databases.

use core_testing::both_databases;
use tonic_types::StatusExt;

use super::*;
use crate::{
    db::Migration,
    jobs::tests::{attempt, later, open},
};

const NOW: UnixMicros = UnixMicros(1_699_948_800_000_000);
const SCOPE: Scope<'static> = Scope {
    principal: "user:1",
    method: "/t.v1.T/Do",
    key: "k1",
};
const EFFECTS: Migration = Migration {
    version: 1,
    name: "effects",
    up: "CREATE TABLE effects (at {ts} NOT NULL) {strict}",
    down: "DROP TABLE effects",
};

fn answer() -> Answer {
    Answer {
        http_status: Some(201),
        message: b"made".to_vec(),
    }
}

async fn first(db: &Db, now: UnixMicros) -> Claim {
    match begin(db, SCOPE, b"request", now).await.unwrap() {
        Begun::First(claim) => claim,
        Begun::Again(_) => panic!("answered before"),
    }
}

/// The effect and the answer, together.
async fn act(db: &Db, claim: &Claim, now: UnixMicros) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    query("INSERT INTO effects (at) VALUES ($1)")
        .bind(now)
        .execute(&mut tx)
        .await?;
    finish(&mut tx, claim, &answer(), now).await?;
    Ok(tx.commit().await?)
}

async fn count(db: &Db, sql: &'static str) -> i64 {
    query(sql).fetch_one(db).await.unwrap().get(0).unwrap()
}

async fn effects(db: &Db) -> i64 {
    count(db, "SELECT count(*) FROM effects").await
}

async fn refusal(db: &Db, scope: Scope<'_>, request: &[u8], now: UnixMicros) -> (Code, String) {
    let error = begin(db, scope, request, now).await.unwrap_err();
    let status = Status::from(error);
    let info = status.get_error_details();
    (status.code(), info.error_info().unwrap().reason.clone())
}

both_databases! {
    #[tokio::test]
    async fn the_same_call_gets_the_same_answer(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let claim = first(&db, NOW).await;
        act(&db, &claim, NOW).await.unwrap();
        for after in [0, 60, 86_399] {
            let now = NOW + Duration::from_secs(after);
            match begin(&db, SCOPE, b"request", now).await.unwrap() {
                Begun::Again(again) => assert_eq!(again, answer()),
                Begun::First(_) => panic!("forgotten after {after} s"),
            }
        }
        first(&db, NOW + KEEP).await;
        assert_eq!(effects(&db).await, 1);
    }

    #[tokio::test]
    async fn a_key_belongs_to_one_request_of_one_principal(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let reused = (Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED".to_owned());
        let claim = first(&db, NOW).await;
        assert_eq!(refusal(&db, SCOPE, b"other", NOW).await, reused);
        act(&db, &claim, NOW).await.unwrap();
        assert_eq!(refusal(&db, SCOPE, b"other", NOW).await, reused);
        let error = begin(&db, SCOPE, b"other", NOW).await.unwrap_err();
        let status = Status::from(error);
        assert_eq!(status.metadata().get("x-http-status").unwrap(), "422");
        for scope in [
            Scope { principal: "user:2", ..SCOPE },
            Scope { method: "/t.v1.T/Other", ..SCOPE },
            Scope { key: "k2", ..SCOPE },
        ] {
            let begun = begin(&db, scope, b"other", NOW).await.unwrap();
            assert!(matches!(begun, Begun::First(_)), "{scope:?}");
        }
    }

    #[tokio::test]
    async fn a_call_in_flight_is_not_begun_again_until_it_is_given_up(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let in_flight = (Code::Aborted, "IDEMPOTENCY_KEY_IN_FLIGHT".to_owned());
        let dead = first(&db, NOW).await;
        let late = NOW + LEASE;
        let almost = UnixMicros(late.0 - 1);
        assert_eq!(refusal(&db, SCOPE, b"request", almost).await, in_flight);
        let claim = first(&db, late).await;
        assert_eq!(refusal(&db, SCOPE, b"request", late).await, in_flight);
        // The first was only slow: whichever clock was wrong, one of them has effects.
        assert!(matches!(act(&db, &dead, late).await, Err(Error::Lost)));
        abandon(&db, &dead).await.unwrap();
        act(&db, &claim, late).await.unwrap();
        assert!(matches!(act(&db, &claim, late).await, Err(Error::Lost)));
        assert_eq!(effects(&db).await, 1);
    }

    #[tokio::test]
    async fn a_refused_call_gives_its_key_back(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let claim = first(&db, NOW).await;
        abandon(&db, &claim).await.unwrap();
        let claim = first(&db, NOW).await;
        act(&db, &claim, NOW).await.unwrap();
        abandon(&db, &claim).await.unwrap();
        let begun = begin(&db, SCOPE, b"request", NOW).await.unwrap();
        assert!(matches!(begun, Begun::Again(_)), "an answer is not given back");
    }

    #[tokio::test]
    async fn of_racing_calls_one_has_effects(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let other = open(&at, &[EFFECTS]).await;
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..40 {
            let db = if n % 2 == 0 { db.clone() } else { other.clone() };
            calls.spawn(async move {
                match begin(&db, SCOPE, b"request", NOW).await {
                    Ok(Begun::First(claim)) => act(&db, &claim, NOW).await.unwrap(),
                    Ok(Begun::Again(again)) => assert_eq!(again, answer()),
                    Err(error) => assert!(matches!(error, Error::InFlight), "{error}"),
                }
            });
        }
        while let Some(ended) = calls.join_next().await {
            ended.unwrap();
        }
        assert_eq!(effects(&db).await, 1);
    }

    #[tokio::test]
    async fn keys_have_a_form(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let malformed = (Code::InvalidArgument, "IDEMPOTENCY_KEY_MALFORMED".to_owned());
        let long = "x".repeat(KEY_CHARS_MAX + 1);
        for key in ["", " ", "a b", "a\n", "schlüssel", &long] {
            let scope = Scope { key, ..SCOPE };
            assert_eq!(refusal(&db, scope, b"", NOW).await, malformed, "{key:?}");
        }
        let scope = Scope { key: &long[1..], ..SCOPE };
        assert!(begin(&db, scope, b"", NOW).await.is_ok());
    }

    #[tokio::test]
    async fn the_sweep_forgets_what_is_past_its_time(at: Database) {
        let db = open(&at, &[EFFECTS]).await;
        let claim = first(&db, NOW).await;
        act(&db, &claim, NOW).await.unwrap();
        let scope = Scope { key: "k2", ..SCOPE };
        begin(&db, scope, b"", later()).await.unwrap();
        let mut jobs = Jobs::default();
        register(&mut jobs).unwrap();
        let mut tx = db.begin().await.unwrap();
        let job = crate::jobs::NewJob::new(SWEEP, &()).unwrap();
        crate::jobs::enqueue(&mut tx, job, NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert!(attempt(&db, jobs).await);
        let left = count(&db, "SELECT count(*) FROM idempotency_keys WHERE key = 'k2'").await;
        let all = count(&db, "SELECT count(*) FROM idempotency_keys").await;
        assert_eq!((left, all), (1, 1));
    }
}

#[test]
fn answers_are_not_shown() {
    assert!(!format!("{:?}", answer()).contains("109, 97"));
}
