//! Many readers of one mount, and little memory: those who can be served are, whoever else cannot, and nobody stays for ever.

use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ares_tests::mount::{self, Mounted, is_mounted, unmount};
use ares_tests::run::Running;
use ares_tests::{Daemon, Lab, Node, compare, lab, procfs, scratch, tree, wait};
use rustix::process::Signal;

const READERS: usize = 64;
/// Of these, whose file nobody has.
const STUCK: usize = 4;
const BYTES: u64 = 1 << 20;
/// Seconds that a read may wait.
const PATIENCE_S: u32 = 8;
/// A source says why it gives up a little before a read must end.
const EARLIEST: Duration = Duration::from_secs(PATIENCE_S as u64 - 1);
/// Far above what a read may take, far below one that hangs.
const BOUND: Duration = Duration::from_secs(60);

fn name(n: usize) -> String {
    format!("file-{n:02}")
}

/// And as many more, for later.
const ALL: usize = READERS + STUCK;

/// Every sixteenth, and the last.
fn is_stuck(n: usize) -> bool {
    n >= READERS || n % (READERS / STUCK) == 5
}

/// Processes that each read a file of `dir` whole.
fn readers(node: &Node, dir: &Path, which: Range<usize>) -> Vec<(usize, Running)> {
    let start = |n: usize| {
        let mut cat = node.command("cat");
        cat.arg(dir.join(name(n)));
        (n, node.start(cat))
    };
    which.map(start).collect()
}

#[test]
fn sixty_read_on_while_four_wait_for_what_nobody_has() {
    if !mount::is_possible("crowd") {
        return;
    }
    let Some(lab) = Lab::new("crowd", 2) else { return };
    let (publisher, reader) = (lab.node(0), &lab.node(1).with_patience(PATIENCE_S));
    let release = publisher.dir().join("release");
    fs::create_dir(&release).expect("made");
    for n in 0..ALL {
        tree::big_file(&release.join(name(n)), BYTES, n as u64);
    }
    let want: Vec<Vec<u8>> = (0..READERS)
        .map(|n| fs::read(release.join(name(n))).expect("readable"))
        .collect();
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    // Served from where they are: whoever changes them takes them from everybody.
    for n in (0..ALL).filter(|n| is_stuck(*n)) {
        fs::write(release.join(name(n)), "something else").expect("writable");
    }
    let dir = reader.dir().join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    for transport in ["dev", "fuser"] {
        let node = reader.with_state(reader.dir().join(format!("state-{transport}")));
        let mounted = Mounted::with(&node, &link, &dir, &["--transport", transport]);
        let begun = Instant::now();
        let (stuck, others): (Vec<_>, Vec<_>) = readers(&node, &dir, 0..READERS).into_iter().partition(|(n, _)| is_stuck(*n));
        for (n, other) in others {
            let read = other.wait(BOUND).expect_ok();
            assert!(read.stdout == want[n], "{} over {transport}", name(n));
        }
        // All at once: they end together.
        let early: Vec<usize> = stuck
            .iter()
            .filter(|(_, stuck)| !stuck.is_running())
            .map(|(n, _)| *n)
            .collect();
        let served = begun.elapsed();
        assert!(early.is_empty() || served > EARLIEST, "{early:?} failed before their time");
        for (n, stuck) in stuck {
            let read = stuck.wait(BOUND);
            assert_eq!(read.status.code(), Some(1), "{}", name(n));
            assert!(read.stderr.contains("Input/output error"), "{}", read.stderr);
        }
        let status = node.run(node.ares(["status", "--json"])).expect_ok().json();
        let last = &status["mounts"][0]["last_eio"];
        let is_of_stuck = (0..READERS)
            .filter(|n| is_stuck(*n))
            .any(|n| last["entry"] == format!("/{}", name(n)));
        assert!(is_of_stuck && last["request"] == "read" && last["why"] != "", "{last}");
        assert_eq!(
            (&status["last_eio"]["why"], status["last_eio"]["dir"].as_str()),
            (&last["why"], dir.to_str())
        );
        let text = node.run(node.ares(["status"])).expect_ok().stdout;
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("    EIO "), "{text}");
        // Others that wait do not keep it from being taken away, and are let go of then.
        let stuck = readers(&node, &dir, READERS..ALL);
        let status = node.run(node.ares(["status", "--json"])).expect_ok().json();
        assert_eq!(status["mounts"].as_array().map(Vec::len), Some(1));
        for (n, stuck) in &stuck {
            assert!(stuck.is_running(), "{} failed before its time", name(*n));
        }
        let mut busy = node.ares(["umount", "-z"]);
        busy.arg(&dir);
        node.run(busy).expect_ok();
        assert!(!is_mounted(&dir));
        for (n, stuck) in stuck {
            assert!(!stuck.wait(BOUND).status.success(), "{}", name(n));
        }
        mounted.gone().expect_ok();
    }
}

/// A memory control group for processes of a test. Removed when dropped, by when they must have ended.
struct Group(PathBuf);

