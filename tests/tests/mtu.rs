//! Packets as large as the way to a peer carries: jumbo frames in a network namespace that has them, 64 KiB on loopback.

use std::time::Duration;

use ares_tests::{Daemon, Lab, compare, daemon, tree, wait};

/// Publishes, gets, and judges the packets by what the server says of its path while the reader takes them. The search for the largest
/// may stop a few bytes below it; what it starts from is far below half.
fn carries(lab: &Lab, mtu: u64) {
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let file = publisher.dir().join("file");
    tree::big_file(&file, 300 << 20, 91);
    let server = Daemon::serve(publisher);
    let link = server.publish(&file).link;
    let copy = reader.dir().join("copy");
    let running = reader.start(daemon::get(reader, &link, &copy));
    wait::until(Duration::from_secs(60), "packets as large as the link's", || {
        let status = server.status();
        let paths = status["peers"].as_array()?.iter().flat_map(|peer| peer["paths"].as_array());
        let mut mtus = paths.flatten().filter_map(|path| path["mtu"].as_u64());
        mtus.any(|found| found > mtu / 2).then_some(())
    });
    running.wait(Duration::from_secs(60)).expect_ok();
    compare::assert_same(&file, &copy);
}

#[test]
fn jumbo_frames_are_found_inside_a_namespace() {
    let Some(lab) = Lab::pair("mtu-jumbo", 9000) else { return };
    carries(&lab, 9000);
}

#[test]
fn loopback_carries_all_a_datagram_can() {
    carries(&Lab::on_loopback("mtu-loopback", 2), 65_536);
}
