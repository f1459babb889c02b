//! Who is spoken with: keys on a list alone, or none of a list, changed while connections are up.

use std::time::Duration;

use ares_tests::{Daemon, Lab, Node, compare, daemon, tree, wait};

const PATIENCE: Duration = Duration::from_secs(60);

fn key_of(daemon: &Daemon) -> String {
    daemon.status()["peer"].as_str().expect("status names the peer").to_owned()
}

/// The reader tries to get it, by its own daemon.
fn bring(reader: &Node, link: &str, name: &str) -> ares_tests::Outcome {
    reader.run(daemon::get(reader, link, &reader.dir().join(name)))
}

#[test]
fn a_closed_swarm_lets_in_whom_it_names_and_tells_strangers_nothing() {
    let lab = Lab::on_loopback("access", 3);
    let hasty = "[mount]\npatience = \"3s\"\n[node]\ndial_timeout = \"500ms\"\n";
    let [member, stranger] = [1, 2].map(|i| lab.node(i).with_config("hasty", hasty));
    let daemons = [&member, &stranger].map(Daemon::serve);
    let [member_key, stranger_key] = daemons.each_ref().map(key_of);
    let write = |access: &str| lab.node(0).with_config("access", &format!("[access]\n{access}\n"));
    let publisher = write(&format!("allow = [\"{member_key}\"]"));
    let origin = Daemon::serve(&publisher);
    let file = publisher.dir().join("file");
    tree::big_file(&file, 1 << 20, 401);
    let link = origin.publish(&file).link;

    bring(&member, &link, "copy").expect_ok();
    compare::assert_same(&file, &member.dir().join("copy"));
    for _ in 0..2 {
        let refused = bring(&stranger, &link, "copy");
        assert_eq!(refused.status.code(), Some(4), "{}", refused.describe());
        refused.expect_error(&["not let in"]);
    }
    assert!(origin.counter("refused_keys") >= 2);
    assert_eq!(
        origin.log().matches("a key was not let in").count(),
        1,
        "not one line for each"
    );
    assert_eq!(daemons[1].counter("fetched_bytes"), 0);

    write(&format!("allow = [\"{member_key}\", \"{stranger_key}\"]"));
    origin.tell(&["reload"]);
    bring(&stranger, &link, "copy").expect_ok();
    let connected = |key: &str| {
        let peers = origin.tell(&["peers"])["peers"].clone();
        peers.as_array().expect("a list").iter().any(|peer| peer["peer"] == key)
    };
    wait::until(PATIENCE, "both to be connected", || {
        (connected(&stranger_key) && connected(&member_key)).then_some(())
    });

    // The emergency stop: also who is there already.
    write(&format!("block = [\"{stranger_key}\"]"));
    origin.tell(&["reload"]);
    wait::until(PATIENCE, "the connection to end", || {
        (!connected(&stranger_key)).then_some(())
    });
    assert!(connected(&member_key), "nobody else's");

    write("allow = [\"nonsense\"]");
    let refused = publisher.run(publisher.ares(["reload"]));
    assert_eq!(refused.status.code(), Some(2), "{}", refused.describe());
    refused.expect_error(&["access.allow", "64 hex digits"]);
}
