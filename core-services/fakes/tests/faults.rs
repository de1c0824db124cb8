//! The fakes, met by the clients that the services use.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use core_fakes::{Fault, Gateway, Relay};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor, transport::smtp};

/// Short, for the relay that says nothing.
const PATIENCE: Duration = Duration::from_millis(500);

/// `Err(None)`: nothing was said in time.
async fn mail(relay: &Relay) -> Result<(), Option<smtp::Error>> {
    let message = Message::builder()
        .from("a@example.org".parse().unwrap())
        .to("b@example.org".parse().unwrap())
        .subject("Hello")
        .body(".a dot in front\n".to_owned())
        .unwrap();
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&relay.url()).unwrap();
    // The client's own time limit is for connecting only.
    let sent = tokio::time::timeout(PATIENCE, transport.build().send(message)).await;
    sent.map_err(|_| None)?.map(|_| ()).map_err(Some)
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_sent() {
    let relay = Relay::start().await;
    mail(&relay).await.unwrap();
    let received = relay.mail_to("b@example.org", |_| true).await;
    assert_eq!(received.from, "a@example.org");
    assert_eq!(received.header("subject"), Some("Hello"));
    assert_eq!(received.body().trim_end(), ".a dot in front");
}

#[tokio::test]
async fn each_fault_is_what_it_says_and_passes() {
    let relay = Relay::start().await;
    for (fault, permanent, recorded) in [
        (Fault::Refuse, false, 0),
        (Fault::Stall, false, 0),
        (Fault::Temporary, false, 0),
        (Fault::Permanent, true, 0),
        (Fault::Cut, false, 1),
    ] {
        relay.set(fault);
        let before = relay.mails().len();
        let error = mail(&relay).await.unwrap_err();
        assert_eq!(error.is_none(), fault == Fault::Stall, "{fault:?}");
        let is_permanent = error.is_some_and(|error| error.is_permanent());
        assert_eq!(is_permanent, permanent, "{fault:?}");
        assert_eq!(relay.mails().len() - before, recorded, "{fault:?}");
        relay.set(Fault::None);
        mail(&relay).await.unwrap();
    }
}

#[tokio::test]
async fn a_gateway_asks_for_its_token_and_knows_repetitions() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .unwrap();
    let gateway = Gateway::start().await;
    let client = reqwest::Client::new();
    let send = async |token: &str| {
        let request = client.post(gateway.url()).bearer_auth(token);
        let request = request.header("idempotency-key", "one");
        let request = request.body(r#"{"to":"+4915112345678","text":"hello"}"#);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("another").await, 401);
    gateway.set(Fault::Temporary);
    assert_eq!(send(gateway.token()).await, 503);
    gateway.set(Fault::Cut);
    assert_eq!(send(gateway.token()).await, 500);
    gateway.set(Fault::None);
    assert_eq!(send(gateway.token()).await, 202);
    assert_eq!(gateway.message_to("+4915112345678").await.text, "hello");
    assert_eq!(gateway.messages().len(), 1, "the second was a repetition");
}
