//! One server process under its guard.
//! Invariant: an order (`pause`, `kill`) is in force when the call returns, and
//! a started server has answered.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    ops::Range,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Below the ports that systems give to outgoing connections: one of those could
/// take a server's port while it is down.
const PORTS: Range<u16> = 20_000..32_000;
/// Ports tried; tests of other processes may grab one between our look and the server's bind.
const STARTS_MAX: u32 = 5;
/// Times that a server is asked whether it is ready, and the pause between: a minute.
const ASKED_MAX: u32 = 3_000;
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// What runs: how to start it on a port, and how to see that it answers.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) command: fn(&Path, u16) -> Command,
    pub(crate) is_ready: fn(u16) -> bool,
}

/// A running (or paused, or killed) server with its port and its data. Pauses, kills and restarts
/// are for one that a test started itself.
pub struct Server {
    program: Program,
    folder: PathBuf,
    port: u16,
    guard: Mutex<Option<Guard>>,
}

struct Guard {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    server: u32,
}

impl Server {
    /// Starts it on a free port, with its data in `folder`, which goes with it.
    pub(crate) fn start(program: Program, folder: PathBuf) -> Self {
        for _ in 0..STARTS_MAX {
            let port = free_port();
            if let Some(guard) = launch(&program, &folder, port) {
                return Self {
                    program,
                    folder,
                    port,
                    guard: Mutex::new(Some(guard)),
                };
            }
        }
        panic!("{} does not start: {}", program.name, log(&folder));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of the server itself; other processes of it are its children. None after a `kill`.
    pub fn process_id(&self) -> Option<u32> {
        self.guard().as_ref().map(|guard| guard.server)
    }

    /// Stops every process of it where it is: connections stay open and nobody answers.
    pub fn pause(&self) {
        self.order("pause");
    }

    pub fn resume(&self) {
        self.order("resume");
    }

    /// Ends every process of it as a power cut does, but for what the operating system has in
    /// memory.
    pub fn kill(&self) {
        self.order("kill");
        if let Some(mut guard) = self.guard().take() {
            let _ = guard.child.wait();
        }
    }

    /// Starts it again on the same port and data; kills it first if it runs.
    pub fn restart(&self) {
        if self.guard().is_some() {
            self.kill();
        }
        for _ in 0..STARTS_MAX {
            if let Some(guard) = launch(&self.program, &self.folder, self.port) {
                *self.guard() = Some(guard);
                return;
            }
        }
        panic!(
            "{} does not come back: {}",
            self.program.name,
            log(&self.folder)
        );
    }

    fn order(&self, order: &str) {
        let mut guard = self.guard();
        let guard = guard.as_mut().expect("the server runs");
        let orders = guard
            .orders
            .as_mut()
            .expect("open until the server is dropped");
        writeln!(orders, "{order}").expect("the guard listens");
        assert_eq!(line(&mut guard.answers), "done", "{order}");
    }

    fn guard(&self) -> MutexGuard<'_, Option<Guard>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard().take());
        // The guard has done it, unless the server had been killed before.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A started server that answers, or nothing if it ended instead (its port was taken).
fn launch(program: &Program, folder: &Path, port: u16) -> Option<Guard> {
    let command = (program.command)(folder, port);
    let mut child = Command::new("sh")
        .args(["-c", include_str!("guard.sh"), "guard"])
        .arg(folder)
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C is for the tests; the guard sees them go.
        .process_group(0)
        .spawn()
        .expect("sh starts");
    let mut answers = BufReader::new(child.stdout.take().expect("piped"));
    let server = line(&mut answers).parse().expect("the server's process id");
    let guard = Guard {
        orders: child.stdin.take(),
        child,
        answers,
        server,
    };
    for _ in 0..ASKED_MAX {
        if (program.is_ready)(port) && guard.is_running() {
            return Some(guard);
        }
        if !guard.is_running() {
            return end(guard);
        }
        thread::sleep(ASKED_EVERY);
    }
    panic!("{} runs and does not answer: {}", program.name, log(folder));
}

/// Sends the guard away without the folder, for the next try.
fn end(mut guard: Guard) -> Option<Guard> {
    if let Some(orders) = &mut guard.orders {
        let _ = writeln!(orders, "kill");
    }
    let _ = guard.child.wait();
    None
}

impl Guard {
    /// Ended, the server stays a zombie until its guard looks.
    fn is_running(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.server))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut text = String::new();
    from.read_line(&mut text).expect("the guard answers");
    text.trim_end().to_owned()
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn free_port() -> u16 {
    std::iter::repeat_with(|| fastrand::u16(PORTS))
        .take(PORTS.len())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// An empty temporary folder of a server; its guard removes it.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = tempfile::Builder::new()
        .prefix(&format!("palisade-{name}-"))
        .tempdir()
        .expect("a temporary folder");
    folder.keep()
}

/// The program, or how to get it.
pub(crate) fn found(path: Option<PathBuf>, name: &str, package: &str) -> PathBuf {
    path.unwrap_or_else(|| {
        panic!("missing: `{name}`\nhint: make setup-tests, or apt-get install {package}")
    })
}

/// Where a program is; Debian keeps servers outside the path of plain users.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
