//! Whoever waits for bytes that never come can be told to stop waiting. The mounts here have a deadline that no test lives to see.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// When a mount answers by itself.
const DEADLINE: Duration = Duration::from_secs(600);
/// What takes longer than this waits for the deadline.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that nobody has, one that is there, and a directory that nobody has a list of.
struct Scene {
    rig: Rig,
    fine: Bytes,
}

impl Scene {
    fn new(transport: Transport) -> Self {
        let (stuck, fine) = (random_bytes(3 << 20, 1), random_bytes(3 << 20, 2));
        let hidden = dir((0..3000).map(|n| (format!("{n:05}"), file(n.to_string()))));
        let top = dir([
            ("stuck", Item::File(stuck.clone())),
            ("fine", Item::File(fine.clone())),
            ("hidden", hidden),
        ]);
        let release = Release::of(&top);
        let options = MountOptions {
            patience: DEADLINE,
            transport,
            ..options()
        };
        let rig = Rig::with(&release, MemorySource::prompt(&release), &options);
        for name in ["stuck", "fine", "hidden"] {
            fs::symlink_metadata(rig.path(name)).expect("attributes");
        }
        let scene = Self { rig, fine };
        // The kernel may drop pages of it whenever it likes.
        let fine = Release::of(&dir([("fine", Item::File(scene.fine.clone()))]));
        scene.rig.source.stick_all_but(&fine);
        scene.is_well();
        scene
    }

    /// A process that does this with `f`, the file that nobody has, or below the directory `d`, and dies of the signals it is sent. Waits
    /// until it waits.
    fn child(&self, does: &str) -> Child {
        let program = format!(
            "import mmap, os, signal, sys\nd = sys.argv[1]\nf = os.open(d + '/stuck', os.O_RDONLY)\n\
             signal.signal(signal.SIGINT, signal.SIG_DFL)\nprint('begins', flush=True)\n{does}"
        );
        let mut child = Command::new("python3")
            .arg("-c")
            .arg(program)
            .arg(self.rig.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        assert!(wait_for_line(&mut child, "begins"));
        until(PATIENCE, does, || {
            is_waiting(&child) && self.rig.mount.longest_wait() > Duration::ZERO
        });
        child
    }

    /// Others are served.
    fn is_well(&self) {
        let file = fs::File::open(self.rig.path("fine")).expect("open");
        let mut got = vec![0; self.fine.len()];
        file.read_exact_at(&mut got, 0).expect("bytes");
        assert!(got == self.fine);
    }
}

/// As proc_pid_stat(5) has it: waiting for something, whether a signal wakes it or not.
fn is_waiting(child: &Child) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("a process");
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['S', 'D']))
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
    kill_process(pid, signal).expect("sent");
}

/// Waits for its end, which must not be that of the mount's patience.
fn ended(mut child: Child) -> std::process::ExitStatus {
    let mut status = None;
    until(PATIENCE, "the reader ends", || {
        status = child.try_wait().expect("our own child");
        status.is_some()
    });
    status.expect("it has ended")
}

const SIGNALS: [(Signal, i32); 2] = [(Signal::KILL, libc::SIGKILL), (Signal::INT, libc::SIGINT)];

/// These wait for a page, and the kernel for us: it asked for the page on nobody's behalf.
#[test]
fn a_reader_that_is_killed_is_gone_at_once() {
    if can_mount() {
        over_each(killed_while_reading);
    }
}

fn killed_while_reading(transport: Transport) {
    let scene = Scene::new(transport);
    for read in [
        "os.pread(f, 4096, 0)",
        "os.read(f, 1 << 20)",
        "mmap.mmap(f, 0, prot=mmap.PROT_READ)[1 << 20]",
    ] {
        for (sent, number) in SIGNALS {
            let child = scene.child(read);
            signal(&child, sent);
            assert_eq!(ended(child).signal(), Some(number), "{read}");
            scene.is_well();
        }
    }
}

/// These wait for our answer, and the kernel lets nobody go before it has one.
#[test]
fn whoever_waits_for_an_answer_is_interrupted_and_what_it_wanted_is_let_go() {
    if can_mount() {
        over_each(|transport| match transport {
            // It answers that it knows no interrupts.
            Transport::Fuser => {}
            transport => interrupted_while_waiting(transport),
        });
    }
}

