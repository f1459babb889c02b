//! An access profile: what one mount was read by is fetched ahead by the next, where it is told to or the release says so, and nothing else is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use ares_tests::mount::{self, Mounted, unmount};
use ares_tests::{Daemon, Lab, Node, tree, wait};
use rustix::process::Signal;

const LARGE: u64 = 24 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// What a program reads that starts: a small file, some of a large one, a file of a directory below.
const READS: [(&str, u64, usize); 3] = [
    ("top/config", 0, 900),
    ("top/large", 13 << 20, 4096),
    ("top/bin/app", 0, 50_000),
];

fn read(dir: &Path, (name, at, len): (&str, u64, usize)) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let file = File::open(dir.join(name)).expect("there");
    file.read_exact_at(&mut bytes, at).expect("readable");
    bytes
}

/// Bytes of a file of a mount that are held.
fn held(dir: &Path, name: &str) -> u64 {
    let mut value = [0; 20];
    let len = rustix::fs::getxattr(dir.join(name), "user.ares.held", &mut value[..]).expect("told");
    std::str::from_utf8(&value[..len]).expect("digits").parse().expect("a number")
}

fn publish(node: &Node, release: &Path, profile: &Path) -> String {
    let mut command = node.ares(["publish"]);
    command.arg(release).arg("--json").arg("--profile").arg(profile);
    let said = node.run(command).expect_ok().json();
    said["link"].as_str().expect("a link").to_owned()
}

#[test]
fn what_one_mount_was_read_by_the_next_fetches_ahead() {
    if !mount::is_possible("profile") {
        return;
    }
    let Some(lab) = Lab::new("profile", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    fs::create_dir_all(release.join("top/bin")).expect("made");
    for (name, bytes) in [
        ("config", 900),
        ("large", LARGE),
        ("bin/app", 50_000),
        ("bin/unread", 2 << 20),
    ] {
        tree::big_file(&release.join("top").join(name), bytes, bytes);
    }
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    let dir = reader.dir().join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    let fresh = |name: &str| reader.with_state(reader.dir().join(name)).with_patience(5);

    let first = fresh("state-first");
    let mounted = Mounted::new(&first, &link, &dir);
    let want = READS.map(|what| read(&dir, what));
    let mut recorded = first.ares(["mount", "profile"]);
    recorded.arg(&dir);
    let profile = first.run(recorded).expect_ok().stdout;
    let text = String::from_utf8_lossy(&profile).into_owned();
    let paths: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
    assert_eq!(paths, READS.map(|(name, ..)| name), "in the order in which they were read");
    unmount(&first, &dir).expect_ok();
    mounted.gone().expect_ok();
    let file = reader.dir().join("start.profile");
    fs::write(&file, &profile).expect("writable");

    let with = format!("--profile={}", file.display());
    let attached = publish(publisher, &release, &file);
    assert_ne!(attached, link);
    for (name, link, args) in [("told", &link, &[&*with][..]), ("attached", &attached, &[])] {
        let node = fresh(&format!("state-{name}"));
        let mounted = Mounted::with(&node, link, &dir, args);
        wait::until(PATIENCE, "what nobody has read", || {
            let is_here = |(name, _, len): &(&str, u64, usize)| held(&dir, name) >= *len as u64;
            READS.iter().all(is_here).then_some(())
        });
        assert!(held(&dir, "top/large") < LARGE / 2, "{name}: a part of it");
        assert_eq!(held(&dir, "top/bin/unread"), 0, "{name}");
        // It is here, and nobody needs to be asked.
        server.signal(Signal::STOP);
        assert_eq!(READS.map(|what| read(&dir, what)), want, "{name}");
        server.signal(Signal::CONT);
        unmount(&node, &dir).expect_ok();
        mounted.gone().expect_ok();
    }
    // Who does not want it has nothing fetched.
    let node = fresh("state-without");
    let mounted = Mounted::with(&node, &attached, &dir, &["--no-profile"]);
    assert_eq!(read(&dir, READS[0]), want[0]);
    assert_eq!(held(&dir, "top/large"), 0);
    mounted.end_by(Signal::TERM).expect_ok();
    // And what is none is said at once.
    fs::write(&file, "0-10 a\nlarge\n").expect("writable");
    let mut wrong = node.ares(["mount", &link]);
    wrong.arg(&dir).arg(&with);
    node.run(wrong).expect_error(&["line 2", "FROM-TO PATH"]);
}
