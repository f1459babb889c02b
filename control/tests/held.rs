//! Commands on a release that the state directory holds whole: no daemon, no network, everything else as ever.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn ares(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ares"));
    command
        .env_clear()
        .env("HOME", dir)
        .current_dir(dir)
        .arg("--state")
        .arg(dir.join("state"))
        .stdin(Stdio::null());
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    ares(dir).args(args).output().expect("it runs")
}

fn check(dir: &Path, args: &[&str], code: i32) -> Output {
    let output = run(dir, args);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one object on stdout")
}

/// A directory with a published tree, and its link.
fn published() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("sub")).expect("writable");
    fs::write(tree.join("small"), "small\n").expect("writable");
    fs::write(tree.join("sub/big"), noise(3_000_000)).expect("writable");
    symlink("small", tree.join("link")).expect("writable");
    let said = json(&check(dir.path(), &["publish", "tree", "--json"], 0));
    let link = said["link"].as_str().expect("a link").to_owned();
    assert!(link.starts_with("ares:") && said["release"].as_str().map(str::len) == Some(64));
    assert_eq!(
        (said["bytes"].as_u64(), said["entries"].as_u64(), said["skipped"].as_u64()),
        (Some(3_000_006), Some(4), Some(0))
    );
    (dir, link)
}

fn noise(len: u64) -> Vec<u8> {
    (0..len)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

#[test]
fn it_lists_shows_and_gets() {
    let (dir, link) = published();
    let at = dir.path();
    let listed = check(at, &["ls", &link], 0);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "link\nsmall\nsub/\n");
    let long = check(at, &["ls", "-l", &link], 0);
    assert!(String::from_utf8_lossy(&long.stdout).contains("link -> small"));
    let lines = check(at, &["ls", "--json", &format!("{link}/sub")], 0);
    assert_eq!(
        (json(&lines)["name"].as_str(), json(&lines)["bytes"].as_u64()),
        (Some("big"), Some(3_000_000))
    );
    assert!(check(at, &["cat", &format!("{link}/sub/big")], 0).stdout == noise(3_000_000));
    let got = json(&check(at, &["get", &link, "out", "--json"], 0));
    assert_eq!(
        (got["bytes"].as_u64(), got["entries"].as_u64(), got["unchanged"].as_u64()),
        (Some(3_000_006), Some(4), Some(0))
    );
    assert!(fs::read(at.join("out/sub/big")).expect("readable") == noise(3_000_000));
    assert_eq!(fs::read_link(at.join("out/link")).expect("a link"), Path::new("small"));
    check(at, &["get", &format!("{link}/small"), "renamed"], 0);
    assert_eq!(fs::read(at.join("renamed")).expect("readable"), b"small\n");
}

#[test]
fn what_is_in_the_way_is_kept_unless_told() {
    let (dir, link) = published();
    let at = dir.path();
    fs::create_dir(at.join("out")).expect("writable");
    fs::write(at.join("out/small"), "mine").expect("writable");
    let refused = check(at, &["get", &link, "out"], 5);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"));
    assert_eq!(fs::read(at.join("out/small")).expect("kept"), b"mine");
    check(at, &["get", &link, "out", "--force"], 0);
    assert_eq!(fs::read(at.join("out/small")).expect("replaced"), b"small\n");
    fs::write(at.join("file"), "mine").expect("writable");
    check(at, &["get", &link, "file"], 5);
    check(at, &["get", &format!("{link}/nowhere"), "never"], 3);
    check(at, &["cat", &link], 3);
    check(at, &["cat", &format!("{link}/link")], 3);
    check(at, &["ls", &format!("{link}/small/below")], 3);
    assert!(!at.join("never").exists());
}

#[test]
fn a_reader_that_leaves_is_no_failure_and_a_full_disk_is_one() {
    let (dir, link) = published();
    let inside = format!("{link}/sub/big");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let left = ares(dir.path())
        .args(["cat", &inside])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    assert_eq!((left.status.code(), left.stderr.as_slice()), (Some(0), b"".as_slice()));
    let full = fs::File::options().write(true).open("/dev/full").expect("the kernel has one");
    for args in [["cat", &inside], ["ls", &link]] {
        let sink = full.try_clone().expect("a descriptor");
        let output = ares(dir.path())
            .args(args)
            .stdout(sink)
            .stderr(Stdio::piped())
            .output()
            .expect("it runs");
        assert_eq!(
            output.status.code(),
            Some(5),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn what_must_not_be_published_is_not() {
    let (dir, _) = published();
    check(dir.path(), &["publish", "state"], 2);
    check(dir.path(), &["publish", "state/identity"], 2);
    check(dir.path(), &["publish", "tree", "--name", "a/b"], 2);
    // The directory around it may be, without it.
    let said = check(dir.path(), &["publish", ".", "--json"], 0);
    let link = json(&said)["link"].as_str().expect("a link").to_owned();
    let listed = check(dir.path(), &["ls", &link], 0);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "tree/\n");
}
