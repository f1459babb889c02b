//! A transfer between two machines that have several shards each goes over several ports, where the network lets it.

use std::time::Duration;

use ares_tests::{Daemon, Lab, Node, Published, compare, daemon, tree, wait};

/// Time enough at any speed for a second path to be found worth its while, and used.
const BYTES: u64 = 256 << 20;

/// How long a `get` of them may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Patience shorter than a silent connection lives (15 s).
const CONFIG: &str = "[node]\nshards = 2\n[mount]\npatience = \"10s\"\n";

/// Two machines with two shards each.
fn lab(test: &str) -> Option<(Lab, [Node; 2])> {
    let lab = Lab::pair(test, 1500)?;
    let nodes = [0, 1].map(|i| lab.node(i).with_config("shards", CONFIG));
    Some((lab, nodes))
}

#[test]
fn a_port_that_a_firewall_closes_disturbs_nothing() {
    let Some((_lab, [publisher, reader])) = lab("shards-closed") else {
        return;
    };
    publisher.close_other_ports();
    let file = publisher.dir().join("big");
    tree::big_file(&file, BYTES, 81);
    let server = Daemon::serve(&publisher);
    let Published { link, .. } = server.publish(&file);
    let dest = reader.dir().join("copy");
    let got = reader.start(daemon::get(&reader, &link, &dest)).wait(PATIENCE).expect_ok();
    assert_eq!(compare::differences(&file, &dest), Vec::<String>::new());
    assert!(publisher.packets_dropped() > 0, "a second path was tried");
    assert!(!got.stderr.contains("error"), "{}", got.describe());
}

#[test]
fn a_publisher_that_restarts_is_met_again_whatever_its_other_ports_are() {
    let Some((_lab, [publisher, reader])) = lab("shards-restart") else {
        return;
    };
    // Some four seconds for the file: time enough to kill a side in the middle.
    reader.limit_arrivals(600);
    let file = publisher.dir().join("big");
    tree::big_file(&file, BYTES, 82);
    let server = Daemon::serve(&publisher);
    let Published { link, .. } = server.publish(&file);
    let dest = reader.dir().join("copy");
    let running = reader.start(daemon::get(&reader, &link, &dest));
    wait::until(PATIENCE, "a second path", || {
        (server.status()["peers"][0]["paths"].as_array()?.len() == 2).then_some(())
    });
    assert!(running.is_running(), "restarted too late to prove anything");
    server.kill();
    let _server = Daemon::serve(&publisher);
    running.wait(PATIENCE).expect_ok();
    assert_eq!(compare::differences(&file, &dest), Vec::<String>::new());
}
