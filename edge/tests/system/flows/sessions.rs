//! Stolen tokens, sessions one can see and end, and keys that change while all of it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use serde_json::json;

use super::{Stage, assert_over, in_every_layout, text};
use crate::accounts::{Account, Api, Tokens};
use crate::client::Protocol;
use crate::harness::waiting::until;

/// Reads that each protocol must have made while the key was replaced.
const READS: usize = 20;

in_every_layout!(token_theft, rotation_under_load, leaked_key);

async fn token_theft(stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let account = Account::new("flow-theft");
    let first = stage.sign_up(&mut api, &account).await;
    let second = refreshed(&mut api, &first).await;
    let third = refreshed(&mut api, &second).await;
    assert_eq!(api.get("/profile", Some(&third.access)).await.status, 200);

    // The thief's copy ends the session: the newest tokens of it are dead, too.
    for stolen in [&first, &third] {
        let body = json!({"refresh_token": stolen.refresh});
        let refused = api.post("/v1/auth/refresh", None, body).await;
        refused.assert_problem(401, "unauthenticated");
    }
    for protocol in Protocol::ALL {
        let mut api = stage.api(protocol).await;
        assert_over(&api.get("/profile", Some(&third.access)).await);
    }

    one_lineage(&stage, &account).await;
    other_devices(&stage, &mut api, &account).await;

    let admin = stage.administrator(&mut api).await;
    let target = "/v1/admin/audit?action=token_reuse_detected";
    let audit = api.get(target, Some(&admin.access)).await;
    assert_eq!(audit.status, 200, "{audit:?}");
    let events = audit.json()["events"].as_array().cloned();
    let events = events.expect("a list of events");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["action"], "token_reuse_detected");
    stage.end().await;
}

async fn refreshed(api: &mut Api, tokens: &Tokens) -> Tokens {
    let body = json!({"refresh_token": tokens.refresh});
    let response = api.post("/v1/auth/refresh", None, body).await;
    api.tokens(&response)
}

/// A client that asks twice at once, perhaps two replicas, gets one and the same successor.
async fn one_lineage(stage: &Stage, account: &Account) {
    let mut api = stage.api(Protocol::H2).await;
    let tokens = api.login(account).await;
    let (mut one, mut two) = (stage.api(Protocol::H1).await, stage.api(Protocol::H1).await);
    let (one, two) = tokio::join!(refreshed(&mut one, &tokens), refreshed(&mut two, &tokens));
    assert_eq!(one.refresh, two.refresh);
    let next = refreshed(&mut api, &one).await;
    assert_eq!(api.get("/profile", Some(&next.access)).await.status, 200);
}

/// A sign-in from elsewhere is told by mail, is listed, and can be ended.
async fn other_devices(stage: &Stage, api: &mut Api, account: &Account) {
    let own = api.login(account).await;
    let mut elsewhere = stage.api(Protocol::H1).await.on_device("Elsewhere/1.0");
    let other = elsewhere.login(account).await;
    let told = |mail: &core_fakes::Mail| mail.body().contains("Elsewhere/1.0");
    stage.relay.mail_to(&account.email, told).await;

    let listed = api.get("/v1/auth/sessions", Some(&own.access)).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    let sessions = listed.json()["sessions"].as_array().cloned();
    let sessions = sessions.expect("a list of sessions");
    let of_other = |session: &&serde_json::Value| session["device"] == "Elsewhere/1.0";
    let found = sessions.iter().find(of_other).expect("the other session");
    let target = format!("/v1/auth/sessions/{}", text(&found["id"]));
    let ended = api
        .send(Method::DELETE, &target, Some(&own.access), "")
        .await;
    assert_eq!(ended.status, 204, "{ended:?}");
    assert_over(&elsewhere.get("/profile", Some(&other.access)).await);
    assert_eq!(api.get("/profile", Some(&own.access)).await.status, 200);
}

