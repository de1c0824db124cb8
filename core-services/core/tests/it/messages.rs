//! Codes and news, over a real mail relay's and SMS gateway's protocols.

use std::{fs, path::PathBuf};

use core_fakes::{Fault, Gateway, Mail, Relay};
use core_proto::{
    auth::v1::{
        ChangeContactRequest, FinishPasswordResetRequest, ListSessionsRequest,
        ResendVerificationRequest, RevokeSessionRequest, StartPasswordResetRequest,
        VerifyContactRequest,
    },
    user::v1::{
        BatchGetUsersRequest, GetPreferencesRequest, GetProfileRequest, GetPublicProfileRequest,
        UpdatePreferencesRequest, UpdateProfileRequest,
    },
};
use core_testing::eventually;
use prost_types::{Struct, Value, value::Kind};
use tonic::{Code, Request, Status};

use crate::harness::{Clients, Core, EMAIL, PASSWORD, World, reason, with_token};

const PHONE: &str = "+442071838750";

/// A core that sends by these.
async fn start(world: &World, relay: &Relay, gateway: &Gateway) -> Core {
    let token = world.dir.path().join("sms-token");
    fs::write(&token, format!("{}\n", gateway.token())).unwrap();
    let arguments = [
        "--smtp-url",
        &relay.url(),
        "--sms-url",
        &gateway.url(),
        "--sms-token-file",
        token.to_str().unwrap(),
    ];
    world.start_with(&arguments).await
}

/// The code in a text: its first word.
fn code(text: &str) -> String {
    text.split_whitespace().next().unwrap().to_owned()
}

fn has_code(mail: &Mail) -> bool {
    code(mail.body()).bytes().all(|byte| byte.is_ascii_digit())
}

async fn verify(edge: &Clients, contact: &str, code: &str) -> Result<(), Status> {
    let request = VerifyContactRequest {
        contact: contact.to_owned(),
        code: code.to_owned(),
    };
    edge.auth.clone().verify_contact(request).await.map(|_| ())
}

#[tokio::test]
async fn a_mailed_code_verifies_the_address() {
    let (world, relay, gateway) = (World::new(), Relay::start().await, Gateway::start().await);
    let core = start(&world, &relay, &gateway).await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let mail = relay.mail_to(EMAIL, has_code).await;
    assert_eq!(mail.from, "no-reply@palisade.internal");
    assert_eq!(mail.header("auto-submitted"), Some("auto-generated"));
    assert!(mail.header("message-id").is_some() && mail.header("date").is_some());

    let refused = verify(&edge, EMAIL, "12345x").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "BAD_CODE")
    );
    verify(&edge, EMAIL, &code(mail.body())).await.unwrap();
    let access = edge.login(EMAIL, PASSWORD).await.unwrap().access_token;
    assert!(edge.profile(&access).await.unwrap().email_verified);

    // Somebody registers it once more: the same answer, and a mail to its owner.
    edge.register(EMAIL).await.unwrap();
    let told = relay.mail_to(EMAIL, |mail| !has_code(mail)).await;
    assert!(
        told.header("subject")
            .unwrap()
            .contains("tried to register")
    );
}