impl Group {
    /// With so many bytes for all that is in it, page cache included. `None`, with the reason printed, where this machine gives none.
    fn new(lab: &Lab, bytes: u64) -> Option<Self> {
        let name = lab.path().file_name().expect("a scratch has a name");
        let (parent, limit) = match Path::new("/sys/fs/cgroup/memory").is_dir() {
            true => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            false => ("/sys/fs/cgroup", "memory.max"),
        };
        let group = Self(Path::new(parent).join(name));
        let made = fs::create_dir(&group.0).and_then(|()| fs::write(group.0.join(limit), bytes.to_string()));
        match made {
            Ok(()) => Some(group),
            Err(e) => {
                lab::skip(
                    "crowd-memory",
                    &format!("no memory control group: {}: {e}", group.0.display()),
                );
                None
            }
        }
    }

    /// A program that runs what it is given in this group.
    fn door(&self, dir: &Path) -> PathBuf {
        let door = dir.join("in-group");
        let procs = self.0.join("cgroup.procs");
        fs::write(&door, format!("#!/bin/sh\necho $$ > '{}' && exec \"$@\"\n", procs.display())).expect("writable");
        fs::set_permissions(&door, fs::Permissions::from_mode(0o755)).expect("ours");
        door
    }

    /// How many of its processes were killed for want of memory.
    fn killed(&self) -> u64 {
        let files = ["memory.oom_control", "memory.events"].map(|file| fs::read_to_string(self.0.join(file)));
        let text: String = files.into_iter().flatten().collect();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.parse().ok()).expect("the kernel counts them")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let removed = wait::within(Duration::from_secs(10), || fs::remove_dir(&self.0).ok());
        if removed.is_none() && !std::thread::panicking() {
            panic!("{} is still in use", self.0.display());
        }
    }
}

/// Reads a file by mapping it, and then 4 KiB each at so many random places, and compares with another file: no tool of the system does that.
const MAPPED_AND_RANDOM: &str = "import mmap, os, random, sys
ours, right = (os.open(path, os.O_RDONLY) for path in sys.argv[1:3])
mapped, want = (mmap.mmap(f, 0, prot=mmap.PROT_READ) for f in (ours, right))
for at in range(0, len(want), 1 << 20):
    assert mapped[at:at + (1 << 20)] == want[at:at + (1 << 20)], at
places = random.Random(9)
for at in (4096 * places.randrange(len(want) // 4096) for _ in range(int(sys.argv[3]))):
    assert os.pread(ours, 4096, at) == want[at:at + 4096], at";

#[test]
fn half_a_gib_is_enough_for_a_mount_and_its_readers() {
    const GROUP: u64 = 512 << 20;
    const BIG: u64 = 1 << 30;
    const SMALL: usize = 20_000;
    /// What is not the mount's is for what is read.
    const MOUNT_MAX: u64 = GROUP / 2;
    if !mount::is_possible("crowd-memory") {
        return;
    }
    let Some(lab) = Lab::new("crowd-memory", 2) else { return };
    let Some(group) = Group::new(&lab, GROUP) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    tree::source(&release, SMALL, 7);
    tree::dotted_file(&release.join("big"), BIG, 8);
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    let dir = reader.dir().join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    let door = group.door(reader.dir());
    let inside = |command: std::process::Command| {
        let mut outer = reader.command(&door);
        outer.arg(command.get_program()).args(command.get_args());
        outer
    };
    let tool = |name: &str, args: &[&OsStr]| {
        let mut command = reader.command(name);
        command.args(args);
        reader.run(inside(command)).expect_ok();
    };
    let python = scratch::quiet(std::process::Command::new("python3").arg("--version"));
    if !python {
        lab::skip("crowd-memory-mapped", "no python3");
    }
    let (want, got) = (release.join("big"), dir.join("big"));
    // From peers; then from the store; then large files by the kernel itself.
    for passthrough in ["never", "never", "always"] {
        let mut mount = reader.ares(["mount", "--passthrough", passthrough, &link]);
        mount.arg(&dir);
        let running = reader.start(inside(mount));
        wait::until(BOUND, "the mount", || mount::answers(&dir).then_some(()));
        tool(
            "diff",
            &["-r".as_ref(), "--exclude=big".as_ref(), release.as_ref(), dir.as_ref()],
        );
        tool("cmp", &[want.as_ref(), got.as_ref()]);
        if python {
            let args = ["-c", MAPPED_AND_RANDOM].map(OsStr::new);
            tool(
                "python3",
                &[args.as_slice(), &[got.as_ref(), want.as_ref(), "2000".as_ref()]].concat(),
            );
        }
        assert_eq!(group.killed(), 0);
        let taken = procfs::peak_rss_bytes(running.pid()).expect("it runs");
        assert!(taken < MOUNT_MAX, "{} MiB", taken >> 20);
        unmount(reader, &dir).expect_ok();
        running.wait(BOUND).expect_ok();
    }
    assert!(compare::tree_bytes(reader.state()) > BIG / 64, "it was stored");
    server.signal(Signal::TERM);
}
