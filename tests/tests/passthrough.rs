//! Files that are held whole: the kernel reads them by itself, without the daemon, and what it reads never becomes somebody's to change.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ares_tests::mount::{self, Mounted};
use ares_tests::{Daemon, Lab, daemon, lab, tree, wait};
use rustix::fs::Advice;
use rustix::process::{Pid, Signal, geteuid, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

/// FUSE passthrough came with Linux 6.9 and is for root.
fn is_possible(test: &str) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version < (6, 9) || !geteuid().is_root() {
        lab::skip(test, "no FUSE passthrough: it needs Linux 6.9 and root");
        return false;
    }
    mount::is_possible(test)
}

/// A backing file that has all its bytes.
fn whole_backing(state: &Path) -> Option<PathBuf> {
    let blobs = fs::read_dir(state.join("data/blobs")).ok()?;
    let files = blobs.filter_map(|dir| fs::read_dir(dir.ok()?.path()).ok()).flatten();
    let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
    paths.find(|path| path.extension().is_none())
}

/// A process that stands still, until dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: u32) -> Self {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, Signal::STOP).expect("stopped");
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn a_whole_file_is_read_without_the_daemon_and_stays_what_it_is() {
    let test = "passthrough";
    if !is_possible(test) {
        return;
    }
    let Some(lab) = Lab::new(test, 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    fs::create_dir(&release).expect("made");
    tree::big_file(&release.join("big"), 24 << 20, 71);
    let want = fs::read(release.join("big")).expect("readable");
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    let dir = reader.dir().join("mounted");
    fs::create_dir(&dir).expect("made");
    let mounted = Mounted::new(reader, &link, &dir);
    let big = dir.join("big");
    assert!(fs::read(&big).expect("readable") == want, "while it comes");
    wait::until(PATIENCE, "all of it on disk", || whole_backing(reader.state()));

    let file = File::open(&big).expect("readable");
    // The page cache has what was read before: it must not be what answers.
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("advised");
    let stopped = Stopped::new(mounted.pid());
    let (done, reading) = mpsc::channel();
    thread::spawn(move || {
        let mut got = vec![0; 24 << 20];
        let read = file.read_exact_at(&mut got, 0);
        // Nobody listens where this came too late.
        let _ = done.send(read.map(|()| (got, file)));
    });
    let answer = reading.recv_timeout(PATIENCE);
    drop(stopped);
    let (got, file) = answer.expect("a read that needs no daemon").expect("readable");
    assert!(got == want);

    // Whoever gets it now has a file of their own.
    let dest = reader.dir().join("got");
    reader.run(daemon::get(reader, &format!("{link}/big"), &dest)).expect_ok();
    let owned = File::options().write(true).open(&dest).expect("theirs");
    owned.write_all_at(b"changed", 1 << 20).expect("written");
    let mut got = vec![0; 24 << 20];
    file.read_exact_at(&mut got, 0).expect("readable");
    assert!(got == want, "somebody changed what the kernel reads");
    drop(file);
    assert!(fs::read(&big).expect("readable") == want);
    mounted.end_by(Signal::TERM).expect_ok();
    drop(server);
}