fn interrupted_while_waiting(transport: Transport) {
    let scene = Scene::new(transport);
    let source = &scene.rig.source;
    for asks in ["os.stat(d + '/hidden/00001')", "os.listdir(d + '/hidden')"] {
        for (sent, number) in SIGNALS {
            let before = source.stuck_let_go();
            let child = scene.child(asks);
            signal(&child, sent);
            assert_eq!(ended(child).signal(), Some(number), "{asks}");
            until(PATIENCE, "it is let go", || source.stuck_let_go() > before);
            until(PATIENCE, "nobody waits", || scene.rig.mount.longest_wait() == Duration::ZERO);
            scene.is_well();
        }
    }
    // A handler that goes on has the call begun anew or ended, as it likes: Python's ends it.
    let handled = "signal.signal(signal.SIGINT, signal.default_int_handler)\ntry: os.stat(d + '/hidden/00001')\n\
                   except KeyboardInterrupt: sys.exit(7)";
    let child = scene.child(handled);
    signal(&child, Signal::INT);
    assert_eq!(ended(child).code(), Some(7));
}

/// Two threads take requests: an interrupt may be read before the request it is for.
#[test]
fn an_interrupt_that_comes_first_is_kept_for_its_request() {
    let release = Release::of(&dir([("big", noise(1 << 20, 1))]));
    let source = MemorySource::prompt(&release);
    source.stick(&random_bytes(1 << 20, 1));
    let settings = Settings {
        release: ReleaseId(release.root.id()),
        patience: DEADLINE,
        cache_bytes: 1 << 20,
        profile: Default::default(),
    };
    let name = Name::new(&b"n"[..]).expect("a name");
    let shared = Arc::new(session::Shared::new(
        settings,
        &release.parsed(),
        name,
        source.clone(),
        &options(),
    ));
    let (kernel, ours) = rustix::pipe::pipe()
        .map(|(read, write)| (fs::File::from(read), write))
        .expect("a pipe");
    let channel = Arc::new(device::Channel::over(ours));
    let answer = || {
        let mut header = [0; 16];
        (&kernel).read_exact(&mut header).expect("an answer");
        let errno = i32::from_ne_bytes(header[4..8].try_into().expect("four bytes"));
        let mut rest = vec![0; u32::from_ne_bytes(header[..4].try_into().expect("four bytes")) as usize - 16];
        (&kernel).read_exact(&mut rest).expect("all of it");
        (u64::from_ne_bytes(header[8..].try_into().expect("eight bytes")), -errno, rest)
    };
    let request = |opcode: u32, unique: u64, node: u64, arguments: &[u8]| {
        let mut bytes = Vec::new();
        bytes.extend(((40 + arguments.len()) as u32).to_ne_bytes());
        bytes.extend(opcode.to_ne_bytes());
        bytes.extend(unique.to_ne_bytes());
        bytes.extend(node.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes.extend(arguments);
        device::take_one(&shared, &channel, &bytes);
    };
    request(1, 2, 1, b"big\0");
    let (unique, errno, entry) = answer();
    assert_eq!((unique, errno), (2, 0));
    let ino = u64::from_ne_bytes(entry[..8].try_into().expect("eight bytes"));
    let mut page = [0; 40];
    page[16..20].copy_from_slice(&4096_u32.to_ne_bytes());
    request(36, 3, 0, &4_u64.to_ne_bytes());
    request(15, 4, ino, &page);
    assert_eq!(answer(), (4, libc::EINTR, vec![]), "it had come already");
    request(15, 6, ino, &page);
    assert!(shared.longest_wait() < DEADLINE, "another one waits");
    request(36, 7, 0, &6_u64.to_ne_bytes());
    assert_eq!(answer(), (6, libc::EINTR, vec![]));
    // Not a request of any kind, then one nobody knows, and one cut short.
    device::take_one(&shared, &channel, b"short");
    request(4096, 8, 1, &[]);
    assert_eq!(answer(), (8, libc::ENOSYS, vec![]));
    request(15, 9, ino, &page[..8]);
    assert_eq!(answer(), (9, libc::EIO, vec![]));
}
