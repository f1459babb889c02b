//! The main job: one machine publishes, others get and mount, and what they hold is what was published.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ares_tests::mount::{self, Mounted};
use ares_tests::{Daemon, Lab, Published, compare, daemon, tree, wait};

#[test]
fn two_readers_hold_what_was_published() {
    let Some(lab) = Lab::new("publish-get", 3) else { return };
    let [publisher, getter, mounter] = [0, 1, 2].map(|i| lab.node(i));
    let release = publisher.dir().join("release");
    tree::odd(&release, 11);
    tree::source(&release.join("source"), 300, 12);
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&release);

    let copy = getter.dir().join("copy");
    getter.run(daemon::get(getter, &link, &copy)).expect_ok();
    compare::assert_same_and_diff_clean(getter, &release, &copy);
    let sparse = compare::allocated_bytes(&copy.join("sparse/middle"));
    assert!(sparse < 2 << 20, "a hole must stay a hole: {sparse} bytes allocated");

    // The judge's own view of the network: each reader takes the bytes once, headers and manifest aside.
    let held = compare::tree_bytes(&release);
    let served = server.counter("served_bytes");
    assert!(served < held + (2 << 20), "{served} bytes served to one reader of {held}");

    if !mount::is_possible("publish-mount") {
        return;
    }
    let dir = mounter.dir().join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    let mounted = Mounted::new(mounter, &link, &dir);
    compare::assert_same_and_diff_clean(mounter, &release, &dir);
    mount::unmount(mounter, &dir).expect_ok();
    mounted.gone().expect_ok();
    let served = server.counter("served_bytes");
    assert!(
        served < 2 * held + (4 << 20),
        "{served} bytes served to two readers of {held}"
    );
    server.terminate().expect_ok();
}

#[test]
fn small_files_are_there_while_later_ones_are_still_fetched() {
    let Some(lab) = Lab::new("publish-early", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    // About three seconds for what comes last.
    reader.limit_arrivals(150);
    let release = publisher.dir().join("release");
    fs::create_dir(&release).expect("writable");
    tree::source(&release.join("a"), 200, 13);
    tree::big_file(&release.join("z"), 48 << 20, 14);
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&release);
    let copy = reader.dir().join("copy");
    let running = reader.start(daemon::get(reader, &link, &copy));
    wait::until(Duration::from_secs(60), "a whole directory", || {
        (copy.join("a").is_dir() && compare::differences(&release.join("a"), &copy.join("a")).is_empty()).then_some(())
    });
    let served = server.counter("served_bytes");
    assert!(
        running.is_running() && served < 40 << 20,
        "{served} bytes served before the first files were there"
    );
    running.wait(Duration::from_secs(60)).expect_ok();
    compare::assert_same(&release, &copy);
}

#[test]
fn a_published_file_lands_at_the_destination() {
    let Some(lab) = Lab::new("publish-file", 2) else { return };
    let file = lab.node(0).dir().join("a file.bin");
    tree::big_file(&file, 5_000_000, 21);
    tree::set_mtime(&file, (1_000_000_000, 5)).expect("mtime");
    let server = Daemon::serve(lab.node(0));
    let Published { link, .. } = server.publish(&file);
    let dest = lab.node(1).dir().join("renamed.bin");
    lab.node(1).run(daemon::get(lab.node(1), &link, &dest)).expect_ok();
    assert_eq!(compare::differences(&file, &dest), Vec::<String>::new());
}

#[test]
fn what_is_published_without_a_daemon_is_served_by_the_next_one() {
    let Some(lab) = Lab::new("publish-first", 2) else { return };
    let release = lab.node(0).dir().join("release");
    tree::source(&release, 60, 31);
    let Published { release: id, .. } = daemon::publish(lab.node(0), &release);
    let server = Daemon::serve(lab.node(0));
    // The link of an embedded node cannot know where the daemon will listen: publishing again gives one that does.
    let published = server.publish(&release);
    assert_eq!(published.release, id);
    let copy = lab.node(1).dir().join("copy");
    lab.node(1).run(daemon::get(lab.node(1), &published.link, &copy)).expect_ok();
    compare::assert_same(&release, &copy);
}

#[test]
fn one_tree_is_one_release_on_every_machine() {
    let lab = Lab::on_loopback("one-release", 2);
    let first = lab.node(0).dir().join("tree");
    tree::odd(&first, 41);
    // Another name, another directory, entries made in another order, other inode numbers.
    let second = lab.node(1).dir().join("other name");
    compare::copy_tree(&first, &second);
    for name in ["names", "sizes", "symlinks"] {
        let (from, aside) = (second.join(name), lab.node(1).dir().join(name));
        fs::rename(&from, &aside).expect("a directory can be moved aside");
        compare::copy_tree(&aside, &from);
    }
    compare::copy_tree(&first.join("."), &second.join("."));
    compare::assert_same(&first, &second);
    let ids = [(0, &first), (1, &second), (1, &first), (0, &first)].map(|(i, path)| daemon::publish(lab.node(i), path).release);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    type Change = fn(&Path) -> std::io::Result<()>;
    let changes: [(&str, Change); 3] = [
        ("content", |d| fs::write(d.join("sizes/bytes-1"), "y")),
        ("mtime", |d| tree::set_mtime(&d.join("sizes/bytes-512"), (9, 9))),
        ("name", |d| fs::rename(d.join("names/plain"), d.join("names/changed"))),
    ];
    for (what, change) in changes {
        change(&second).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_ne!(
            daemon::publish(lab.node(1), &second).release,
            ids[0],
            "another {what} is another release"
        );
    }
}
