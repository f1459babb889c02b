//! Bad disks: full, read-only, missing, refusing. The tests that need a filesystem of their own mount one when they may, and say so when not.

use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A mounted filesystem, unmounted on drop.
struct Mounted(PathBuf);

impl Mounted {
    /// A tmpfs with these options on `at`; `None` (and a printed reason) where we may not mount.
    fn tmpfs(at: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "ares-test"])
            .arg(&at)
            .output();
        match mount {
            Ok(out) if out.status.success() => Some(Self(at)),
            Ok(out) => {
                println!(
                    "SKIPPED: no tmpfs can be mounted: {}",
                    String::from_utf8_lossy(&out.stderr).trim()
                );
                None
            }
            Err(e) => {
                println!("SKIPPED: no tmpfs can be mounted: {e}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(done.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn error_of<T>(result: Result<T, StoreError>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn on_a_full_disk_intake_stops_serving_goes_on_and_intake_resumes_by_itself() {
    let dir = TempDir::new();
    let Some(disk) = Mounted::tmpfs(dir.path().join("mnt"), "size=4m") else {
        return;
    };
    let state = disk.0.join("s");
    let store = Store::open(&state).unwrap();
    let writer = store.writer();
    let mut put = Vec::new();
    let error = loop {
        let c = chunk(put.len() as u64, 100_000);
        match writer.put(&c, None) {
            Ok(()) => put.push(c),
            Err(e) => break e,
        }
        assert!(put.len() < 100, "4 MiB cannot hold this");
    };
    let StoreError::Full { needed_bytes, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*needed_bytes, 100_000);
    assert!(error.to_string().contains("intake resumes by itself"), "{error}");
    assert!(store.totals().intake_stopped.is_some());
    assert!(put.len() > 30);
    let extra = chunk(1000, 100_000);
    assert!(
        matches!(writer.put(&extra, None), Err(StoreError::Full { .. })),
        "at once, without trying"
    );
    assert!(matches!(
        writer.put(&extra, Some(place(1, 1 << 20, 0))),
        Err(StoreError::Full { .. })
    ));
    put.iter()
        .for_each(|c| assert_eq!(store.read(named(c)).unwrap().bytes(), c.bytes(), "served on"));
    // What is held already is no intake.
    writer.put(&put[0], None).unwrap();
    // Someone makes room.
    disk.remount("size=16m");
    let start = std::time::Instant::now();
    while let Err(error) = writer.put(&extra, None) {
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert!(start.elapsed().as_secs() < 15, "intake did not resume");
        std::thread::yield_now();
    }
    assert_eq!(store.totals().intake_stopped, None);
    drop(writer);
    drop(store);
    let store = Store::open(&state).unwrap();
    put.iter()
        .chain([&extra])
        .for_each(|c| assert_eq!(store.read(named(c)).unwrap().bytes(), c.bytes()));
    drop(store);
    // On a disk without a free byte, what is held can still be opened and served.
    disk.remount("size=16m");
    let _ = std::io::copy(&mut std::io::repeat(1), &mut fs::File::create(disk.0.join("fill")).unwrap());
    let store = Store::open(&state).unwrap();
    assert_eq!(store.read(named(&extra)).unwrap().bytes(), extra.bytes());
    drop(store);
    // A new store on it is refused, and says why.
    let error = error_of(Store::open(&disk.0.join("new")));
    assert!(error.contains("no room") || error.contains("No space"), "{error}");
}

#[test]
fn a_read_only_filesystem_is_named() {
    let dir = TempDir::new();
    let Some(disk) = Mounted::tmpfs(dir.path().join("mnt"), "size=4m") else {
        return;
    };
    let c = chunk(1, 10);
    {
        let store = Store::open(&disk.0.join("s")).unwrap();
        store.writer().put(&c, None).unwrap();
    }
    disk.remount("ro");
    for state in ["s", "new"] {
        let error = error_of(Store::open(&disk.0.join(state)));
        assert!(error.contains("read-only") && error.contains("--state"), "{error}");
    }
    disk.remount("rw");
    assert!(Store::open(&disk.0.join("s")).unwrap().has(&c.id()), "untouched");
}

#[test]
fn a_state_path_that_is_no_directory_of_ours_is_named() {
    let dir = TempDir::new();
    fs::write(dir.path().join("file"), b"mine").unwrap();
    for path in ["file", "file/below"] {
        let error = error_of(Store::open(&dir.path().join(path)));
        assert!(error.contains("not a directory"), "{error}");
    }
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"mine");
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
    let error = error_of(Store::open(&dir.path().join("dangling")));
    assert!(error.contains("dangling"), "{error}");
    fs::create_dir(dir.path().join("open")).unwrap();
    fs::set_permissions(dir.path().join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let error = error_of(Store::open(&dir.path().join("open")));
    assert!(error.contains("chmod 700"), "{error}");
    assert_eq!(fs::read_dir(dir.path().join("open")).unwrap().count(), 0, "untouched");
    // Something that is no journal in the journal's place.
    fs::create_dir_all(dir.path().join("odd/journal")).unwrap();
    let error = error_of(Store::open(&dir.path().join("odd")));
    assert!(error.contains("journal"), "{error}");
}

/// A filesystem whose disk takes fewer bytes than it promises: writes succeed and writeback fails, as on a dying disk.
#[test]
fn after_a_failed_fsync_the_file_is_not_trusted_and_its_last_chunks_are_forgotten() {
    let dir = TempDir::new();
    let Some(disk) = Mounted::tmpfs(dir.path().join("disk"), "size=24m") else {
        return;
    };
    let image = disk.0.join("image");
    fs::File::create(&image).unwrap().set_len(200 << 20).unwrap();
    let mkfs = Command::new("mkfs.ext4")
        .args(["-q", "-O", "^has_journal", "-E", "lazy_itable_init=1"])
        .arg(&image)
        .output();
    if !mkfs.as_ref().is_ok_and(|out| out.status.success()) {
        println!("SKIPPED: no mkfs.ext4: {mkfs:?}");
        return;
    }
    let at = dir.path().join("mnt");
    fs::create_dir(&at).unwrap();
    let mount = Command::new("mount")
        .args(["-o", "loop,errors=continue"])
        .arg(&image)
        .arg(&at)
        .output();
    if !mount.as_ref().is_ok_and(|out| out.status.success()) {
        println!("SKIPPED: no loop mount: {mount:?}");
        return;
    }
    let mounted = Mounted(at);
    let good = chunk(0, 100_000);
    let store = Store::open(&mounted.0.join("s")).unwrap();
    let writer = store.writer();
    writer.put(&good, None).unwrap();
    store.flush().unwrap();
    let lost: Vec<_> = (1..60).map(|n| chunk(n, 1 << 20)).collect();
    let mut error = None;
    for c in &lost {
        if let Err(e) = writer.put(c, None) {
            error = Some(e); // the flush thread may have found out before us
            break;
        }
    }
    let error = error
        .map_or_else(|| store.flush(), Err)
        .expect_err("24 MiB cannot hold 60")
        .to_string();
    println!("the flush said: {error}");
    assert_eq!(
        store.read(named(&good)).unwrap().bytes(),
        good.bytes(),
        "what was synced before is served on"
    );
    assert!(
        lost.iter().any(|c| !store.has(&c.id())),
        "what the disk did not take is not believed"
    );
    drop(writer);
    drop(store);
    drop(mounted);
}
