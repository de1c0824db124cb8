//! The policies that come with the project compile, and say what they are meant to say.

use std::path::{Path, PathBuf};

use http::{HeaderMap, Method};
use palisade_policy::Loaded;
use palisade_policy::model::Route;
use palisade_policy::routing::{PathMatch, Request, Segment, Selected};

use crate::folder::Scratch;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

/// A copy, with certificates and descriptors where the policies look for them.
fn load() -> Loaded {
    let scratch = Scratch::new();
    copy(&shipped(), &scratch.policies());
    let pem = |name: &str| std::fs::read(scratch.root().join("certs").join(name)).unwrap();
    scratch.write_beside("certs/dev/ca.pem", &pem("ca.pem"));
    scratch.write_beside("certs/dev/mesh/edge.pem", &pem("edge.pem"));
    scratch.write_beside("certs/dev/mesh/edge.key", &pem("edge.key"));
    scratch.write_beside("policies/descriptors/core.pb", core_proto::DESCRIPTOR_SET);
    scratch
        .load()
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn decide<'a>(loaded: &'a Loaded, method: &str, path: &str) -> Option<&'a Route> {
    let method: Method = method.parse().unwrap();
    let headers = HeaderMap::new();
    let request = Request {
        host: "localhost",
        path,
        query: None,
        method: &method,
        headers: &headers,
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        certificate: None,
        claims: &|_| None,
    };
    match loaded.policy.routes.select(request) {
        Selected::Rule(rule) => Some(&rule.route),
        _ => None,
    }
}

/// Method, path, scopes that are needed (none: no token), limit.
const SERVED: &[(&str, &str, Option<&[&str]>, &str)] = &[
    ("POST", "/register", None, "sign-in"),
    ("POST", "/v1/auth/register", None, "sign-in"),
    ("POST", "/login", None, "sign-in"),
    ("POST", "/auth/login", None, "sign-in"),
    ("POST", "/v1/auth/login", None, "sign-in"),
    ("POST", "/auth.v1.AuthService/Login", None, "sign-in"),
    ("POST", "/auth.v1.AuthService/Register", None, "sign-in"),
    ("POST", "/auth.v1.AuthService/Refresh", None, "public"),
    ("POST", "/v1/auth/refresh", None, "public"),
    ("GET", "/.well-known/jwks.json", None, "public"),
    ("POST", "/v1/auth/mfa", None, "sign-in"),
    ("POST", "/v1/auth/passkey-login", None, "sign-in"),
    ("GET", "/v1/auth/oidc/google/callback", None, "sign-in"),
    ("POST", "/v1/auth/totp", Some(&[]), "per-caller"),
    (
        "POST",
        "/auth.v1.CredentialService/CompleteMfa",
        None,
        "sign-in",
    ),
    (
        "POST",
        "/auth.v1.CredentialService/EnrollTotp",
        Some(&[]),
        "per-caller",
    ),
    ("GET", "/profile", Some(&["profile:read"]), "per-caller"),
    ("GET", "/v1/profile", Some(&["profile:read"]), "per-caller"),
    (
        "GET",
        "/user/profile",
        Some(&["profile:read"]),
        "per-caller",
    ),
    ("PUT", "/profile", Some(&["profile:write"]), "per-caller"),
    ("PUT", "/v1/profile", Some(&["profile:write"]), "per-caller"),
    (
        "POST",
        "/user.v1.UserService/GetProfile",
        Some(&["profile:read"]),
        "per-caller",
    ),
    (
        "POST",
        "/user.v1.UserService/UpdateProfile",
        Some(&["profile:write"]),
        "per-caller",
    ),
    ("POST", "/change-password", Some(&[]), "per-caller"),
    ("POST", "/v1/auth/change-password", Some(&[]), "per-caller"),
    ("POST", "/v1/auth/logout", Some(&[]), "per-caller"),
    (
        "POST",
        "/auth.v1.AuthService/Logout",
        Some(&[]),
        "per-caller",
    ),
    (
        "POST",
        "/auth.v1.AuthService/ChangePassword",
        Some(&[]),
        "per-caller",
    ),
    (
        "GET",
        "/v1/ops/identity/status",
        Some(&["ops:read"]),
        "per-caller",
    ),
    (
        "DELETE",
        "/v1/ops/identity/dead-letters",
        Some(&["ops:write"]),
        "per-caller",
    ),
    (
        "POST",
        "/platform.v1.OpsService/GetStatus",
        Some(&["ops:read"]),
        "per-caller",
    ),
    (
        "POST",
        "/platform.v1.OpsService/SetLogLevel",
        Some(&["ops:write"]),
        "per-caller",
    ),
];

