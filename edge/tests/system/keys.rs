//! Keys outlive the processes: the core's signing key on its disk, what the edge verifies with on
//! the edge's.

use std::fs;

use crate::accounts::{Account, Api, forged};
use crate::client::Protocol;
use crate::harness::System;
use crate::harness::waiting::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_outlive_both_processes() {
    let mut system = System::start().await;
    let account = Account::new("keys");
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    api.register(&account).await;
    let token = api.login(&account).await.access;
    assert_eq!(api.get("/profile", Some(&token)).await.status, 200);

    system.kill_core().await;
    system.restart_core().await;
    for protocol in Protocol::ALL {
        let mut api = Api::new(system.client(protocol).await, &system.secrets);
        let response = api.get("/profile", Some(&token)).await;
        assert_eq!(response.status, 200, "{protocol:?}: {response:?}");
    }

    system.kill_core().await;
    system.restart_edge().await;
    for protocol in Protocol::ALL {
        let mut api = Api::new(system.client(protocol).await, &system.secrets);
        // Verified, then sent on to a core that is not there.
        api.get("/profile", Some(&token))
            .await
            .assert_problem(503, "upstream_unavailable");
        let response = api.get("/profile", Some(&forged(&token))).await;
        response.assert_problem(401, "token_signature_invalid");
    }

    // Without what it saved, nobody's token can be checked: that is what the state is for.
    let saved = system.files.edge_state().join("jwks");
    assert_eq!(fs::read_dir(&saved).expect("saved keys").count(), 1);
    fs::remove_dir_all(&saved).expect("saved keys");
    system.restart_edge().await;
    let mut api = Api::new(system.client(Protocol::H2).await, &system.secrets);
    let response = api.get("/profile", Some(&token)).await;
    response.assert_problem(503, "issuer_keys_unavailable");

    system.restart_core().await;
    until(
        "the keys to be fetched and the core to be reached",
        || async {
            let mut api = Api::new(system.client(Protocol::H3).await, &system.secrets);
            let answer = api.get("/profile", Some(&token)).await;
            (answer.status == 200).then_some(())
        },
    )
    .await;
    system.end().await;
}
