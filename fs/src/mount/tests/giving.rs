//! The kernel keeps small files that it did not ask for, and keeps them right.

use std::os::fd::AsFd as _;

use super::*;
use crate::mount::device;
use crate::mount::giving::Giving;
use crate::mount::wire::{Ask, Header};

/// Tells whether all pages of a file are in the page cache, and brings none there.
const PROGRAM: &str = "
import ctypes, mmap, sys
file = open(sys.argv[1], 'rb')
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
pages = (ctypes.c_ubyte * (len(mapped) // mmap.PAGESIZE + 1))()
at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(mapped)))
failed = ctypes.CDLL(None).mincore(at, ctypes.c_size_t(len(mapped)), pages)
count = -(-len(mapped) // mmap.PAGESIZE)
sys.exit(0 if not failed and all(page & 1 for page in pages[:count]) else 1)
";

fn is_kept(path: &Path) -> bool {
    let status = Command::new("python3").args(["-c", PROGRAM]).arg(path).status();
    status.expect("python3").success()
}

fn files_are_given(transport: Transport) {
    let bytes: Vec<Bytes> = (0..150_u64).map(|n| random_bytes(5_000 + n as usize, n)).collect();
    let release = Release::of(&dir(bytes
        .iter()
        .enumerate()
        .map(|(n, bytes)| (format!("f{n:03}"), file(bytes)))));
    let options = MountOptions {
        transport,
        figures: Arc::default(),
        ..options()
    };
    let rig = Rig::with(&release, MemorySource::slow(&release, Duration::ZERO), &options);
    // With attributes, so that the kernel knows them all.
    assert_eq!(fs::read_dir(rig.dir.path()).expect("a listing").count(), bytes.len());
    let read = |n: usize| assert!(fs::read(rig.path(&format!("f{n:03}"))).expect("readable") == bytes[n], "{n}");
    read(0);
    read(1);
    let begin = Instant::now();
    while !is_kept(&rig.path("f040")) {
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing was given");
    }
    let before = options.figures.requests(Op::Read);
    read(40);
    assert_eq!(options.figures.requests(Op::Read), before, "nobody was asked");
    (0..bytes.len()).for_each(read);
    let asked = options.figures.requests(Op::Read);
    assert!(asked < bytes.len() as u64, "{asked}");
    assert!(rig.mount.unmount().is_ok());
}

#[test]
fn small_files_beside_those_that_are_read_are_in_the_page_cache() {
    if can_mount() {
        let own = [Transport::Device, Transport::Ring];
        for transport in own {
            let _ring = (transport == Transport::Ring).then(OpenRing::new);
            files_are_given(transport);
        }
    }
}

/// How long anything may take that does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a thread of this process has open that gives files and waits for what no signal ends, beyond input, output and errors: by number, and what it is.
fn waiting_giver_has() -> Option<Vec<(String, PathBuf)>> {
    let threads = fs::read_dir("/proc/self/task").expect("our threads");
    let mut threads = threads.filter_map(|thread| Some(thread.ok()?.path()));
    let waits = |thread: &PathBuf| fs::read_to_string(thread.join("stat")).is_ok_and(|stat| stat.contains("(ares-fs-give) D"));
    let open = fs::read_dir(threads.find(waits)?.join("fd")).ok()?;
    let named = open.filter_map(|fd| {
        Some((
            fd.as_ref().ok()?.file_name().into_string().ok()?,
            fs::read_link(fd.ok()?.path()).ok()?,
        ))
    });
    Some(named.filter(|(number, _)| !["0", "1", "2"].contains(&&**number)).collect())
}

/// A mount of one file that somebody reads, whom nobody answers, and who gives that very file to the kernel meanwhile.
struct Waiting {
    place: TempDir,
    giver: Option<Giving>,
    channel: Option<Arc<device::Channel>>,
    reader: Child,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        stale::break_off(self.place.path()).expect("unmounted");
        self.giver.take().into_iter().for_each(Giving::finish);
        assert!(!self.reader.wait().expect("cat").success(), "nobody has answered it");
    }
}

/// Where the request is that waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    /// With us.
    Taken,
    /// With the kernel.
    Queued,
}

