//! Every RPC and everybody who might call it, made from the descriptors: allowed or
//! refused as declared. Calls go through the platform's layer, over a pipe.

use core_platform::{
    contracts::{Access, Contracts},
    cursor::Cursors,
    memory::{self, Dialer},
    peer::PeerPolicy,
    rpc::{RpcLayer, Rules as RpcRules},
    serve,
    service::Assembled,
    validate::Validator,
};
use core_proto::user::v1::{
    ListAuditEventsRequest, ListUsersRequest, admin_service_client::AdminServiceClient,
};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, Value as Wire};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use super::*;
use crate::{DEFINITION, api_keys::NewKey, revocations::Revocations};

/// What the layer says before any handler is asked.
const BEFORE_HANDLERS: [&str; 6] = [
    "TOKEN_MISSING",
    "SCOPE_MISSING",
    "STEP_UP_REQUIRED",
    "API_KEY_NOT_ALLOWED",
    "SERVICE_ONLY",
    "CALLER_NOT_ALLOWED",
];
const EDGE: &str = "edge";
const SERVICE: &str = "order";

/// The service, as it is served.
struct Served {
    world: Arc<World>,
    contracts: Arc<Contracts>,
    dialer: Dialer,
    /// Ends it.
    _stop: tokio_util::sync::DropGuard,
}

async fn served(at: &Database) -> Served {
    let world = world(at).await;
    let names: Vec<_> = DEFINITION
        .grpc
        .iter()
        .map(|grpc| (DEFINITION.name, *grpc))
        .collect();
    let contracts = Arc::new(Contracts::new(core_proto::DESCRIPTOR_SET, &names).unwrap());
    let validator = Arc::new(Validator::new(&contracts).unwrap());
    let stop = CancellationToken::new();
    let (revocations, _) = Revocations::new(&world.db, &stop);
    let cursors = Cursors::new(&world.vault).unwrap();
    let mut assembled = Assembled::default();
    assembled.add(world.replica().await.parts(cursors, revocations, validator));
    let peers = PeerPolicy::new("palisade.internal", &[EDGE, SERVICE].map(str::to_owned));
    let metrics = Arc::new(Metrics::new().unwrap());
    let verifier = world.verifier.clone();
    let rules = RpcRules::new(contracts.clone(), peers.unwrap(), verifier, metrics);
    let layer = RpcLayer(Arc::new(rules.policies(world.policies.clone())));
    let (dialer, incoming) = memory::listener();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(serve::memory(
        incoming,
        layer,
        assembled.routes.routes(),
        stopped,
    ));
    Served {
        world,
        contracts,
        dialer,
        _stop: stop.drop_guard(),
    }
}

impl Served {
    fn methods(&self) -> Vec<MethodDescriptor> {
        let services = self.contracts.pool().services();
        let ours = services.filter(|service| DEFINITION.grpc.contains(&service.full_name()));
        ours.flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect()
    }

    /// Calls as `peer` with this token. A stream is not read.
    async fn call(
        &self,
        method: &MethodDescriptor,
        message: DynamicMessage,
        (peer, token): (&str, Option<&str>),
    ) -> Result<(), Status> {
        let mut client = Grpc::new(self.dialer.channel(peer));
        client.ready().await.unwrap();
        let service = method.parent_service().full_name();
        let path = format!("/{service}/{}", method.name());
        let path = PathAndQuery::try_from(path).unwrap();
        let request = match token {
            Some(token) => with(message, token),
            None => Request::new(message),
        };
        // What is answered is of no interest: any message reads as an empty one.
        let codec = ProstCodec::<DynamicMessage, ()>::default();
        if method.is_server_streaming() {
            client
                .server_streaming(request, path, codec)
                .await
                .map(drop)
        } else {
            client.unary(request, path, codec).await.map(drop)
        }
    }

    fn access(&self, method: &MethodDescriptor) -> (Access, bool) {
        let service = method.parent_service().full_name();
        let rpc = self
            .contracts
            .find(&format!("/{service}/{}", method.name()));
        let rpc = rpc.unwrap();
        (rpc.access.clone(), rpc.step_up)
    }

    /// A sign-in of this moment.
    async fn token(&self, user: Uuid) -> String {
        self.world.open(user, clock::now()).await.unwrap().access
    }

    async fn api_key(&self, owner: &Caller) -> String {
        let new = NewKey {
            name: "build".to_owned(),
            scopes: ["profile:read".to_owned()].into(),
            days: None,
        };
        let (keys, now) = (&self.world.rules.api_keys, clock::now());
        // There may be fifty; each is asked for once.
        for old in keys.of_user(owner.user, now).await.unwrap() {
            keys.revoke(owner, old.id, now).await.unwrap();
        }
        let (key, _) = keys.create(owner, new, now).await.unwrap();
        let found = keys.introspect(&key.text(), now).await.unwrap().unwrap();
        found.access.unwrap().0
    }
}

