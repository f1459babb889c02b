//! Real mounts. Skipped, with the reason printed, where this machine lets nobody mount.

mod giving;
mod handles;
mod interrupt;
mod left;
mod names;
mod passthrough;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use tempfile::TempDir;

use super::stale::Cleaned;
use super::*;
use crate::testing::{Item, MTIME, MemorySource, Random, Release, dir, file, noise, random_bytes};
use crate::{Access, Cover, Op, Transport};

/// All ways to speak with the kernel.
const TRANSPORTS: [Transport; 3] = [Transport::Device, Transport::Ring, Transport::Fuser];

/// Waits for something that comes by itself and soon.
fn until(patience: Duration, what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < patience, "{what}");
        thread::yield_now();
    }
}

/// Has the kernel offer FUSE over io_uring, as far as we may say so, and puts it back as it was. One at a time.
struct OpenRing {
    was: Option<Vec<u8>>,
    _turn: Option<fs::File>,
}

impl OpenRing {
    const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

    fn new() -> Self {
        let turn = fs::File::open(Self::SWITCH).ok();
        if let Some(turn) = &turn {
            rustix::fs::flock(turn, rustix::fs::FlockOperation::LockExclusive).expect("our turn");
        }
        let was = fs::read(Self::SWITCH).ok().filter(|_| fs::write(Self::SWITCH, "Y").is_ok());
        let is_offered = fs::read(Self::SWITCH).is_ok_and(|is| is.starts_with(b"Y"));
        if !is_offered {
            println!("skipped: no FUSE over io_uring here (Linux 6.14, root): its mounts fall back");
        }
        Self { was, _turn: turn }
    }
}

impl Drop for OpenRing {
    fn drop(&mut self) {
        if let Some(was) = &self.was {
            fs::write(Self::SWITCH, was).expect("as it was");
        }
    }
}

/// The same over every transport.
fn over_each(test: impl Fn(Transport)) {
    for transport in TRANSPORTS {
        let _ring = (transport == Transport::Ring).then(OpenRing::new);
        println!("over {transport:?}");
        test(transport);
    }
}

/// A mount in a directory of its own.
struct Rig {
    mount: Mount,
    source: Arc<MemorySource>,
    dir: TempDir,
}

fn options() -> MountOptions {
    MountOptions {
        patience: Duration::from_secs(20),
        ..MountOptions::default()
    }
}

impl Rig {
    fn with(release: &Release, source: Arc<MemorySource>, options: &MountOptions) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mount = Mount::start(&release.root, source.clone(), dir.path(), options).expect("a mount");
        Self { mount, source, dir }
    }

    fn of(top: &Item) -> Self {
        let release = Release::of(top);
        Self::with(&release, MemorySource::slow(&release, Duration::ZERO), &options())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Whether this machine lets us mount; says so once where it does not.
fn can_mount() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let release = Release::of(&dir([("a", file("a"))]));
        let place = tempfile::tempdir().expect("a directory");
        match Mount::start(&release.root, MemorySource::prompt(&release), place.path(), &options()) {
            Ok(_) => true,
            Err(error) => {
                println!("skipped: {error}");
                false
            }
        }
    })
}

fn marked(item: Item, mode: u16, xattrs: &[(&'static str, &'static str)]) -> Item {
    Item::Marked(Box::new(item), mode, xattrs.to_vec())
}

