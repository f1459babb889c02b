//! Mounts that go from hand to hand while they are read: whoever reads is told nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Advice, fadvise};

use super::*;
use crate::Passthrough;
use crate::mount::{Left, Showing, Slot};

/// How often each goes on.
const TIMES: u64 = 4;
/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn never() -> MountOptions {
    MountOptions {
        passthrough: Passthrough::Never,
        patience: PATIENCE,
        ..options()
    }
}

/// Has the next process go on with it: no thread, memory or number of the last is used.
fn pass_on(mount: Mount, release: &Release, options: &MountOptions) -> (Mount, Arc<MemorySource>) {
    let dir = mount.dir().to_owned();
    let left = mount.leave().expect("a mount that can be left");
    assert_eq!(mount.ended(), Some(Ended::Left));
    drop(mount);
    let source = MemorySource::slow(release, Duration::from_micros(200));
    let (root, from) = (release.root.clone(), source.clone());
    let showing = Showing::One { root, source: from };
    (Mount::resume(left, showing, &dir, options).expect("resumed"), source)
}

/// From the first byte to the last, as asked from us and not from the page cache.
fn read_anew(file: &fs::File, len: usize) -> Vec<u8> {
    fadvise(file, 0, None, Advice::DontNeed).expect("advice");
    let mut got = vec![0; len];
    file.read_exact_at(&mut got, 0).expect("bytes");
    got
}

#[test]
fn whoever_reads_and_looks_and_lists_notices_nothing_of_a_mount_that_is_passed_on() {
    if !can_mount() {
        return;
    }
    let bytes = random_bytes(4 << 20, 7);
    let many = dir((0..2000).map(|n| (format!("{n:04}"), file(n.to_string()))));
    let deep = dir([(
        "a",
        dir([("b", dir([("link", Item::Link(b"../x".to_vec())), ("x", noise(70_000, 3))]))]),
    )]);
    let release = Release::of(&dir([("big", Item::File(bytes.clone())), ("many", many), ("deep", deep)]));
    let rig = Rig::with(&release, MemorySource::slow(&release, Duration::from_micros(200)), &never());
    let Rig {
        mut mount,
        dir,
        source: _first,
    } = rig;
    let at = dir.path();
    let entries = rustix::fs::statvfs(at).expect("figures").f_files;
    let (is_over, rounds) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
    let until_over = |round: usize, work: &dyn Fn()| {
        while !is_over.load(Ordering::Relaxed) {
            work();
            rounds[round].fetch_add(1, Ordering::Relaxed);
        }
    };
    let mount = thread::scope(|scope| {
        scope.spawn(|| {
            let open = fs::File::open(at.join("big")).expect("open");
            until_over(0, &|| assert!(read_anew(&open, bytes.len()) == bytes));
        });
        scope.spawn(|| {
            let below = fs::File::open(at.join("deep/a/b")).expect("open");
            let below = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&below)));
            let open = fs::File::open(below.join("x")).expect("open");
            until_over(1, &|| {
                // Where a path leads to what is not known, the kernel looks it up again: not where a descriptor does.
                assert_eq!(rustix::fs::flistxattr(&open, &mut [0; 1]), Ok(0));
                assert_eq!(fs::read_link(below.join("link")).expect("a link").as_os_str(), "../x");
                assert_eq!(fs::read(below.join("x")).expect("bytes").len(), 70_000);
                assert_eq!(xattr(&below.join("x"), "user.ares.held").map(|value| value.len()), Ok(5));
            });
        });
        scope.spawn(|| {
            until_over(2, &|| {
                assert_eq!(fs::read_dir(at.join("many")).expect("a listing").count(), 2000);
                assert_eq!(rustix::fs::statvfs(at).expect("figures").f_files, entries);
            });
        });
        for _ in 0..TIMES {
            let before = rounds.each_ref().map(|round| round.load(Ordering::Relaxed));
            (mount, _) = pass_on(mount, &release, &never());
            let begin = Instant::now();
            while rounds
                .iter()
                .zip(before)
                .any(|(round, before)| round.load(Ordering::Relaxed) < before + 2)
            {
                assert!(begin.elapsed() < PATIENCE, "somebody waits for ever");
                thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        mount
    });
    assert_eq!(mount.unmount().expect("unmounted"), Unmounted::Idle);
    assert!(mount.leave().is_none(), "it has ended");
}

#[test]
fn a_read_that_nobody_could_answer_is_answered_by_whoever_goes_on() {
    if !can_mount() {
        return;
    }
    let bytes = random_bytes(1 << 20, 8);
    let release = Release::of(&dir([("stuck", Item::File(bytes.clone()))]));
    let source = MemorySource::prompt(&release);
    source.stick(&bytes);
    let Rig { mount, dir, .. } = Rig::with(&release, source, &never());
    if !mount.agreed().expect("it can be left").resends {
        return println!("skipped: this kernel does not ask again (Linux 6.9)");
    }
    let (begun, begins) = std::sync::mpsc::channel();
    let path = dir.path().join("stuck");
    let reader = thread::spawn(move || {
        let file = fs::File::open(path).expect("open");
        begun.send(()).expect("somebody listens");
        read_anew(&file, 1 << 20)
    });
    begins.recv().expect("a reader");
    while mount.longest_wait().is_zero() {
        thread::yield_now();
    }
    let (_mount, _source) = pass_on(mount, &release, &never());
    assert!(reader.join().expect("no error") == bytes);
}

