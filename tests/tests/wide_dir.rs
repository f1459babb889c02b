//! A directory of 100,000 entries: published, listed through a mount, looked up, and fetched, within seconds.

use std::fs;
use std::time::{Duration, Instant};

use ares_tests::mount::{self, Mounted};
use ares_tests::scratch::mount_tmpfs;
use ares_tests::{Daemon, Lab, Published, compare, daemon, tree};

const ENTRIES: usize = 100_000;

#[test]
fn a_directory_of_100_000_entries_is_a_directory() {
    const TEST: &str = "wide-dir";
    if !mount::is_possible(TEST) {
        return;
    }
    let Some(lab) = Lab::new(TEST, 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    // In memory where that is allowed: ext4 takes longer to make and remove the files than everything judged here.
    let memory = lab.dir("memory");
    mount_tmpfs(&memory, "size=2g,nr_inodes=1m");
    let release = memory.join("release");
    tree::wide(&release.join("wide"), ENTRIES);
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&release);

    let dir = reader.dir().join("mounted");
    fs::create_dir(&dir).expect("a mount point");
    let mounted = Mounted::new(reader, &link, &dir);
    let before = server.counter("served_bytes");
    for entry in [0, 1, 49_999, ENTRIES - 1] {
        let text = fs::read_to_string(mounted.dir().join(format!("wide/entry-{entry:06}")));
        assert_eq!(text.expect("an entry can be read"), format!("{entry}"));
    }
    assert!(!mounted.dir().join("wide/entry-100000").exists(), "a name that is not there");
    let fetched = server.counter("served_bytes") - before;
    assert!(
        fetched < 2 << 20,
        "a few lookups must not fetch the whole directory: {fetched} bytes"
    );

    let start = Instant::now();
    let listed = fs::read_dir(mounted.dir().join("wide"))
        .expect("a listing")
        .map(|e| e.expect("an entry").file_name());
    let listed: std::collections::BTreeSet<_> = listed.collect();
    assert_eq!(listed.len(), ENTRIES, "each name once");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "listing took {:?}",
        start.elapsed()
    );

    let fresh = reader.with_state(reader.dir().join("state-of-get"));
    let copy = memory.join("copy");
    fresh.run(daemon::get(&fresh, &link, &copy)).expect_ok();
    compare::assert_same(&release, &copy);
}
