//! Files that the kernel reads by itself. Their backing files have other bytes than the release, so that a test sees which of the two
//! a reader got.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::Passthrough;

const PATIENCE: Duration = Duration::from_secs(20);

struct Scene {
    rig: Rig,
    /// As published.
    bytes: Bytes,
    /// Of the same length, as they are in the backing file.
    marked: Bytes,
    backing: Arc<File>,
}

impl Scene {
    fn new() -> Self {
        Self::over(MountOptions::default().transport)
    }

    fn over(transport: Transport) -> Self {
        let (bytes, marked) = (random_bytes(3 << 20, 1), random_bytes(3 << 20, 2));
        let release = Release::of(&dir([("big", Item::File(bytes.clone()))]));
        let backing = tempfile::tempfile_in(std::env::temp_dir()).expect("a file");
        (&backing).write_all(&marked).expect("written");
        let always = MountOptions {
            passthrough: Passthrough::Always,
            transport,
            ..options()
        };
        let rig = Rig::with(&release, MemorySource::prompt(&release), &always);
        let backing = Arc::new(backing);
        Self {
            rig,
            bytes,
            marked,
            backing,
        }
    }

    fn set_whole(&self, is: bool) {
        self.rig.source.set_whole(&self.bytes, is.then(|| self.backing.clone()));
    }

    fn open(&self) -> File {
        File::open(self.rig.path("big")).expect("open")
    }

    fn is_passed(&self, file: &File) -> bool {
        let mut got = vec![0; self.bytes.len()];
        file.read_exact_at(&mut got, 0).expect("bytes");
        assert!(got == self.bytes || got == self.marked);
        got == self.marked
    }

    /// A process that has the file mapped and not open; ends when its input does.
    fn map(&self) -> Child {
        let program = "import mmap, sys\nf = open(sys.argv[1], 'rb')\nm = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n\
                       f.close()\nm[0]\nprint('mapped', flush=True)\nsys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", program])
            .arg(self.rig.path("big"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        assert!(wait_for_line(&mut child, "mapped"));
        child
    }

    /// The kernel says that a file is closed some time after it is.
    fn wait_for_lent(&self, count: usize) {
        let begin = Instant::now();
        while self.rig.source.lent() != count {
            assert!(begin.elapsed() < PATIENCE, "{} lent, not {count}", self.rig.source.lent());
            thread::yield_now();
        }
    }
}

/// Whether the kernel would read files by itself, for us; says so where not.
fn can_pass() -> bool {
    if !can_mount() {
        return false;
    }
    let scene = Scene::new();
    scene.set_whole(true);
    let passes = scene.is_passed(&scene.open());
    if !passes {
        println!("skipped: no FUSE passthrough here (Linux 6.9, root)");
    }
    passes
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().expect("ended").success());
}

#[test]
fn a_file_that_is_held_whole_is_read_by_the_kernel_until_its_last_user_is_gone() {
    if !can_pass() {
        return;
    }
    over_each(passed_until_released);
}

fn passed_until_released(transport: Transport) {
    let scene = Scene::over(transport);
    assert!(!scene.is_passed(&scene.open()), "not whole");
    scene.set_whole(true);
    scene.wait_for_lent(0);
    let (first, second) = (scene.open(), scene.open());
    assert!(scene.is_passed(&first) && scene.is_passed(&second));
    scene.set_whole(false);
    assert!(scene.is_passed(&scene.open()), "whoever has it open decides");
    drop(first);
    assert_eq!(scene.rig.source.lent(), 1, "one file, one lease");
    assert!(scene.is_passed(&second));
    drop(second);
    scene.wait_for_lent(0);
    assert!(!scene.is_passed(&scene.open()));
    assert_eq!(scene.rig.mount.unmount().expect("unmounted"), Unmounted::Idle);
}

