//! What is wrong is found before anything listens: one line on standard error, exit code 2.

use std::ffi::OsStr;
use std::fs;

use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::harness::files::{Files, issue, set_mode};
use crate::harness::{Ended, palisade, run_to_end};

const EMPTY: [(&str, &str); 1] = [("empty.yaml", "version: 1\n")];

#[track_caller]
fn assert_refused(ended: &Ended, mentions: &[&str]) {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(!ended.stdout.contains("listening"), "{ended:?}");
    assert!(ended.stderr.starts_with("palisade: "), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    for mention in mentions {
        assert!(
            ended.stderr.contains(mention),
            "`{mention}` is not in {ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_named() {
    let files = Files::with_policies(&EMPTY);
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for flag in ["--http", "--https", "--admin"] {
        let ended = run_to_end(&files, &[(flag, &address)]).await;
        assert_refused(&ended, &["cannot listen", &address]);
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
    let taken = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = run_to_end(&files, &[("--https", &address)]).await;
    assert_refused(&ended, &["cannot listen", "udp", &address]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_and_broken_certificates_are_named() {
    let missing = Files::with_policies(&EMPTY);
    fs::remove_dir_all(missing.certs()).expect("a folder");
    assert_refused(&run_to_end(&missing, &[]).await, &["certs"]);

    let empty = Files::with_policies(&EMPTY);
    for name in ["localhost.pem", "localhost.key"] {
        fs::remove_file(empty.certs().join(name)).expect("a file");
    }
    assert_refused(
        &run_to_end(&empty, &[]).await,
        &["no certificate", "palisade certs"],
    );

    let mixed = Files::with_policies(&EMPTY);
    fs::write(mixed.certs().join("localhost.pem"), issue(&["localhost"]).0).expect("a file");
    assert_refused(&run_to_end(&mixed, &[]).await, &["localhost.pem"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_cannot_be_read_are_named() {
    let missing = Files::with_policies(&EMPTY);
    fs::remove_dir_all(missing.policies()).expect("a folder");
    assert_refused(&run_to_end(&missing, &[]).await, &["policies"]);

    // Root reads everything, so the unreadable file is one that is not a file.
    let unreadable = Files::with_policies(&EMPTY);
    set_mode(&unreadable.policies().join("empty.yaml"), 0o000);
    fs::create_dir(unreadable.policies().join("folder.yaml")).expect("a folder");
    std::os::unix::fs::symlink("loop.yaml", unreadable.policies().join("loop.yaml"))
        .expect("a link");
    assert_refused(&run_to_end(&unreadable, &[]).await, &["loop.yaml"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_policy_stops_the_start_and_nothing_listens() {
    // What the route matches is in doubt: no tombstone can stand for it.
    let broken =
        "version: 1\nroutes:\n  - name: a\n    matches: [{ path: x }]\n    cluster: nowhere\n";
    let files = Files::with_policies(&[("routes/a.yaml", broken)]);
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let ended = run_to_end(&files, &[("--http", &address.to_string())]).await;
    assert_refused(&ended, &["routes/a.yaml:5:14", "nowhere"]);
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nothing listens"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_flags_are_2_as_well() {
    for flags in [
        &["run", "--http", "nowhere"][..],
        &["run", "--threads", "-1"],
        &["serve"],
        &[],
    ] {
        let flags: Vec<&OsStr> = flags.iter().map(OsStr::new).collect();
        let ended = palisade(&flags).await;
        assert_eq!(ended.code, Some(2), "{flags:?}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{flags:?}: {ended:?}");
    }
    let files = Files::with_policies(&EMPTY);
    let mut filter: Vec<String> = vec!["run".into(), "--log".into(), "a=b=c".into()];
    for (flag, value) in [
        ("--policies", files.policies()),
        ("--certs", files.certs()),
        ("--state", files.state()),
    ] {
        filter.extend([flag.to_owned(), value.display().to_string()]);
    }
    let filter: Vec<&OsStr> = filter.iter().map(OsStr::new).collect();
    assert_refused(&palisade(&filter).await, &["--log"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_is_wrong_without_serving() {
    let good = Files::with_policies(&EMPTY);
    let ended = palisade(&[OsStr::new("check"), good.policies().as_os_str()]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        !ended.stdout.is_empty() && ended.stderr.is_empty(),
        "{ended:?}"
    );

    let bad = "version: 1\nlimits: [{ name: a, key: caller, rate: fast }]\nroutes: [{ name: b, matches: [], cluster: c }]\n";
    let bad = Files::with_policies(&[("bad.yaml", bad)]);
    let ended = palisade(&[OsStr::new("check"), bad.policies().as_os_str()]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for mention in ["bad.yaml:2:", "bad.yaml:3:", "fast"] {
        assert!(
            ended.stderr.contains(mention),
            "`{mention}` is not in {ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_made_once_and_kept() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new();
    let dir = files.root().join("made");
    let first = palisade(&[OsStr::new("certs"), dir.as_os_str()]).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    let made = fs::read(dir.join("localhost.pem")).expect("a certificate");
    let second = palisade(&[OsStr::new("certs"), dir.as_os_str()]).await;
    assert_eq!(second.code, Some(0), "{second:?}");
    assert_eq!(
        fs::read(dir.join("localhost.pem")).expect("a certificate"),
        made
    );
    for key in ["ca.key", "localhost.key", "mesh/edge.key", "mesh/core.key"] {
        let mode = fs::metadata(dir.join(key))
            .expect("a key")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}