#[tokio::test]
async fn a_number_is_verified_by_sms_and_changed_after_a_fresh_login() {
    let (world, relay, gateway) = (World::new(), Relay::start().await, Gateway::start().await);
    let core = start(&world, &relay, &gateway).await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let access = edge.login(EMAIL, PASSWORD).await.unwrap().access_token;
    let change = UpdateProfileRequest {
        phone: Some(PHONE.to_owned()),
        ..UpdateProfileRequest::default()
    };
    let request = with_token(change, &access);
    edge.user.clone().update_profile(request).await.unwrap();
    let sms = gateway.message_to(PHONE).await;
    verify(&edge, PHONE, &code(&sms.text)).await.unwrap();
    assert!(edge.profile(&access).await.unwrap().phone_verified);

    let other = "+4915112345678";
    let change = ChangeContactRequest {
        contact: other.to_owned(),
    };
    let request = with_token(change, &access);
    let asked = edge.auth.clone().change_contact(request).await.unwrap();
    assert_eq!(asked.metadata().get("x-http-status").unwrap(), "202");
    let sms = gateway.message_to(other).await;
    verify(&edge, other, &code(&sms.text)).await.unwrap();
    assert_eq!(edge.profile(&access).await.unwrap().phone, other);
    // The old number hears that it was the last time.
    let told = |mail: &core_fakes::ShortMessage| mail.to == PHONE && mail.text.contains("changed");
    eventually("news at the old number", async || {
        gateway.messages().iter().any(told).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_forgotten_password_is_replaced() {
    let (world, relay, gateway) = (World::new(), Relay::start().await, Gateway::start().await);
    let core = start(&world, &relay, &gateway).await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let held = edge.login(EMAIL, PASSWORD).await.unwrap();
    let mut answers = Vec::new();
    for email in [EMAIL, "nobody@example.org"] {
        let request = StartPasswordResetRequest {
            email: email.to_owned(),
        };
        let answer = edge
            .auth
            .clone()
            .start_password_reset(request)
            .await
            .unwrap();
        let mut metadata = answer.metadata().clone();
        metadata.remove("date");
        answers.push(format!("{metadata:?}"));
    }
    assert_eq!(answers[0], answers[1]);
    let mail = relay
        .mail_to(EMAIL, |mail| {
            mail.header("subject") == Some("Your code for a new password")
        })
        .await;
    let finish = FinishPasswordResetRequest {
        email: EMAIL.to_owned(),
        code: code(mail.body()),
        new_password: "analytical-engine".to_owned(),
    };
    let done = edge
        .auth
        .clone()
        .finish_password_reset(finish)
        .await
        .unwrap();
    assert_eq!(done.metadata().get("x-http-status").unwrap(), "204");
    assert!(edge.login(EMAIL, PASSWORD).await.is_err());
    assert!(edge.login(EMAIL, "analytical-engine").await.is_ok());
    assert!(edge.refresh(&held.refresh_token).await.is_err());
    assert!(
        relay.mails().iter().all(|mail| mail.to == [EMAIL]),
        "nobody got one"
    );
}

#[tokio::test]
async fn a_relay_in_trouble_gets_the_mail_later() {
    let (world, relay, gateway) = (World::new(), Relay::start().await, Gateway::start().await);
    let mut core = start(&world, &relay, &gateway).await;
    for (fault, email) in [
        (Fault::Temporary, "a@example.org"),
        (Fault::Refuse, "b@example.org"),
        (Fault::Cut, "c@example.org"),
    ] {
        relay.set(fault);
        world.edge(&core).register(email).await.unwrap();
        if fault == Fault::Refuse {
            // What was acknowledged is sent by whoever comes after.
            core.signal("KILL");
            core.ended().await;
            core = start(&world, &relay, &gateway).await;
        }
        if fault == Fault::Cut {
            relay.mail_to(email, |_| true).await;
        }
        relay.set(Fault::None);
        let mail = relay.mail_to(email, has_code).await;
        verify(&world.edge(&core), email, &code(mail.body()))
            .await
            .unwrap();
    }
    let lines = core.output().join("\n");
    assert!(
        !lines.contains("@example.org"),
        "no address in the log: {lines}"
    );
}

#[tokio::test]
async fn without_a_relay_mails_are_files() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let outbox = world.data_dir().join("outbox");
    let mail = eventually("a mail in the outbox", async || {
        let files = fs::read_dir(&outbox).ok()?.filter_map(Result::ok);
        let mut paths = files.map(|file| file.path());
        let path: PathBuf = paths.find(|path| path.extension().is_some_and(|e| e == "eml"))?;
        fs::read_to_string(path).ok()
    })
    .await;
    let body = mail.split_once("\r\n\r\n").unwrap().1;
    verify(&edge, EMAIL, &code(body)).await.unwrap();

    let request = ResendVerificationRequest {
        contact: "nobody@example.org".to_owned(),
    };
    let sent = edge
        .auth
        .clone()
        .resend_verification(request)
        .await
        .unwrap();
    assert_eq!(sent.metadata().get("x-http-status").unwrap(), "202");
}

#[tokio::test]
async fn changes_are_made_to_the_version_they_were_made_for() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let access = edge.login(EMAIL, PASSWORD).await.unwrap().access_token;
    let read = with_token(GetProfileRequest {}, &access);
    let read = edge.user.clone().get_profile(read).await.unwrap();
    assert_eq!(read.metadata().get("x-http-header-etag").unwrap(), "\"1\"");
    let change = |tag: &str| {
        let change = UpdateProfileRequest {
            handle: Some("countess".to_owned()),
            display_name: Some("Countess".to_owned()),
            ..UpdateProfileRequest::default()
        };
        let mut request = with_token(change, &access);
        request
            .metadata_mut()
            .insert("if-match", tag.parse().unwrap());
        request
    };
    let changed = edge
        .user
        .clone()
        .update_profile(change("\"1\""))
        .await
        .unwrap();
    assert_eq!(
        changed.metadata().get("x-http-header-etag").unwrap(),
        "\"2\""
    );
    let refused = edge
        .user
        .clone()
        .update_profile(change("\"1\""))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "VERSION_MISMATCH");
    assert_eq!(refused.metadata().get("x-http-status").unwrap(), "412");

    let public = GetPublicProfileRequest {
        handle: "countess".to_owned(),
    };
    let public = edge
        .user
        .clone()
        .get_public_profile(public)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(public.display_name, "Countess");
    let missing = GetPublicProfileRequest {
        handle: "nobody".to_owned(),
    };
    let missing = edge
        .user
        .clone()
        .get_public_profile(missing)
        .await
        .unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "NO_SUCH_USER")
    );
    let batch = BatchGetUsersRequest {
        ids: vec![public.id],
    };
    let refused = edge.user.clone().batch_get_users(batch).await.unwrap_err();
    assert_eq!(reason(&refused), "SERVICE_ONLY");
}

#[tokio::test]
async fn preferences_and_sessions() {
    let world = World::new();
    let core = world.start().await;
    let edge = world.edge(&core);
    edge.register(EMAIL).await.unwrap();
    let access = edge.login(EMAIL, PASSWORD).await.unwrap().access_token;
    let theme = Value {
        kind: Some(Kind::StringValue("dark".to_owned())),
    };
    let update = UpdatePreferencesRequest {
        values: Some(Struct {
            fields: [("theme".to_owned(), theme)].into(),
        }),
    };
    let request = with_token(update.clone(), &access);
    edge.user.clone().update_preferences(request).await.unwrap();
    let request = with_token(GetPreferencesRequest {}, &access);
    let held = edge.user.clone().get_preferences(request).await.unwrap();
    assert_eq!(held.into_inner().values, update.values);

    let mut request: Request<_> = with_token(ListSessionsRequest {}, &access);
    let metadata = request.metadata_mut();
    metadata.insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
    let sessions = edge.auth.clone().list_sessions(request).await.unwrap();
    let sessions = sessions.into_inner().sessions;
    assert!(sessions.len() == 1 && sessions[0].current);
    let revoke = RevokeSessionRequest {
        id: sessions[0].id.clone(),
    };
    let request = with_token(revoke, &access);
    edge.auth.clone().revoke_session(request).await.unwrap();
    assert_eq!(
        reason(&edge.profile(&access).await.unwrap_err()),
        "SESSION_ENDED"
    );
}
