//! A daemon makes room for the next one: whoever reads its mounts waits and is told nothing, and peers go on.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ares_tests::manager::Manager;
use ares_tests::mount::{self, is_mounted, unmount};
use ares_tests::{Daemon, Lab, Node, Running, compare, daemon, tree, wait};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(90);
/// Of the file that is read through the mount, and of that which a peer gets meanwhile.
const BYTES: u64 = 96 << 20;
const RESTARTS: u64 = 3;

/// A publisher, and a machine whose daemon has a mount of what it published and is read by a peer.
struct Scene {
    lab: Lab,
    publisher: Daemon,
    dir: PathBuf,
}

fn scene(test: &str) -> Option<Scene> {
    if !mount::is_possible(test) {
        return None;
    }
    let lab = Lab::new(test, 3)?;
    let publisher = Daemon::serve(lab.node(0));
    let dir = lab.node(1).dir().join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    Some(Scene { lab, publisher, dir })
}

fn detached(node: &Node, link: &str, dir: &Path, args: &[&str]) {
    let mut command = node.ares(["mount", link]);
    command.arg(dir).arg("--detach").args(args);
    node.run(command).expect_ok();
}

/// A `dd` through a mount.
struct Copying {
    copy: PathBuf,
    reader: Running,
}

impl Copying {
    /// Of the file `big`, for some seconds.
    fn start(node: &Node, dir: &Path) -> Self {
        node.limit_arrivals(100);
        let copy = node.dir().join("copy");
        let mut command: Command = node.command("dd");
        command
            .arg(format!("if={}", dir.join("big").display()))
            .arg(format!("of={}", copy.display()))
            .arg("bs=64k");
        let reader = node.start(command);
        Self { copy, reader }
    }

    /// Waits until there is a good deal more, but not all.
    fn goes_on(&self) {
        let before = len(&self.copy);
        wait::until(PATIENCE, "the reader to go on", || {
            (len(&self.copy) > before + BYTES / 16).then_some(())
        });
        assert!(self.reader.is_running(), "too late to prove anything");
    }

    /// It comes to its end, and is the same as `big`.
    fn ends_as(self, node: &Node, big: &Path) {
        node.lift_limit();
        self.reader.wait(PATIENCE).expect_ok();
        same(big, &self.copy);
    }
}