#[test]
fn a_mapping_that_is_left_over_decides_too() {
    if !can_pass() {
        return;
    }
    let scene = Scene::new();
    let cached = scene.map();
    scene.set_whole(true);
    assert!(!scene.is_passed(&scene.open()), "anything else would be EIO");
    end(cached);
    // Nobody tells us when the kernel has let go of it.
    let begin = Instant::now();
    while !scene.is_passed(&scene.open()) {
        assert!(begin.elapsed() < PATIENCE);
    }
    let passed = scene.map();
    scene.wait_for_lent(1);
    scene.set_whole(false);
    assert!(scene.is_passed(&scene.open()), "anything else would be EIO");
    end(passed);
    scene.wait_for_lent(0);
    assert!(!scene.is_passed(&scene.open()));
}

/// The kernel counts, and so do we: were one count off, an open would fail.
#[test]
fn many_who_open_and_close_a_file_that_comes_and_goes_never_see_an_error() {
    if !can_pass() {
        return;
    }
    let scene = Scene::new();
    let (over, passed) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let toggling = scope.spawn(|| {
            let mut is = false;
            while !over.load(Ordering::Relaxed) {
                is = !is;
                scene.set_whole(is);
                thread::yield_now();
            }
        });
        let readers: Vec<_> = (0..6_u64)
            .map(|reader| {
                let (scene, passed) = (&scene, &passed);
                scope.spawn(move || {
                    let mut random = Random(reader);
                    let begin = Instant::now();
                    // The first goes on until it has seen both: alone in the end, it lets go of the file at every turn.
                    let goes_on = || reader == 0 && !passed.load(Ordering::Relaxed) && begin.elapsed() < PATIENCE;
                    let mut turn = 0;
                    while turn < 500 || goes_on() {
                        turn += 1;
                        let file = scene.open();
                        let at = random.below(scene.bytes.len() as u64 - 4096) as usize;
                        let mut got = [0; 4096];
                        file.read_exact_at(&mut got, at as u64).expect("bytes");
                        let is_passed = got == scene.marked[at..at + 4096];
                        assert!(is_passed || got == scene.bytes[at..at + 4096]);
                        passed.fetch_or(is_passed, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().expect("a reader"));
        over.store(true, Ordering::Relaxed);
        toggling.join().expect("the toggling thread");
    });
    assert!(passed.load(Ordering::Relaxed), "nothing was read by the kernel");
    scene.wait_for_lent(0);
}

#[test]
fn a_lease_outlives_a_mount_that_was_taken_from_its_readers() {
    if !can_pass() {
        return;
    }
    let scene = Scene::new();
    scene.set_whole(true);
    let file = scene.open();
    assert!(scene.is_passed(&file));
    assert_eq!(scene.rig.mount.unmount().expect("unmounted"), Unmounted::Busy);
    let Scene { rig, marked, .. } = scene;
    let source = rig.source.clone();
    drop(rig);
    let mut got = vec![0; marked.len()];
    file.read_exact_at(&mut got, 0).expect("the kernel goes on reading");
    assert!(got == marked);
    assert_eq!(source.lent(), 1, "so the file must stay what it is");
}

#[test]
fn small_files_are_opened_without_a_word() {
    if !can_pass() {
        return;
    }
    let check = |bytes: Bytes, expect: bool| {
        let release = Release::of(&dir([("a", Item::File(bytes.clone())), ("b", file("b"))]));
        let source = MemorySource::prompt(&release);
        let marked = tempfile::tempfile().expect("a file");
        (&marked).write_all(&vec![7; bytes.len()]).expect("written");
        source.set_whole(&bytes, Some(Arc::new(marked)));
        let rig = Rig::with(&release, source, &options());
        let got = fs::read(rig.path("a")).expect("bytes");
        assert_eq!(got.iter().all(|&byte| byte == 7), expect, "{} bytes", bytes.len());
    };
    check(random_bytes(1 << 20, 1), false);
    check(random_bytes(3 << 20, 1), true);
}

/// Without the right to pass files, whole ones are served as others are. In a process that lacks it.
pub(super) fn refused() {
    let scene = Scene::new();
    scene.set_whole(true);
    for _ in 0..2 {
        assert!(!scene.is_passed(&scene.open()));
    }
    assert_eq!(scene.rig.source.lent(), 0);
}
