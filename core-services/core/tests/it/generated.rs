//! `new-service`, in a copy of this checkout: what it writes compiles, passes its tests
//! and is served.
//! Invariant: the copy is made of this checkout and nothing of this one is written; what
//! third parties wrote is compiled once for both.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::harness::{EDGE, EMAIL, PASSWORD, World, reason, with_token};

/// As long as the name in the templates, so that lines break where they do there.
const NAME: &str = "ledger";
/// What cargo tells its tests is about this crate, and build scripts would hear of it.
const TOLD_TO_TESTS: [&str; 4] = [
    "CARGO_BIN_EXE_",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "LD_LIBRARY_PATH",
];
/// Not sources: what was built, what was kept, the corpora.
const LEFT_OUT: [&str; 6] = [
    "target",
    ".git",
    ".palisade",
    "corpus",
    "node_modules",
    "baselines",
];
const COPIED: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "core-services",
    "edge",
    "loadtest",
    "policies",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A copy of the checkout, always at the same path: cargo knows crates by theirs, and
/// what it compiled the last time is good for this one.
fn copy() -> PathBuf {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-service/checkout");
    let _ = fs::remove_dir_all(&to);
    for part in COPIED {
        copy_all(&source().join(part), &to.join(part)).unwrap();
    }
    to
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                copy_all(&from.join(&name), &to.join(&name))?;
            }
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to)?;
    // By its time cargo knows that a file is the one it compiled.
    fs::File::options()
        .write(true)
        .open(to)?
        .set_modified(fs::metadata(from)?.modified()?)
}

/// Everything below, with its text.
fn contents(at: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    if at.is_file() {
        return vec![(at.to_owned(), fs::read(at).unwrap())];
    }
    let mut entries: Vec<_> = fs::read_dir(at)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries.iter().flat_map(|entry| contents(entry)).collect()
}

fn new_service(at: &Path, name: &str) -> (Option<i32>, String) {
    let binary = env!("CARGO_BIN_EXE_palisade-core");
    let output = Command::new(binary)
        .args(["new-service", name])
        .current_dir(at)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// In the copy, with what this checkout has built already.
fn cargo(checkout: &Path, arguments: &[&str]) {
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if TOLD_TO_TESTS.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    let output = command
        .args(arguments)
        .arg("--offline")
        .current_dir(checkout)
        .env("CARGO_TARGET_DIR", checkout.with_file_name("target"))
        .env("CARGO_BUILD_BUILD_DIR", ours)
        .env("CARGO_INCREMENTAL", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}\n{said}\n{errors}");
}

#[tokio::test]
async fn a_new_service_compiles_passes_its_tests_and_is_served() {
    let checkout = copy();
    let (status, said) = new_service(&checkout, NAME);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("new      core-services/ledger/src/lib.rs\n"),
        "{said}"
    );
    assert!(
        said.contains("changed  core-services/core/src/services.rs\n"),
        "{said}"
    );

    cargo(&checkout, &["build", "-p", "palisade-core"]);
    let binary = checkout
        .with_file_name("target")
        .join("debug/palisade-core");
    let run = |arguments: &[&str]| {
        let output = Command::new(&binary)
            .args(arguments)
            .current_dir(&checkout)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}");
        output.stdout
    };
    // The commands that `new-service` told to run next.
    fs::write(
        checkout.join("core-services/.env.example"),
        run(&["env-example"]),
    )
    .unwrap();
    run(&["descriptors", "--out", "policies/descriptors/core.pb"]);
    cargo(
        &checkout,
        &["test", "-p", "core-ledger", "-p", "core-proto"],
    );

    serves(&binary, &checkout).await;

    let (status, said) = new_service(&checkout, NAME);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("`core-services/ledger` exists\nhint: "),
        "{said}"
    );
    let (status, said) = new_service(&checkout, "harbour");
    assert_eq!(
        status,
        Some(0),
        "a second one finds its places, too: {said}"
    );
}

/// Two processes: identity, and the new service with identity's keys.
async fn serves(binary: &Path, checkout: &Path) {
    let world = World::new();
    let command = |service: &str| {
        let mut command = world.command_of(binary, "serve");
        command.arg(service);
        command.env("CORE_POLICIES", checkout.join("policies/services"));
        command
    };
    let identity = World::start_command(command("identity")).await;
    let edge = world.edge(&identity);
    edge.register(EMAIL).await.unwrap();
    let tokens = edge.login(EMAIL, PASSWORD).await.unwrap();

    let alone = command(NAME).output().unwrap();
    let said = String::from_utf8_lossy(&alone.stderr);
    assert!(said.contains("hint: --token-keys"), "{said}");
    let keys = format!("http://{}/.well-known/jwks.json", identity.admin);
    let mut with_keys = command(NAME);
    with_keys.args(["--token-keys", &keys]);
    let mut ledger = World::start_command(with_keys).await;

    let mut client = Grpc::new(world.channel(&ledger, &[EDGE]));
    let mut create = async |token: &str| {
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/ledger.v1.LedgerService/CreateItem");
        // A message with one text as its first field is what `CreateItemRequest` is.
        let codec = ProstCodec::<String, ()>::default();
        let created = client.unary(with_token("engine".to_owned(), token), path, codec);
        created.await.map_err(|status| reason(&status))
    };
    assert_eq!(create("no token").await.unwrap_err(), "TOKEN_INVALID");
    create(&tokens.access_token).await.unwrap();
    assert_eq!(
        create(&tokens.access_token).await.unwrap_err(),
        "NAME_TAKEN"
    );
    ledger.signal("TERM");
    assert_eq!(
        ledger.ended().await.code(),
        Some(0),
        "{:?}",
        ledger.errors()
    );
}

#[test]
fn what_cannot_be_registered_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let (status, said) = new_service(dir.path(), NAME);
    assert_eq!(status, Some(2));
    assert!(
        said.contains("is in no checkout of Palisade\nhint: "),
        "{said}"
    );

    for part in COPIED
        .into_iter()
        .filter(|part| !["edge", "loadtest"].contains(part))
    {
        copy_all(&source().join(part), &dir.path().join(part)).unwrap();
    }
    // A folder inside will do, as for cargo.
    let inside = dir.path().join("core-services/core");
    let before = contents(dir.path());
    for (name, expected) in [
        ("Ledger", "`Ledger` is no name of a service\nhint: "),
        ("async", "`async` is a word of Rust\nhint: "),
        ("platform", "`platform` means something else here\nhint: "),
        ("users", "`/v1/users` is bound in `"),
    ] {
        let (status, said) = new_service(&inside, name);
        assert_eq!(status, Some(2), "{said}");
        assert!(
            said.starts_with("error: ") && said.contains(expected),
            "{said}"
        );
    }
    assert!(contents(dir.path()) == before);

    // The last of all places.
    let rbac = dir.path().join("policies/services/rbac.yaml");
    let text = fs::read_to_string(&rbac).unwrap();
    fs::write(&rbac, text.replace("- name: user\n", "- name: anybody\n")).unwrap();
    let before = contents(dir.path());
    let (status, said) = new_service(&inside, NAME);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("`policies/services/rbac.yaml` is not as expected"),
        "{said}"
    );
    assert!(contents(dir.path()) == before, "nothing is written");
}
