//! A route's fingerprint: another one where anything about the route is, and only then.

use palisade_policy::Loaded;

use crate::folder::Scratch;

const BASE: &str = r#"version: 1
clusters:
  - {name: a, endpoints: ["127.0.0.1:1"]}
  - {name: b, endpoints: ["127.0.0.1:2"]}
issuers:
  - {name: id, issuer: id, audiences: [x], jwks: {url: "https://id.example/"}, algorithms: [EdDSA]}
limits:
  - {name: l, key: client_address, rate: 10/s}
routes:
  - name: r
    matches: [{path: /x}]
    auth: {issuer: id}
    limits: [l]
    cluster: a
"#;

fn load(text: &str) -> Loaded {
    let loaded = Scratch::with(&[("a.yaml", text)]).load();
    loaded.unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// The fingerprint, and that of who may have a stream, of the route `r`.
fn prints(text: &str) -> (u64, u64) {
    let loaded = load(text);
    let mut routes = loaded.policy.routes.routes();
    let route = routes.find(|route| &*route.name == "r").unwrap();
    (route.fingerprint, route.admission)
}

#[test]
fn unrelated_edits_change_nothing() {
    let base = prints(BASE);
    for text in [
        BASE.replace("version: 1\n", "version: 1\n# moved\n\n"),
        BASE.replace("127.0.0.1:2", "127.0.0.1:3"),
        // Positions change.
        BASE.replace(
            "clusters:\n",
            "clusters:\n  - {name: \"0\", endpoints: [\"127.0.0.1:9\"]}\n",
        ),
        BASE.replace(
            "limits:\n",
            "limits:\n  - {name: \"0\", key: client_address, rate: 1/s}\n",
        ),
        BASE.to_owned() + "  - {name: s, matches: [{path: /s}], cluster: b}\n",
    ] {
        assert_eq!(prints(&text), base, "{text}");
    }
}

#[test]
fn what_concerns_the_route_changes_it() {
    let base = prints(BASE);
    for (from, to, is_admission) in [
        ("path: /x", "path: /y", true),
        ("127.0.0.1:1", "127.0.0.1:3", true),
        ("cluster: a\n", "cluster: b\n", true),
        ("audiences: [x]", "audiences: [y]", true),
        (
            "auth: {issuer: id}",
            "auth: {issuer: id, scopes: [s]}",
            true,
        ),
        ("    auth: {issuer: id}\n", "", true),
        ("rate: 10/s", "rate: 11/s", false),
        ("    limits: [l]\n", "", false),
        (
            "cluster: a\n",
            "cluster: a\n    request_timeout: 1s\n",
            false,
        ),
        ("cluster: a\n", "cluster: a\n    on_reload: cut\n", false),
        (
            "cluster: a\n",
            "cluster: a\n    response_headers: {set: {x-a: b}}\n",
            false,
        ),
    ] {
        let text = BASE.replace(from, to);
        assert_ne!(text, BASE);
        let now = prints(&text);
        assert_ne!(now.0, base.0, "{to}");
        assert_eq!(now.1 != base.1, is_admission, "{to}");
    }
}
