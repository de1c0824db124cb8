//! The commands that serve nothing, and settings that can't be used.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use crate::harness::World;

fn run(world: &World, subcommand: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = world.command(subcommand).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

#[test]
fn bad_settings_end_with_2_and_say_which() {
    let world = World::new();
    for subcommand in ["all", "check-config"] {
        for (arguments, expected) in [
            (
                ["--tls-cert", "/nonexistent.pem"],
                "--tls-cert: cannot read `/nonexistent.pem`",
            ),
            (["--issuer", "identity"], "--issuer: `identity`"),
            (
                ["--allowed-peers", "Edge!"],
                "`Edge!` is not a service name",
            ),
            (["--drain-deadline", "1h"], "`1h` is not a duration"),
            (["--grpc", "localhost"], "--grpc"),
        ] {
            let (status, out, err) = run(&world, subcommand, &arguments);
            assert_eq!(status, Some(2), "{arguments:?}: {err}");
            assert!(
                err.starts_with("error: ") && err.contains(expected),
                "{err}"
            );
            assert!(out.is_empty(), "{out}");
        }
    }
    assert!(!world.data_dir().exists(), "nothing was written");
}

#[test]
fn every_unusable_setting_is_told_at_once() {
    let world = World::new();
    fs::write(world.policies().join("flags.yaml"), "version: 2\n").unwrap();
    let faults = [
        (["--grpc", "localhost"], "--grpc: `localhost`"),
        (
            ["--tls-key", "/nonexistent.key"],
            "--tls-key: cannot read `/nonexistent.key`",
        ),
        (["--drain-deadline", "1h"], "--drain-deadline: `1h`"),
        (["--redis-url", "http://:s3cret@cache"], "REDIS_URL: "),
        (["--issuer", "identity"], "--issuer: `identity`"),
        (
            ["--deletion-grace-days", "soon"],
            "--deletion-grace-days: `soon`",
        ),
        (
            ["--database-url-identity", "mysql://u:s3cret@h/d"],
            "DATABASE_URL__IDENTITY: ",
        ),
        (["--log", "info"], "flags.yaml:1:10: "),
    ];
    for subcommand in [&["all"][..], &["serve", "identity"], &["check-config"]] {
        let arguments = faults.iter().flat_map(|(arguments, _)| arguments);
        let arguments: Vec<_> = subcommand[1..].iter().chain(arguments).copied().collect();
        let (status, out, err) = run(&world, subcommand[0], &arguments);
        assert_eq!(status, Some(2), "{err}");
        assert!(out.is_empty() && !err.contains("s3cret"), "{out}{err}");
        let told: Vec<_> = err.split("error: ").skip(1).collect();
        assert_eq!(told.len(), faults.len(), "{err}");
        for (told, (_, expected)) in told.iter().zip(faults) {
            assert!(told.starts_with(expected), "{expected}: {err}");
            assert!(told.contains("hint: "), "{told}");
        }
    }
    assert!(!world.data_dir().exists(), "nothing was written");
}

#[test]
fn a_data_directory_that_others_may_read_is_refused() {
    let world = World::new();
    let open = world.dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let file = world.dir.path().join("ca.pem");
    for (path, expected) in [(&open, "hint: chmod 700"), (&file, "not a directory")] {
        let (status, _, err) = run(&world, "all", &["--data-dir", path.to_str().unwrap()]);
        assert_eq!(status, Some(2), "{err}");
        assert!(
            err.contains("--data-dir") && err.contains(expected),
            "{err}"
        );
    }
}

#[test]
fn a_taken_port_ends_with_1() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, _, err) = run(&world, "all", &["--grpc", &address]);
    assert_eq!(status, Some(1), "{err}");
    assert!(
        err.contains(&format!("cannot listen on `{address}`")),
        "{err}"
    );
}

#[test]
fn check_config_prints_what_would_be_used() {
    let world = World::new();
    let (status, out, err) = run(&world, "check-config", &["--drain-deadline", "2s"]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    let settings: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(settings["drain_deadline"], "2s");
    assert_eq!(settings["allowed_peers"], serde_json::json!(["edge"]));
    assert!(!out.contains("PRIVATE KEY"));
}

#[test]
fn secrets_come_from_files_and_are_not_shown() {
    let world = World::new();
    let file = world.dir.path().join("redis-url");
    fs::write(&file, "redis://:s3cret@localhost:6379/0\n").unwrap();
    let check = |variables: &[(&str, &str)]| {
        let mut command = world.command("check-config");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
        (output.status.code(), text)
    };
    let path = file.to_str().unwrap();
    let (status, text) = check(&[("REDIS_URL_FILE", path)]);
    assert_eq!(status, Some(0), "{text}");
    let (status, text) = check(&[("REDIS_URL", "redis://:s3cret@localhost")]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(r#""redis_url": "(set)""#), "{text}");
    for (variables, part) in [
        (
            &[("REDIS_URL", "redis://:s3cret@h"), ("REDIS_URL_FILE", path)][..],
            "REDIS_URL and REDIS_URL_FILE are both set",
        ),
        (&[("NATS_URL_FILE", path)][..], "NATS_URL: is not a URL"),
        (&[("NATS_URL", "s3cret")][..], "NATS_URL: is not a URL"),
    ] {
        let (status, text) = check(variables);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn only_known_services_are_served() {
    let world = World::new();
    let (status, _, err) = run(&world, "serve", &["identity,nobody"]);
    assert_eq!(status, Some(2), "{err}");
    assert!(err.contains("invalid value 'nobody'"), "{err}");
}

#[test]
fn migrate_goes_down_and_up() {
    let world = World::new();
    for (arguments, expected) in [
        (&[][..], "identity: schema version 44\n"),
        (
            &["identity", "--to", "0"][..],
            "identity: schema version 0\n",
        ),
        (&[][..], "identity: schema version 44\n"),
    ] {
        let mut command = world.command("migrate");
        let Output {
            status,
            stdout,
            stderr,
        } = command.args(arguments).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        assert_eq!(String::from_utf8_lossy(&stdout), expected);
    }
}

#[test]
fn descriptors_are_written_whole() {
    let world = World::new();
    let file = world.dir.path().join("core.pb");
    let (status, ..) = run(&world, "descriptors", &["--out", file.to_str().unwrap()]);
    assert_eq!(status, Some(0));
    assert_eq!(std::fs::read(file).unwrap(), core_proto::DESCRIPTOR_SET);
    let piped = world.command("descriptors").output().unwrap().stdout;
    assert_eq!(piped, core_proto::DESCRIPTOR_SET);
    let (status, _, err) = run(&world, "descriptors", &["--out", "/nonexistent/core.pb"]);
    assert_eq!(status, Some(1));
    assert!(err.contains("/nonexistent/core.pb"), "{err}");
}

#[test]
fn version_is_printed() {
    let world = World::new();
    let (status, out, _) = run(&world, "--version", &[]);
    assert_eq!(status, Some(0));
    assert_eq!(
        out,
        format!("palisade-core {}\n", env!("CARGO_PKG_VERSION"))
    );
}
