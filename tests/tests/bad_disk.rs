//! Disks that are full or closed, and files that change under the publisher: told clearly, nothing lost, never a wrong byte.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ares_tests::scratch::{mount_tmpfs, quiet};
use ares_tests::{Daemon, Lab, Node, compare, daemon, lab, tree};

const BYTES: u64 = 24 << 20;

/// Longest an error may take that the network has a part in.
const BOUND: Duration = Duration::from_secs(60);

/// A tmpfs of its own with these options; it goes with the lab.
fn tmpfs(test: &str, dir: &Path, options: &str) -> bool {
    fs::create_dir_all(dir).expect("a mount point");
    let mounted = mount_tmpfs(dir, options);
    if !mounted {
        lab::skip(test, "the kernel lets only root mount a tmpfs");
    }
    mounted
}

fn remount(dir: &Path, options: &str) {
    assert!(
        quiet(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(dir)),
        "cannot remount {}",
        dir.display()
    );
}

#[test]
fn a_full_store_is_told_and_goes_on_with_room() {
    const TEST: &str = "disk-full-store";
    let lab = Lab::on_loopback(TEST, 2);
    let big = lab.node(0).dir().join("big");
    tree::big_file(&big, BYTES, 91);
    let server = Daemon::serve(lab.node(0));
    let link = server.publish(&big).link;
    let disk = lab.node(1).dir().join("disk");
    if !tmpfs(TEST, &disk, "size=10m") {
        return;
    }
    let reader = lab.node(1).with_state(disk.join("state"));
    let dest = reader.dir().join("dest");
    reader
        .start(daemon::get(&reader, &link, &dest))
        .wait(BOUND)
        .expect_error(&["space|full"]);
    assert!(
        !dest.exists() || compare::differences(&big, &dest).is_empty(),
        "half a file under the final name"
    );
    let served = server.counter("served_bytes");
    remount(&disk, "size=100m");
    reader.start(daemon::get(&reader, &link, &dest)).wait(BOUND).expect_ok();
    assert_eq!(compare::differences(&big, &dest), Vec::<String>::new());
    let again = server.counter("served_bytes") - served;
    assert!(
        again < BYTES - (4 << 20),
        "what was stored before the disk was full must count: {again} bytes served again"
    );
}

/// What cannot fit is refused before it is fetched; what only looks as if it could not is not.
#[test]
fn a_destination_without_room_is_told_at_once() {
    const TEST: &str = "disk-no-room";
    let lab = Lab::on_loopback(TEST, 2);
    let (release, big) = (lab.node(0).dir().join("release"), lab.node(0).dir().join("big"));
    let sparse = lab.node(0).dir().join("sparse");
    tree::source(&release, 20, 94);
    tree::big_file(&release.join("big"), 6 << 20, 95);
    tree::big_file(&big, BYTES, 96);
    tree::sparse_file(&sparse, 100 << 20, 97);
    let server = Daemon::serve(lab.node(0));
    let [release_link, big_link, sparse_link] = [&release, &big, &sparse].map(|path| server.publish(path).link);
    let reader = lab.node(1);
    let disk = reader.dir().join("disk");
    if !tmpfs(TEST, &disk, "size=10m") {
        return;
    }
    let get = |reader: &Node, link: &str, dest: &str| reader.start(daemon::get(reader, link, &disk.join(dest))).wait(BOUND);
    let refused =
        get(reader, &big_link, "big").expect_error(&["no room", &BYTES.to_string(), "that are free", "free some space"]);
    assert_eq!(refused.status.code(), Some(5));
    let served = server.counter("served_bytes");
    assert!(served < 1 << 20, "{served} bytes were fetched all the same");
    // Holes take no room, nor do files that are there already.
    get(reader, &sparse_link, "sparse").expect_ok();
    fs::remove_file(disk.join("sparse")).expect("there");
    for _ in 0..2 {
        get(reader, &release_link, "release").expect_ok();
    }
    compare::assert_same(&release, &disk.join("release"));
    // What the store holds on the same disk is moved.
    let both = reader.dir().join("both");
    if !tmpfs(TEST, &both, "size=30m") {
        return;
    }
    let reader = &reader.with_state(both.join("state"));
    reader.run(reader.ares(["cat", &big_link])).expect_ok();
    reader.run(daemon::get(reader, &big_link, &both.join("big"))).expect_ok();
    assert_eq!(compare::differences(&big, &both.join("big")), Vec::<String>::new());
}

#[test]
fn a_full_destination_is_told_and_nothing_is_fetched_again() {
    const TEST: &str = "disk-full-destination";
    let lab = Lab::on_loopback(TEST, 2);
    let big = lab.node(0).dir().join("big");
    tree::big_file(&big, BYTES, 92);
    let server = Daemon::serve(lab.node(0));
    let link = server.publish(&big).link;
    let reader = lab.node(1);
    let disk = reader.dir().join("disk");
    if !tmpfs(TEST, &disk, "size=10m") {
        return;
    }
    fs::write(disk.join("mine"), "keep").expect("writable");
    let dest = disk.join("dest");
    // A hole of the same size: from outside nobody sees that it is another file, and that the new one will not fit beside it.
    let hole = fs::File::create(&dest).expect("writable");
    hole.set_len(BYTES).expect("a hole");
    let get = || {
        let mut get = daemon::get(reader, &link, &dest);
        get.arg("--force");
        get
    };
    reader.start(get()).wait(BOUND).expect_error(&["space|full"]);
    assert_eq!(compare::allocated_bytes(&dest), 0, "half a file under the final name");
    assert_eq!(fs::read(disk.join("mine")).expect("kept"), b"keep");
    let served = server.counter("served_bytes");
    remount(&disk, "size=100m");
    reader.start(get()).wait(BOUND).expect_ok();
    assert_eq!(compare::differences(&big, &dest), Vec::<String>::new());
    let again = server.counter("served_bytes") - served;
    assert!(
        again < BYTES / 2,
        "what the store held must not be fetched again: {again} bytes"
    );
}