#[test]
fn who_may_do_what() {
    let loaded = load();
    for (method, path, scopes, limit) in SERVED.iter().copied() {
        let route =
            decide(&loaded, method, path).unwrap_or_else(|| panic!("{method} {path} has no route"));
        let needed = route
            .auth
            .as_ref()
            .map(|auth| auth.scopes.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(needed.as_deref(), scopes, "{method} {path}");
        assert!(
            route
                .auth
                .as_ref()
                .is_none_or(|auth| auth.forward_token && !auth.optional),
            "{method} {path}"
        );
        let limits: Vec<&str> = route
            .limits
            .iter()
            .map(|limit| &*loaded.policy.limits[limit.id.0].name)
            .collect();
        assert_eq!(limits, [limit], "{method} {path}");
        assert!(route.forward().unwrap().translate, "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/"),
        ("DELETE", "/profile"),
        ("GET", "/login"),
        ("GET", "/profile/x"),
        ("GET", "/auth.v1.AuthService/Login"),
    ] {
        assert!(decide(&loaded, method, path).is_none(), "{method} {path}");
    }
}

/// Paths of verbs behind a variable.
const BEHIND_VARIABLES: &[&str] = &[
    "/v1/admin/users/some-user_id:suspend",
    "/v1/ops/some-service/jobs/some-id:retry",
];

#[test]
fn every_translated_path_is_bound() {
    let loaded = load();
    let cluster = &loaded.policy.clusters[0];
    let translator = cluster.translator.as_ref().unwrap();
    let mut checked = 0;
    for rule in loaded
        .policy
        .routes
        .rules()
        .iter()
        .filter(|rule| rule.route.forward().is_some_and(|to| to.translate))
    {
        let path = match &rule.path {
            // For the dialects that call an RPC by its name.
            PathMatch::Exact(path) if translator.rpc(path).is_some() => continue,
            PathMatch::Prefix(path) => {
                let service = translator.pool().get_service_by_name(&path[1..]);
                assert!(service.is_some(), "{path} is no service");
                continue;
            }
            PathMatch::Exact(path) => path.clone(),
            PathMatch::Template(segments) => example(segments),
            // A verb behind a variable, for which templates have no word.
            PathMatch::Regex(regex) => {
                let mut paths = BEHIND_VARIABLES.iter();
                let path = paths.find(|path| regex.is_match(path.as_bytes()));
                (*path.unwrap_or_else(|| panic!("{regex:?} matches none"))).to_owned()
            }
        };
        for method in &rule.conditions.methods {
            let found = translator.find(method, &path);
            assert!(
                matches!(found, palisade_translate::Find::Found(_)),
                "{method} {path}"
            );
            checked += 1;
        }
    }
    assert_eq!(
        checked,
        translator.bindings().count(),
        "a binding has no route"
    );
}

/// A path that the template matches.
fn example(segments: &[Segment]) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Capture(name) => format!("/some-{name}"),
    };
    segments.iter().map(segment).collect()
}

#[test]
fn facts_name_every_file() {
    let loaded = load();
    let paths: Vec<&str> = loaded.files.iter().map(|file| file.path.as_str()).collect();
    for expected in [
        "clusters.yaml",
        "routes/identity.yaml",
        "../certs/dev/ca.pem",
        "descriptors/core.pb",
    ] {
        assert!(paths.contains(&expected), "{expected} is not in {paths:?}");
    }
    assert!(
        loaded
            .files
            .iter()
            .all(|file| file.bytes > 0 && file.sha256.len() == 64)
    );
    assert_eq!(loaded.hash.len(), 64);
    assert!(
        loaded
            .summary()
            .starts_with("27 routes, 1 cluster, 1 issuer, 3 limits from "),
        "{}",
        loaded.summary()
    );
}
