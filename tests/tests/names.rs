//! One mount of many releases: names are added, given to others and removed while it is read, by whatever process has it, and come back with it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ares_tests::mount::{self, answers, is_mounted, unmount};
use ares_tests::run::Outcome;
use ares_tests::{Daemon, Lab, Node, compare, tree, wait};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    lab: Lab,
    _server: Daemon,
    releases: [PathBuf; 2],
    links: [String; 2],
    dir: PathBuf,
}

fn scene(test: &str) -> Option<Scene> {
    if !mount::is_possible(test) {
        return None;
    }
    let lab = Lab::new(test, 2)?;
    let releases = ["first", "second"].map(|name| lab.node(0).dir().join(name));
    for (release, seed) in releases.iter().zip([11, 12]) {
        tree::source(release, 40, seed);
        tree::big_file(&release.join("big"), 8 << 20, seed);
    }
    let server = Daemon::serve(lab.node(0));
    let links = releases.each_ref().map(|release| server.publish(release).link);
    let dir = lab.node(1).dir().join("all");
    fs::create_dir(&dir).expect("a mount point");
    Some(Scene {
        lab,
        _server: server,
        releases,
        links,
        dir,
    })
}

fn change(node: &Node, args: &[&str], at: &Path) -> Outcome {
    let mut command = node.ares(["mount"]);
    command.args(args).arg(at).arg("--json");
    node.run(command)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("a listing")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn names_are_added_flipped_and_removed_while_they_are_read_and_come_back() {
    let Some(Scene {
        lab,
        _server,
        releases,
        links,
        dir,
    }) = scene("names")
    else {
        return;
    };
    let reader = lab.node(1);
    let daemon = Daemon::serve(reader);
    let mut root = reader.ares(["mount", "--detach", "--root"]);
    root.arg(&dir);
    reader.run(root).expect_ok();
    assert_eq!(names(&dir), Vec::<String>::new());
    change(reader, &["add", &links[0]], &dir.join("v1")).expect_ok();
    change(reader, &["add", &links[0]], &dir.join("current")).expect_ok();
    compare::assert_same(&releases[0], &dir.join("v1"));
    let open = File::open(dir.join("current/big")).expect("readable");
    open.read_exact_at(&mut [0; 4096], 0).expect("readable");

    let refused = change(reader, &["add", &links[1]], &dir.join("current"));
    assert_eq!(refused.status.code(), Some(6), "{}", refused.stderr);
    assert!(refused.stderr.contains("--replace"), "{}", refused.stderr);
    let flipped = change(reader, &["add", "--replace", &links[1]], &dir.join("current"))
        .expect_ok()
        .json();
    assert!(
        flipped["former"].is_string() && flipped["former"] != flipped["release"],
        "{flipped}"
    );
    compare::assert_same(&releases[1], &dir.join("current"));
    let mut got = vec![0; 8 << 20];
    open.read_exact_at(&mut got, 0).expect("readable");
    assert!(
        got == fs::read(releases[0].join("big")).expect("readable"),
        "it stays on its release"
    );
    change(reader, &["add", &format!("{}/part-000", links[1])], &dir.join("part of it")).expect_ok();
    change(reader, &["remove"], &dir.join("v1")).expect_ok();
    assert_eq!(names(&dir), ["current", "part of it"]);
    let status = daemon.status();
    let shown = |status: &Value| status["mounts"][0]["names"].as_array().map(Vec::len);
    assert_eq!(shown(&status), Some(2), "{status}");
    drop(open);

    daemon.kill();
    let daemon = Daemon::serve(reader);
    wait::until(PATIENCE, "the mount made again", || answers(&dir).then_some(()));
    assert_eq!(names(&dir), ["current", "part of it"]);
    compare::assert_same(&releases[1], &dir.join("current"));
    compare::assert_same(&releases[1].join("part-000"), &dir.join("part of it"));
    unmount(reader, &dir).expect_ok();
    daemon.terminate().expect_ok();
}

#[test]
fn a_mount_of_names_in_the_foreground_is_changed_by_other_commands_and_bad_asks_are_explained() {
    let Some(Scene {
        lab,
        _server,
        releases,
        links,
        dir,
    }) = scene("names-foreground")
    else {
        return;
    };
    let reader = lab.node(1);
    let mut root = reader.ares(["mount", "--root"]);
    root.arg(&dir);
    let running = reader.start(root);
    wait::until(PATIENCE, "the mount", || answers(&dir).then_some(()));
    change(reader, &["add", &links[0]], &dir.join("v1")).expect_ok();
    compare::assert_same(&releases[0], &dir.join("v1"));
    let other = reader.dir().join("other");
    fs::create_dir(&other).expect("a directory");
    let one = format!("{}/big", links[1]);
    change(reader, &["add", &one], &dir.join("file")).expect_ok();
    assert_eq!(names(&dir.join("file")), ["big"]);
    let rows: [(&[&str], PathBuf, i32); 6] = [
        (&["add", &links[0]], other.join("v1"), 3),
        (&["add", "ares:nothing"], dir.join("v2"), 2),
        (&["add", &format!("{}/absent", links[0])], dir.join("v2"), 3),
        (&["add", &links[0]], PathBuf::from("/"), 2),
        (&["remove"], dir.join("v9"), 3),
        (&["remove"], other.join("v1"), 3),
    ];
    for (args, at, code) in rows {
        let refused = change(reader, args, &at);
        assert_eq!(
            refused.status.code(),
            Some(code),
            "{args:?} {}: {}",
            at.display(),
            refused.stderr
        );
    }
    assert_eq!(names(&dir), ["file", "v1"]);
    running.signal(rustix::process::Signal::INT);
    running.wait(PATIENCE).expect_ok();
    assert!(!is_mounted(&dir));
}