fn tree() -> Item {
    let long = vec![b'n'; 255];
    let deep = (0..60).fold(file("bottom"), |below, level| dir([(format!("level-{level}"), below)]));
    let mut items = BTreeMap::from([
        (b"empty".to_vec(), file("")),
        (b"empty-dir".to_vec(), dir::<&str>([])),
        (b"deep".to_vec(), deep),
        (
            b"many".to_vec(),
            dir((0..3000).map(|i| (format!("{i:05}"), file(i.to_string())))),
        ),
        (
            b"packed".to_vec(),
            dir((0..300).map(|i| (format!("{i:03}"), noise(600 + i * 37, i as u64)))),
        ),
        (b"large".to_vec(), noise(5 << 20, 1)),
        (b"link".to_vec(), Item::Link(b"deep/level-59".to_vec())),
        (b"dangling".to_vec(), Item::Link(vec![b'x'; 4000])),
        (b"not \xff utf-8 \n".to_vec(), file("odd")),
        (b"program".to_vec(), marked(file("#!/bin/sh\necho it runs\n"), 0o755, &[])),
        (
            b"secret".to_vec(),
            marked(file("s"), 0o400, &[("user.colour", "red"), ("user.empty", "")]),
        ),
        (
            b"marked-dir".to_vec(),
            marked(dir([("x", file("x"))]), 0o711, &[("user.kind", "dir")]),
        ),
    ]);
    items.insert(long, file("long"));
    Item::Dir(items)
}

/// Compares a mounted directory with what was published; gives the number of entries seen.
fn compare(at: &Path, item: &Item) -> usize {
    let Item::Dir(items) = item else { panic!("not a directory") };
    let mut names: Vec<Vec<u8>> = fs::read_dir(at)
        .expect("a listing")
        .map(|entry| entry.expect("an entry").file_name().into_vec())
        .collect();
    names.sort();
    assert!(names.iter().eq(items.keys()), "{}", at.display());
    let mut seen = names.len();
    for (name, item) in items {
        let path = at.join(std::ffi::OsStr::from_bytes(name));
        let meta = fs::symlink_metadata(&path).expect("attributes");
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (MTIME.secs, i64::from(MTIME.nanos)));
        assert_eq!(meta.uid(), rustix::process::getuid().as_raw());
        let (item, mode) = match item {
            Item::Marked(item, mode, xattrs) => {
                for (key, value) in xattrs {
                    assert_eq!(xattr(&path, key), Ok(value.as_bytes().to_vec()));
                }
                (&**item, Some(u32::from(*mode)))
            }
            item => (item, None),
        };
        match item {
            Item::Dir(_) => {
                assert_eq!(meta.mode() & 0o777, mode.unwrap_or(0o755));
                seen += compare(&path, item);
            }
            Item::Link(target) => {
                assert_eq!(fs::read_link(&path).expect("a target").as_os_str().as_bytes(), target);
                assert_eq!(meta.len(), target.len() as u64);
            }
            Item::File(bytes) => {
                assert_eq!(meta.mode() & 0o7777, mode.unwrap_or(0o644));
                assert_eq!(
                    (meta.len(), meta.blocks()),
                    (bytes.len() as u64, (bytes.len() as u64).div_ceil(512))
                );
                assert!(fs::read(&path).expect("bytes") == *bytes, "{}", path.display());
            }
            Item::Marked(..) => panic!("marked twice"),
        }
    }
    seen
}

fn xattr(path: &Path, key: &str) -> Result<Vec<u8>, rustix::io::Errno> {
    let mut value = vec![0_u8; 4096];
    let len = rustix::fs::getxattr(path, key, &mut value)?;
    value.truncate(len);
    Ok(value)
}

