//! What the contracts promise, read back from the compiled descriptors.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{collections::BTreeSet, fs, path::Path};

use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor,
    SerializeOptions,
};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(core_proto::DESCRIPTOR_SET).unwrap()
}

fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    pool.services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

/// Is it for other services, and for nobody by HTTP?
fn is_service_only(pool: &DescriptorPool, method: &MethodDescriptor) -> bool {
    let option = pool.get_extension_by_name("platform.v1.access").unwrap();
    let access = method.options().get_extension(&option).into_owned();
    let access = access.as_message().unwrap();
    access.get_field_by_name("service_only").unwrap().as_bool() == Some(true)
}

/// `POST /login` and the like, all bindings of a method.
fn bindings(pool: &DescriptorPool, method: &MethodDescriptor) -> Vec<String> {
    let option = pool.get_extension_by_name("google.api.http").unwrap();
    let options = method.options();
    assert_eq!(
        options.has_extension(&option),
        !is_service_only(pool, method),
        "{}: every RPC has an HTTP binding, but those for services only",
        method.full_name()
    );
    if !options.has_extension(&option) {
        return Vec::new();
    }
    let rule = options.get_extension(&option);
    let rule = rule.as_message().unwrap();
    let more = rule.get_field_by_name("additional_bindings").unwrap();
    let more = more
        .as_list()
        .unwrap()
        .iter()
        .map(|rule| rule.as_message().unwrap());
    std::iter::once(rule).chain(more).map(binding).collect()
}

