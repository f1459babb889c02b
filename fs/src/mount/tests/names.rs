//! A mount of several releases: names come, go and are given to others under the eyes of readers.

use super::*;
use crate::mount::ShowError;

fn release(text: &str) -> Release {
    Release::of(&dir([
        ("same", file(text)),
        ("big", noise(2 << 20, text.len() as u64)),
        ("sub", dir([("below", file(text))])),
    ]))
}

fn show(mount: &Mount, name: &str, text: &str, replaces: bool) -> Result<(), ShowError> {
    let release = release(text);
    let source = MemorySource::slow(&release, Duration::ZERO);
    mount.show(name.as_bytes(), &release.root, "file", source, replaces).map(drop)
}

fn names(at: &Path) -> Vec<String> {
    let entries = fs::read_dir(at).expect("a listing");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

fn names_come_and_go(transport: Transport) {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    let mount = Mount::start_empty(at, &MountOptions { transport, ..options() }).expect("a mount");
    assert_eq!(names(at), Vec::<String>::new());
    assert_eq!(
        fs::metadata(at.join("v1")).map_err(|e| e.kind()).err(),
        Some(io::ErrorKind::NotFound)
    );
    show(&mount, "v1", "one", false).expect("shown");
    show(&mount, "current", "one", false).expect("shown");
    // Nobody remembers that it was not there.
    assert_eq!(fs::read(at.join("v1/same")).expect("bytes"), b"one");
    assert_eq!(names(at), ["current", "v1"]);
    assert_eq!(names(&at.join("v1")), ["big", "same", "sub"]);
    let id = |name: &str| xattr(&at.join(name), "user.ares.release");
    assert_eq!(id("v1"), Ok(release("one").root.id().to_string().into_bytes()));
    assert_eq!(xattr(at, "user.ares.release"), Err(rustix::io::Errno::NODATA));
    let stat = rustix::fs::statvfs(at.join("v1")).expect("figures");
    let all = rustix::fs::statvfs(at).expect("figures");
    assert_eq!((stat.f_files, all.f_files), (4, 10));

    // What is open stays on its release, also what is only below an open directory.
    let current = at.join("current");
    let open = fs::File::open(current.join("big")).expect("open");
    let sub = fs::File::open(current.join("sub")).expect("open");
    assert!(matches!(
        show(&mount, "current", "three", false),
        Err(ShowError::Taken { .. })
    ));
    show(&mount, "current", "three", true).expect("shown");
    assert_eq!(fs::read(current.join("same")).expect("bytes"), b"three");
    assert!(fs::read(current.join("big")).expect("bytes") == random_bytes(2 << 20, 5));
    let mut got = vec![0; 2 << 20];
    open.read_exact_at(&mut got, 0).expect("bytes");
    assert!(got == random_bytes(2 << 20, 3), "the former one");
    let below = format!("/proc/self/fd/{}/below", std::os::fd::AsRawFd::as_raw_fd(&sub));
    assert_eq!(fs::read(below).expect("bytes"), b"one");
    assert_eq!(id("current"), Ok(release("three").root.id().to_string().into_bytes()));

    assert!(mount.hide(b"current") && !mount.hide(b"current"));
    assert_eq!(names(at), ["v1"]);
    assert!(fs::metadata(&current).is_err());
    open.read_exact_at(&mut got, 0).expect("bytes, of what has no name");
    assert_eq!(
        fs::create_dir(at.join("new")).map_err(|e| e.kind()),
        Err(io::ErrorKind::ReadOnlyFilesystem)
    );
    for bad in ["", ".", "..", "a/b", "nul\0"] {
        assert!(
            matches!(show(&mount, bad, "x", false), Err(ShowError::BadName { .. })),
            "{bad:?}"
        );
    }
    drop((open, sub));
    assert_eq!(mount.unmount().expect("unmounted"), Unmounted::Idle);
}

#[test]
fn names_come_and_go_and_what_is_open_stays() {
    if can_mount() {
        over_each(names_come_and_go);
    }
}

#[test]
fn a_name_that_is_flipped_again_and_again_is_always_one_of_them() {
    if !can_mount() {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    let mount = Mount::start_empty(at, &options()).expect("a mount");
    show(&mount, "current", "0", false).expect("shown");
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 40 {
                        let text = fs::read_to_string(at.join("current/sub/below")).expect("one or the other");
                        let seen: u32 = text.parse().expect("a number");
                        assert!(seen >= last, "{seen} after {last}");
                        last = seen;
                        assert_eq!(names(at), ["current"]);
                    }
                })
            })
            .collect();
        for flip in 1..=40 {
            show(&mount, "current", &flip.to_string(), true).expect("shown");
        }
        readers.into_iter().for_each(|reader| reader.join().expect("no panic"));
    });
}

#[test]
fn a_mount_of_one_release_has_no_names() {
    if !can_mount() {
        return;
    }
    let rig = Rig::of(&dir([("a", file("a"))]));
    assert!(matches!(show(&rig.mount, "x", "x", true), Err(ShowError::NoNames { .. })));
    assert!(!rig.mount.hide(b"a"));
}