/// What holds for a mount whoever made it.
fn tour(transport: Transport) {
    let top = tree();
    let release = Release::of(&top);
    let source = MemorySource::slow(&release, Duration::ZERO);
    let over = MountOptions { transport, ..options() };
    let rig = Rig::with(&release, source, &over);
    let entries = compare(rig.dir.path(), &top);
    assert_eq!(compare(rig.dir.path(), &top), entries, "and again, from the kernel's caches");
    let stat = rustix::fs::statvfs(rig.dir.path()).expect("figures");
    assert_eq!((stat.f_files, stat.f_bfree, stat.f_namemax), (entries as u64, 0, 255));
    assert!(stat.f_blocks * stat.f_frsize >= 5 << 20);
    let out = Command::new(rig.path("program"))
        .output()
        .expect("a program runs from the mount");
    assert_eq!(out.stdout, b"it runs\n");

    for error in [
        fs::write(rig.path("new"), "x"),
        fs::write(rig.path("large"), "x"),
        fs::create_dir(rig.path("new")),
        fs::remove_file(rig.path("empty")),
        fs::rename(rig.path("empty"), rig.path("full")),
        fs::set_permissions(rig.path("empty"), fs::Permissions::from_mode(0o600)),
    ] {
        assert_eq!(error.map_err(|e| e.kind()), Err(io::ErrorKind::ReadOnlyFilesystem));
    }
    assert_eq!(
        fs::metadata(rig.path("absent")).map_err(|e| e.kind()).err(),
        Some(io::ErrorKind::NotFound)
    );

    let mut keys = vec![0_u8; 200];
    let len = rustix::fs::listxattr(rig.path("secret"), &mut keys).expect("keys");
    assert_eq!(&keys[..len], b"user.colour\0user.empty\0");
    let id = release.root.id().to_string();
    let large = random_bytes(5 << 20, 1);
    assert_eq!(xattr(rig.dir.path(), "user.ares.release"), Ok(id.into_bytes()));
    let hash = ares_core::chunk::ChunkId::of(&large).to_string();
    assert_eq!(xattr(&rig.path("large"), "user.ares.hash"), Ok(hash.into_bytes()));
    assert_eq!(
        xattr(&rig.path("large"), "user.ares.held"),
        Ok((5 << 20).to_string().into_bytes())
    );
    rig.source.stick(&large);
    assert_eq!(xattr(&rig.path("large"), "user.ares.held"), Ok(b"0".to_vec()));
    assert_eq!(
        xattr(&rig.path("packed/299"), "user.ares.held"),
        Ok((600 + 299 * 37).to_string().into_bytes())
    );
    assert_eq!(xattr(&rig.path("large"), "user.other"), Err(rustix::io::Errno::NODATA));

    let line = info::at(rig.dir.path()).expect("it is mounted");
    assert_eq!((line.fstype.as_str(), line.source.as_str()), ("fuse.ares", "ares"));
    let again = Mount::start(&release.root, rig.source.clone(), rig.dir.path(), &over);
    assert!(matches!(again, Err(MountError::AlreadyMounted { .. })), "{again:?}");
    assert_eq!(rig.mount.unmount().expect("unmounted"), Unmounted::Idle);
    assert_eq!(rig.mount.wait(), Ended::Unmounted);
    assert_eq!(rig.mount.unmount().expect("twice"), Unmounted::Idle);
    assert_eq!(info::at(rig.dir.path()), None);
}

#[test]
fn the_mount_shows_what_was_published_and_takes_no_writes() {
    if can_mount() {
        over_each(tour);
    }
}

#[test]
fn a_transport_that_is_not_there_gives_way() {
    if !can_mount() {
        return;
    }
    let release = Release::of(&dir([("a", file("a"))]));
    over_each(|transport| {
        let rig = Rig::with(
            &release,
            MemorySource::prompt(&release),
            &MountOptions { transport, ..options() },
        );
        let is_offered = fs::read(OpenRing::SWITCH).is_ok_and(|is| is.starts_with(b"Y"));
        let expect = match transport {
            Transport::Ring if !is_offered => Transport::Device,
            transport => transport,
        };
        assert_eq!(rig.mount.transport(), expect);
        assert_eq!(fs::read(rig.path("a")).expect("bytes"), b"a");
    });
}

#[test]
fn random_reads_by_many_readers_give_the_right_bytes() {
    if can_mount() {
        over_each(random_reads);
    }
}

