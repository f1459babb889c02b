//! A mount from its first answer to its end: read-only, never a hang, gone when it is told to go, and replaceable when it was killed.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ares_tests::mount::{self, Mounted, is_mounted, unmount};
use ares_tests::{Daemon, Lab, Node, Published, compare, tree, wait};
use rustix::io::Errno;
use rustix::process::Signal;

/// Longest a read may wait before it must fail: the daemon's own deadline, with room.
const READ_DEADLINE: Duration = Duration::from_secs(75);

struct Scene {
    lab: Lab,
    server: Daemon,
    release: PathBuf,
    link: String,
}

fn scene(test: &str) -> Option<Scene> {
    if !mount::is_possible(test) {
        return None;
    }
    let lab = Lab::new(test, 2)?;
    let release = lab.node(0).dir().join("release");
    tree::source(&release, 120, 61);
    tree::big_file(&release.join("big"), 24 << 20, 62);
    let server = Daemon::serve(lab.node(0));
    let Published { link, .. } = server.publish(&release);
    Some(Scene {
        lab,
        server,
        release,
        link,
    })
}

fn mount_point(node: &Node, name: &str) -> PathBuf {
    let dir = node.dir().join(name);
    fs::create_dir(&dir).expect("a mount point");
    dir
}

/// The error number of a failed operation.
fn errno<T>(result: std::io::Result<T>) -> Option<Errno> {
    result.err().and_then(|e| e.raw_os_error()).map(Errno::from_raw_os_error)
}

#[test]
fn a_mount_ends_cleanly_by_every_way() {
    let Some(Scene {
        lab,
        link,
        server: _server,
        ..
    }) = scene("mount-ends")
    else {
        return;
    };
    let reader = lab.node(1);
    let dir = mount_point(reader, "mounted");
    for way in ["umount", "SIGTERM", "SIGINT"] {
        let mounted = Mounted::new(reader, &link, &dir);
        assert_eq!(fs::read(dir.join("big")).expect("readable").len(), 24 << 20);
        match way {
            "SIGTERM" => mounted.end_by(Signal::TERM).expect_ok(),
            "SIGINT" => mounted.end_by(Signal::INT).expect_ok(),
            _ => {
                unmount(reader, &dir).expect_ok();
                mounted.gone().expect_ok()
            }
        };
        assert_eq!(fs::read_dir(&dir).expect("the bare directory").count(), 0, "after {way}");
    }
    let mounted = Mounted::new(reader, &link, &dir);
    let tool = reader.run({
        let mut umount = reader.command("umount");
        umount.arg(&dir);
        umount
    });
    tool.expect_ok();
    mounted.gone().expect_ok();
}

#[test]
fn a_detached_mount_answers_when_the_command_returns() {
    let Some(Scene {
        lab,
        link,
        release,
        server: _server,
    }) = scene("mount-detach")
    else {
        return;
    };
    let reader = lab.node(1);
    let dir = mount_point(reader, "mounted");
    let mut command = reader.ares(["mount", &link]);
    command.arg(&dir).arg("--detach");
    reader.run(command).expect_ok();
    assert!(is_mounted(&dir));
    compare::assert_same_and_diff_clean(reader, &release, &dir);
    unmount(reader, &dir).expect_ok();
    wait::until(Duration::from_secs(10), "the end of the mount", || {
        (!is_mounted(&dir)).then_some(())
    });
}

#[test]
fn a_killed_mount_is_replaced_by_the_next() {
    let Some(Scene {
        lab,
        link,
        release,
        server: _server,
    }) = scene("mount-killed")
    else {
        return;
    };
    let reader = lab.node(1);
    let dir = mount_point(reader, "mounted");
    let mounted = Mounted::new(reader, &link, &dir);
    let held_open = File::open(dir.join("big")).expect("readable");
    mounted.kill();
    assert!(
        is_mounted(&dir) && !mount::answers(&dir),
        "a mount whose process is dead must fail, not hang"
    );
    let mounted = Mounted::new(reader, &link, &dir);
    compare::assert_same(&release, &dir);
    drop(held_open);
    mounted.end_by(Signal::TERM).expect_ok();
    assert!(!is_mounted(&dir), "the dead mount beneath must be gone too");
}