#[test]
fn names_and_what_is_open_without_one_are_passed_on() {
    if !can_mount() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    let of = |seed| {
        Release::of(&dir([
            ("big", noise(1 << 20, seed)),
            ("sub", dir([("x", file(seed.to_string()))])),
        ]))
    };
    let show = |mount: &Mount, name: &str, seed| {
        let release = of(seed);
        mount
            .show(name.as_bytes(), &release.root, "file", MemorySource::prompt(&release), true)
            .expect("shown")
    };
    let mut mount = Mount::start_empty(at, &never()).expect("a mount");
    let mut slots = vec![
        (show(&mount, "kept", 1), Some("kept"), 1),
        (show(&mount, "flips", 2), None, 2),
    ];
    let (kept, old) = (at.join("kept/big"), at.join("flips/big"));
    let [kept, old] = [kept, old].map(|path| fs::File::open(path).expect("open"));
    slots.push((show(&mount, "flips", 3), Some("flips"), 3));
    for round in 0..TIMES {
        assert_eq!(mount.slots(), slots.iter().map(|(slot, ..)| *slot).collect::<Vec<_>>());
        let left = mount.leave().expect("a mount that can be left");
        drop(mount);
        let showing = slots.iter().map(|&(number, name, seed)| {
            let release = of(seed);
            Slot {
                number,
                name: name.map(|name| name.as_bytes().to_vec()),
                root: release.root.clone(),
                file: String::from("file"),
                source: MemorySource::prompt(&release),
            }
        });
        mount = Mount::resume(left, Showing::Many(showing.collect()), at, &never()).expect("resumed");
        assert!(read_anew(&kept, 1 << 20) == random_bytes(1 << 20, 1), "round {round}");
        assert!(read_anew(&old, 1 << 20) == random_bytes(1 << 20, 2), "round {round}");
        assert_eq!(fs::read(at.join("flips/sub/x")).expect("bytes"), b"3");
    }
    assert!(show(&mount, "new", 4) > slots[2].0, "a number of its own");
    drop((kept, old));
    assert_eq!(mount.unmount().expect("unmounted"), Unmounted::Idle);
}

#[test]
fn whatever_way_a_file_is_open_it_stays_so_when_the_mount_is_passed_on() {
    if !can_mount() {
        return;
    }
    let (bytes, marked) = (random_bytes(1 << 20, 1), random_bytes(1 << 20, 2));
    let release = Release::of(&dir([("passed", Item::File(bytes.clone())), ("cached", noise(1 << 20, 3))]));
    let mut backing = tempfile::tempfile_in(std::env::temp_dir()).expect("a file");
    io::Write::write_all(&mut backing, &marked).expect("written");
    let backing = Arc::new(backing);
    let always = MountOptions {
        passthrough: Passthrough::Always,
        ..never()
    };
    let source = MemorySource::prompt(&release);
    source.set_whole(&bytes, Some(backing.clone()));
    let Rig { mut mount, dir, .. } = Rig::with(&release, source, &always);
    let [passed, cached] = ["passed", "cached"].map(|name| dir.path().join(name));
    let open = fs::File::open(&passed).expect("open");
    if read_anew(&open, 1 << 20) != marked {
        return println!("skipped: no FUSE passthrough here (Linux 6.9, root)");
    }
    let open_cached = fs::File::open(&cached).expect("open");
    for _ in 0..TIMES {
        let source;
        (mount, source) = pass_on(mount, &release, &always);
        // Now the other way would be the right one; but as long as one has it open, it is not.
        source.set_whole(&bytes, None);
        source.set_whole(&random_bytes(1 << 20, 3), Some(backing.clone()));
        assert!(read_anew(&open, 1 << 20) == marked);
        assert!(read_anew(&fs::File::open(&passed).expect("the same way"), 1 << 20) == marked);
        assert!(read_anew(&fs::File::open(&cached).expect("the same way"), 1 << 20) == random_bytes(1 << 20, 3));
        assert!(read_anew(&open_cached, 1 << 20) == random_bytes(1 << 20, 3));
    }
    drop((open, open_cached));
    let begin = Instant::now();
    while !mount.agreed().expect("it can be left").opens.is_empty() {
        assert!(begin.elapsed() < PATIENCE, "what nobody has open counts as open");
        thread::yield_now();
    }
    assert!(
        read_anew(&fs::File::open(&passed).expect("open"), 1 << 20) == bytes,
        "by chunks, as it is not whole"
    );
}

#[test]
fn a_mount_that_is_left_and_not_taken_over_is_dead_and_can_be_taken_away() {
    if !can_mount() {
        return;
    }
    let Rig { mount, dir, .. } = Rig::of(&dir([("a", file("a"))]));
    let left: Left = mount.leave().expect("a mount that can be left");
    assert!(mount.leave().is_none(), "twice");
    drop((left, mount));
    // The thread that took requests lets go of the connection a moment later.
    let begin = Instant::now();
    while rustix::fs::statfs(dir.path()).map(|_| ()) != Err(rustix::io::Errno::NOTCONN) {
        assert!(begin.elapsed() < PATIENCE, "it lives");
        thread::yield_now();
    }
    assert_eq!(stale::clean(dir.path()).expect("cleaned"), Cleaned::Detached(1));
}

#[test]
fn only_a_mount_over_the_device_can_be_left() {
    if !can_mount() {
        return;
    }
    over_each(|transport| {
        let release = Release::of(&dir([("a", file("a"))]));
        let options = MountOptions { transport, ..never() };
        let rig = Rig::with(&release, MemorySource::prompt(&release), &options);
        let can = rig.mount.transport() == Transport::Device;
        assert_eq!(rig.mount.agreed().is_some(), can);
        if !can {
            assert!(rig.mount.leave().is_none());
            assert_eq!(fs::read(rig.path("a")).expect("bytes"), b"a");
        }
    });
}