fn random_reads(transport: Transport) {
    let bytes = random_bytes(40 << 20, 9);
    let release = Release::of(&dir([("big", Item::File(bytes.clone()))]));
    let options = MountOptions { transport, ..options() };
    let rig = Rig::with(&release, MemorySource::slow(&release, Duration::from_micros(200)), &options);
    thread::scope(|scope| {
        for reader in 0..8 {
            let (rig, bytes) = (&rig, &bytes);
            scope.spawn(move || {
                let file = fs::File::open(rig.path("big")).expect("open");
                let mut random = Random(reader);
                for _ in 0..100 {
                    let at = random.below(bytes.len() as u64) as usize;
                    let len = (random.below(300_000) as usize).min(bytes.len() - at);
                    let mut got = vec![0_u8; len];
                    file.read_exact_at(&mut got, at as u64).expect("bytes");
                    assert!(got == bytes[at..at + len], "{len} at {at}");
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| assert!(fs::read(rig.path("big")).expect("bytes") == bytes));
        }
    });
}

#[test]
fn mapped_memory_shows_the_right_bytes() {
    if !can_mount() {
        return;
    }
    let bytes = random_bytes(8 << 20, 4);
    let rig = Rig::of(&dir([("big", Item::File(bytes.clone()))]));
    // Mapping is unsafe in Rust and not worth an exception: others do it for us.
    let program = "import mmap, sys\nf = open(sys.argv[1], 'rb')\nm = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n\
                   for at in range(len(m) - 1, 0, -40009): m[at]\nsys.stdout.buffer.write(m[:])";
    match Command::new("python3").arg("-c").arg(program).arg(rig.path("big")).output() {
        Ok(out) => assert!(out.stdout == bytes, "{}", String::from_utf8_lossy(&out.stderr)),
        Err(error) => println!("skipped: python3: {error}"),
    }
    // Running a binary maps it.
    let shell = fs::read("/bin/sh").expect("a shell");
    let rig = Rig::of(&dir([("sh", marked(file(shell), 0o555, &[]))]));
    let out = Command::new(rig.path("sh"))
        .args(["-c", "echo mapped"])
        .output()
        .expect("it runs");
    assert_eq!(out.stdout, b"mapped\n");
}

#[test]
fn a_hundred_thousand_entries_are_walked_fast() {
    if !can_mount() {
        return;
    }
    let flat = dir((0..100_000).map(|i| (format!("entry-{i:06}"), file(""))));
    let rig = Rig::of(&dir([("flat", flat)]));
    let begin = Instant::now();
    let listing = fs::read_dir(rig.path("flat")).expect("a listing");
    let metas: io::Result<Vec<fs::Metadata>> = listing.map(|entry| entry?.metadata()).collect();
    let took = begin.elapsed();
    println!("100,000 entries listed with attributes in {took:?}");
    assert_eq!(metas.expect("attributes").len(), 100_000);
    // 0.3 to 0.8 s where nothing else runs; anything quadratic takes minutes.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_stuck_read_ends_in_eio_and_holds_up_nobody() {
    if !can_mount() {
        return;
    }
    let (stuck, fine) = (random_bytes(3 << 20, 1), random_bytes(3 << 20, 2));
    let top = dir([("stuck", Item::File(stuck.clone())), ("fine", Item::File(fine.clone()))]);
    let release = Release::of(&top);
    let options = MountOptions {
        patience: Duration::from_secs(2),
        ..options()
    };
    let rig = Rig::with(&release, MemorySource::prompt(&release), &options);
    rig.source.stick(&stuck);
    thread::scope(|scope| {
        let path = rig.path("stuck");
        let reader = scope.spawn(move || {
            let begin = Instant::now();
            let error = fs::read(path).expect_err("no bytes ever come");
            (error.raw_os_error(), begin.elapsed())
        });
        let begin = Instant::now();
        assert!(fs::read(rig.path("fine")).expect("bytes") == fine);
        assert!(begin.elapsed() < options.patience, "{:?}", begin.elapsed());
        let (errno, took) = reader.join().expect("the reader");
        assert_eq!(errno, Some(libc::EIO));
        assert!(
            took >= options.patience.mul_f32(0.8) && took < options.patience.mul_f32(1.5),
            "{took:?}"
        );
    });
    let figures = &options.figures;
    assert!(figures.unreadable(Op::Read) > 0 && figures.unreadable(Op::Read) < figures.requests(Op::Read));
    assert!(figures.requests(Op::Lookup) >= 2 && figures.unreadable(Op::Lookup) == 0);
    assert!(figures.read_bytes() >= fine.len() as u64, "the stuck one brought none");
    assert!(
        figures.took(Op::Read).sum() >= options.patience.mul_f32(0.8),
        "the stuck one is counted too"
    );
    assert_eq!(rig.mount.longest_wait(), Duration::ZERO, "nobody waits any more");
}

#[test]
fn unmounting_ends_a_stuck_read_and_never_hangs() {
    if !can_mount() {
        return;
    }
    over_each(busy_unmount);
}

/// Unmounts while a reader waits for a chunk that never comes.
fn busy_unmount(transport: Transport) {
    let bytes = random_bytes(100_000, 1);
    let release = Release::of(&dir([("stuck", Item::File(bytes.clone())), ("open", file("x"))]));
    let options = MountOptions {
        patience: Duration::from_secs(600),
        transport,
        ..options()
    };
    let rig = Rig::with(&release, MemorySource::prompt(&release), &options);
    rig.source.stick(&bytes);
    let path = rig.path("stuck");
    let (opened, is_open) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let mut file = fs::File::open(path).expect("open");
        opened.send(()).expect("the test");
        file.read_to_end(&mut Vec::new()).map_err(|e| e.raw_os_error())
    });
    is_open.recv().expect("open");
    let begin = Instant::now();
    assert_eq!(rig.mount.unmount().expect("unmounted"), Unmounted::Busy);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(matches!(rig.mount.ended(), Some(Ended::Unmounted | Ended::Detached)));
    let error = reader.join().expect("the reader").expect_err("no bytes");
    assert!(
        matches!(error, Some(libc::EIO | libc::ECONNABORTED | libc::ENOTCONN)),
        "{error:?}"
    );
    assert_eq!(info::at(rig.dir.path()), None);
    assert!(fs::read_dir(rig.dir.path()).expect("the bare directory").next().is_none());
}