/// The next key is published while people read over every protocol; nobody is refused.
async fn rotation_under_load(stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let admin = stage.administrator(&mut api).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for protocol in Protocol::ALL {
        let (mut api, stop) = (stage.api(protocol).await, stop.clone());
        let reads = Arc::new(AtomicUsize::new(0));
        let (seen, token) = (reads.clone(), admin.access.clone());
        let reader = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = api.get("/profile", Some(&token)).await;
                assert_eq!(answer.status, 200, "{protocol:?}: {answer:?}");
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        readers.push((reads, reader));
    }
    let target = "/v1/admin/signing-keys:rotate";
    let rotated = api.post(target, Some(&admin.access), json!({})).await;
    assert_eq!(rotated.status, 202, "{rotated:?}");
    let next = text(&rotated.json()["kid"]).to_owned();
    // Who asks again hears of the same key: one rotation at a time.
    let again = api.post(target, Some(&admin.access), json!({})).await;
    assert_eq!(text(&again.json()["kid"]), next);
    published(&stage, |keys| keys.contains(&next)).await;
    for (reads, reader) in readers {
        let from = reads.load(Ordering::Relaxed);
        until("reads after the rotation", || async {
            let enough = reads.load(Ordering::Relaxed) >= from + READS || reader.is_finished();
            enough.then_some(())
        })
        .await;
        stop.store(true, Ordering::Relaxed);
        reader.await.expect("every read was served");
    }
    stage.end().await;
}

/// Waits until every replica publishes what is wanted.
async fn published(stage: &Stage, is_wanted: impl Fn(&str) -> bool) {
    until("every replica to publish other keys", || async {
        let pages = stage.system.cores.all().map(|core| core.admin);
        for address in pages.collect::<Vec<_>>() {
            let (_, keys) = crate::harness::get(address, "/.well-known/jwks.json").await;
            if !is_wanted(&keys) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// The tokens of a key that leaked are refused everywhere; sessions and API keys live on.
async fn leaked_key(stage: Stage) {
    let mut api = stage.api(Protocol::H2).await;
    let admin = stage.administrator(&mut api).await;
    let wanted = json!({"name": "backup", "scopes": ["profile:read"]});
    let made = api
        .post("/v1/api-keys", Some(&admin.access), wanted)
        .await
        .json();
    let key = text(&made["key"]).to_owned();
    stage.system.secrets.note(&key);
    let by_key = [("x-api-key", key.as_str())];
    let mut program = stage.system.client(Protocol::H2).await;
    assert_eq!(program.get_with("/profile", &by_key).await.status, 200);
    for protocol in Protocol::ALL {
        let mut api = stage.api(protocol).await;
        assert_eq!(api.get("/profile", Some(&admin.access)).await.status, 200);
    }

    let body = json!({"compromised": true});
    let target = "/v1/admin/signing-keys:rotate";
    let rotated = api.post(target, Some(&admin.access), body).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let next = text(&rotated.json()["kid"]).to_owned();
    until("the edge to hear of it", || async {
        let mut api = stage.api(Protocol::H1).await;
        let answer = api.get("/profile", Some(&admin.access)).await;
        (answer.status == 401 && answer.json()["code"] == "token_key_unknown").then_some(())
    })
    .await;
    for protocol in Protocol::ALL {
        let mut api = stage.api(protocol).await;
        let refused = api.get("/profile", Some(&admin.access)).await;
        refused.assert_problem(401, "token_key_unknown");
    }

    published(&stage, |keys| {
        keys.contains(&next) && keys.matches("\"kid\"").count() == 1
    })
    .await;
    let renewed = refreshed(&mut api, &admin).await;
    until("the edge to know the new key", || async {
        let mut api = stage.api(Protocol::H3).await;
        let answer = api.get("/profile", Some(&renewed.access)).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(program.get_with("/profile", &by_key).await.status, 200);
    let target = "/v1/admin/audit?action=signing_key.revoked";
    let audit = api.get(target, Some(&renewed.access)).await.json();
    let events = audit["events"].as_array().expect("a list of events");
    assert_eq!(events.len(), 1, "{events:?}");
    stage.end().await;
}
