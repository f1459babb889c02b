//! Running a command with a deadline, and judging how it ended. Output goes to files, so that a background child that keeps the
//! descriptors open holds nobody up.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::procfs::{self, Cpu};
use crate::scratch::say;

/// How long a command of a test may take unless said otherwise: far above what it needs, far below a stuck run.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A command under way. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pidfd: OwnedFd,
    line: String,
    out: PathBuf,
    err: PathBuf,
    started: Instant,
    reaped: bool,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command as one would type it.
    pub line: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed on stdout.
    pub stdout: Vec<u8>,
    /// What it printed on stderr.
    pub stderr: String,
    /// Wall time.
    pub took: Duration,
    /// Processor time, threads included.
    pub cpu: Cpu,
}

impl Running {
    /// Starts `command` with its output in files under `dir`.
    ///
    /// # Panics
    /// Where the program cannot be started.
    pub fn start(mut command: Command, dir: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let line = show(&command);
        let (out, err) = (dir.join(format!("{number}.out")), dir.join(format!("{number}.err")));
        let file = |path: &Path| File::create(path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
        let started = Instant::now();
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start `{line}`: {e}"));
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("the kernel gives positive pids");
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a child not yet reaped has a pidfd");
        Self {
            child,
            pidfd,
            line,
            out,
            err,
            started,
            reaped: false,
        }
    }

    /// Process number, for `procfs`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        !self.ended_within(Duration::ZERO)
    }

    /// Waits until it ends, at most `patience`; whether it did. It is not reaped yet: `/proc` still shows its cost.
    pub fn ended_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) {
                // A signal to us, Ctrl-C for one, says nothing about the process.
                Err(Errno::INTR) => {}
                polled => return polled == Ok(1),
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended just now: the caller sees that from the outcome.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// What it has printed on stderr so far.
    pub fn stderr(&self) -> String {
        read_text(&self.err)
    }

    /// What it has printed on stdout so far.
    pub fn stdout(&self) -> String {
        read_text(&self.out)
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it takes longer than `patience`; the message holds what it printed.
    pub fn wait(mut self, patience: Duration) -> Outcome {
        if !self.ended_within(patience) {
            panic!("`{}` still runs after {patience:?}\n{}", self.line, self.printed());
        }
        self.reap()
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(mut self) -> Outcome {
        self.signal(Signal::KILL);
        self.reap()
    }

    fn reap(&mut self) -> Outcome {
        self.ended_within(PATIENCE);
        let took = self.started.elapsed();
        let cpu = procfs::cpu(self.pid()).unwrap_or_default();
        let status = self.child.wait().expect("a child can be waited for");
        self.reaped = true;
        let stdout = fs::read(&self.out).unwrap_or_default();
        Outcome {
            line: self.line.clone(),
            status,
            stdout,
            stderr: self.stderr(),
            took,
            cpu,
        }
    }

    fn printed(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}---", tail(&self.stdout()), tail(&self.stderr()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.signal(Signal::KILL);
        self.reap();
        if std::thread::panicking() {
            say(&format!(
                "`{}` was running when the test failed\n{}",
                self.line,
                self.printed()
            ));
        }
    }
}

impl Outcome {
    /// It must have succeeded.
    ///
    /// # Panics
    /// Where it did not; the message holds what it printed.
    pub fn expect_ok(self) -> Self {
        assert!(self.status.success(), "{}", self.describe());
        self
    }

    /// It must have failed as a program that knows what is wrong: an exit code of its own, no panic, no signal, and an error on
    /// stderr with each of `words` (in any case of letters; `a|b` accepts either).
    ///
    /// # Panics
    /// Where it did not.
    pub fn expect_error(self, words: &[&str]) -> Self {
        assert!(
            self.status.code().is_some_and(|c| c != 0),
            "must fail with an exit code\n{}",
            self.describe()
        );
        assert!(self.status.code() != Some(101), "must not panic\n{}", self.describe());
        let said = self.stderr.to_lowercase();
        assert!(!said.contains("panicked at"), "must not panic\n{}", self.describe());
        assert!(!said.trim().is_empty(), "must say what is wrong\n{}", self.describe());
        for word in words {
            let found = word.split('|').any(|alternative| said.contains(&alternative.to_lowercase()));
            assert!(found, "the error must name {word:?}\n{}", self.describe());
        }
        self
    }

    /// Stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Stdout as one JSON object.
    ///
    /// # Panics
    /// Where it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("stdout must be one JSON value: {e}\n{}", self.describe()))
    }

    /// Everything there is to know about it.
    pub fn describe(&self) -> String {
        let ending = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {signal:?}"),
        };
        let (out, err) = (tail(&self.text()), tail(&self.stderr));
        format!(
            "`{}` ended with {ending} after {:?}\n--- stdout\n{out}--- stderr\n{err}---",
            self.line, self.took
        )
    }
}

/// The command as one would type it, without the environment.
fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|w| w.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

fn read_text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The last lines of a long text: a failing test must not print a megabyte of log.
fn tail(text: &str) -> String {
    const LINES_MAX: usize = 60;
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(LINES_MAX);
    let mut kept = if skipped > 0 {
        format!("[{skipped} lines before]\n")
    } else {
        String::new()
    };
    for line in &lines[skipped..] {
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}