#[test]
fn dropping_a_mount_unmounts_it_and_an_outsider_may_too() {
    if !can_mount() {
        return;
    }
    let top = dir([("a", file("a"))]);
    let rig = Rig::of(&top);
    let place = rig.dir.path().to_owned();
    drop(rig.mount);
    assert_eq!(info::at(&place), None);
    let rig = Rig::of(&top);
    attach::detach_idle(rig.dir.path()).expect("unmounted from outside");
    assert_eq!(rig.mount.wait(), Ended::Unmounted);
}

#[test]
fn a_mount_point_that_will_not_do_is_refused_by_name() {
    let release = Release::of(&dir([("a", file("a"))]));
    let start = |dir: &Path, options: &MountOptions| {
        Mount::start(&release.root, MemorySource::prompt(&release), dir, options).map(|mount| mount.dir().to_owned())
    };
    let place = tempfile::tempdir().expect("a directory");
    let missing = place.path().join("missing");
    let error = start(&missing, &options()).expect_err("missing");
    assert!(matches!(error, MountError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains("missing does not exist"), "{error}");
    fs::write(&missing, "x").expect("a file");
    let error = start(&missing, &options()).expect_err("a file");
    assert!(matches!(error, MountError::NotDirectory { .. }), "{error:?}");
    let error = start(&missing.join("below"), &options()).expect_err("below a file");
    assert!(matches!(error, MountError::NotDirectory { .. }), "{error:?}");
    let error = start(place.path(), &options()).expect_err("not empty");
    assert!(matches!(error, MountError::NotEmpty { .. }), "{error:?}");
    assert!(matches!(stale::clean(place.path()), Ok(Cleaned::Nothing)));
    if can_mount() {
        let cover = MountOptions {
            cover: Cover::Allow,
            ..options()
        };
        assert_eq!(start(place.path(), &cover).expect("covered"), place.path());
        assert!(missing.exists(), "and it is back");
        let link = tempfile::tempdir().expect("a directory");
        let (target, link) = (link.path().join("target"), link.path().join("link"));
        fs::create_dir(&target).expect("a directory");
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        assert_eq!(start(&link, &options()).expect("through a link"), target);
    }
}

#[test]
fn what_others_mounted_over_us_is_left_alone() {
    if !can_mount() || !rustix::process::geteuid().is_root() {
        return;
    }
    let rig = Rig::of(&dir([("sub", dir([("x", file("x"))]))]));
    let place = rig.dir.path();
    rustix::mount::mount("none", place, "tmpfs", rustix::mount::MountFlags::empty(), None).expect("a tmpfs");
    let error = rig.mount.unmount().expect_err("covered");
    assert!(matches!(error, UnmountError::Covered { .. }), "{error}");
    assert_eq!(info::at(place).map(|line| line.fstype), Some("tmpfs".to_owned()));
    rustix::mount::unmount(place, rustix::mount::UnmountFlags::empty()).expect("the tmpfs is unmounted");
    assert_eq!(rig.mount.unmount().expect("unmounted"), Unmounted::Idle);
}

/// This program again, as another process: `child` does what `part` says on `dir`.
fn spawn_child(program: &Path, part: &str, dir: &Path, user: Option<u32>) -> Child {
    let mut command = Command::new(program);
    command.args(["--exact", "mount::tests::child", "--nocapture", "--test-threads=1"]);
    command.env("ARES_FS_PART", part).env("ARES_FS_DIR", dir).env("TMPDIR", dir);
    command.current_dir(dir).stdout(Stdio::piped()).stderr(Stdio::inherit());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.spawn().expect("this program")
}

/// Not a test by itself: what the processes of `spawn_child` do.
#[test]
fn child() {
    let (Ok(part), Some(dir)) = (std::env::var("ARES_FS_PART"), std::env::var_os("ARES_FS_DIR")) else {
        return;
    };
    match part.as_str() {
        "hold" => {
            let release = Release::of(&crate::testing::dir([("a", file("a"))]));
            let source = MemorySource::prompt(&release);
            let mount = Mount::start(&release.root, source, &Path::new(&dir).join("mnt"), &options()).expect("a mount");
            println!("holding");
            mount.wait();
        }
        "tour" => {
            assert!(can_mount());
            over_each(tour);
            over_each(busy_unmount);
            passthrough::refused();
            let release = Release::of(&crate::testing::dir([("a", file("a"))]));
            let everyone = MountOptions {
                access: Access::Everyone,
                ..options()
            };
            let place = tempfile::tempdir().expect("a directory");
            let allowed =
                fs::read_to_string("/etc/fuse.conf").is_ok_and(|conf| conf.lines().any(|l| l.trim() == "user_allow_other"));
            match Mount::start(&release.root, MemorySource::prompt(&release), place.path(), &everyone) {
                Ok(_) => assert!(allowed),
                Err(error) => assert!(!allowed && matches!(error, MountError::OthersForbidden), "{error}"),
            }
            println!("toured");
        }
        "clean" => {
            let place = Path::new(&dir).join("mnt");
            assert!(matches!(stale::clean(&place), Ok(Cleaned::Detached(1))));
            assert!(matches!(stale::clean(&place), Ok(Cleaned::Nothing)));
            println!("cleaned");
        }
        other => panic!("no part {other}"),
    }
}

/// Waits until the child says this.
fn wait_for_line(child: &mut Child, says: &str) -> bool {
    let out = child.stdout.take().expect("piped");
    BufReader::new(out)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains(says))
}