fn giver_waits(source: &str, read: Request) -> Waiting {
    let bytes = random_bytes(5_000, 1);
    let release = Release::of(&dir([("a", file(&bytes))]));
    let place = tempfile::tempdir().expect("a directory");
    let root = Root::parse(&release.root).expect("a root");
    let settings = Settings {
        release: ReleaseId(release.root.id()),
        patience: PATIENCE,
        cache_bytes: 0,
        profile: Profile::default(),
    };
    let options = options();
    let name = file_name("file", settings.release);
    let source_of_chunks = MemorySource::prompt(&release);
    let shared = Arc::new(session::Shared::new(settings, &root, name, source_of_chunks, &options));
    let connection = attach::attach(place.path(), source, options.access).expect("a mount");
    let (channel, _) = device::greet(&shared, connection, false).expect("first words");
    let (giving, begins) = std::sync::mpsc::channel();
    let path = place.path().join("a");
    // In a process of its own: what this one has open every thread that begins has for a moment, and says so when it closes that.
    let reader = Command::new("cat").arg(path).stdout(Stdio::null()).spawn().expect("cat");
    // Whoever answers does not answer that read.
    let answers = thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut next = || {
            let len = rustix::io::read(channel.as_fd(), &mut *buffer).expect("a request");
            let (header, arguments) = Header::parse(&buffer[..len]).expect("a request");
            let file = match (header.ask(arguments), read) {
                (Ok(Ask::Read { ino, .. }), Request::Taken) => return Some(ino),
                // What follows is the read.
                (Ok(Ask::Open { ino }), Request::Queued) => Some(ino),
                _ => None,
            };
            device::take_one(&shared, &channel, &buffer[..len]);
            file
        };
        let ino = std::iter::repeat_with(&mut next).flatten().next().expect("a read");
        if read == Request::Queued {
            let mut queue = [rustix::event::PollFd::new(&channel, rustix::event::PollFlags::IN)];
            assert_eq!(rustix::event::poll(&mut queue, None), Ok(1));
        }
        let giver = Giving::start(&channel).expect("a thread");
        giver.give(vec![(ino, bytes.clone())]);
        until(PATIENCE, "it does not wait", || waiting_giver_has().is_some());
        giving.send((giver, channel)).expect("somebody listens");
    });
    let (giver, channel) = begins.recv_timeout(PATIENCE).expect("a giver that waits");
    answers.join().expect("no panic");
    Waiting {
        place,
        giver: Some(giver),
        channel: Some(channel),
        reader,
    }
}

#[test]
fn a_giver_that_waits_for_a_reader_has_nothing_open_but_its_own_and_ends_with_the_mount() {
    if !can_mount() {
        return;
    }
    let waiting = giver_waits("ares", Request::Taken);
    let ours = waiting.channel.as_ref().expect("it is open").as_fd();
    let ours = std::os::fd::AsRawFd::as_raw_fd(&ours).to_string();
    let open = waiting_giver_has().expect("it waits");
    // What the others have, a lock of the store among it, is closed when they end, whatever becomes of this one.
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].0 != ours && open[0].1 == Path::new(attach::DEVICE), "{open:?}");
}

/// As a daemon that is killed there leaves it: nobody takes requests any more, and yet the kernel takes the connection for alive.
#[test]
fn a_giver_that_was_left_alone_with_the_connection_is_let_go_of_by_the_next_one_of_its_source() {
    if !can_mount() {
        return;
    }
    let source = "ares:alone";
    let mut waiting = giver_waits(source, Request::Queued);
    waiting.channel = None;
    assert!(waiting_giver_has().is_some(), "nothing ends it");
    let place = waiting.place.path().canonicalize().expect("a directory");
    assert_eq!(stale::pulse(&place), stale::Pulse::Silent);
    assert!(
        stale::clean_all(source, &[], stale::Silent::Waits).is_empty(),
        "it may be taken over"
    );
    assert!(waiting_giver_has().is_some());
    let cleaned = stale::clean_all(source, &[], stale::Silent::Dead);
    let cleaned: Vec<_> = cleaned.into_iter().filter_map(Result::ok).collect();
    assert_eq!(cleaned, [place]);
    until(PATIENCE, "it is held still", || waiting_giver_has().is_none());
}
