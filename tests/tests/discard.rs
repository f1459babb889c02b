//! `ares get --discard` brings every byte over the network, believes none that is wrong, and leaves nothing behind.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ares_core::link::Link;
use ares_tests::hostile::{Hostile, Misdeed};
use ares_tests::{Daemon, Lab, Node, Published, compare, daemon, tree, wait};
use rustix::process::Signal;

/// What a state directory takes that holds no chunk: key, lock, and the journal's head.
const EMPTY_BYTES_MAX: u64 = 64 << 10;

const BOUND: Duration = Duration::from_secs(60);

/// State directories that `--discard` has made on a machine and not removed.
fn throwaways(node: &Node) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.dir()).expect("the node's directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|p| p.to_string_lossy().contains("ares-discard-")).collect()
}

#[test]
fn all_of_it_comes_each_time_and_none_of_it_stays() {
    let lab = Lab::on_loopback("discard", 2);
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    tree::odd(&release, 41);
    tree::source(&release.join("source"), 100, 42);
    tree::big_file(&release.join("big"), 20_000_000, 43);
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&release);

    // What the reader's own store holds does not count.
    reader.run(daemon::get(reader, &link, &reader.dir().join("copy"))).expect_ok();
    for _ in 0..2 {
        let before = server.counter("served_bytes");
        let said = reader.run(daemon::discard(reader, &link)).expect_ok().json();
        let figure = |key: &str| said[key].as_u64().unwrap_or_else(|| panic!("no {key}: {said}"));
        assert_eq!(figure("bytes"), compare::tree_bytes(&release));
        assert!(figure("fetched_bytes") > 20_000_000, "{said}");
        assert!(said["elapsed_s"].as_f64().is_some_and(|s| s > 0.0), "{said}");
        let served = server.counter("served_bytes") - before;
        assert!(served >= figure("fetched_bytes"), "{served} bytes served: {said}");
        assert_eq!(throwaways(reader), [] as [PathBuf; 0]);
    }

    let inside = reader.run(daemon::discard(reader, &format!("{link}/big"))).expect_ok().json();
    assert_eq!(inside["bytes"], 20_000_000);
    let absent = reader.run(daemon::discard(reader, &format!("{link}/none")));
    absent.expect_error(&["no such entry"]);
}

#[test]
fn nothing_is_kept_on_the_way_nor_after_an_interruption() {
    let Some(lab) = Lab::new("discard-slow", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    // About six seconds.
    reader.limit_arrivals(80);
    let file = publisher.dir().join("file");
    tree::big_file(&file, 60_000_000, 44);
    let server = Daemon::serve(publisher);
    let Published { link, .. } = server.publish(&file);
    let running = reader.start(daemon::discard(reader, &link));
    wait::until(BOUND, "a good part of the file", || {
        (server.counter("served_bytes") > 20_000_000).then_some(())
    });
    let [state] = &throwaways(reader)[..] else {
        panic!("a state directory of its own")
    };
    let kept: u64 = compare::files_below(state).iter().map(|f| compare::allocated_bytes(f)).sum();
    assert!(running.is_running() && kept < EMPTY_BYTES_MAX, "{kept} bytes kept");
    running.signal(Signal::INT);
    running.wait(BOUND).expect_error(&["interrupted"]);
    assert_eq!(throwaways(reader), [] as [PathBuf; 0]);
}

#[test]
fn wrong_bytes_are_not_counted_as_delivered() {
    let lab = Lab::on_loopback("discard-hostile", 3);
    let file = lab.node(0).dir().join("file");
    tree::big_file(&file, 6 << 20, 45);
    let server = Daemon::serve(lab.node(0));
    let mut link: Link = server.publish(&file).link.parse().expect("a link as core reads it");
    let hostile = Hostile::start(lab.node(2).listen(), Misdeed::WrongByte, &link);
    link.peers = vec![hostile.hint()];
    let reader = lab.node(1).with_patience(10);
    let name = format!("{}|{}", hostile.peer.short(), hostile.address);
    reader.run(daemon::discard(&reader, &link.to_string())).expect_error(&[&name]);
    assert!(hostile.asked() > 0, "nobody asked the hostile peer");
    assert_eq!(throwaways(&reader), [] as [PathBuf; 0]);
}
