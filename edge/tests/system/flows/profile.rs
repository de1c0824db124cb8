//! From signing up to a profile that others see.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{Stage, assert_over, code, in_every_layout, subject, text};
use crate::accounts::{Account, password};
use crate::client::Protocol;
use crate::harness::core::Layout;
use crate::harness::waiting::until;

const PHONE: &str = "+442071838750";
/// In every registration.
const NAME: &str = "Ada Lovelace";

in_every_layout!(sign_up_to_profile);

async fn sign_up_to_profile(stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let mut account = Account::new("flow-profile");
    let first = stage.sign_up(&mut api, &account).await;

    // Somebody with the same address gets the same answer, and the owner hears of it.
    let again = api.post("/register", None, account.registration()).await;
    assert_eq!((again.status, again.json()), (201, json!({})));
    let told = |mail: &core_fakes::Mail| subject(mail).contains("tried to register");
    stage.relay.mail_to(&account.email, told).await;

    // The same person at every address of the profile, with one entity tag.
    let response = api.post("/auth/login", None, account.credentials()).await;
    let tokens = api.tokens(&response);
    let token = Some(tokens.access.as_str());
    let read = api.get("/profile", token).await;
    let other = api.get("/user/profile", token).await;
    assert_eq!((read.status, &read.body), (200, &other.body));
    assert_eq!(read.json()["email_verified"], true);
    assert!(read.header("etag").is_some(), "{read:?}");
    assert_eq!(read.header("etag"), other.header("etag"));

    let change = json!({"display_name": "Countess", "phone": PHONE, "handle": "countess"});
    let changed = api.put("/profile", &tokens.access, change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let sms = stage.gateway.message_to(PHONE).await;
    let proof = json!({"contact": PHONE, "code": code(&sms.text)});
    let verified = api.post("/v1/auth/verify", None, proof).await;
    assert_eq!(verified.status, 200, "{verified:?}");
    let read = api.get("/profile", token).await.json();
    assert_eq!(
        (&read["phone"], &read["phone_verified"]),
        (&json!(PHONE), &json!(true))
    );
    let bad = api
        .put("/profile", &tokens.access, json!({"phone": "ask me"}))
        .await;
    bad.assert_problem(400, "invalid_argument");
    assert_eq!(bad.json()["errors"][0]["field"], "phone");

    let merge = json!({"theme": "dark", "editor": {"tabs": 4}}).to_string();
    let patched = api
        .send(http::Method::PATCH, "/v1/preferences", token, &merge)
        .await;
    assert_eq!(patched.status, 200, "{patched:?}");
    let preferences = api.get("/v1/preferences", token).await.json();
    assert_eq!(preferences["theme"], "dark");

    let public = api.get("/v1/users/countess", None).await;
    assert_eq!(public.status, 200, "{public:?}");
    let shown = public.json();
    assert_eq!(shown["display_name"], "Countess");
    for private in ["email", "phone", "name"] {
        assert_eq!(shown.get(private), None, "{shown}");
    }

    let fresh = password("flow-fresh");
    let change = json!({"current_password": account.password, "new_password": fresh});
    let changed = api
        .post("/change-password", Some(&tokens.access), change)
        .await;
    assert_eq!(changed.status, 204, "{changed:?}");
    let old = api.post("/login", None, account.credentials()).await;
    assert_eq!(old.status, 401, "{old:?}");
    assert_over(&api.get("/profile", Some(&first.access)).await);
    assert_eq!(api.get("/profile", token).await.status, 200);
    account.password = fresh;
    api.login(&account).await;

    let private = [&account.email, PHONE, NAME];
    nothing_in_clear(&stage, &private).await;
    shared_sealed(&stage, &private).await;
    stage.end().await;
}

/// A copy of all databases, as an operator makes it, holds none of these.
async fn nothing_in_clear(stage: &Stage, private: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy");
    let (cores, files) = (&stage.system.cores, &stage.system.files);
    let at = copy.to_str().expect("text");
    cores.command(files, "backup", &[at]).await;
    let mut databases = Vec::new();
    for entry in std::fs::read_dir(&copy).expect("the copy") {
        let path = entry.expect("an entry").path();
        let bytes = readable(cores.layout, &path);
        let text = String::from_utf8_lossy(&bytes);
        for secret in private {
            assert!(
                !text.contains(secret),
                "{} holds `{secret}`",
                path.display()
            );
        }
        databases.push(text.contains("contacts"));
    }
    assert!(databases.contains(&true), "identity's database was read");
}

/// Replicas find profiles in Redis, in identity's database there, and nobody can read them.
async fn shared_sealed(stage: &Stage, private: &[&str]) {
    let Some(servers) = &stage.system.cores.servers else {
        return;
    };
    let redis = &servers.redis;
    let tries = AtomicUsize::new(0);
    // Each time somebody else: a profile that was changed, as by a proof of the address, stays
    // out of Redis for a while. A Redis that answers late is done without.
    let (email, key) = until("a profile in Redis", || async {
        let number = tries.fetch_add(1, Ordering::Relaxed);
        let mut api = stage.api(Protocol::H2).await;
        let account = Account::new(&format!("flow-shared-{number}"));
        api.register(&account).await;
        let tokens = api.login(&account).await;
        let read = api.get("/profile", Some(&tokens.access)).await;
        let key = format!("user:profile:{}", text(&read.json()["id"]));
        let kept = redis.cli(&["-n", "0", "GET", &key]);
        (kept.len() > account.email.len()).then_some((account.email, key))
    })
    .await;
    let keys = redis.cli(&["-n", "0", "KEYS", "user:profile:*"]);
    let keys = String::from_utf8(keys).expect("text");
    assert!(keys.lines().any(|found| found == key), "{keys}");
    for key in keys.lines() {
        let kept = redis.cli(&["-n", "0", "GET", key]);
        let kept = String::from_utf8_lossy(&kept);
        for secret in private.iter().copied().chain([email.as_str()]) {
            assert!(!kept.contains(secret), "{key} holds `{secret}`");
        }
    }
}

/// PostgreSQL's copies are compressed archives; `pg_restore` writes them as SQL.
fn readable(layout: Layout, path: &std::path::Path) -> Vec<u8> {
    let is_archive = std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"PGDMP"));
    if layout == Layout::Single || !is_archive {
        return std::fs::read(path).expect("a file of the copy");
    }
    let output = std::process::Command::new("pg_restore")
        .arg("--file=-")
        .arg(path)
        .output()
        .expect("pg_restore starts");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    output.stdout
}
