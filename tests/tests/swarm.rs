//! Many machines fetch one release at the same time: they serve each other, also when its publisher is gone and when the network was in two.

use std::time::Duration;

use ares_tests::{Daemon, Lab, Node, Running, compare, daemon, tree, wait};
use serde_json::Value;

const BYTES: u64 = 24 << 20;

/// One copy takes some four seconds: long enough for those who fetch to find each other.
const MBIT_PER_S: u32 = 50;

/// How long all may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A publisher that sends slowly, and readers under way, each by the daemon of its own machine.
struct Swarm {
    lab: Lab,
    /// The publisher's first.
    daemons: Vec<Daemon>,
    getting: Vec<Running>,
}

impl Swarm {
    /// Each reader sends at most so much, in Mbit/s.
    fn new(test: &str, readers_mbit_per_s: u32, seed: u64) -> Option<Self> {
        let lab = Lab::new(test, 5)?;
        let nodes: Vec<Node> = (0..5).map(|i| lab.node(i).clone()).collect();
        let (publisher, readers) = nodes.split_first().expect("five machines");
        publisher.limit_departures(&["eth0"], MBIT_PER_S);
        readers
            .iter()
            .for_each(|node| node.limit_departures(&["eth0"], readers_mbit_per_s));
        let file = publisher.dir().join("file");
        tree::big_file(&file, BYTES, seed);
        let daemons: Vec<Daemon> = nodes.iter().map(Daemon::serve).collect();
        let link = daemons[0].publish(&file).link;
        let get = |node: &Node| node.start(daemon::get(node, &link, &node.dir().join("copy")));
        let getting = readers.iter().map(get).collect();
        Some(Self { lab, daemons, getting })
    }

    /// How many copies of the file have left the publisher, headers included.
    fn copies(&self) -> f64 {
        self.lab.node(0).sent_bytes() as f64 / BYTES as f64
    }

    fn wait_for_copies(&self, copies: f64) {
        wait::until(PATIENCE, "the publisher to send", || (self.copies() >= copies).then_some(()));
    }

    /// All end, and with the right bytes.
    fn finish(&mut self) {
        let file = self.lab.node(0).dir().join("file");
        for (i, getting) in (1..).zip(self.getting.drain(..)) {
            getting.wait(PATIENCE).expect_ok();
            compare::assert_same(&file, &self.lab.node(i).dir().join("copy"));
        }
    }
}

#[test]
fn those_who_fetch_serve_each_other() {
    let Some(mut swarm) = Swarm::new("swarm-shared", 200, 81) else {
        return;
    };
    swarm.finish();
    let copies = swarm.copies();
    assert!(copies < 2.0, "four have it, and {copies:.2} copies have left the publisher");
}

#[test]
fn who_has_what_and_what_came_from_whom_is_told_while_it_moves() {
    let Some(mut swarm) = Swarm::new("swarm-told", 200, 84) else {
        return;
    };
    let ids: Vec<Value> = swarm.daemons.iter().map(|daemon| daemon.status()["peer"].clone()).collect();
    let bytes = |of: &Value, name: &str| of[name].as_u64().unwrap_or(0);
    let reader = &swarm.daemons[1];
    wait::until(PATIENCE, "a picture of who sends what to whom", || {
        let told = reader.tell(&["peers"]);
        let peer = |id: &Value| {
            told["peers"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|peer| peer["peer"] == *id)
        };
        let publisher = peer(&ids[0])?;
        let has_all = publisher["releases"][0]["state"] == "complete" && bytes(&publisher["releases"][0], "fetched_bytes") > 0;
        let others = || ids[2..].iter().filter_map(peer);
        let has_part = |other: &Value| {
            let claim = &other["releases"][0];
            claim["state"] == "partial" && bytes(claim, "chunks_told") > 0
        };
        let gives_and_takes = |other: &Value| bytes(other, "fetched_bytes") > 0 && bytes(other, "served_bytes") > 0;
        (told["peer"] == ids[1] && has_all && others().any(has_part) && others().any(gives_and_takes)).then_some(())
    });
    let release = reader.tell(&["content"])["releases"][0].clone();
    assert!(release["complete"] == false && bytes(&release, "seen_bytes") > 0, "{release}");
    assert!(
        bytes(&release, "peers_complete") > 0 && bytes(&release, "peers_partial") > 0,
        "{release}"
    );
    let name = release["release"].as_str().expect("a release has a hash").to_owned();
    let part = reader.tell(&["content", &name[..10]]);
    assert!(part["complete"] == false && bytes(&part, "missing_bytes") > 0, "{part}");
    let peers = part["peers"].as_array().expect("a list");
    assert!(
        peers.iter().any(|peer| peer["peer"] == ids[0] && peer["state"] == "complete"),
        "{part}"
    );

    swarm.finish();
    for daemon in &swarm.daemons {
        let whole = daemon.tell(&["content", "file"]);
        assert!(whole["complete"] == true && bytes(&whole, "missing_chunks") == 0, "{whole}");
        // A published file and one that `get` has put in its place are served from there.
        assert!(bytes(&whole, "in_place_bytes") == BYTES, "{whole}");
    }
    let whole = swarm.daemons[1].tell(&["content"])["releases"][0].clone();
    assert!(
        whole["complete"] == true && bytes(&whole, "fetched_bytes") >= BYTES,
        "{whole}"
    );
}