/// A file of the publisher, and the link that shows it in a directory with a small one.
fn published(scene: &Scene, seed: u64) -> (PathBuf, String) {
    let release = scene.lab.node(0).dir().join("release");
    fs::create_dir(&release).expect("writable");
    tree::big_file(&release.join("big"), BYTES, seed);
    fs::write(release.join("small"), "small").expect("writable");
    let link = scene.publisher.publish(&release).link;
    (release.join("big"), link)
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

fn same(one: &Path, other: &Path) {
    let bytes = |path: &Path| fs::read(path).expect("readable");
    assert!(bytes(one) == bytes(other), "{} and {} differ", one.display(), other.display());
}

#[test]
fn three_restarts_of_a_service_fail_no_read_of_its_mount_and_no_transfer_of_its_peers() {
    let Some(scene) = scene("handover") else { return };
    let (big, link) = published(&scene, 91);
    let Scene { lab, dir, .. } = &scene;
    let (node, peer) = (lab.node(1), lab.node(2));
    let own = node.dir().join("own");
    tree::big_file(&own, BYTES, 92);
    let mut manager = Manager::new(node);
    let mut service = manager.start(node);
    let own_link = daemon::publish(node, &own).link;
    detached(node, &link, dir, &[]);
    // Both are under way for some seconds.
    peer.limit_arrivals(100);
    let got = peer.dir().join("got");
    let copying = Copying::start(node, dir);
    let get = peer.start(daemon::get(peer, &own_link, &got));
    for restart in 1..=RESTARTS {
        copying.goes_on();
        assert!(get.is_running(), "too late to prove anything");
        service.signal(Signal::USR2);
        service.wait(PATIENCE).expect_ok();
        assert_eq!(manager.kept().len(), 1, "restart {restart}");
        assert!(is_mounted(dir));
        service = manager.start(node);
    }
    peer.lift_limit();
    copying.ends_as(node, &big);
    get.wait(PATIENCE).expect_ok();
    assert_eq!(compare::differences(&own, &got), Vec::<String>::new());
    assert_eq!(fs::read(dir.join("small")).expect("readable"), b"small");
    // An end is an end.
    service.signal(Signal::TERM);
    service.wait(PATIENCE).expect_ok();
    assert!(!is_mounted(dir), "the service has ended");
    assert_eq!(manager.kept(), Vec::<&str>::new());
}

#[test]
fn a_killed_service_fails_no_read_where_its_manager_has_the_connection() {
    let Some(scene) = scene("handover-kill") else { return };
    let (big, link) = published(&scene, 93);
    let Scene { lab, dir, .. } = &scene;
    let node = lab.node(1);
    let mut manager = Manager::new(node);
    let mut service = manager.start(node);
    // What the kernel reads by itself is counted by the service alone.
    detached(node, &link, dir, &["--passthrough", "never"]);
    if manager.kept().is_empty() {
        return ares_tests::lab::skip("handover-kill", "this kernel does not ask again (Linux 6.9)");
    }
    let copying = Copying::start(node, dir);
    for _ in 0..RESTARTS {
        copying.goes_on();
        service.kill();
        service = manager.start(node);
    }
    copying.ends_as(node, &big);
    unmount(node, dir).expect_ok();
    assert_eq!(manager.kept(), Vec::<&str>::new(), "nobody needs it any more");
    // One that is not started again takes its mounts with it, as far as it can.
    detached(node, &link, dir, &["--passthrough", "never"]);
    assert_eq!(manager.kept().len(), 1);
    service.kill();
    manager.give_up();
    wait::until(PATIENCE, "the mount to be dead", || (!mount::answers(dir)).then_some(()));
    unmount(node, dir).expect_ok();
}

#[test]
fn a_daemon_that_nobody_manages_becomes_the_next_one_itself() {
    let Some(scene) = scene("handover-exec") else { return };
    let (big, link) = published(&scene, 94);
    let Scene { lab, dir, .. } = &scene;
    let node = lab.node(1);
    let daemon = Daemon::serve(node);
    let names = node.dir().join("names");
    fs::create_dir(&names).expect("a mount point");
    detached(node, &link, dir, &[]);
    let mut root = node.ares(["mount", "--root"]);
    root.arg(&names).arg("--detach");
    node.run(root).expect_ok();
    let add = |link: &str, flags: &[&str]| {
        let mut command = node.ares(["mount", "add"]);
        command.args(flags).arg(link).arg(names.join("current"));
        node.run(command).expect_ok();
    };
    add(&link, &[]);
    let former = File::open(names.join("current/small")).expect("readable");
    let other = lab.node(0).dir().join("other");
    fs::create_dir(&other).expect("writable");
    fs::write(other.join("small"), "other").expect("writable");
    add(&scene.publisher.publish(&other).link, &["--replace"]);
    let copying = Copying::start(node, dir);
    for _ in 0..RESTARTS {
        copying.goes_on();
        let begun = daemon.status()["uptime_s"].as_f64().expect("a number");
        daemon.signal(Signal::USR2);
        wait::until(PATIENCE, "the next daemon", || {
            let status = node.run(node.ares(["status", "--json"]));
            let uptime = status.status.success().then(|| status.json()["uptime_s"].as_f64())??;
            (uptime < begun).then_some(())
        });
        assert!(daemon.is_running(), "the same process");
    }
    copying.ends_as(node, &big);
    assert_eq!(fs::read(names.join("current/small")).expect("readable"), b"other");
    let mut bytes = [0; 5];
    former.read_exact_at(&mut bytes, 0).expect("what is open stays what it is");
    assert_eq!(&bytes, b"small");
    drop(former);
    daemon.terminate().expect_ok();
    assert!(!is_mounted(dir) && !is_mounted(&names));
}

#[test]
fn a_daemon_that_is_told_twice_to_make_room_does_so_once_or_twice() {
    let Some(scene) = scene("handover-twice") else { return };
    let (_, link) = published(&scene, 95);
    let node = scene.lab.node(1);
    let daemon = Daemon::serve(node);
    detached(node, &link, &scene.dir, &[]);
    let open = File::open(scene.dir.join("small")).expect("readable");
    daemon.signal(Signal::USR2);
    let environment = format!("/proc/{}/environ", daemon.pid());
    // It is the next program, and has not come to say what it does about signals.
    wait::closely(PATIENCE, || {
        let environment = fs::read(&environment).ok()?;
        String::from_utf8_lossy(&environment).contains("ARES_FDS=").then_some(())
    })
    .expect("the next program");
    daemon.signal(Signal::USR2);
    let mut bytes = [0; 5];
    open.read_exact_at(&mut bytes, 0).expect("the mount goes on");
    assert_eq!(&bytes, b"small");
    wait::until(PATIENCE, "the next daemon", || {
        let status = node.run(node.ares(["status", "--json"]));
        status.status.success().then_some(())
    });
    assert!(daemon.is_running(), "the same process");
    daemon.terminate().expect_ok();
    assert!(!is_mounted(&scene.dir));
}

#[test]
fn a_mount_that_the_manager_has_no_room_for_is_made_again() {
    let Some(scene) = scene("handover-room") else { return };
    let (_, link) = published(&scene, 96);
    let Scene { lab, dir, .. } = &scene;
    let node = lab.node(1);
    let other = node.dir().join("other");
    fs::create_dir(&other).expect("a mount point");
    let mut manager = Manager::with_room(node, 1);
    let mut service = manager.start(node);
    for dir in [dir, &other] {
        detached(node, &link, dir, &["--passthrough", "always"]);
    }
    for restart in 1..=RESTARTS {
        service.signal(Signal::USR2);
        let ended = service.wait(PATIENCE).expect_ok();
        assert!(ended.stderr.contains("FileDescriptorStoreMax="), "{}", ended.stderr);
        assert_eq!((manager.kept().len(), manager.refused()), (1, 0), "restart {restart}");
        let there = [dir, &other].into_iter().filter(|dir| is_mounted(dir)).count();
        assert_eq!(there, 1, "one has stayed, and the other is not dead");
        service = manager.start(node);
        for dir in [dir, &other] {
            wait::until(PATIENCE, "the mount", || mount::answers(dir).then_some(()));
            assert_eq!(fs::read(dir.join("small")).expect("readable"), b"small");
        }
    }
    service.signal(Signal::TERM);
    service.wait(PATIENCE).expect_ok();
    assert_eq!((manager.kept().len(), manager.refused()), (0, 0));
}