#[test]
fn a_destination_that_cannot_be_written_is_named() {
    const TEST: &str = "disk-read-only";
    let lab = Lab::on_loopback(TEST, 2);
    let release = lab.node(0).dir().join("release");
    tree::source(&release, 10, 93);
    let server = Daemon::serve(lab.node(0));
    let link = server.publish(&release).link;
    let reader = lab.node(1);
    let file = reader.dir().join("file");
    fs::write(&file, "keep").expect("writable");
    reader
        .run(daemon::get(reader, &link, &file))
        .expect_error(&[&file.display().to_string()]);
    reader
        .run(daemon::get(reader, &link, &file.join("below")))
        .expect_error(&[&file.display().to_string()]);
    assert_eq!(fs::read(&file).expect("kept"), b"keep");
    let disk = reader.dir().join("disk");
    if !tmpfs(TEST, &disk, "ro") {
        return;
    }
    for dest in [disk.clone(), disk.join("dest")] {
        reader
            .run(daemon::get(reader, &link, &dest))
            .expect_error(&[&disk.display().to_string(), "read-only"]);
    }
}

#[test]
fn a_file_that_changed_under_the_publisher_gives_no_wrong_byte() {
    type Change = fn(&Path);
    let rows: [(&str, Change); 3] = [
        ("overwritten", |path| {
            let time = fs::metadata(path).and_then(|m| m.modified()).expect("a time");
            let file = OpenOptions::new().write(true).open(path).expect("writable");
            file.write_all_at(b"not what was published", 5_000_000).expect("writable");
            // As a careless tool would: the time set back. The time of the inode's change cannot be.
            file.set_modified(time).expect("a time can be set");
        }),
        ("truncated", |path| {
            OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|f| f.set_len(3_000_000))
                .expect("writable");
        }),
        ("vanished", |path| fs::remove_file(path).expect("removable")),
    ];
    // At once: most of it is a reader waiting for a chunk that nobody has any more.
    std::thread::scope(|scope| {
        for (seed, (what, change)) in (95..).zip(rows) {
            scope.spawn(move || one_changed_file(what, seed, change));
        }
    });
}

fn one_changed_file(what: &str, seed: u64, change: fn(&Path)) {
    let lab = Lab::on_loopback("disk-changed", 3);
    let (publisher, reader) = (lab.node(0), &lab.node(1).with_patience(6));
    let release = publisher.dir().join("release");
    tree::source(&release, 10, 94);
    tree::big_file(&release.join("big"), 8 << 20, seed);
    let original = lab.path().join("original");
    compare::copy_tree(&release, &original);
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    change(&release.join("big"));
    let dest = reader.dir().join("dest");
    reader.start(daemon::get(reader, &link, &dest)).wait(BOUND).expect_error(&[]);
    let half = dest.join("big");
    assert!(
        !half.exists() || compare::differences(&original.join("big"), &half).is_empty(),
        "{what}: a wrong file at {half:?}"
    );
    assert!(
        server.log().contains("big"),
        "{what}: the publisher must name the file:\n{}",
        server.log()
    );
    // The rest of it is as published, and so is what is published next.
    let inside = "part-000/module-00/file-00003.rs";
    let one = reader.dir().join("one");
    reader.run(daemon::get(reader, &format!("{link}/{inside}"), &one)).expect_ok();
    assert_eq!(fs::read(&one).ok(), fs::read(original.join(inside)).ok(), "{what}");
    let link = server.publish(&release).link;
    let last = lab.node(2);
    last.run(daemon::get(last, &link, &last.dir().join("dest"))).expect_ok();
    compare::assert_same(&release, &last.dir().join("dest"));
}

#[test]
fn a_file_that_changes_while_it_is_read_for_publishing_gives_no_wrong_byte() {
    let lab = Lab::on_loopback("disk-changing", 2);
    let (publisher, reader) = (lab.node(0), &lab.node(1).with_patience(6));
    let release = publisher.dir().join("release");
    tree::source(&release, 10, 98);
    let big = release.join("big");
    tree::big_file(&big, 64 << 20, 99);
    let server = Daemon::serve(publisher);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = OpenOptions::new().write(true).open(&big).expect("writable");
            let mut round = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                file.write_all_at(&round.to_le_bytes(), round * 4096 % (64 << 20))
                    .expect("writable");
            }
        });
        let mut command = publisher.ares(["publish"]);
        command.arg(&release).arg("--json");
        let published = publisher.run(command);
        if published.status.success() {
            // A release of a moment that never was: its bytes are gone, so nobody can have them, and nobody gets others.
            let link = published.json()["link"].as_str().expect("a link").to_owned();
            let dest = reader.dir().join("dest");
            reader.start(daemon::get(reader, &link, &dest)).wait(BOUND).expect_error(&[]);
        } else {
            published.expect_error(&["big", "chang"]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let link = server.publish(&release).link;
    let calm = reader.dir().join("calm");
    reader.run(daemon::get(reader, &link, &calm)).expect_ok();
    compare::assert_same(&release, &calm);
}
