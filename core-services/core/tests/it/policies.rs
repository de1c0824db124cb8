//! Rules that are followed while the process runs, and what is said of bad ones.

use std::{fs, process::Output};

use core_testing::eventually;

use crate::harness::World;

const GOOD: &str = "version: 1\nflags:\n  - { name: new-feed, state: on }\n";
const BAD: &str = "version: 1\nflags:\n  - { name: new-feed, state: yes }\n";

#[tokio::test]
async fn a_change_is_followed_and_a_bad_one_is_told() {
    let world = World::new();
    let file = world.policies().join("flags.yaml");
    fs::write(&file, GOOD).unwrap();
    let core = world.start().await;
    core.metric("policy_generation 1").await;
    fs::write(&file, BAD).unwrap();
    core.metric(r#"policy_reload_total{file="flags.yaml",result="refused"} 1"#)
        .await;
    let status = core.json("/status");
    assert_eq!(status["policies"]["generation"], 1);
    let refused = &status["policies"]["refused"][0];
    assert_eq!(
        (&refused["file"], &refused["line"], &refused["column"]),
        (&"flags.yaml".into(), &3.into(), &30.into()),
        "{status:#}"
    );
    assert_eq!(core.get("/ready").0, 200, "the last good rules serve");
    fs::write(&file, "version: 1\nflags: []\n").unwrap();
    core.metric("policy_generation 2").await;
    eventually("no fault left", async || {
        core.json("/status")["policies"]["refused"]
            .is_null()
            .then_some(())
    })
    .await;
}

#[test]
fn bad_policies_keep_the_process_from_starting() {
    let world = World::new();
    fs::write(world.policies().join("flags.yaml"), BAD).unwrap();
    for subcommand in ["all", "check-config", "check-policies"] {
        let Output { status, stderr, .. } = world.command(subcommand).output().unwrap();
        let text = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{subcommand}: {text}");
        for part in [
            "flags.yaml:3:30: expected one of `on`, `off`, found `yes`",
            "  |   - { name: new-feed, state: yes }",
            "  |                              ^^^",
        ] {
            assert!(text.contains(part), "{subcommand}: {text}");
        }
    }
    assert!(!world.data_dir().exists(), "nothing was written");
}

#[test]
fn the_shipped_policies_are_good() {
    let world = World::new();
    let mut command = world.command("check-policies");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/services");
    let Output { status, stderr, .. } = command.arg(shipped).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}
