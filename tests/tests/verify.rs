//! Disks that forget: what is wrong is found, by hand and in the background, and fetched anew; where nobody has it that is said.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ares_tests::{Daemon, Lab, Node, Published, compare, daemon, tree, wait};

/// How long all may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A publisher and one who has pinned its release.
struct Scene {
    origin: Daemon,
    keeper: Daemon,
    release: PathBuf,
    published: Published,
    lab: Lab,
}

impl Scene {
    fn new(test: &str) -> Self {
        let lab = Lab::on_loopback(test, 2);
        let release = lab.node(0).dir().join("release");
        tree::source(&release, 20, 1);
        tree::big_file(&release.join("big"), 6 << 20, 2);
        let origin = Daemon::serve(lab.node(0));
        let published = origin.publish(&release);
        let keeper = Daemon::serve(&lab.node(1).with_config("hasty", "[mount]\npatience = \"3s\"\n"));
        keeper.tell(&["pin", &published.link]);
        let scene = Self {
            origin,
            keeper,
            release,
            published,
            lab,
        };
        scene.wait_until_whole();
        scene
    }

    fn wait_until_whole(&self) {
        wait::until(PATIENCE, "the pin to be whole", || {
            (self.keeper.tell(&["pin"])["pins"][0]["state"] == "whole").then_some(())
        });
    }

    fn keeper_node(&self) -> &Node {
        self.lab.node(1)
    }

    /// As a disk would: behind everybody's back. How many files.
    fn rot(&self) -> usize {
        let files = files_below(&self.keeper_node().state().join("data"));
        for file in &files {
            let len = file.metadata().expect("there").len();
            let open = OpenOptions::new().write(true).open(file).expect("ours");
            open.write_all_at(b"rotten", len / 2).expect("writable");
        }
        files.len()
    }

    fn missing_bytes(&self) -> u64 {
        let content = self.keeper.tell(&["content", &self.published.release]);
        content["missing_bytes"].as_u64().expect("a number")
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        match entry.file_type().expect("known").is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}

#[test]
fn what_has_rotted_is_found_and_fetched_and_nothing_else() {
    let scene = Scene::new("verify");
    let good = scene.keeper.tell(&["verify"]);
    assert!(good["bad_chunks"] == 0 && good["lacking_releases"] == 0, "{good}");
    assert!(good["bytes"].as_u64() > Some(6 << 20), "{good}");
    let files = scene.rot();
    assert!(files >= 2, "a pack and a large file");
    let before = scene.keeper.counter("fetched_bytes");
    let bad = scene.keeper.tell(&["verify"]);
    assert!(bad["bad_chunks"].as_u64() >= Some(files as u64), "{bad}");
    assert!(bad["lacking_releases"] == 1 && bad["mended_releases"] == 1, "{bad}");
    let fetched = scene.keeper.counter("fetched_bytes") - before;
    assert!(fetched < 3 << 20, "{fetched} bytes fetched anew");
    assert_eq!(scene.missing_bytes(), 0);
    assert_eq!(scene.keeper.tell(&["verify"])["bad_chunks"], 0);

    // All of it is right, and here.
    let Scene {
        origin,
        keeper,
        release,
        published,
        lab,
    } = scene;
    origin.kill();
    keeper.terminate().expect_ok();
    let copy = lab.node(1).dir().join("copy");
    lab.node(1).run(daemon::get(lab.node(1), &published.link, &copy)).expect_ok();
    compare::assert_same(&release, &copy);
}

#[test]
fn where_nobody_has_what_has_rotted_it_is_missed_and_said() {
    let scene = Scene::new("verify-alone");
    scene.rot();
    let Scene { origin, keeper, .. } = &scene;
    origin.signal(rustix::process::Signal::STOP);
    let node = scene.keeper_node();
    let missed = node.run(node.ares(["verify", "--json"]));
    assert_eq!(missed.status.code(), Some(5), "{}", missed.describe());
    let said = missed.json();
    assert!(said["mended_releases"] == 0 && said["whys"][0].is_string(), "{said}");
    missed.expect_error(&["not whole any more", "check the disk"]);
    assert!(scene.missing_bytes() > 0);
    assert_eq!(keeper.status()["releases"][0]["complete"], false, "nobody is told otherwise");
    origin.signal(rustix::process::Signal::CONT);
    wait::until(PATIENCE, "all of it again", || {
        node.run(node.ares(["verify"]));
        (scene.missing_bytes() == 0).then_some(())
    });
    assert_eq!(keeper.status()["releases"][0]["complete"], true);
}

#[test]
fn what_has_rotted_is_found_in_the_background_once_that_is_wanted() {
    let scene = Scene::new("scrub");
    let files = scene.rot() as u64;
    let bad = || {
        let log = scene.keeper.log();
        log.matches("holds other bytes").count() as u64
    };
    assert_eq!(bad(), 0, "nobody looks");
    scene.keeper.tell(&["set", "scrub-rate", "1GiB"]);
    wait::until(PATIENCE, "what is wrong to be found", || (bad() >= files).then_some(()));
    wait::until(PATIENCE, "and fetched", || {
        scene.keeper.log().contains("mended=1").then_some(())
    });
    assert_eq!(scene.missing_bytes(), 0);
    assert_eq!(scene.keeper.tell(&["verify"])["bad_chunks"], 0);
}