fn with<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

/// Why the layer refused; `None` if the call reached its handler.
fn refusal(answer: &Result<(), Status>) -> Option<String> {
    let reason = answer.as_ref().err().map(reason);
    reason.filter(|reason| BEFORE_HANDLERS.contains(&reason.as_str()))
}

/// What the contract says about a person or key with these scopes.
fn expected(
    (access, step_up): &(Access, bool),
    scopes: &[&str],
    is_key: bool,
) -> Option<&'static str> {
    match access {
        Access::Public => None,
        Access::ServiceOnly => Some("SERVICE_ONLY"),
        Access::Permission(scope) if !scopes.contains(&scope.as_str()) => Some("SCOPE_MISSING"),
        _ if *step_up && is_key => Some("STEP_UP_REQUIRED"),
        Access::Authenticated if is_key => Some("API_KEY_NOT_ALLOWED"),
        Access::Authenticated | Access::Permission(_) => None,
    }
}

const USER_SCOPES: [&str; 2] = ["profile:read", "profile:write"];
const ADMIN_SCOPES: [&str; 10] = [
    "profile:read",
    "profile:write",
    "users:read",
    "users:write",
    "roles:read",
    "roles:write",
    "audit:read",
    "signing_keys:rotate",
    "ops:read",
    "ops:write",
];

