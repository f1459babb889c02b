//! A directory with a release mounted on it, for as long as the test holds it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::lab::{Node, skip};
use crate::run::{Outcome, Running};
use crate::scratch::mounts_below;
use crate::wait;

/// How long a mount may take to appear, or to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// `ares mount LINK DIR` in the foreground. Killed when dropped; the scratch unmounts what stays.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
    running: Running,
}

impl Mounted {
    /// Mounts and waits until it answers. A dead mount of an earlier process is listed by the kernel too, and does not answer.
    ///
    /// # Panics
    /// Where it does not come, with what `ares` said.
    pub fn new(node: &Node, link: &str, dir: &Path) -> Self {
        Self::with(node, link, dir, &[])
    }

    /// As `new`, with more arguments for `ares mount`.
    ///
    /// # Panics
    /// As `new`.
    pub fn with(node: &Node, link: &str, dir: &Path, args: &[&str]) -> Self {
        let mut command = node.ares(["mount", link]);
        command.arg(dir).args(args);
        let mounted = Self {
            dir: dir.to_owned(),
            running: node.start(command),
        };
        wait::until(PATIENCE, "the mount point", || {
            assert!(
                mounted.running.is_running(),
                "`ares mount` ended by itself:\n{}",
                mounted.running.stderr()
            );
            answers(dir).then_some(())
        });
        mounted
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Process number, for `procfs`.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.running.stderr()
    }

    /// Waits until the process has ended and the kernel lists the mount point no more.
    ///
    /// # Panics
    /// Where either takes too long.
    pub fn gone(self) -> Outcome {
        let outcome = self.running.wait(PATIENCE);
        wait::until(PATIENCE, "the end of the mount", || (!is_mounted(&self.dir)).then_some(()));
        outcome
    }

    /// Ends it by a signal and waits as `gone` does.
    pub fn end_by(self, signal: Signal) -> Outcome {
        self.running.signal(signal);
        self.gone()
    }

    /// Kills the process (SIGKILL): the mount point stays behind, dead.
    pub fn kill(self) -> Outcome {
        self.running.kill()
    }
}

/// Whether this process may open the kernel's FUSE device; where not, the test is listed as skipped.
pub fn is_possible(test: &str) -> bool {
    match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => true,
        Err(e) => {
            skip(test, &format!("no mounts: /dev/fuse: {e}"));
            false
        }
    }
}

/// Whether a filesystem is mounted on `dir` and its process answers. Names and listings may come from the kernel's cache; statfs never does.
/// Looked at last is whether it is there: a dead one may be taken away for a new one meanwhile, and the directory below answers, too.
pub fn answers(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok() && is_mounted(dir)
}

/// Whether the kernel lists `dir` as a mount point.
pub fn is_mounted(dir: &Path) -> bool {
    mounts_below(dir).iter().any(|point| point == dir)
}

/// `ares umount DIR`.
pub fn unmount(node: &Node, dir: &Path) -> Outcome {
    let mut command = node.ares(["umount"]);
    command.arg(dir);
    node.run(command)
}
