//! `palisade-core ops` without a running service.

use std::process::Output;

use core_platform::{
    clock,
    db::query,
    jobs::{NewJob, enqueue},
};
use core_testing::{Database, both_databases};
use serde_json::Value;
use uuid::Uuid;

use super::Place;

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
        (&["audit", "verify"][..], 2, "--service <SERVICE>"),
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

    #[tokio::test]
    async fn the_audit_log_is_verified_by_command(at: Database) {
        let place = Place::new(at, None);
        assert!(place.command("migrate").output().unwrap().status.success());
        let verify = ["audit", "verify", "--service", "identity"];
        let rotate = || assert_eq!(place.ops(&["rotate-signing-key", "--compromised"]).0, Some(0));
        rotate();
        let (status, head, err) = place.ops(&verify);
        assert_eq!((status, err.as_str()), (Some(0), ""));
        assert!(head.starts_with("2 ") && head.ends_with('\n'), "{head}");
        let anchor = place.world.dir.path().join("head");
        std::fs::write(&anchor, &head).unwrap();
        let since = [&verify[..], &["--anchor", anchor.to_str().unwrap()]].concat();
        rotate();
        assert!(place.ops(&since).1.starts_with("4 "));

        // The end is cut off, and the head made to fit.
        let db = place.db().await;
        let mut tx = db.begin().await.unwrap();
        for cut in [
            "UPDATE audit_head SET seq = 1, hash = (SELECT hash FROM audit_log WHERE seq = 1)",
            "DELETE FROM audit_log WHERE seq > 1",
        ] {
            query(cut).execute(&mut tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert!(place.ops(&verify).1.starts_with("1 "));
        let (status, out, err) = place.ops(&since);
        assert_eq!((status, out.as_str()), (Some(1), ""));
        assert!(err.contains("the log ends at entry 1, but entry 2 was written"), "{err}");

        let mut tx = db.begin().await.unwrap();
        let change = "UPDATE audit_log SET action = 'login' WHERE seq = 1";
        query(change).execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        db.close().await;
        let (status, out, err) = place.ops(&verify);
        assert_eq!((status, out.as_str()), (Some(1), ""));
        assert!(err.contains("entry 1 was changed or inserted"), "{err}");
        std::fs::write(&anchor, "no head").unwrap();
        let (status, _, err) = place.ops(&since);
        assert_eq!(status, Some(2));
        assert!(err.contains("no anchor\nhint: "), "{err}");

        // A lost ring: nothing is made in its place.
        let ring = place.world.data_dir().join("keyring");
        std::fs::remove_file(&ring).unwrap();
        let (status, _, err) = place.ops(&verify);
        assert_eq!(status, Some(1));
        assert!(err.contains("the key ring is gone") && !ring.exists(), "{err}");
    }
}
