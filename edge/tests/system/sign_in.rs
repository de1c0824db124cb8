//! The shipped limit on signing in: one count for a client, whichever protocol it takes.

use crate::accounts::{Account, Api};
use crate::client::Protocol;
use crate::grpc;
use crate::harness::System;

/// `burst` of the shipped limit.
const BURST: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_passwords_is_limited_over_all_protocols_together() {
    let system = System::start().await;
    let mut apis = Vec::new();
    for protocol in Protocol::ALL {
        apis.push(Api::new(system.client(protocol).await, &system.secrets));
    }
    let mut guesses = 0;
    // One comes back every six seconds: on a slow machine there are a few more than the burst.
    let refused = loop {
        assert!(guesses < 2 * BURST, "no limit after {guesses} guesses");
        // At one account the service itself makes guessers wait sooner.
        let account = Account::new(&format!("guessed-{guesses}"));
        let api = &mut apis[guesses % Protocol::ALL.len()];
        let response = api.post("/login", None, account.credentials()).await;
        if response.status == 429 {
            break response;
        }
        assert_eq!(response.status, 401, "{response:?}");
        guesses += 1;
    };
    assert!(guesses >= BURST, "the burst is allowed: {guesses}");
    refused.assert_problem(429, "rate_limited");
    let wait: u64 = refused
        .header("retry-after")
        .expect("retry-after")
        .parse()
        .expect("seconds");
    assert!((1..=6).contains(&wait), "{wait}");
    assert!(
        refused
            .header("ratelimit")
            .expect("ratelimit")
            .contains("sign-in")
    );
    assert!(
        refused
            .header("ratelimit-policy")
            .expect("a policy")
            .contains("sign-in")
    );

    // Calling gRPC instead does not walk around it.
    let account = Account::new("guessed");
    let status = grpc::login(&mut grpc::channel(&system), &account)
        .await
        .expect_err("limited");
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
    // What has other limits is still served.
    for api in &mut apis {
        assert_eq!(api.get("/.well-known/jwks.json", None).await.status, 200);
    }
    system.end().await;
}
