//! A lane or a peer with a cap carries no more, the others carry the rest, and a cap that is set or lifted under a transfer is obeyed at once.

use std::time::{Duration, Instant};

use ares_tests::{Daemon, Lab, Node, compare, daemon, tree, wait};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// What an operator says, and what may be seen of it: a tenth more, and what leaves at once after a pause.
const CAP_MIB: u64 = 4;
const MARGIN_BYTES: u64 = 1 << 20;

fn allowed_bytes(time: Duration) -> u64 {
    (time.as_secs_f64() * 1.1 * (CAP_MIB << 20) as f64) as u64 + MARGIN_BYTES
}

/// The reader's paths, once there are any.
fn paths(reader: &Node) -> Option<Vec<Value>> {
    let status = reader.run(reader.ares(["status", "--json"]));
    let status = status.status.success().then(|| status.json())?;
    status["peers"][0]["paths"].as_array().cloned()
}

fn received(reader: &Node) -> Option<u64> {
    let bytes = paths(reader)?
        .iter()
        .map(|path| path["rx_bytes"].as_u64())
        .sum::<Option<u64>>();
    bytes.filter(|bytes| *bytes > 1 << 20)
}

#[test]
fn a_lane_sends_no_more_than_its_cap_and_another_one_all_the_rest() {
    let Some(lab) = Lab::two_cables("caps-up") else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let publisher = publisher.with_config("capped", &format!("[lanes]\ncap_up = {{ eth0 = \"{CAP_MIB}MiB\" }}\n"));
    let bytes = 192 << 20;
    let file = publisher.dir().join("file");
    tree::big_file(&file, bytes, 91);
    let second = std::net::SocketAddr::new(publisher.ips(1)[0], publisher.listen().port()).to_string();
    let server = Daemon::serve_with(&publisher.at(publisher.ips(0)[0]), ["--listen", &second]);
    let link = server.publish(&file).link;
    // So that there is time for both.
    publisher.limit_departures(&["eth1"], 200);
    let copy = reader.dir().join("copy");
    let (start, before) = (Instant::now(), publisher.sent_bytes());
    let running = reader.start(daemon::get(reader, &link, &copy));
    let capped = wait::until(PATIENCE, "a path that obeys the cap", || {
        let status = server.status();
        let paths = status["peers"][0]["paths"].as_array()?;
        paths.iter().find(|path| path["interface"] == "eth0").cloned()
    });
    assert_eq!(capped["cap_up_bytes_per_s"], CAP_MIB << 20, "{capped}");
    assert!(capped["cap_down_bytes_per_s"].is_null(), "{capped}");
    running.wait(PATIENCE).expect_ok();
    let (sent, allowed) = (publisher.sent_bytes() - before, allowed_bytes(start.elapsed()));
    assert!(
        sent <= allowed,
        "{sent} bytes left by eth0 in {:?}, of {allowed}",
        start.elapsed()
    );
    assert!(sent < bytes / 2, "the other lane brought the rest: {sent}");
    compare::assert_same(&file, &copy);
}

