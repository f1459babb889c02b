//! `ares serve` on a machine of the lab, from ready to gone, and what one asks of it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::lab::Node;
use crate::run::{Outcome, Running};
use crate::wait;

/// How long a daemon may take to answer `status`, or to end after SIGTERM.
const READY: Duration = Duration::from_secs(30);

/// A daemon that answers. Killed when dropped; its log is shown when the test fails.
#[derive(Debug)]
pub struct Daemon {
    node: Node,
    running: Running,
}

/// What `ares publish --json` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// `ares:` and the rest.
    pub link: String,
    /// Root hash, 64 hex digits.
    pub release: String,
}

impl Daemon {
    /// Starts `ares serve` on the node's address and waits until it answers.
    ///
    /// # Panics
    /// Where it does not, with its log.
    pub fn serve(node: &Node) -> Self {
        Self::serve_with(node, [] as [&str; 0])
    }

    /// As `serve`, with more arguments.
    pub fn serve_with<I: IntoIterator<Item: AsRef<OsStr>>>(node: &Node, args: I) -> Self {
        let mut command = node.ares(["serve", "--listen"]);
        command.arg(node.listen().to_string()).args(args);
        let daemon = Self {
            node: node.clone(),
            running: node.start(command),
        };
        wait::until(READY, "`ares status --json` of a daemon just started", || {
            assert!(
                daemon.running.is_running(),
                "`ares serve` ended by itself:\n{}",
                daemon.running.stderr()
            );
            daemon.try_status()
        });
        daemon
    }

    fn try_status(&self) -> Option<Value> {
        let outcome = self.node.run(self.node.ares(["status", "--json"]));
        outcome.status.success().then(|| outcome.json())
    }

    /// What `ares status --json` prints.
    ///
    /// # Panics
    /// Where the daemon does not answer.
    pub fn status(&self) -> Value {
        self.node.run(self.node.ares(["status", "--json"])).expect_ok().json()
    }

    /// What `ares ARGS --json` prints.
    ///
    /// # Panics
    /// Where the daemon does not answer, or refuses.
    pub fn tell(&self, args: &[&str]) -> Value {
        let mut command = self.node.ares(args.iter().copied());
        command.arg("--json");
        self.node.run(command).expect_ok().json()
    }

    /// One of the totals since its start, such as `served_bytes`.
    ///
    /// # Panics
    /// Where the status has no such counter.
    pub fn counter(&self, name: &str) -> u64 {
        let status = self.status();
        status["counters"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("status has no counter {name}: {status}"))
    }

    /// Publishes through this daemon.
    pub fn publish(&self, path: &Path) -> Published {
        publish(&self.node, path)
    }

    /// Process number, for `procfs`.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.running.stderr()
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.running.is_running()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Ends it as a power cut would (SIGKILL).
    pub fn kill(self) -> Outcome {
        self.running.kill()
    }

    /// Asks it to end (SIGTERM) and waits.
    pub fn terminate(self) -> Outcome {
        self.running.signal(Signal::TERM);
        self.running.wait(READY)
    }
}

/// `ares get LINK DEST` on a machine, to be run.
pub fn get(node: &Node, link: &str, dest: &Path) -> Command {
    let mut command = node.ares(["get", link]);
    command.arg(dest);
    command
}

/// `ares get LINK --discard --json` on a machine, to be run. What it needs meanwhile lies in the node's directory.
pub fn discard(node: &Node, link: &str) -> Command {
    let mut command = node.ares(["get", link, "--discard", "--json"]);
    command.env("TMPDIR", node.dir());
    command
}

/// `ares publish PATH --json` on a machine, through its daemon where one runs.
///
/// # Panics
/// Where it fails or prints something else than the contract says.
pub fn publish(node: &Node, path: &Path) -> Published {
    let mut command = node.ares(["publish"]);
    command.arg(path).arg("--json");
    let outcome = node.run(command).expect_ok();
    let said = outcome.json();
    let text = |key: &str| {
        said[key]
            .as_str()
            .unwrap_or_else(|| panic!("publish --json has no {key}: {said}"))
            .to_owned()
    };
    let published = Published {
        link: text("link"),
        release: text("release"),
    };
    assert!(
        published.link.starts_with("ares:"),
        "a link starts with its scheme: {}",
        published.link
    );
    assert!(
        published.release.len() == 64,
        "a release is 64 hex digits: {}",
        published.release
    );
    published
}
