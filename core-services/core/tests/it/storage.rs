//! The commands that work on databases, on both kinds.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use core_platform::db::{Db, Location, query};
use core_testing::{Database, both_databases, postgres};

use crate::harness::{Core, EMAIL, PASSWORD, World};

/// The databases of a process: of the service, and of the bus.
struct Place {
    identity: Database,
    events: Database,
}

impl Place {
    fn beside(identity: Database) -> Self {
        let events = if identity.is_sqlite() {
            Database::sqlite()
        } else {
            Database::postgresql()
        };
        Self { identity, events }
    }

    fn command(&self, world: &World, subcommand: &str) -> Command {
        let mut command = world.command(subcommand);
        command
            .env("DATABASE_URL__IDENTITY", self.identity.setting())
            .env("DATABASE_URL__EVENTS", self.events.setting());
        command
    }

    async fn start(&self, world: &World) -> Core {
        World::start_command(self.command(world, "all")).await
    }

    /// Status, what it printed, and what it complained about.
    fn run(&self, world: &World, subcommand: &str, arguments: &[&str]) -> (bool, String, String) {
        said(self.command(world, subcommand).args(arguments))
    }
}

fn said(command: &mut Command) -> (bool, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.success(), text(stdout), text(stderr))
}

fn backup_dir(world: &World) -> PathBuf {
    world.dir.path().join("backup")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn stop(mut core: Core) {
    core.signal("TERM");
    assert!(core.ended().await.success());
}

both_databases! {
    #[tokio::test]
    async fn what_was_backed_up_is_there_after_a_restore_elsewhere(at: Database) {
        let world = World::new();
        let place = Place::beside(at);
        let core = place.start(&world).await;
        world.edge(&core).register(EMAIL).await.unwrap();
        let dir = backup_dir(&world);
        // Under the running services.
        let (done, out, err) = place.run(&world, "backup", &[text(&dir)]);
        assert!(done && out.starts_with("identity: "), "{out}{err}");
        stop(core).await;

        // The old databases are gone: these are new and empty.
        let other = if place.identity.is_sqlite() { Database::sqlite() } else { Database::postgresql() };
        let other = Place::beside(other);
        drop(place);
        let (done, out, err) = other.run(&world, "restore", &[text(&dir)]);
        assert!(done && out.contains("identity: restored, schema version"), "{out}{err}");
        let core = other.start(&world).await;
        let tokens = world.edge(&core).login(EMAIL, PASSWORD).await.unwrap();
        let profile = world.edge(&core).profile(&tokens.access_token).await.unwrap();
        assert_eq!(profile.email, EMAIL);
        stop(core).await;
    }

    #[tokio::test]
    async fn a_restore_writes_over_nothing_and_trusts_nothing(at: Database) {
        let world = World::new();
        let place = Place::beside(at);
        let core = place.start(&world).await;
        let dir = backup_dir(&world);
        let path = text(&dir);
        assert!(place.run(&world, "backup", &[path]).0);
        let (done, _, err) = place.run(&world, "backup", &[path]);
        assert!(!done && err.contains("is not empty"), "{err}");
        let (done, _, err) = place.run(&world, "restore", &[path]);
        assert!(!done && err.contains("is not empty") && err.contains("--replace"), "{err}");
        let (done, _, err) = place.run(&world, "restore", &[path, "--replace"]);
        assert!(!done && err.contains("in use"), "{err}");
        stop(core).await;
        let (done, out, err) = place.run(&world, "restore", &[path, "--replace"]);
        assert!(done, "{out}{err}");

        // A backup of the other kind, a newer one, a damaged one, one that names another file.
        let manifest = fs::read_to_string(dir.join("manifest.json")).unwrap();
        let (kind, stranger) = if place.identity.is_sqlite() {
            ("\"sqlite\"", "\"postgresql\"")
        } else {
            ("\"postgresql\"", "\"sqlite\"")
        };
        for (from, to, expected) in [
            (kind, stranger, "restore it where it came from"),
            ("\"format\": 1", "\"format\": 2", "has format 2"),
            ("\"sha256\": \"", "\"sha256\": \"0", "is damaged"),
            ("\"file\": \"", "\"file\": \"../", "is no file of a backup"),
            ("\"name\": \"identity\"", "\"name\": \"nobody\"", "no such service"),
        ] {
            let changed = manifest.replace(from, to);
            assert_ne!(changed, manifest, "{from}");
            fs::write(dir.join("manifest.json"), changed).unwrap();
            let (done, _, err) = place.run(&world, "restore", &[path, "--replace"]);
            assert!(!done && err.contains(expected), "{err}");
        }
        fs::remove_file(dir.join("manifest.json")).unwrap();
        let (done, _, err) = place.run(&world, "restore", &[path, "--replace"]);
        assert!(!done && err.contains("manifest.json"), "{err}");
    }

    #[tokio::test]
    async fn migrate_goes_down_and_up_and_says_where_it_is(at: Database) {
        let world = World::new();
        let place = Place::beside(at);
        let (done, out, _) = place.run(&world, "migrate", &["identity", "--status"]);
        assert_eq!((done, out.as_str()), (true, "identity: empty\n"));
        let (done, out, err) = place.run(&world, "migrate", &["identity"]);
        assert!(done && out.starts_with("identity: schema version "), "{out}{err}");
        let newest = place.identity.schema("identity").await;
        let (_, out, _) = place.run(&world, "migrate", &["identity", "--status"]);
        assert!(out.contains("identity: platform 1 events: applied\n"), "{out}");
        assert!(out.contains("identity: service 1 ") && !out.contains("pending"), "{out}");
        let (done, out, err) = place.run(&world, "migrate", &["identity", "--to", "0"]);
        assert_eq!((done, out.as_str()), (true, "identity: schema version 0\n"), "{err}");
        assert!(place.identity.schema("identity").await.is_empty());
        assert!(place.run(&world, "migrate", &[]).0);
        assert_eq!(place.identity.schema("identity").await, newest);
        let (done, _, err) = place.run(&world, "migrate", &["identity", "--to", "999"]);
        assert!(!done && err.contains("hint: the newest is"), "{err}");
    }
}

core_testing::both_databases! {
    #[tokio::test]
    async fn seeded_people_are_made_once_and_sign_in(at: Database) {
        let world = World::new();
        let place = Place::beside(at);
        let roles = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/services/rbac.yaml");
        let (done, _, err) = place.run(&world, "seed", &[]);
        assert!(!done && err.contains("there is no role `admin` to give\nhint: "), "{err}");
        std::fs::copy(roles, world.policies().join("rbac.yaml")).unwrap();
        let (done, out, err) = place.run(&world, "seed", &[]);
        assert!(done && out.contains("new  ada@palisade.test        admin\n"), "{out}{err}");
        assert!(out.ends_with("\npassword of all: development-only\n"), "{out}");
        let (done, out, err) = place.run(&world, "seed", &[]);
        assert!(done && !out.contains("new "), "{out}{err}");

        let core = place.start(&world).await;
        let edge = world.edge(&core);
        let tokens = edge.login("ada@palisade.test", "development-only").await.unwrap();
        assert_eq!(edge.profile(&tokens.access_token).await.unwrap().handle, "ada");
        edge.register(EMAIL).await.unwrap();
        let (done, _, err) = place.run(&world, "seed", &[]);
        assert!(!done && err.contains("holds 1 accounts of others\nhint: --force"), "{err}");
        let (done, out, err) = place.run(&world, "seed", &["--force"]);
        assert!(done && !out.contains("new "), "{out}{err}");
    }
}

#[tokio::test]
async fn both_databases_have_the_same_schema() {
    let world = World::new();
    let mut schemas = Vec::new();
    for at in [Database::sqlite(), Database::postgresql()] {
        let place = Place::beside(at);
        let (done, _, err) = place.run(&world, "migrate", &[]);
        assert!(done, "{err}");
        schemas.push(place.identity.schema("identity").await);
    }
    assert!(schemas[0].len() > 20, "{schemas:?}");
    assert_eq!(schemas[0], schemas[1]);
}

#[tokio::test]
async fn an_administrator_makes_roles_and_databases_that_the_services_run_on() {
    let world = World::new();
    let admin = postgres().admin_url();
    let url = |name: &str| {
        let port = postgres().port();
        format!("postgres://{name}_role:s3cret@127.0.0.1:{port}/{name}_db")
    };
    let command = |subcommand: &str| {
        let mut command = world.command(subcommand);
        command
            .env("DATABASE_URL__IDENTITY", url("it_identity"))
            .env("DATABASE_URL__EVENTS", url("it_events"));
        command
    };
    let (done, _, err) = said(&mut command("migrate"));
    assert!(
        !done && err.contains("hint: ") && !err.contains("s3cret"),
        "{err}"
    );
    let (done, out, err) = said(command("migrate").env("DATABASE_ADMIN_URL", &admin));
    assert!(done, "{err}");
    assert!(
        out.contains("identity: made role and database\nevents: made role and database\n"),
        "{out}"
    );
    let (done, out, _) = said(command("migrate").args(["--create-with", &admin]));
    assert!(done && !out.contains("made"), "{out}");
    let core = World::start_command(command("all")).await;
    world.edge(&core).register(EMAIL).await.unwrap();
    stop(core).await;
}

#[tokio::test]
async fn a_migration_that_waits_says_for_whom() {
    let world = World::new();
    let place = Place::beside(Database::postgresql());
    let location = Location::from_setting(&place.identity.setting()).unwrap();
    let holder = Db::open(&location, "somebody").await.unwrap();
    let mut lock = holder.begin().await.unwrap();
    // "palisade", as migrations call it.
    let hold = "SELECT 1::BIGINT FROM (SELECT pg_advisory_lock(x'70616c6973616465'::BIGINT)) AS l";
    query(hold).fetch_one(&mut lock).await.unwrap();

    let mut command = place.command(&world, "migrate");
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut waiting = waiting.spawn().unwrap();
    let mut said = String::new();
    let mut errors = BufReader::new(waiting.stderr.take().unwrap());
    errors.read_line(&mut said).unwrap();
    assert!(
        said.contains("another migration holds the lock, waiting"),
        "{said}"
    );
    assert!(
        said.contains("`palisade-somebody`, from 127.0.0.1"),
        "{said}"
    );
    lock.commit().await.unwrap();
    // The lock is the connection's.
    holder.close().await;
    let Output { status, stdout, .. } = waiting.wait_with_output().unwrap();
    assert!(status.success());
    assert!(
        String::from_utf8(stdout)
            .unwrap()
            .starts_with("identity: schema version ")
    );
}