fn binding(rule: &DynamicMessage) -> String {
    let text = |name: &str| {
        rule.get_field_by_name(name)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (verb, path) = ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .map(|verb| (verb, text(verb)))
        .find(|(_, path)| !path.is_empty())
        .unwrap();
    let body = text("body");
    match verb {
        "get" | "delete" => assert_eq!(body, "", "{path}"),
        _ => assert!(!body.is_empty(), "{path}"),
    }
    format!("{} {path}", verb.to_uppercase())
}

/// One line for each RPC: its name, then its bindings. What clients know stays; RPCs that are new
/// are written down by `UPDATE_CASES=1`.
#[test]
fn http_bindings_are_the_published_ones() {
    let pool = pool();
    let lines = methods(&pool).into_iter().map(|method| {
        let found = bindings(&pool, &method).join(", ");
        format!("{}: {found}", method.full_name())
            .trim_end()
            .to_owned()
    });
    let found: BTreeSet<_> = lines.collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bindings.txt");
    if std::env::var_os("UPDATE_CASES").is_some() {
        let lines: Vec<_> = found.iter().map(String::as_str).collect();
        fs::write(path, lines.join("\n") + "\n").unwrap();
    }
    for published in fs::read_to_string(path).unwrap().lines() {
        assert!(found.contains(published), "{published}");
    }
}

#[test]
fn no_two_rpcs_share_a_binding() {
    let pool = pool();
    let mut seen = BTreeSet::new();
    for method in methods(&pool) {
        for binding in bindings(&pool, &method) {
            assert!(seen.insert(binding.clone()), "{binding} is bound twice");
        }
    }
}

#[test]
fn every_rpc_says_who_may_call_it() {
    let pool = pool();
    let option = pool.get_extension_by_name("platform.v1.access").unwrap();
    for method in methods(&pool) {
        assert!(
            method.options().has_extension(&option),
            "{}",
            method.full_name()
        );
    }
}

/// What could take an account away from its owner.
#[test]
fn what_opens_or_takes_away_an_account_needs_a_fresh_login() {
    let pool = pool();
    let option = pool.get_extension_by_name("platform.v1.access").unwrap();
    let methods = methods(&pool).into_iter();
    let fresh = methods.filter(|method| {
        let access = method.options().get_extension(&option).into_owned();
        let access = access.as_message().unwrap();
        access.get_field_by_name("step_up").unwrap().as_bool() == Some(true)
    });
    let names: Vec<_> = fresh.map(|method| method.name().to_owned()).collect();
    for needed in [
        "ChangeContact",
        "BeginPasskeyRegistration",
        "FinishPasskeyRegistration",
        "DeleteCredential",
        "EnrollTotp",
        "ConfirmTotp",
        "RegenerateRecoveryCodes",
        "CreateApiKey",
        "RotateSigningKey",
        "GrantRole",
        "RevokeRole",
        "SuspendUser",
        "ExportAccount",
        "DownloadExport",
        "DeleteAccount",
    ] {
        assert!(names.contains(&needed.to_owned()), "{needed}: {names:?}");
    }
}

#[test]
fn json_names_are_the_proto_names() {
    let pool = pool();
    let mut messages: Vec<MessageDescriptor> = Vec::new();
    for method in methods(&pool) {
        messages.extend([method.input(), method.output()]);
    }
    for name in [
        "auth.v1.ApiKey",
        "auth.v1.Credential",
        "auth.v1.Jwk",
        "auth.v1.Revocation",
        "auth.v1.Session",
        "user.v1.AuditEvent",
        "user.v1.Relationship",
        "user.v1.Role",
        "user.v1.User",
    ] {
        messages.push(pool.get_message_by_name(name).unwrap());
    }
    for message in messages {
        // Google's own types have ProtoJSON forms of their own.
        if message.package_name().starts_with("google.") {
            continue;
        }
        for field in message.fields() {
            assert_eq!(field.json_name(), field.name(), "{}", field.full_name());
        }
    }
}

/// Reads ProtoJSON as strictly as the edge does and writes it again.
fn round_trip(message: &str, json: &str) -> String {
    let descriptor = pool().get_message_by_name(message).unwrap();
    let mut input = serde_json::Deserializer::from_str(json);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message =
        DynamicMessage::deserialize_with_options(descriptor, &mut input, &options).unwrap();
    let mut output = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut output);
    message
        .serialize_with_options(&mut serializer, &SerializeOptions::new())
        .unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn json_has_the_names_clients_know() {
    let check = |message: &str, json: &str| assert_eq!(round_trip(message, json), json);
    check(
        "auth.v1.TokenResponse",
        r#"{"access_token":"a","refresh_token":"r","token_type":"Bearer","expires_in":600}"#,
    );
    check(
        "auth.v1.RegisterRequest",
        r#"{"email":"a@b.c","password":"p","name":"n"}"#,
    );
    check(
        "auth.v1.ChangePasswordRequest",
        r#"{"current_password":"a","new_password":"b"}"#,
    );
    check(
        "auth.v1.Jwks",
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","alg":"EdDSA","use":"sig","x":"x"}]}"#,
    );
    check(
        "user.v1.UpdateProfileRequest",
        r#"{"name":"n","display_name":"","phone":"+1"}"#,
    );
    check(
        "user.v1.Profile",
        r#"{"id":"i","email":"e","name":"n","display_name":"d","phone":"p","created_at":"2026-11-21T00:00:00Z","updated_at":"2026-11-21T00:00:00.000001Z","handle":"h","email_verified":true}"#,
    );
}

#[test]
fn what_comes_in_is_bounded() {
    let pool = pool();
    let option = pool.get_extension_by_name("buf.validate.field").unwrap();
    for method in methods(&pool) {
        for field in method.input().fields() {
            let kind = field.kind();
            let rules = field.options().get_extension(&option).into_owned();
            let rules = rules.as_message().unwrap();
            let rules_of = |kind: &str| {
                let rules = rules.get_field_by_name(kind).unwrap().into_owned();
                rules.as_message().unwrap().clone()
            };
            let has = |rules: &DynamicMessage, name: &str| rules.has_field_by_name(name);
            let is_bounded =
                |rules: &DynamicMessage| has(rules, "max_bytes") || has(rules, "max_len");
            let bounded = match kind {
                Kind::Bool => true,
                // By the handler, which knows its JSON.
                Kind::Message(message) => ["google.protobuf.Struct", "google.protobuf.Timestamp"]
                    .contains(&message.full_name()),
                // A position in a list of ours.
                Kind::Int64 => has(&rules_of("int64"), "gte"),
                Kind::Int32 => has(&rules_of("int32"), "lte"),
                Kind::String if field.is_list() => {
                    let list = rules_of("repeated");
                    let items = list.get_field_by_name("items").unwrap().into_owned();
                    let items = items.as_message().unwrap().get_field_by_name("string");
                    let items = items.unwrap().into_owned();
                    has(&list, "max_items") && is_bounded(items.as_message().unwrap())
                }
                Kind::String => is_bounded(&rules_of("string")),
                _ => false,
            };
            assert!(bounded, "{} has no upper bound", field.full_name());
        }
    }
}

#[test]
fn the_shipped_descriptors_are_these() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/descriptors/core.pb");
    let shipped = fs::read(shipped).unwrap_or_default();
    assert!(
        shipped == core_proto::DESCRIPTOR_SET,
        "policies/descriptors/core.pb is not current; run\n\
         cargo run -p palisade-core -- descriptors --out policies/descriptors/core.pb"
    );
}