#[test]
fn a_cap_is_set_and_lifted_under_a_transfer() {
    let Some(lab) = Lab::new("caps-live", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let file = publisher.dir().join("file");
    tree::big_file(&file, 256 << 20, 92);
    let server = Daemon::serve(publisher);
    let link = server.publish(&file).link;
    let config = format!("[lanes]\ncap_down = {{ \"eth*\" = \"{CAP_MIB}MiB\" }}\n");
    let reader = reader.with_config("capped", &config);
    let daemon = Daemon::serve(&reader);
    let copy = reader.dir().join("copy");
    let running = reader.start(daemon::get(&reader, &link, &copy));
    let check = |what: &str| {
        let start = Instant::now();
        let first = wait::until(PATIENCE, "the first bytes", || received(&reader));
        let last = wait::until(PATIENCE, "more of them", || {
            received(&reader).filter(|bytes| *bytes > first + 3 * (CAP_MIB << 20))
        });
        let allowed = allowed_bytes(start.elapsed());
        assert!(
            last - first <= allowed,
            "{what}: {} bytes in {:?}",
            last - first,
            start.elapsed()
        );
    };
    check("from the config file");
    let key = "cap-down.eth*";
    assert_eq!(daemon.tell(&["set", key])["value"], CAP_MIB << 20);
    let set = daemon.tell(&["set", key, "none"]);
    assert_eq!(
        (&set["old"], &set["value"]),
        (&Value::from(CAP_MIB << 20), &Value::from("none"))
    );
    let before = wait::until(PATIENCE, "bytes", || received(&reader));
    wait::until(PATIENCE, "much more", || {
        received(&reader).filter(|bytes| *bytes > before + (16 << 20))
    });
    daemon.tell(&["set", key, &format!("{CAP_MIB}MiB")]);
    let shown = wait::until(PATIENCE, "the cap to be shown", || {
        let paths = paths(&reader)?;
        paths.into_iter().find(|path| path["cap_down_bytes_per_s"] == CAP_MIB << 20)
    });
    assert_eq!(shown["interface"], "eth0");
    check("set live");
    daemon.tell(&["set", key, "none"]);
    running.wait(PATIENCE).expect_ok();
    compare::assert_same(&file, &copy);
}

/// Bytes that a daemon has served, by the key of whom.
fn served(server: &Daemon, peer: &str) -> u64 {
    let status = server.status();
    let peers = status["peers"].as_array().expect("a list");
    let found = peers.iter().find(|known| known["peer"] == peer);
    found.map_or(0, |peer| peer["served_bytes"].as_u64().expect("a number"))
}

#[test]
fn one_of_two_peers_is_sent_no_more_than_its_cap_from_the_moment_it_is_set() {
    let Some(lab) = Lab::new("caps-peer", 3) else { return };
    let publisher = lab.node(0);
    let file = publisher.dir().join("file");
    tree::big_file(&file, 192 << 20, 94);
    let server = Daemon::serve(publisher);
    let link = server.publish(&file).link;
    publisher.limit_departures(&["eth0"], 400);
    // They are told of each other after a while, and what one brings the other is not the publisher's.
    let readers = [1, 2].map(|at| lab.node(at).with_config("alone", "[swarm]\nmdns = false\n[set]\nlinks = 1\n"));
    let daemons = readers.each_ref().map(Daemon::serve);
    let [slow, other] = daemons
        .each_ref()
        .map(|daemon| daemon.status()["peer"].as_str().expect("a key").to_owned());
    let copies = readers.each_ref().map(|reader| reader.dir().join("copy"));
    let [of_slow, of_other] = [0, 1].map(|at| readers[at].start(daemon::get(&readers[at], &link, &copies[at])));
    let both = || [&slow, &other].map(|peer| served(&server, peer));
    wait::until(PATIENCE, "both to be served", || {
        both().iter().all(|bytes| *bytes > 8 << 20).then_some(())
    });
    let key = format!("peer-cap-up.{slow}");
    let value = format!("{CAP_MIB}MiB");
    server.tell(&["set", &key, &value]);
    // What was taken for sending before is a few chunks.
    let (start, before) = (Instant::now(), both());
    of_other.wait(PATIENCE).expect_ok();
    let (took, after) = (start.elapsed(), both());
    let of_slow_bytes = after[0] - before[0];
    assert!(
        of_slow_bytes <= allowed_bytes(took) + (4 << 20),
        "{of_slow_bytes} bytes in {took:?}, the other had {}",
        after[1] - before[1]
    );
    assert!(after[1] - before[1] > 2 * of_slow_bytes, "the other one is none the slower");
    let peers = server.tell(&["peers"]);
    let shown = peers["peers"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|peer| peer["peer"] == *slow);
    assert_eq!(shown.expect("it is connected")["cap_up_bytes_per_s"], CAP_MIB << 20);
    let listed = server.tell(&["set"])["knobs"]
        .as_array()
        .expect("a list")
        .iter()
        .any(|knob| knob["key"] == *key);
    assert!(listed, "{key} is listed");
    assert!(server.log().contains(&format!("set {key}: none -> {value}")), "an audit line");
    server.tell(&["set", &key, "none"]);
    of_slow.wait(PATIENCE).expect_ok();
    copies.iter().for_each(|copy| compare::assert_same(&file, copy));
}
