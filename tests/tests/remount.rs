//! Mounts that a daemon keeps outlive it: whatever ends it, the next one makes them again, and what was unmounted stays so.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ares_tests::lab::skip;
use ares_tests::mount::{self, answers, is_mounted, unmount};
use ares_tests::scratch::mount_fusectl;
use ares_tests::{Daemon, Lab, Node, compare, tree, wait};
use rustix::io::Errno;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    lab: Lab,
    _server: Daemon,
    release: PathBuf,
    link: String,
}

fn scene(test: &str) -> Option<Scene> {
    if !mount::is_possible(test) {
        return None;
    }
    let lab = Lab::new(test, 2)?;
    let release = lab.node(0).dir().join("release");
    tree::source(&release, 60, 81);
    tree::big_file(&release.join("big"), 8 << 20, 82);
    let server = Daemon::serve(lab.node(0));
    let link = server.publish(&release).link;
    Some(Scene {
        lab,
        _server: server,
        release,
        link,
    })
}

fn mount_point(node: &Node, name: &str) -> PathBuf {
    let dir = node.dir().join(name);
    fs::create_dir(&dir).expect("a mount point");
    dir
}

fn detached(node: &Node, link: &str, dir: &Path, args: &[&str]) {
    let mut command = node.ares(["mount", link]);
    command.arg(dir).arg("--detach").args(args);
    node.run(command).expect_ok();
}

fn back(dir: &Path) {
    wait::until(PATIENCE, "the mount made again", || answers(dir).then_some(()));
}

/// What the daemon says of the mount at `dir`, if anything.
fn told(daemon: &Daemon, dir: &Path) -> Option<Value> {
    let status = daemon.status();
    let mounts = status["mounts"].as_array().expect("a list");
    mounts.iter().find(|mount| mount["dir"].as_str() == dir.to_str()).cloned()
}

#[test]
fn mounts_of_a_daemon_come_back_whatever_ended_it_until_they_are_unmounted() {
    let Some(Scene {
        lab,
        link,
        release,
        _server,
    }) = scene("remount")
    else {
        return;
    };
    let reader = lab.node(1);
    let [plain, odd, gone] = ["plain", "with options", "gone"].map(|name| mount_point(reader, name));
    let daemon = Daemon::serve(reader);
    detached(reader, &link, &plain, &[]);
    detached(reader, &format!("{link}/part-000"), &odd, &["--fmode", "0400"]);
    detached(reader, &link, &gone, &[]);
    let held_open = File::open(plain.join("big")).expect("readable");
    held_open.read_exact_at(&mut [0; 4096], 0).expect("readable");
    unmount(reader, &gone).expect_ok();
    daemon.kill();
    assert!(is_mounted(&plain) && !answers(&plain), "dead, and there");

    let daemon = Daemon::serve(reader);
    back(&plain);
    back(&odd);
    compare::assert_same(&release, &plain);
    let file = odd.join("module-00/file-00000.rs");
    assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o400);
    assert!(!is_mounted(&gone), "what was unmounted stays so");
    let read = held_open.read_exact_at(&mut [0; 4096], 7 << 20);
    let read = read.map_err(|e| e.raw_os_error().map(Errno::from_raw_os_error));
    assert_eq!(read, Err(Some(Errno::NOTCONN)), "a file of the dead mount");

    // Whoever unmounts it from outside means it.
    let mut tool = reader.command("umount");
    tool.arg(&odd);
    reader.run(tool).expect_ok();
    wait::until(PATIENCE, "the daemon to see that", || {
        told(&daemon, &odd).is_none().then_some(())
    });
    daemon.terminate().expect_ok();
    assert!(!is_mounted(&plain), "a daemon takes its mounts with it");

    let daemon = Daemon::serve(reader);
    back(&plain);
    assert!(!is_mounted(&odd) && !is_mounted(&gone));
    unmount(reader, &plain).expect_ok();
    daemon.kill();
    let daemon = Daemon::serve(reader);
    assert_eq!(daemon.status()["mounts"].as_array().map(Vec::len), Some(0));
}

#[test]
fn what_cannot_be_mounted_again_says_why_and_is_tried_until_it_can() {
    let Some(Scene { lab, link, _server, .. }) = scene("remount-later") else {
        return;
    };
    let reader = lab.node(1);
    let dir = mount_point(reader, "mounted");
    let daemon = Daemon::serve(reader);
    detached(reader, &link, &dir, &[]);
    daemon.terminate().expect_ok();
    fs::remove_dir(&dir).expect("nothing is mounted");
    let daemon = Daemon::serve(reader);
    wait::until(PATIENCE, "the reason", || {
        told(&daemon, &dir)?["why"]
            .as_str()
            .filter(|why| why.contains("does not exist"))
            .map(drop)
    });
    fs::create_dir(&dir).expect("a mount point");
    back(&dir);
    assert_eq!(told(&daemon, &dir).map(|mount| mount["why"].clone()), Some(Value::Null));

    daemon.terminate().expect_ok();
    fs::remove_dir(&dir).expect("nothing is mounted");
    let daemon = Daemon::serve(reader);
    wait::until(PATIENCE, "the daemon to miss it", || told(&daemon, &dir));
    unmount(reader, &dir).expect_ok();
    assert_eq!(told(&daemon, &dir), None, "nobody wants it any more");
}

/// Number of the FUSE connection of a mount, as fusectl has it.
fn connection(dir: &Path) -> u32 {
    rustix::fs::minor(rustix::fs::stat(dir).expect("there").st_dev)
}

#[test]
fn a_mount_whose_connection_is_broken_off_comes_back() {
    let Some(Scene {
        lab,
        link,
        release,
        _server,
    }) = scene("remount-abort")
    else {
        return;
    };
    let reader = lab.node(1);
    let dir = mount_point(reader, "mounted");
    let daemon = Daemon::serve(reader);
    detached(reader, &link, &dir, &[]);
    let before = connection(&dir);
    // Of its own: not every machine has it on /sys/fs/fuse/connections, and who mounts it anywhere sees all connections.
    let connections = lab.dir("connections");
    if !mount_fusectl(&connections) {
        return skip("remount-abort", "the kernel lets us mount no fusectl");
    }
    fs::write(connections.join(format!("{before}/abort")), "1").expect("the connection of a mount that is there");
    back(&dir);
    compare::assert_same(&release, &dir);
    assert!(told(&daemon, &dir).is_some());
}