/// A machine that killed its `ares mount` (out of memory, say) must not keep a directory that nobody can look into.
#[test]
fn the_next_daemon_replaces_the_dead_mounts_of_its_own_state_and_no_others() {
    let Some(Scene {
        lab,
        link,
        server: _server,
        ..
    }) = scene("mount-swept")
    else {
        return;
    };
    let ours = lab.node(1);
    let other = |name: &str| ours.with_state(ours.dir().join(name));
    let [dead, taken, foreign, alive] = ["a dead one", "taken", "foreign", "alive"].map(|name| mount_point(ours, name));
    let daemon = Daemon::serve(ours);
    let detached = |node: &Node, dir: &Path| {
        let mut command = node.ares(["mount", &link]);
        command.arg(dir).arg("--detach");
        node.run(command).expect_ok();
    };
    for dir in [&dead, &taken] {
        detached(ours, dir);
    }
    daemon.kill();
    // Somebody takes one of them away and mounts there, and dies as well.
    unmount(ours, &taken).expect_ok();
    for (state, dir) in [("second", &taken), ("third", &foreign)] {
        Mounted::new(&other(state), &link, dir).kill();
    }
    let _alive = Mounted::new(&other("fourth"), &link, &alive);
    for dir in [&dead, &taken, &foreign] {
        assert!(is_mounted(dir) && !mount::answers(dir), "{} must be dead", dir.display());
    }
    let daemon = Daemon::serve(ours);
    wait::until(READ_DEADLINE, "the one that it had itself, made anew", || {
        mount::answers(&dead).then_some(())
    });
    assert!(
        is_mounted(&taken) && is_mounted(&foreign),
        "mounts of another state are not ours"
    );
    assert!(mount::answers(&alive));
    daemon.terminate().expect_ok();
}

#[test]
fn nothing_can_be_written() {
    let Some(Scene {
        lab,
        link,
        server: _server,
        ..
    }) = scene("mount-read-only")
    else {
        return;
    };
    let dir = mount_point(lab.node(1), "mounted");
    let _mounted = Mounted::new(lab.node(1), &link, &dir);
    let file = dir.join("big");
    let rows: [(&str, Option<Errno>); 7] = [
        ("create", errno(File::create(dir.join("new")))),
        ("open for writing", errno(OpenOptions::new().write(true).open(&file))),
        ("mkdir", errno(fs::create_dir(dir.join("new")))),
        ("unlink", errno(fs::remove_file(&file))),
        ("rename", errno(fs::rename(&file, dir.join("new")))),
        ("symlink", errno(symlink("x", dir.join("new")))),
        ("set mtime", errno(tree::set_mtime(&file, (1, 1)))),
    ];
    for (what, error) in rows {
        assert_eq!(error, Some(Errno::ROFS), "{what}");
    }
    let stats = rustix::fs::statvfs(&dir).expect("statfs");
    assert_eq!(stats.f_bavail, 0, "no room to write");
    assert!(stats.f_blocks * stats.f_frsize >= 24 << 20, "the size of the release");
}

#[test]
fn reads_at_every_offset_give_the_published_bytes() {
    let Some(Scene {
        lab,
        link,
        release,
        server: _server,
    }) = scene("mount-offsets")
    else {
        return;
    };
    let dir = mount_point(lab.node(1), "mounted");
    let _mounted = Mounted::new(lab.node(1), &link, &dir);
    let want = fs::read(release.join("big")).expect("readable");
    let mut file = File::open(dir.join("big")).expect("readable");
    let mut rng = ares_tests::rng::Rng::new(63);
    for _ in 0..200 {
        let offset = rng.below(want.len() as u64 + 10);
        let mut buffer = vec![0; rng.below(300_000) as usize];
        let got = file.read_at(&mut buffer, offset).expect("readable");
        let from = (offset as usize).min(want.len());
        // A regular file gives all there is, up to its end.
        assert_eq!(got, buffer.len().min(want.len() - from), "at {offset}");
        assert!(buffer[..got] == want[from..from + got], "wrong bytes at {offset}");
    }
    file.seek(SeekFrom::End(-5)).expect("seekable");
    let mut end = Vec::new();
    file.read_to_end(&mut end).expect("readable");
    assert_eq!(end, want[want.len() - 5..]);
}

#[test]
fn a_read_ends_when_nobody_answers() {
    let Some(Scene {
        lab,
        link,
        release,
        server,
    }) = scene("mount-silent")
    else {
        return;
    };
    let reader = &lab.node(1).with_patience(10);
    let dir = mount_point(reader, "mounted");
    let mounted = Mounted::new(reader, &link, &dir);
    let held = "part-000/module-00/file-00000.rs";
    let bytes = fs::read(dir.join(held)).expect("readable while the server answers");
    lab.node(0).cut("eth0");
    let start = Instant::now();
    let failed = errno(File::open(dir.join("big")).and_then(|mut f| f.read_to_end(&mut Vec::new())));
    assert_eq!(failed, Some(Errno::IO), "the log:\n{}", mounted.log());
    assert!(start.elapsed() < READ_DEADLINE, "took {:?}", start.elapsed());
    assert_eq!(fs::read(dir.join(held)).expect("what is held needs nobody"), bytes);
    assert!(!mounted.log().trim().is_empty(), "the log must name why");
    // Back again: the same mount reads on.
    lab.node(0).mend("eth0");
    let healed = wait::within(READ_DEADLINE, || fs::read(dir.join("big")).ok());
    assert!(
        healed.is_some_and(|b| Some(b) == fs::read(release.join("big")).ok()),
        "the log:\n{}",
        mounted.log()
    );
    drop(server);
}
