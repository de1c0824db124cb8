use std::{fs, time::Duration};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::metrics::Metrics;

const FLAGS: &str = "version: 1\nflags:\n  - name: new-feed\n    state: on\n";
const OFF: &str = "version: 1\nflags:\n  - name: new-feed\n    state: off\n";
/// Generous: what is not noticed by then never will be.
const PATIENCE: Duration = Duration::from_secs(30);

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn rules_are_read() {
    let user = Uuid::from_u128(7);
    let flags = format!(
        "{FLAGS}  - name: trial\n    description: For us first\n    users: [{user}]\n  - {{ name: old, state: off }}\n"
    );
    let rbac = "version: 1\nroles:\n  - name: user\n    permissions: [profile:read, profile:write]\n  - { name: operator, permissions: [ops:read, profile:read] }\n";
    let dir = folder(&[("flags.yaml", &flags), ("rbac.yaml", rbac)]);
    let rules = PolicyStore::open(dir.path()).unwrap().current();
    let enabled = |name, user| rules.flags.enabled(name, user);
    assert!(enabled("new-feed", None) && !enabled("old", Some(user)));
    assert!(enabled("trial", Some(user)) && !enabled("trial", Some(Uuid::from_u128(8))));
    let granted = rules.roles.permissions(["user", "operator", "nobody"]);
    assert_eq!(
        granted.into_iter().collect::<Vec<_>>(),
        ["ops:read", "profile:read", "profile:write"]
    );
    assert!(rules.roles.knows("user") && !rules.roles.knows("nobody"));
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let flags = "version: 1\nflags:\n  - name: New\n    state: on\n  - name: a\n    percentage: 101\n  - name: b\n    status: on\n  - { name: c, state: on, users: [x] }\n  - { name: c, state: maybe }\n";
    let rbac = "version: 2\nroles:\n  - name: user\n    permissions: [profile:read, profile, profile:read]\n  - permissions: []\n";
    let dir = folder(&[
        ("flags.yaml", flags),
        ("rbac.yaml", rbac),
        ("flag.yaml", FLAGS),
    ]);
    let text = PolicyStore::open(dir.path()).unwrap_err().to_string();
    for part in [
        "flag.yaml: no service reads a file called `flag.yaml`",
        "did you mean \"flags.yaml\"?",
        "flags.yaml:3:11: `New` is not a name of a flag",
        "flags.yaml:6:17: `101` is not within `0` and `100`",
        "flags.yaml:7:5: the flag does not say for whom it is on",
        "flags.yaml:8:5: unknown key `status`",
        "did you mean \"state\"?",
        "  |     status: on\n  |     ^^^^^^",
        "`percentage` and `users` have no effect",
        "expected one of `on`, `off`, found `maybe`",
        "the flag `c` is there twice",
        "rbac.yaml:1:10: version 2 of the language is not known",
        "rbac.yaml:4:33: `profile` is not a permission",
        "rbac.yaml:4:42: `profile:read` is written twice",
        "rbac.yaml:5:5: the role has no `name`",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
}

#[test]
fn providers_have_their_profiles_origins() {
    let text = "version: 1\nproviders:\n  - name: google\n    issuer: https://accounts.google.com\n    hosts: [oauth2.googleapis.com]\n    client_id: us\n    client_secret_file: /run/secrets/google\n  - { name: github, profile: github, client_id: us, client_secret_file: x }\n";
    let dir = folder(&[("oidc-providers.yaml", text)]);
    let rules = PolicyStore::open(dir.path()).unwrap().current();
    let google = rules.providers.get("google").unwrap();
    assert_eq!(
        google.origins.iter().collect::<Vec<_>>(),
        [
            "https://accounts.google.com",
            "https://oauth2.googleapis.com"
        ]
    );
    assert_eq!(google.scopes, ["openid", "email", "profile"]);
    let github = rules.providers.get("github").unwrap();
    assert_eq!(
        github.origins.iter().collect::<Vec<_>>(),
        ["https://api.github.com", "https://github.com"]
    );
    assert!(rules.providers.get("discord").is_none());
}

#[test]
fn faults_of_providers_have_their_places() {
    let text = "version: 1\nproviders:\n  - name: Google\n  - name: a\n    issuer: http://id.example\n    hosts: [a/b]\n    client_id: a b\n  - { name: b, profile: saml }\n";
    let dir = folder(&[("oidc-providers.yaml", text)]);
    let text = PolicyStore::open(dir.path()).unwrap_err().to_string();
    for part in [
        "oidc-providers.yaml:3:11: `Google` is not a name of a provider",
        "oidc-providers.yaml:5:13: `http://id.example` is not an address of a provider",
        "oidc-providers.yaml:6:13: `a/b` is not a host",
        "oidc-providers.yaml:4:5: the provider has no `client_secret_file`",
        "expected one of `oidc`, `github`, `discord`, found `saml`",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
}

#[test]
fn what_is_not_written_may_not_be_called() {
    let text = "version: 1\ncallers:\n  - name: order\n    rpcs: [auth.v1.AuthService/GetJwks]\n  - name: media\n    rpcs: [user.v1.UserService/*]\n";
    let dir = folder(&[("access.yaml", text)]);
    let rules = PolicyStore::open(dir.path()).unwrap().current();
    let check = |caller: &str, path: &str, expected: bool| {
        assert_eq!(
            rules.access.allows(caller, path),
            expected,
            "{caller} {path}"
        );
    };
    check("order", "/auth.v1.AuthService/GetJwks", true);
    check("order", "/auth.v1.AuthService/Login", false);
    check("order", "/user.v1.UserService/GetProfile", false);
    check("media", "/user.v1.UserService/GetProfile", true);
    check("media", "/user.v1.UserService/UpdateProfile", true);
    check("media", "/auth.v1.AuthService/GetJwks", false);
    check("edge", "/auth.v1.AuthService/GetJwks", false);
    let nothing = folder(&[]);
    let rules = PolicyStore::open(nothing.path()).unwrap().current();
    assert_eq!(rules.access, Matrix::default());
}

#[test]
fn faults_of_the_matrix_have_their_places() {
    let text = "version: 1\ncallers:\n  - name: Order\n  - name: a\n    rpcs: [auth.v1.AuthService/Nope, x.v1.X/Y, Login]\n  - { name: edge, rpcs: [auth.v1.AuthService/Login] }\n  - { name: a, rpcs: [] }\n  - name: b\n";
    let dir = folder(&[("access.yaml", text)]);
    let text = PolicyStore::open(dir.path()).unwrap_err().to_string();
    for part in [
        "access.yaml:3:11: `Order` is not a name of a service",
        "access.yaml:5:12: there is no RPC `auth.v1.AuthService/Nope`",
        "there is no RPC `x.v1.X/Y`",
        "`Login` is not an RPC",
        "access.yaml:6:26: `auth.v1.AuthService/Login` is for users",
        "the caller `a` is there twice",
        "access.yaml:8:5: the caller has no `rpcs`",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error_and_an_empty_one_holds_no_rules() {
    let dir = folder(&[]);
    assert!(PolicyStore::open(dir.path()).is_ok());
    let text = PolicyStore::open(&dir.path().join("none")).unwrap_err();
    assert!(
        text.to_string().contains("cannot read the policies folder"),
        "{text}"
    );
}

/// A store that follows a folder, until dropped.
struct Following {
    store: Arc<PolicyStore>,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Following {
    fn start(dir: &std::path::Path) -> Self {
        let store = Arc::new(PolicyStore::open(dir).unwrap());
        let (metrics, stop) = (Metrics::new().unwrap(), CancellationToken::new());
        let task = follow(store.clone(), dir.to_owned(), &metrics, stop.clone()).unwrap();
        tokio::spawn(task);
        Self {
            store,
            metrics,
            stop,
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&PolicyStore) -> bool) {
        let waiting = async {
            while !is_so(&self.store) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "waited in vain: {what}");
    }

    async fn metric(&self, line: &str) {
        let has = || {
            let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
            text.lines().any(|found| found == line)
        };
        self.until(line, |_| has()).await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn is_on(store: &PolicyStore) -> bool {
    store.current().flags.enabled("new-feed", None)
}

#[tokio::test]
async fn a_change_comes_into_force_and_a_bad_one_does_not() {
    let dir = folder(&[("flags.yaml", FLAGS)]);
    let file = dir.path().join("flags.yaml");
    let following = Following::start(dir.path());
    following.metric("policy_generation 1").await;
    let snapshot = following.store.current();

    fs::write(&file, OFF).unwrap();
    following.until("off", |store| !is_on(store)).await;
    assert!(snapshot.flags.enabled("new-feed", None), "a snapshot stays");
    following
        .metric(r#"policy_reload_total{file="flags.yaml",result="applied"} 1"#)
        .await;
    following.metric("policy_generation 2").await;

    fs::write(
        &file,
        "version: 1\nflags: [{ name: new-feed, state: yes }]\n",
    )
    .unwrap();
    following
        .until("refused", |store| store.refused().is_some())
        .await;
    assert!(!is_on(&following.store), "the last good rules stay");
    following
        .metric(r#"policy_reload_total{file="flags.yaml",result="refused"} 1"#)
        .await;

    fs::write(&file, FLAGS).unwrap();
    following.until("on again", is_on).await;
    assert!(following.store.refused().is_none());
}

/// As Kubernetes changes a ConfigMap: `..data` is a link to a folder, swapped by a rename.
#[tokio::test]
async fn a_swapped_link_is_noticed() {
    use std::os::unix::fs::symlink;
    let dir = folder(&[]);
    let path = |name: &str| dir.path().join(name);
    for (name, text) in [("..one", FLAGS), ("..two", OFF)] {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("flags.yaml"), text).unwrap();
    }
    symlink("..one", path("..data")).unwrap();
    symlink("..data/flags.yaml", path("flags.yaml")).unwrap();
    let following = Following::start(dir.path());
    assert!(is_on(&following.store));
    symlink("..two", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    following.until("off", |store| !is_on(store)).await;
}

#[tokio::test]
async fn all_files_come_into_force_together() {
    let dir = folder(&[("flags.yaml", FLAGS)]);
    let following = Following::start(dir.path());
    fs::write(dir.path().join("rbac.yaml"), "version: 1\nroles: 3\n").unwrap();
    following
        .until("refused", |store| store.refused().is_some())
        .await;
    fs::write(dir.path().join("flags.yaml"), OFF).unwrap();
    following
        .metric(r#"policy_reload_total{file="flags.yaml",result="refused"} 1"#)
        .await;
    assert!(is_on(&following.store));
    fs::remove_file(dir.path().join("rbac.yaml")).unwrap();
    following.until("off", |store| !is_on(store)).await;
}
