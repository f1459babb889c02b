//! The demo's stage and its actors: a directory that is removed, and child processes that are ended, whatever happens.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cmd::Context;
use crate::error::{Failure, Kind};

/// Between looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(20);

/// A directory of its own below the system's temporary one.
pub(super) struct Stage {
    dir: PathBuf,
}

/// A node of the demo: a state directory.
pub(super) struct Node {
    state: PathBuf,
    log: PathBuf,
}

impl Stage {
    /// Makes it, for this user alone.
    pub(super) fn new() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("ares-demo-{}", std::process::id()));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&dir)
            .map_err(|e| Failure::io("making", &dir, &e).help("name another place with TMPDIR"))?;
        Ok(Self { dir })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn node(&self, name: &str) -> Node {
        Node {
            state: self.dir.join(name),
            log: self.dir.join(format!("{name}.log")),
        }
    }

    /// Removes everything. The children have ended: they are dropped before.
    pub(super) fn clean(self) -> Result<(), Failure> {
        // A mount of a killed child would be in the way, and must not be walked into.
        let _ = rustix::mount::unmount(self.dir.join("mounted"), rustix::mount::UnmountFlags::DETACH);
        let helper = Command::new("fusermount3")
            .arg("-uz")
            .arg(self.dir.join("mounted"))
            .stderr(Stdio::null())
            .status();
        // Neither is needed after a clean unmount.
        drop(helper);
        std::fs::remove_dir_all(&self.dir).map_err(|e| Failure::io("removing", &self.dir, &e))
    }
}

/// A command on a node. In a process group of its own, so that Ctrl-C comes to us and we end it in order.
fn command(node: &Node) -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|e| Failure::io("finding", Path::new("/proc/self/exe"), &e))?;
    let mut command = Command::new(program);
    command
        .arg("--state")
        .arg(&node.state)
        .arg("--no-progress")
        .stdin(Stdio::null())
        .process_group(0);
    // The demo is the same whatever this user has configured.
    command
        .arg("--config")
        .arg("/dev/null")
        .env_remove("ARES_LOG")
        .env_remove("NOTIFY_SOCKET");
    Ok(command)
}

/// Runs a short command and reads the object it prints.
pub(super) fn run_json(context: &Context, node: &Node, args: &[&OsStr]) -> Result<Value, Failure> {
    let what = args.first().map_or("ares".into(), |a| a.to_string_lossy().into_owned());
    let failed = |e: std::io::Error| Failure::new(Kind::Failed, format!("starting `ares {what}`: {e}"));
    let mut child = command(node)?
        .arg("--json")
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let mut is_ending = false;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        match is_ending {
            true => std::thread::sleep(LOOK),
            false if context.cancel.wait(LOOK) => {
                is_ending = true;
                signal(child.id(), rustix::process::Signal::TERM);
            }
            false => {}
        }
    };
    if is_ending {
        return Err(Failure::interrupted());
    }
    let (printed, said) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    if !status.success() {
        return Err(child_failure(&what, status, &said));
    }
    said.lines()
        .filter(|line| line.starts_with("note:") && !line.contains("loopback"))
        .for_each(|line| context.terminal.note(line));
    serde_json::from_str(&printed).map_err(|_| garbled(&what))
}

/// Reads a pipe of a child to its end, so that the child is never held up by it.
fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What cannot be read is not shown.
            drop(pipe.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A child printed something else than the contract says.
pub(super) fn garbled(what: &str) -> Failure {
    Failure::new(Kind::Failed, format!("`ares {what}` printed something unexpected"))
}

fn child_failure(what: &str, status: ExitStatus, said: &str) -> Failure {
    let kind = Kind::ALL
        .into_iter()
        .find(|k| status.code() == Some(i32::from(k.exit_code())))
        .unwrap_or(Kind::Failed);
    let mut lines = said.lines().skip_while(|line| !line.starts_with("ares: "));
    let message = lines
        .next()
        .map_or_else(|| format!("it ended with {status}"), |line| line["ares: ".len()..].to_owned());
    let failure = Failure::new(kind, format!("`ares {what}`: {message}"));
    match lines.next().and_then(|line| line.strip_prefix("help: ")) {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// A child that stays: killed when dropped.
pub(super) struct Child<'a> {
    node: &'a Node,
    what: String,
    child: std::process::Child,
}

impl<'a> Child<'a> {
    /// Starts it with its log in a file.
    pub(super) fn start(node: &'a Node, args: &[&str]) -> Result<Self, Failure> {
        let log = std::fs::File::create(&node.log).map_err(|e| Failure::io("making", &node.log, &e))?;
        let what = args.first().copied().unwrap_or_default().to_owned();
        let child = command(node)?.args(args).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(|e| Failure::new(Kind::Failed, format!("starting `ares {what}`: {e}")))?;
        Ok(Self { node, what, child })
    }

    /// Looks again and again until `look` gives something, the child ends, time is up or the user has enough.
    fn wait_for<T>(&mut self, context: &Context, limit: Duration, look: impl Fn() -> Option<T>) -> Result<T, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = std::fs::read_to_string(&self.node.log).unwrap_or_default();
                return Err(child_failure(&self.what, status, &log));
            }
            if Instant::now() >= deadline {
                let seconds = limit.as_secs();
                return Err(Failure::new(
                    Kind::Failed,
                    format!("`ares {}` was not ready within {seconds} s", self.what),
                ));
            }
            if context.cancel.wait(LOOK) {
                return Err(Failure::interrupted());
            }
        }
    }

    /// Waits until the daemon answers; its status.
    pub(super) fn until_ready(&mut self, context: &Context, limit: Duration) -> Result<Value, Failure> {
        let node = self.node;
        self.wait_for(context, limit, || {
            let socket = crate::admin::socket::path(&node.state);
            // Asked only when there is somebody to ask: each question is a process.
            socket
                .exists()
                .then(|| run_json(context, node, &["status".as_ref()]).ok())
                .flatten()
        })
    }

    /// The daemon's status now.
    pub(super) fn status(&self, context: &Context) -> Result<Value, Failure> {
        run_json(context, self.node, &["status".as_ref()])
    }

    /// Waits until `dir` is another filesystem than what is above it.
    pub(super) fn until_mounted(&mut self, context: &Context, dir: &Path, limit: Duration) -> Result<(), Failure> {
        let above = dir.parent().and_then(|p| std::fs::metadata(p).ok()).map(|m| m.dev());
        self.wait_for(context, limit, || {
            let device = std::fs::metadata(dir).ok().map(|m| m.dev());
            (device.is_some() && device != above).then_some(())
        })
    }

    /// Asks it to end and waits.
    pub(super) fn end(&mut self, limit: Duration) -> Result<(), Failure> {
        signal(self.child.id(), rustix::process::Signal::TERM);
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    let log = std::fs::read_to_string(&self.node.log).unwrap_or_default();
                    return Err(child_failure(&self.what, status, &log));
                }
                _ if Instant::now() >= deadline => {
                    return Err(Failure::new(
                        Kind::Failed,
                        format!("`ares {}` did not end within {} s", self.what, limit.as_secs()),
                    ));
                }
                _ => std::thread::sleep(LOOK),
            }
        }
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // A clean end takes its mount away; one that does not come is forced.
            if self.end(Duration::from_secs(5)).is_err() {
                drop(self.child.kill());
            }
            drop(self.child.wait());
        }
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, signal);
    }
}