/// Kills a process that holds a mount and mounts again on the same directory.
fn killed_and_mounted_again(program: &Path, home: &Path, user: Option<u32>) {
    let place = home.join("mnt");
    fs::create_dir(&place).expect("a directory");
    if let Some(user) = user {
        chown(&place, Some(user), Some(user)).expect("given away");
    }
    for round in 0..2 {
        // The second round clears away what the first left.
        let mut child = spawn_child(program, "hold", home, user);
        assert!(wait_for_line(&mut child, "holding"), "round {round}");
        child.kill().expect("killed");
        child.wait().expect("dead");
        let error = fs::metadata(&place).expect_err("a dead mount");
        let dead = [Some(libc::ENOTCONN), Some(libc::EACCES), Some(libc::ECONNABORTED)];
        assert!(dead.contains(&error.raw_os_error()), "{error}");
    }
    let cleaned = spawn_child(program, "clean", home, user).wait_with_output().expect("ended");
    assert!(String::from_utf8_lossy(&cleaned.stdout).contains("cleaned"));
    assert_eq!(info::at(&place), None);
}

#[test]
fn the_mount_of_a_killed_instance_gives_way_to_the_next() {
    if !can_mount() {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let program = std::env::current_exe().expect("this program");
    killed_and_mounted_again(&program, home.path(), None);
}

/// Opens /dev/fuse to everybody, and puts it back as it was.
struct OpenDevice(Option<u32>);

impl OpenDevice {
    fn new() -> io::Result<Self> {
        let mode = fs::metadata("/dev/fuse")?.permissions().mode();
        if mode & 0o666 == 0o666 {
            return Ok(Self(None));
        }
        fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666))?;
        Ok(Self(Some(mode)))
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        if let Some(mode) = self.0 {
            fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(mode)).expect("as it was");
        }
    }
}

