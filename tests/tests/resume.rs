//! A killed side loses little: the other one, or the next try, goes on with what is held.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use ares_tests::{Daemon, Lab, Published, compare, daemon, tree, wait};

const BYTES: u64 = 48 << 20;

/// What may be sent twice: asks in flight when the side died, the manifest, and a journal that was a moment behind.
const AGAIN_MAX: u64 = 12 << 20;

/// Waits until the server has sent a third of the file.
fn a_third(server: &Daemon) -> u64 {
    wait::until(Duration::from_secs(60), "a third of the transfer", || {
        let served = server.counter("served_bytes");
        (served > BYTES / 3).then_some(served)
    })
}

fn slow_lab(test: &str) -> Option<Lab> {
    let lab = Lab::new(test, 2)?;
    // About three seconds for the file: time enough to kill a side in the middle.
    lab.node(1).limit_arrivals(150);
    tree::big_file(&lab.node(0).dir().join("big"), BYTES, 51);
    Some(lab)
}

#[test]
fn a_killed_reader_goes_on_with_what_it_holds() {
    let Some(lab) = slow_lab("resume-reader") else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&publisher.dir().join("big"));
    let dest = reader.dir().join("copy");
    let get = || reader.start(daemon::get(reader, &link, &dest));
    for _ in 0..2 {
        let before = server.counter("served_bytes");
        let running = get();
        wait::until(Duration::from_secs(60), "a quarter of the transfer", || {
            (server.counter("served_bytes") > before + BYTES / 4).then_some(())
        });
        assert!(running.is_running(), "killed too late to prove anything");
        running.kill();
    }
    reader.lift_limit();
    get().wait(Duration::from_secs(60)).expect_ok();
    assert_eq!(
        compare::differences(&publisher.dir().join("big"), &dest),
        Vec::<String>::new()
    );
    let served = server.counter("served_bytes");
    assert!(served < BYTES + 2 * AGAIN_MAX, "{served} bytes served for a file of {BYTES}");
}

#[test]
fn directories_of_a_killed_get_end_with_the_releases_modes_and_times() {
    let Some(lab) = Lab::new("resume-modes", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    reader.limit_arrivals(150);
    let release = publisher.dir().join("release");
    fs::create_dir(&release).expect("writable");
    tree::source(&release.join("a"), 50, 53);
    fs::create_dir_all(release.join("b/c")).expect("writable");
    tree::big_file(&release.join("b/c/big"), BYTES, 54);
    tree::source(&release.join("d"), 50, 55);
    let dirs = ["b/c", "b", ""].map(|name| release.join(name));
    for (dir, mode) in dirs.iter().zip([0o555, 0o751, 0o715]) {
        tree::set_mode(dir, mode);
        tree::set_mtime(dir, (1_000_000_000, mode.into())).expect("mtime");
    }
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&release);
    let copy = reader.dir().join("copy");
    let get = || reader.start(daemon::get(reader, &link, &copy));
    let running = get();
    wait::until(Duration::from_secs(60), "a file in the middle of being fetched", || {
        copy.join("b/c").is_dir().then_some(())
    });
    assert!(running.is_running(), "killed too late to prove anything");
    running.kill();
    reader.lift_limit();
    get().wait(Duration::from_secs(60)).expect_ok();
    compare::assert_same(&release, &copy);
    let look = |dir: &Path| {
        fs::metadata(dir)
            .map(|m| (m.mode() & 0o7777, m.mtime(), m.mtime_nsec()))
            .expect("there")
    };
    assert_eq!(look(&copy), look(&release), "the destination itself");
    let mut names = [0; 256];
    let attributes = rustix::fs::listxattr(&copy, &mut names[..]).unwrap_or(0);
    assert!(
        !names[..attributes].windows(4).any(|w| w == b"ares"),
        "nothing of ours stays on it"
    );
    // One that was there before, with something in it, keeps its own.
    let other = reader.dir().join("other");
    fs::create_dir(&other).expect("writable");
    fs::write(other.join("mine"), "mine").expect("writable");
    tree::set_mode(&other, 0o710);
    reader.run(daemon::get(reader, &link, &other)).expect_ok();
    assert_eq!(look(&other).0, 0o710);
}

#[test]
fn a_killed_reading_daemon_goes_on_with_what_it_holds() {
    let Some(lab) = slow_lab("resume-daemon") else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&publisher.dir().join("big"));
    let dest = reader.dir().join("copy");
    let get = || daemon::get(reader, &link, &dest);
    let own = Daemon::serve(reader);
    let running = reader.start(get());
    a_third(&server);
    own.kill();
    // Its command must notice and say so, not wait for ever.
    running.wait(Duration::from_secs(30)).expect_error(&[]);
    reader.lift_limit();
    let own = Daemon::serve(reader);
    reader.run(get()).expect_ok();
    assert_eq!(
        compare::differences(&publisher.dir().join("big"), &dest),
        Vec::<String>::new()
    );
    let served = server.counter("served_bytes");
    assert!(served < BYTES + AGAIN_MAX, "{served} bytes served for a file of {BYTES}");
    own.terminate().expect_ok();
}

#[test]
fn a_killed_server_serves_again_after_its_restart() {
    let Some(lab) = slow_lab("resume-server") else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&publisher.dir().join("big"));
    let dest = reader.dir().join("copy");
    let get = || reader.start(daemon::get(reader, &link, &dest));
    let running = get();
    let served_before = a_third(&server);
    server.kill();
    reader.lift_limit();
    // The same state, the same address, the release not published again.
    let server = Daemon::serve(publisher);
    // The reader that was under way either goes on by itself or ends with a clear error; the next try then goes on.
    let first = running.wait(Duration::from_secs(60));
    if !first.status.success() {
        first.expect_error(&[]);
        get().wait(Duration::from_secs(60)).expect_ok();
    }
    assert_eq!(
        compare::differences(&publisher.dir().join("big"), &dest),
        Vec::<String>::new()
    );
    let served = served_before + server.counter("served_bytes");
    assert!(served < BYTES + AGAIN_MAX, "{served} bytes served for a file of {BYTES}");
}

#[test]
fn a_second_get_fetches_nothing() {
    let Some(lab) = Lab::new("resume-nothing", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    tree::source(&release, 100, 52);
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&release);
    for copy in ["first", "second"] {
        reader.run(daemon::get(reader, &link, &reader.dir().join(copy))).expect_ok();
    }
    let (served, bytes) = (server.counter("served_bytes"), compare::tree_bytes(&release));
    assert!(
        served < bytes + bytes / 4 + (64 << 10),
        "{served} bytes served for two gets of {bytes}"
    );
    compare::assert_same(&release, &reader.dir().join("second"));
    // Also with the publisher gone: all of it is held.
    server.kill();
    reader
        .run(daemon::get(reader, &link, &reader.dir().join("third")))
        .expect_ok();
    compare::assert_same(&release, &reader.dir().join("third"));
}
