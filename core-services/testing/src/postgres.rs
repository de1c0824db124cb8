//! A PostgreSQL server of our own.
//! Invariant: tests own their databases but are no superusers, so that what a
//! service may not do shows here.

use std::{
    fs,
    ops::Deref,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::server::{Program, Server, folder, found, which};

/// The server does not start as root; Debian's package makes this user.
const USER: &str = "postgres";
/// Enough for the pools of a test binary whose tests all run at once.
const CONNECTIONS_MAX: u32 = 400;
/// The administrator and the owner of the tests' databases need no password; any other role does.
const HBA: &str = "local all all trust
host all postgres,tester 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
";

/// The server that the tests of this process share.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::start)
}

/// The server; what any [`Server`] can, it can.
pub struct Postgres {
    server: Server,
    made: AtomicU32,
}

impl Postgres {
    pub fn start() -> Self {
        Self::start_in(made(), command)
    }

    /// One that commits as in production, for measurements: to the disk.
    pub fn start_durable() -> Self {
        Self::start_in(made(), |folder, port| {
            let mut command = command(folder, port);
            // Of several the last one counts.
            for setting in ["fsync=on", "full_page_writes=on", "shared_buffers=128MB"] {
                command.args(["-c", setting]);
            }
            command
        })
    }

    /// One that also speaks TLS, with this certificate and key (PEM).
    pub fn start_with_tls(certificate: &str, key: &str) -> Self {
        let folder = made();
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let file = folder.join("data").join(name);
            fs::write(&file, text).expect("the folder is ours");
            // The server reads a key only if nobody else can.
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
            if is_root() {
                run(Command::new("chown").arg(USER).arg(&file));
            }
        }
        Self::start_in(folder, |folder, port| {
            let mut command = command(folder, port);
            command.args(["-c", "ssl=on"]);
            command
        })
    }

    fn start_in(folder: PathBuf, command: fn(&Path, u16) -> Command) -> Self {
        let program = Program {
            name: "PostgreSQL",
            command,
            is_ready,
        };
        let postgres = Self {
            server: Server::start(program, folder),
            made: AtomicU32::new(0),
        };
        postgres.administer("CREATE ROLE tester LOGIN");
        postgres
    }

    /// The administrator's URL.
    pub fn admin_url(&self) -> String {
        self.url_of("postgres", "postgres")
    }

    /// The URL of a new, empty database, which stays until the server goes.
    pub fn fresh(&self) -> String {
        let name = format!("test_{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.administer(&format!("CREATE DATABASE {name} OWNER tester"));
        self.url_of("tester", &name)
    }

    /// Runs statements as the administrator; returns what `psql -At` prints.
    pub fn administer(&self, sql: &str) -> String {
        let output = run(Command::new(bin("psql"))
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.admin_url())
            .args(["-c", sql]));
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port())
    }

    pub(crate) fn forget(&self, url: &str) {
        let name = url.rsplit('/').next().unwrap_or_default();
        // The server may be gone on purpose.
        let _ = Command::new(bin("psql"))
            .args(["-Xq", "-d", &self.admin_url(), "-c"])
            .arg(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .output();
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// A folder with an empty database cluster.
fn made() -> PathBuf {
    let folder = folder("postgres");
    let data = folder.join("data");
    if is_root() {
        run(Command::new("chown").arg(USER).arg(&folder));
    }
    run(as_user(&bin("initdb")).arg("-D").arg(&data).args([
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C",
        "--auth=trust",
        "--no-sync",
    ]));
    fs::write(data.join("pg_hba.conf"), HBA).expect("the folder is ours");
    folder
}

fn command(folder: &Path, port: u16) -> Command {
    let mut command = as_user(&bin("postgres"));
    command
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
        .arg(folder);
    for setting in [
        // Survives the death of the server, not of the machine; commits stay synchronous.
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=32MB",
        // In the data folder, so that a killed server leaves nothing elsewhere.
        "dynamic_shared_memory_type=mmap",
        &format!("max_connections={CONNECTIONS_MAX}"),
    ] {
        command.args(["-c", setting]);
    }
    command
}

fn is_ready(port: u16) -> bool {
    let asked = Command::new(bin("pg_isready"))
        .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
        .status();
    asked.is_ok_and(|status| status.success())
}

fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={USER}"))
        .arg(format!("--regid={USER}"))
        .args(["--init-groups", "--"])
        .arg(program)
        .current_dir("/");
    command
}

fn is_root() -> bool {
    // The owner of our own entry is who we are.
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Debian keeps the newest below `/usr/lib/postgresql`, outside the path.
fn bin(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql");
    let newest = versions
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|version| {
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            let program = version.path().join("bin").join(name);
            program.is_file().then_some((number, program))
        })
        .max()
        .map(|(_, program)| program);
    found(newest.or_else(|| which(name)), name, "postgresql")
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
