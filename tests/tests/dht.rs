//! Peers that know nothing of each other but a release, and nodes of a DHT that know neither.

use ares_core::link::Link;
use ares_tests::{Daemon, Lab, Node, compare, daemon, tree};

const PORT: u16 = 6881;

/// A machine that takes part in the DHT that begins with these.
fn with_dht(node: &Node, bootstrap: &[&Node], more: &str) -> Node {
    let begin: Vec<String> = bootstrap.iter().map(|node| format!("\"{}:{PORT}\"", node.ip())).collect();
    let text = format!("[dht]\nenabled = true\nbootstrap = [{}]\n{more}", begin.join(", "));
    node.with_config("dht", &text)
}

#[test]
fn who_has_a_release_is_found_by_those_who_know_nothing_else() {
    let Some(lab) = Lab::new("dht", 6) else { return };
    let [first, second, third, publisher, holder, reader] = [0, 1, 2, 3, 4, 5].map(|i| lab.node(i));
    let port = format!("port = {PORT}\n");
    let _dht = [
        Daemon::serve(&with_dht(first, &[], &port)),
        Daemon::serve(&with_dht(second, &[first], &port)),
        Daemon::serve(&with_dht(third, &[first, second], &port)),
    ];
    let begin = [first, third];
    let file = publisher.dir().join("file");
    tree::big_file(&file, 8 << 20, 241);
    let origin = Daemon::serve(&with_dht(publisher, &begin, ""));
    let mut link: Link = origin.publish(&file).link.parse().expect("a link");
    assert!(!link.peers.is_empty(), "it names its publisher");
    link.peers.clear();
    let link = link.to_string();

    let missed = reader.with_patience(3);
    let missed = missed.run(daemon::get(&missed, &link, &reader.dir().join("missed")));
    assert_eq!(missed.status.code(), Some(4), "{}", missed.describe());
    missed.expect_error(&["no peer is connected"]);

    let patience = "[mount]\npatience = \"80s\"\n";
    let bring = |node: &Node| {
        let node = with_dht(node, &begin, patience);
        let copy = node.dir().join("copy");
        node.run(daemon::get(&node, &link, &copy)).expect_ok();
        compare::assert_same(&file, &copy);
    };
    bring(holder);
    // Who has got it tells of it too, and others are found when the publisher is gone.
    let own = Daemon::serve(&with_dht(holder, &begin, ""));
    origin.terminate().expect_ok();
    bring(reader);
    assert!(own.counter("served_bytes") >= 8 << 20, "all of it came from the holder");
}
