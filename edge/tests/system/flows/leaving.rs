//! All that is kept about somebody, given to them; and what is left when they go.

use http::Method;
use serde_json::json;

use super::{Stage, assert_over, in_every_layout, subject, text};
use crate::accounts::Account;
use crate::client::Protocol;
use crate::harness::waiting::until;

in_every_layout!(export_and_closing, copy_and_restore);

async fn export_and_closing(stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let account = Account::new("flow-leaving");
    let tokens = stage.sign_up(&mut api, &account).await;
    let token = Some(tokens.access.as_str());

    let asked = api.post("/v1/account:export", token, json!({})).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let target = format!("/v1/account/exports/{}", text(&asked.json()["id"]));
    let archive = until("the export", || async {
        let mut api = stage.api(Protocol::H2).await;
        let answer = api.get(&target, token).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(archive.header("content-type"), Some("application/zip"));
    assert!(archive.body.starts_with(b"PK\x03\x04"), "a ZIP archive");
    // Somebody else's is as one that never was.
    let other = Account::new("flow-curious");
    let curious = stage.sign_up(&mut api, &other).await;
    let refused = api.get(&target, Some(&curious.access)).await;
    refused.assert_problem(404, "not_found");

    let closed = api.send(Method::DELETE, "/v1/account", token, "").await;
    assert_eq!(closed.status, 202, "{closed:?}");
    assert!(closed.json()["delete_at"].is_string(), "{closed:?}");
    assert_over(&api.get("/profile", token).await);
    let body = json!({"refresh_token": tokens.refresh});
    let refused = api.post("/v1/auth/refresh", None, body).await;
    refused.assert_problem(401, "unauthenticated");
    let told = |mail: &core_fakes::Mail| subject(mail).contains("will be deleted");
    stage.relay.mail_to(&account.email, told).await;
    // Who comes back in time stays. Tokens tell to the second when they were made, so one of the
    // second in which the account was closed is still dead.
    until("a sign-in that keeps the account", || async {
        let mut api = stage.api(Protocol::H2).await;
        let back = api.login(&account).await;
        let read = api.get("/profile", Some(&back.access)).await;
        (read.status == 200).then_some(())
    })
    .await;
    stage.end().await;
}

async fn copy_and_restore(mut stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let account = Account::new("flow-restored");
    stage.sign_up(&mut api, &account).await;
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy");
    let at = copy.to_str().expect("text");
    let (cores, files) = (&stage.system.cores, &stage.system.files);
    cores.command(files, "backup", &[at]).await;
    let late = Account::new("flow-late");
    stage.sign_up(&mut api, &late).await;

    stage.system.end_core().await;
    let (cores, files) = (&stage.system.cores, &stage.system.files);
    cores.command(files, "restore", &[at, "--replace"]).await;
    stage.system.restart_cores().await;
    until("the core to be reached", || async {
        let mut api = stage.api(Protocol::H2).await;
        let answer = api.post("/login", None, account.credentials()).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let mut api = stage.api(Protocol::H1).await;
    let answer = api.post("/login", None, late.credentials()).await;
    assert_eq!(answer.status, 401, "came after the copy: {answer:?}");
    stage.end().await;
}
