//! What two policies differ in, as operators read it.

use palisade_policy::describe::describe;
use palisade_policy::diff::{Change, changes};

use crate::folder::Scratch;

const OLD: &str = r#"version: 1
clusters:
  - { name: core, endpoints: ["127.0.0.1:1", "127.0.0.1:2"] }
  - { name: spare, endpoints: ["127.0.0.1:3"] }
issuers:
  - name: id
    issuer: id
    audiences: [a]
    jwks: { file: keys.json }
    algorithms: [EdDSA]
limits:
  - { name: sign-in, key: client_address, rate: 10/m }
routes:
  - name: profile
    hosts: [api.example.com]
    matches: [{ path: /profile, methods: [GET] }, { path: { prefix: /me } }]
    auth: { issuer: id, scopes: [profile:read] }
    limits: [sign-in]
    cluster: core
  - name: gone
    matches: [{ path: /gone }]
    cluster: core
"#;

#[track_caller]
fn between(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<Change> {
    let described = |files: &[(&str, &str)]| {
        let scratch = Scratch::with(files);
        let loaded = scratch.load();
        let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        describe(&loaded.policy, &scratch.policies())
    };
    changes(&described(old), &described(new))
}

#[track_caller]
fn check(new: &str, expected: &str) {
    let changes = between(&[("policy.yaml", OLD)], &[("policy.yaml", new)]);
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn the_same_is_no_difference() {
    check(OLD, "");
    check(&format!("# Moved.\n\n{OLD}"), "");
    // What holds anyway may be written.
    let explicit = OLD.replace(
        "rate: 10/m }",
        "rate: 10/60s, burst: 10, keys_max: 100000 }",
    );
    check(&explicit, "");
    let turned = OLD.replace(
        r#"["127.0.0.1:1", "127.0.0.1:2"]"#,
        r#"["127.0.0.1:2", "127.0.0.1:1"]"#,
    );
    check(&turned, "");
}

#[test]
fn a_definition_in_another_file_is_the_same() {
    let (above, routes) = OLD.split_once("routes:").unwrap();
    let routes = format!("version: 1\nroutes:{routes}");
    let files = [("a/b/routes.yaml", routes.as_str()), ("rest.yaml", above)];
    assert_eq!(between(&[("policy.yaml", OLD)], &files), []);
}

#[test]
fn what_came_went_and_changed() {
    let new = OLD
        .replace("10/m", "5/m")
        .replace("scopes: [profile:read]", "scopes: [profile:read, admin]")
        .replace(r#", "127.0.0.1:2""#, "")
        .replace("name: gone", "name: orders")
        .replace("path: /gone", "path: /orders");
    check(
        &new,
        "- route gone (policy.yaml:20): /gone; core
+ route orders (policy.yaml:20): /orders; core
~ route profile (policy.yaml:14)
    auth.scopes: profile:read -> profile:read, admin
~ limit sign-in (policy.yaml:12)
    rate: 10/m -> 5/m
    burst: 10 -> 5
~ cluster core (policy.yaml:3)
    - endpoints: 127.0.0.1:2",
    );
}

#[test]
fn a_match_more_and_a_bound() {
    let new = OLD
        .replace(
            "{ path: { prefix: /me } }]",
            "{ path: { prefix: /me }, headers: { x-a: b } }]\n    request_timeout: 10s",
        )
        .replace("    limits: [sign-in]\n", "");
    check(
        &new,
        "~ route profile (policy.yaml:14)
    - matches: prefix /me
    + matches: prefix /me, header x-a `b`
    + request_timeout: 10s
    - limits: sign-in",
    );
}

#[test]
fn what_another_file_holds_is_part_of_it() {
    let with_tls = OLD.replace(
        r#"["127.0.0.1:3"] }"#,
        r#"["127.0.0.1:3"], tls: { server_name: a, ca: ../certs/ca.pem, certificate: ../certs/edge.pem, key: ../certs/edge.key } }"#,
    );
    let described = |scratch: &Scratch| {
        let loaded = scratch.load();
        let loaded = loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        describe(&loaded.policy, &scratch.policies())
    };
    let scratch = Scratch::with(&[("policy.yaml", &with_tls)]);
    let before = described(&scratch);
    let mut pem = std::fs::read(scratch.root().join("certs/ca.pem")).unwrap();
    pem.extend_from_slice(&pem.clone());
    scratch.write_beside("certs/ca.pem", &pem);
    let changes = changes(&before, &described(&scratch));
    let text = changes.iter().map(ToString::to_string).collect::<String>();
    assert!(
        text.starts_with("~ cluster spare (policy.yaml:4)\n    tls.ca: ../certs/ca.pem, sha256 "),
        "{text}"
    );
}

/// The key of our own certificate is as secret as anything that policies refer to.
#[test]
fn no_key_is_told() {
    let scratch = Scratch::with(&[(
        "policy.yaml",
        r#"version: 1
clusters:
  - name: core
    endpoints: ["127.0.0.1:1"]
    tls: { server_name: a, ca: ../certs/ca.pem, certificate: ../certs/edge.pem, key: ../certs/edge.key }
"#,
    )]);
    let described = describe(&scratch.load().unwrap().policy, &scratch.policies());
    let told = serde_json::to_string(&described).unwrap();
    assert!(told.contains("tls.certificate"), "{told}");
    let key = std::fs::read_to_string(scratch.root().join("certs/edge.key")).unwrap();
    let secrets = key.lines().filter(|line| !line.starts_with('-'));
    for secret in secrets {
        assert!(!told.contains(secret), "{told}");
    }
}
