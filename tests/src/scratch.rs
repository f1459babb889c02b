//! Directories, mounts and processes of one test: made under a name that tells whose they are, gone when the test is,
//! and swept by the next run where a test was killed before it could clean up.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{procfs, wait};

/// Every command of a test carries this variable, with the scratch's name: it finds daemons that outlived their parent.
pub const OWNER_VARIABLE: &str = "ARES_TEST_OWNER";

/// Set it to keep scratch directories for a look afterwards.
const KEEP_VARIABLE: &str = "ARES_TEST_KEEP";

const PREFIX: &str = "ares-judge-";

/// A directory of its own for one test, under the system's temporary directory.
#[derive(Debug)]
pub struct Scratch {
    name: String,
    path: PathBuf,
}

impl Scratch {
    /// Makes it; `label` is for people who look.
    ///
    /// # Panics
    /// Where the temporary directory cannot be written.
    pub fn new(label: &str) -> Self {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let start = procfs::start_ticks(pid).expect("/proc shows this process");
        let name = format!("{PREFIX}{pid}-{start}-{}-{label}", COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(&name);
        fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot make the scratch directory {}: {e}", path.display()));
        Self { name, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, unique on the machine; network namespaces and processes of the test carry it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new directory inside.
    ///
    /// # Panics
    /// Where it exists already.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        kill_owned_by(&self.name);
        unmount_below(&self.path);
        if std::env::var_os(KEEP_VARIABLE).is_some() {
            say(&format!("kept: {}", self.path.display()));
        } else {
            remove(&self.path);
        }
    }
}

/// Mounts a tmpfs with these options on a directory of a scratch; it goes with the scratch. Whether the kernel lets us.
pub fn mount_tmpfs(dir: &Path, options: &str) -> bool {
    quiet(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir))
}

/// Mounts the list of the kernel's FUSE connections (fusectl) on a directory of a scratch; it goes with the scratch. Whether the kernel lets us.
pub fn mount_fusectl(dir: &Path) -> bool {
    quiet(Command::new("mount").args(["-t", "fusectl", "fusectl"]).arg(dir))
}

/// Prints a line that the test runner does not capture.
pub fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Removes what test processes that no longer live have left: processes, mounts, namespaces, directories.
fn sweep() {
    for dir in [std::env::temp_dir(), PathBuf::from("/run/netns")] {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
        for name in names.filter(|n| is_orphan(n)) {
            // Another test process may sweep the same leftovers at the same time: whoever comes second finds nothing.
            kill_owned_by(&name);
            if dir.ends_with("netns") {
                quiet(Command::new("ip").args(["netns", "del", &name]));
            } else {
                unmount_below(&dir.join(&name));
                remove(&dir.join(&name));
            }
        }
    }
}

/// Whether `name` was made by a test process that lives no more.
fn is_orphan(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let mut parts = rest.split('-');
    let pid = parts.next().and_then(|p| p.parse().ok());
    let start = parts.next().and_then(|s| s.parse::<u64>().ok());
    match (pid, start) {
        (Some(pid), Some(start)) => procfs::start_ticks(pid) != Some(start),
        _ => false,
    }
}

/// Kills every process that was started on behalf of this scratch and waits until it is gone.
fn kill_owned_by(name: &str) {
    let is_owned = |pid: u32| procfs::environment(pid, OWNER_VARIABLE).is_some_and(|owner| name.starts_with(&owner));
    // Those that are just starting may be owned, it is not known yet: of those that were when an owned one was there last, or at first.
    let mut unknown: Option<BTreeSet<u32>> = None;
    let _ = wait::within(Duration::from_secs(5), || {
        let (starting, started): (BTreeSet<u32>, BTreeSet<u32>) =
            procfs::pids().into_iter().partition(|pid| procfs::is_starting(*pid));
        let owned: Vec<u32> = started.into_iter().filter(|pid| is_owned(*pid)).collect();
        for pid in owned.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let still = match unknown.take() {
            Some(before) if owned.is_empty() => before.intersection(&starting).copied().collect(),
            _ => starting,
        };
        let is_over = owned.is_empty() && still.is_empty();
        unknown = Some(still);
        is_over.then_some(())
    });
}

/// Mount points at or below `path`, deepest first (proc_pid_mountinfo(5): octal escapes for blanks).
pub fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(|p| PathBuf::from(p.replace("\\040", " ")));
    let mut below: Vec<PathBuf> = points.filter(|p| p.starts_with(path)).collect();
    below.reverse();
    below
}

fn unmount_below(path: &Path) {
    for point in mounts_below(path) {
        // Lazily: a mount whose server is dead or busy must not keep the directory.
        if !quiet(Command::new("umount").arg("-l").arg(&point)) {
            quiet(Command::new("fusermount3").args(["-u", "-z"]).arg(&point));
        }
    }
}

fn remove(path: &Path) {
    if fs::remove_dir_all(path).is_ok() || !path.exists() {
        return;
    }
    // An ordinary user cannot empty a read-only directory, and trees under test have them.
    open_up(path);
    if let Err(e) = fs::remove_dir_all(path) {
        say(&format!("left behind: {}: {e}", path.display()));
    }
}

fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Runs a command for its effect alone; whether it succeeded.
pub fn quiet(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|s| s.success())
}