#[test]
fn the_publisher_may_be_killed_once_it_has_sent_all() {
    // So slowly that they need each other for long after.
    let Some(mut swarm) = Swarm::new("swarm-left", 15, 82) else {
        return;
    };
    swarm.wait_for_copies(1.25);
    assert!(swarm.getting.iter().all(Running::is_running), "nobody has all yet");
    swarm.daemons.remove(0).kill();
    swarm.finish();
}

#[test]
fn two_halves_that_were_parted_end_once_they_are_one() {
    let Some(mut swarm) = Swarm::new("swarm-parted", 200, 83) else {
        return;
    };
    swarm.wait_for_copies(0.3);
    let [publisher, near, near_too, away, away_too] = [0, 1, 2, 3, 4].map(|i| swarm.lab.node(i).clone());
    let (one, other) = ([&away, &away_too], [&publisher, &near, &near_too]);
    let across = || one.into_iter().flat_map(|here| other.map(|there| (here, there)));
    across().for_each(|(here, there)| here.part_from(there));
    for getting in swarm.getting.drain(..2) {
        getting.wait(PATIENCE).expect_ok();
    }
    assert!(
        swarm.getting.iter().all(Running::is_running),
        "what they need is on the other side"
    );
    across().for_each(|(here, there)| here.rejoin(there));
    for (node, getting) in [&away, &away_too].into_iter().zip(swarm.getting.drain(..)) {
        getting.wait(PATIENCE).expect_ok();
        compare::assert_same(&publisher.dir().join("file"), &node.dir().join("copy"));
    }
}

#[test]
fn what_nobody_of_a_zone_has_crosses_to_it_once() {
    let Some(lab) = Lab::new("swarm-zones", 6) else { return };
    let nodes: Vec<Node> = (0..6).map(|i| lab.node(i).clone()).collect();
    let (home, away) = nodes.split_at(2);
    nodes.iter().for_each(|node| node.limit_departures(&["eth0"], 200));
    let file = home[0].dir().join("file");
    tree::big_file(&file, BYTES, 86);
    let serve = |zone| move |node: &Node| Daemon::serve_with(node, ["--zone", zone]);
    let at_home: Vec<Daemon> = home.iter().map(serve("home")).collect();
    let link = at_home[0].publish(&file).link;
    home[1]
        .run(daemon::get(&home[1], &link, &home[1].dir().join("copy")))
        .expect_ok();
    let _away: Vec<Daemon> = away.iter().map(serve("away")).collect();
    let get = |node: &Node| node.start(daemon::get(node, &link, &node.dir().join("copy")));
    let before: u64 = home.iter().map(Node::sent_bytes).sum();
    let getting: Vec<Running> = away.iter().map(get).collect();
    for (node, getting) in away.iter().zip(getting) {
        getting.wait(PATIENCE).expect_ok();
        compare::assert_same(&file, &node.dir().join("copy"));
    }
    let sent: u64 = home.iter().map(Node::sent_bytes).sum();
    let crossed = (sent - before) as f64 / BYTES as f64;
    assert!(crossed < 1.4, "four have it, and {crossed:.2} copies have crossed");
    let told = at_home[0].tell(&["peers"]);
    let zones = told["peers"].as_array().into_iter().flatten();
    let zones: Vec<&str> = zones.filter_map(|peer| peer["zone"].as_str()).collect();
    assert!(zones.contains(&"home") && zones.contains(&"away"), "{told}");
}