both_databases! {
    #[tokio::test]
    async fn every_rpc_admits_whom_it_declares(at: Database) {
        let served = served(&at).await;
        let now = clock::now();
        let ada = served.world.somebody(EMAIL, now).await;
        let boss = served.world.holder("boss@example.org", "admin", now).await;
        let methods = served.methods();
        assert!(methods.len() >= 37, "{}", methods.len());
        for method in methods {
            let name = method.full_name().to_owned();
            let declared = served.access(&method);
            let empty = || DynamicMessage::new(method.input());
            let check = async |who: &str, from: (&str, Option<&str>), expected: Option<&str>| {
                let answer = served.call(&method, empty(), from).await;
                assert_eq!(refusal(&answer).as_deref(), expected, "{name} by {who}: {answer:?}");
            };
            let is_listed = name.ends_with(".Introspect") || name.ends_with(".WatchRevocations");
            let anonymous = match declared.0 {
                Access::Public => None,
                Access::ServiceOnly if is_listed => None,
                Access::ServiceOnly => Some("SERVICE_ONLY"),
                _ => Some("TOKEN_MISSING"),
            };
            check("anonymous", (EDGE, None), anonymous).await;
            // A service shows no token of its own here, and the matrix names none.
            check("service", (SERVICE, None), Some("CALLER_NOT_ALLOWED")).await;
            if declared.0 == Access::ServiceOnly {
                continue;
            }
            // Each with a session of its own: some of these calls end it.
            let key = served.api_key(&fresh(&served, ada.user).await).await;
            check("key", (EDGE, Some(&key)), expected(&declared, &["profile:read"], true)).await;
            let token = served.token(ada.user).await;
            check("user", (EDGE, Some(&token)), expected(&declared, &USER_SCOPES, false)).await;
            let token = served.token(boss.user).await;
            check("admin", (EDGE, Some(&token)), expected(&declared, &ADMIN_SCOPES, false)).await;
            if declared.1 {
                let old = old_token(&served, boss.user).await;
                check("old sign-in", (EDGE, Some(&old)), Some("STEP_UP_REQUIRED")).await;
            }
        }
    }

    #[tokio::test]
    async fn every_request_has_rules_and_is_refused_when_it_breaks_them(at: Database) {
        let served = served(&at).await;
        let boss = served.world.holder("boss@example.org", "admin", clock::now()).await;
        let mut checked = 0;
        for method in served.methods() {
            for field in method.input().fields() {
                let Some(wrong) = too_much(&method.input(), field.name()) else {
                    continue;
                };
                let token = served.token(boss.user).await;
                let is_for_services = served.access(&method).0 == Access::ServiceOnly;
                let token = Some(token.as_str()).filter(|_| !is_for_services);
                if is_for_services && method.name() == "BatchGetUsers" {
                    continue;
                }
                let answer = served.call(&method, wrong, (EDGE, token)).await;
                let status = answer.expect_err(field.full_name());
                assert_eq!(reason(&status), "INVALID_INPUT", "{}: {status}", field.full_name());
                let details = status.get_details_bad_request().unwrap();
                let named = details.field_violations.iter().any(|violation| {
                    violation.field.split(['[', '.']).next() == Some(field.name())
                });
                assert!(named, "{}: {details:?}", field.full_name());
                checked += 1;
            }
        }
        assert!(checked > 30, "{checked}");
    }

    #[tokio::test]
    async fn pages_follow_each_other_for_who_asked(at: Database) {
        let served = served(&at).await;
        let now = clock::now();
        let boss = served.world.holder("boss@example.org", "admin", now).await;
        let other = served.world.holder("second@example.org", "admin", now).await;
        served.world.somebody(EMAIL, now).await;
        let token = served.token(boss.user).await;
        let mut admin = AdminServiceClient::new(served.dialer.channel(EDGE));
        let mut asked = ListUsersRequest {
            page_size: 2,
            ..ListUsersRequest::default()
        };
        let first = admin.list_users(with(asked.clone(), &token)).await.unwrap().into_inner();
        assert_eq!(first.users.len(), 2);
        assert_eq!(first.users[0].email, EMAIL);
        asked.page_token = first.next_page_token;
        let theirs = served.token(other.user).await;
        let refused = admin.list_users(with(asked.clone(), &theirs)).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_PAGE_TOKEN");
        let last = admin.list_users(with(asked, &token)).await.unwrap().into_inner();
        assert_eq!(last.users.len(), 1);
        assert!(last.next_page_token.is_empty());
        assert_eq!(last.users[0].roles, ["admin"]);

        let mut asked = ListAuditEventsRequest {
            page_size: 2,
            action: "login".to_owned(),
            ..ListAuditEventsRequest::default()
        };
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let page = admin.list_audit_events(with(asked.clone(), &token)).await;
            let page = page.unwrap().into_inner();
            for event in page.events {
                assert_eq!(event.action, "login");
                assert!(seen.insert(event.id), "shown twice");
            }
            if page.next_page_token.is_empty() {
                break;
            }
            asked.page_token = page.next_page_token;
        }
        // Five sessions of the holders and Ada, two opened here.
        assert_eq!(seen.len(), 7);
    }

    #[tokio::test]
    async fn anothers_ids_are_nobodys(at: Database) {
        let served = served(&at).await;
        let now = clock::now();
        let ada = served.world.somebody(EMAIL, now).await;
        let eve = served.world.somebody("eve@example.org", now).await;
        let rules = &served.world.rules;
        let export = rules.exports.request(&ada, now).await.unwrap().id;
        let new = NewKey {
            name: "build".to_owned(),
            scopes: ["profile:read".to_owned()].into(),
            days: None,
        };
        let key = rules.api_keys.create(&ada, new, now).await.unwrap().0.id;
        let mut checked = 0;
        for method in served.methods() {
            let (access, _) = served.access(&method);
            let takes_id = method.input().get_field_by_name("id").is_some();
            if !takes_id || access == Access::ServiceOnly {
                continue;
            }
            for id in [ada.session, ada.user, key, export] {
                let mut message = DynamicMessage::new(method.input());
                message.set_field_by_name("id", Wire::String(id.to_string()));
                let token = served.token(eve.user).await;
                let answer = served.call(&method, message, (EDGE, Some(&token))).await;
                let status = answer.expect_err(method.full_name());
                assert_eq!(status.code(), tonic::Code::NotFound, "{}", method.full_name());
                checked += 1;
            }
        }
        assert!(checked >= 12, "{checked}");
        let (db, user) = (&served.world.db, ada.user);
        assert!(store::sessions::profile_version(db, user, ada.session, now).await.unwrap().is_some());
        assert!(store::api_keys::live(db, key, now).await.unwrap().is_some());
    }
}

async fn fresh(served: &Served, user: Uuid) -> Caller {
    let now = clock::now();
    let tokens = served.world.open(user, now).await.unwrap();
    served.world.caller_at(&tokens, now)
}

/// Of a session that was opened six minutes ago.
async fn old_token(served: &Served, user: Uuid) -> String {
    let then = clock::now() - 6 * MINUTE;
    served.world.open(user, then).await.unwrap().access
}

/// A message of this kind in which one field is larger than anything it may be.
fn too_much(message: &MessageDescriptor, field: &str) -> Option<DynamicMessage> {
    const HUGE: usize = 10_000;
    let field = message.get_field_by_name(field)?;
    let text = || Wire::String("x".repeat(HUGE));
    let value = match field.kind() {
        Kind::String if field.is_list() => Wire::List(vec![text()]),
        Kind::String => text(),
        Kind::Int32 => Wire::I32(i32::MAX),
        Kind::Int64 => Wire::I64(-1),
        // Booleans can't be wrong, and what is in messages the handlers check.
        _ => return None,
    };
    let mut message = DynamicMessage::new(message.clone());
    message.set_field(&field, value);
    Some(message)
}