#[test]
fn an_ordinary_user_mounts_through_the_helper() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root becomes another user; the other tests ran as an ordinary one");
        return;
    }
    if !can_mount() || attach::find_helper().is_none() {
        println!("skipped: {}", MountError::NoHelper);
        return;
    }
    let _open = OpenDevice::new().expect("the device's mode");
    let home = tempfile::tempdir().expect("a directory");
    chown(home.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
    let program = home.path().join("program");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("copied");
    let out = spawn_child(&program, "tour", home.path(), Some(NOBODY))
        .wait_with_output()
        .expect("ended");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains("toured"), "{said}");
    killed_and_mounted_again(&program, home.path(), Some(NOBODY));
}

#[test]
fn errors_name_the_remedy() {
    let dir = || PathBuf::from("/mnt/x");
    let refused = |errno| MountError::Refused {
        dir: dir(),
        error: io::Error::from_raw_os_error(errno),
    };
    let check = |error: MountError, remedy: &str| assert!(error.to_string().contains(remedy), "{error}");
    check(MountError::NoDevice, "modprobe fuse");
    check(MountError::NoHelper, "install fuse3");
    check(MountError::OthersForbidden, "/etc/fuse.conf");
    check(MountError::Missing { dir: dir() }, "mkdir");
    check(refused(libc::EPERM), "--cap-add SYS_ADMIN");
    check(refused(libc::ENODEV), "modprobe fuse");
    check(refused(libc::EINVAL), "refused to mount on /mnt/x: Invalid argument");
    check(
        MountError::AlreadyMounted {
            dir: dir(),
            fstype: "tmpfs".into(),
            from: "none".into(),
        },
        "umount /mnt/x",
    );
}

#[test]
fn a_source_that_answers_at_once_does_not_wind_up_the_stack() {
    if !can_mount() {
        return;
    }
    let bytes: Bytes = random_bytes(60 << 20, 6);
    let release = Release::of(&dir([("big", Item::File(bytes.clone()))]));
    let rig = Rig::with(&release, MemorySource::prompt(&release), &options());
    let begin = Instant::now();
    assert!(fs::read(rig.path("big")).expect("bytes") == bytes);
    println!("60 MiB read in {:?}", begin.elapsed());
}
