//! A daemon from its start to its end, through the binary: ready, answering, refused a second time, told to stop, killed.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Between looks at another process: it says nothing by itself.
const LOOK: Duration = Duration::from_millis(20);

/// Longest that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn ares(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ares"));
    command
        .env_clear()
        .env("HOME", dir)
        .arg("--state")
        .arg(dir.join("state"))
        .stdin(Stdio::null());
    command
}

/// `ares serve`, killed when dropped.
struct Serve(Child);

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
}

impl Serve {
    fn start(dir: &Path, env: &[(&str, &Path)]) -> Self {
        let mut command = ares(dir);
        command.args(["serve", "--listen", "127.0.0.1:0"]).envs(env.iter().copied());
        let serve = Self(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts"),
        );
        until("answer", || status(dir));
        serve
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.0.id() as i32).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("our own child");
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("our own child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(LOOK);
        }
    }
}

fn status(dir: &Path) -> Option<Value> {
    let output = ares(dir).args(["status", "--json"]).output().expect("it runs");
    output
        .status
        .success()
        .then(|| serde_json::from_slice(&output.stdout).expect("one object"))
}

#[test]
fn it_answers_tells_systemd_and_ends_when_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let notify = dir.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).expect("a socket");
    systemd.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let hear = || {
        let mut buf = [0; 512];
        let n = systemd.recv(&mut buf).expect("a message");
        String::from_utf8_lossy(&buf[..n]).into_owned()
    };
    let mut serve = Serve::start(dir.path(), &[("NOTIFY_SOCKET", &notify)]);
    assert!(hear().starts_with("READY=1\nSTATUS=serving on 127.0.0.1:"));
    let said = status(dir.path()).expect("it answers");
    assert_eq!(said["pid"].as_u64(), Some(u64::from(serve.0.id())));
    assert_eq!(said["peer"].as_str().map(str::len), Some(64));
    assert!(said["counters"]["served_bytes"].is_u64() && said["mounts"].is_array());
    serve.signal(rustix::process::Signal::TERM);
    assert_eq!(hear(), "STOPPING=1");
    assert!(serve.wait().success());
    assert!(!dir.path().join("state/admin.sock").exists());
    assert_eq!(status(dir.path()), None);
}

#[test]
fn a_second_one_is_refused_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let serve = Serve::start(dir.path(), &[]);
    let output = ares(dir.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--json"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(5));
    let said: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let message = said["error"]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains(&serve.0.id().to_string()),
        "{message} must name process {}",
        serve.0.id()
    );
    assert!(status(dir.path()).is_some(), "the first one is not disturbed");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let output = ares(dir.path()).args(["serve", "--listen", &addr]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains(&addr) && said.contains("--listen"), "{said}");
}

#[test]
fn a_killed_one_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut serve = Serve::start(dir.path(), &[]);
    let peer = status(dir.path()).expect("it answers")["peer"].clone();
    serve.signal(rustix::process::Signal::KILL);
    serve.wait();
    assert!(dir.path().join("state/admin.sock").exists(), "what a kill leaves behind");
    let output = ares(dir.path()).arg("status").output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "a dead socket is no daemon");
    let _serve = Serve::start(dir.path(), &[]);
    assert_eq!(status(dir.path()).expect("it answers")["peer"], peer, "the same identity");
}

#[test]
fn two_signals_end_it_whatever_it_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut serve = Serve::start(dir.path(), &[]);
    serve.signal(rustix::process::Signal::INT);
    serve.signal(rustix::process::Signal::INT);
    assert!(matches!(serve.wait().code(), Some(0 | 130)));
}

#[test]
fn it_answers_with_thousands_of_releases() {
    use ares_core::chunk::{ChunkId, ReleaseId};
    const COUNT: u32 = 5000;
    let dir = tempfile::tempdir().expect("a directory");
    let id = |n: u32| ReleaseId(ChunkId::of(&n.to_le_bytes()));
    {
        let store = ares_node::store::Store::open(&dir.path().join("state")).expect("a new store");
        for n in 0..COUNT {
            store.add_release(id(n), &"n".repeat(500), 1, 1).expect("remembered");
        }
    }
    let _serve = Serve::start(dir.path(), &[]);
    let said = status(dir.path()).expect("it answers");
    let listed = said["releases"].as_array().expect("a list");
    let left_out = said["left_out"]["releases"].as_u64().expect("a number");
    assert_eq!(listed.len() as u64 + left_out, u64::from(COUNT));
    assert!(!listed.is_empty() && left_out > 0);
    assert_eq!(listed.last().expect("one")["release"], id(COUNT - 1).to_string());
    let text = ares(dir.path()).arg("status").output().expect("it runs");
    let words = format!("and {left_out} releases more");
    assert!(String::from_utf8_lossy(&text.stdout).contains(&words));
}
