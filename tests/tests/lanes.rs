//! A path leaves from a lane, and ends with it: at once, for a reason that says so, and what it was asked for comes another way.

use std::net::IpAddr;
use std::time::Duration;

use ares_tests::lab::{LinkState, PORT};
use ares_tests::{Daemon, Lab, Node, Running, compare, daemon, tree, wait};
use rustix::process::Signal;

/// Some ten seconds at the limit below, which goes once a lane is lost: time enough to lose it in the middle.
const BYTES: u64 = 64 << 20;
const MBIT_PER_S: u32 = 50;

/// Far above what the news of a lost lane takes, far below what a silent connection lives (15 s).
const NOTICE_MAX: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a path ends from whose lane the kernel has refused to send.
const NO_WAY: &str = "nothing can leave from";

const V4: usize = 0;
const V6: usize = 1;

/// A reader takes a file over the first of two cables, loses its lane there, and must say `why` and go on over the second.
fn check(test: &str, family: usize, lose: impl FnOnce(&Node, &Node, &Running), why: impl FnOnce(IpAddr) -> String) {
    let Some(lab) = Lab::two_cables(test) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let file = publisher.dir().join("file");
    tree::big_file(&file, BYTES, 61);
    let [first, second] = [0, 1].map(|cable| publisher.ips(cable)[family]);
    let second = std::net::SocketAddr::new(second, PORT).to_string();
    let server = Daemon::serve_with(&publisher.at(first), ["--listen", &second]);
    let link = server.publish(&file).link;
    publisher.limit_departures(&["eth0", "eth1"], MBIT_PER_S);
    let copy = reader.dir().join("copy");
    let mut get = daemon::get(reader, &link, &copy);
    get.arg("-vv");
    let running = reader.start(get);
    let local = reader.ips(0)[family];
    wait::until(PATIENCE, "a path from the first lane with asks under way", || {
        let status = reader.run(reader.ares(["status", "--json"]));
        let status = status.status.success().then(|| status.json())?;
        let path = &status["peers"][0]["paths"][0];
        let is_it = path["interface"] == "eth0" && path["local"] == local.to_string();
        (is_it && path["inflight_bytes"].as_u64()? > 0).then_some(())
    });
    lose(publisher, reader, &running);
    let why = why(local);
    // The kernel may refuse to send before its news of the interface is read.
    wait::until(NOTICE_MAX, &format!("`path down`, `{why}`"), || {
        let log = running.stderr();
        let mut ends = log.lines().filter(|line| line.contains("path down"));
        ends.any(|line| line.contains(&why) || line.contains(NO_WAY)).then_some(())
    });
    publisher.lift_departures();
    running.wait(PATIENCE).expect_ok();
    compare::assert_same(&file, &copy);
}

fn eth0_went_down(_: IpAddr) -> String {
    "interface eth0 went down".to_owned()
}

#[test]
fn an_interface_that_goes_down_takes_its_paths_along() {
    check(
        "lanes-down",
        V4,
        |_, reader, _| reader.set_link(LinkState::Down),
        eth0_went_down,
    );
}

/// The kernel takes the IPv6 addresses of such an interface away as well; that is not the reason.
#[test]
fn an_interface_that_goes_down_takes_its_ipv6_paths_along() {
    check(
        "lanes-down6",
        V6,
        |_, reader, _| reader.set_link(LinkState::Down),
        eth0_went_down,
    );
}

#[test]
fn a_pulled_cable_is_a_lost_lane() {
    check(
        "lanes-cable",
        V4,
        |publisher, _, _| publisher.set_link(LinkState::Down),
        eth0_went_down,
    );
}

#[test]
fn an_address_that_is_removed_is_a_lost_lane() {
    let lose = |_: &Node, reader: &Node, _: &Running| reader.remove_address(reader.ips(0)[V6]);
    check("lanes-address", V6, lose, |local| format!("address {local} was removed"));
}

/// A process that does not run hears of nothing, and the kernel keeps some hundred changes for it.
#[test]
fn a_lane_lost_among_changes_that_the_kernel_did_not_keep_is_noticed() {
    let lose = |publisher: &Node, reader: &Node, running: &Running| {
        running.signal(Signal::STOP);
        let flap = "addr add 192.0.2.1/32 dev eth1\naddr del 192.0.2.1/32 dev eth1\n";
        reader.ip_batch(&flap.repeat(2000));
        publisher.set_link(LinkState::Down);
        running.signal(Signal::CONT);
        wait::until(NOTICE_MAX, "everything to be read again", || {
            running.stderr().contains("all is read again").then_some(())
        });
    };
    check("lanes-overrun", V4, lose, eth0_went_down);
}

#[test]
fn a_lane_that_the_config_leaves_out_now_carries_nothing_more_and_one_let_in_again_is_used() {
    let Some(lab) = Lab::two_cables("lane-rules") else { return };
    let (publisher, machine) = (lab.node(0), lab.node(1));
    let file = publisher.dir().join("file");
    tree::big_file(&file, BYTES, 62);
    let second = std::net::SocketAddr::new(publisher.ips(1)[0], PORT).to_string();
    let server = Daemon::serve_with(publisher, ["--listen", &second]);
    let link = server.publish(&file).link;
    publisher.limit_departures(&["eth0", "eth1"], MBIT_PER_S);
    let write = |text: &str| machine.with_config("lanes", text);
    let reader = write("");
    let own_second = std::net::SocketAddr::new(machine.ips(1)[0], PORT).to_string();
    let daemon = Daemon::serve_with(&reader, ["--listen", &own_second]);
    let copy = reader.dir().join("copy");
    let running = reader.start(daemon::get(&reader, &link, &copy));
    let lanes_in_use = || {
        let status = daemon.status();
        let paths = status["peers"][0]["paths"].as_array().cloned().unwrap_or_default();
        let names = paths.iter().filter_map(|path| path["interface"].as_str().map(str::to_owned));
        names.collect::<std::collections::BTreeSet<String>>()
    };
    let wait_for = |what: &str, lanes: &[&str]| {
        wait::until(PATIENCE, what, || {
            assert!(running.is_running(), "{}", running.stderr());
            lanes_in_use()
                .iter()
                .map(String::as_str)
                .eq(lanes.iter().copied())
                .then_some(())
        });
    };
    wait_for("a path over each cable", &["eth0", "eth1"]);
    write("[lanes]\nexclude = [\"eth0\"]\n");
    let said = daemon.tell(&["reload"]);
    assert_eq!(
        (&said["changed"][0], &said["needs_restart"]),
        (&"lanes".into(), &serde_json::json!([]))
    );
    wait_for("the first to end", &["eth1"]);
    // The peer's other address is another way over it, and none that is left when the cable is pulled.
    wait::until(PATIENCE, "two ways over the second", || {
        let status = daemon.status();
        (status["peers"][0]["paths"].as_array()?.len() > 1).then_some(())
    });
    write("");
    daemon.tell(&["reload"]);
    wait_for("the first to be used again beside them", &["eth0", "eth1"]);
    write("[lanes]\nexclude = [\"eth1\"]\nweight = { eth0 = 2 }\n");
    daemon.tell(&["reload"]);
    wait_for("it to be used again, and alone", &["eth0"]);
    publisher.lift_departures();
    running.wait(PATIENCE).expect_ok();
    compare::assert_same(&file, &copy);
}
