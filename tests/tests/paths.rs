//! Two machines on two cables: a transfer uses both though its link names one, and survives the loss of either.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ares_core::link::Link;
use ares_tests::lab::{LinkState, PORT};
use ares_tests::{Daemon, Lab, Node, Running, compare, daemon, tree, wait};
use serde_json::Value;

/// Over two cables of `MBIT_PER_S` some twenty seconds: time enough to look at the paths and to cut one on any machine.
/// The limit goes once that is done.
const BYTES: u64 = 64 << 20;
const MBIT_PER_S: u32 = 16;

/// How long a transfer may take on a busy machine, with a cable cut.
const PATIENCE: Duration = Duration::from_secs(120);

/// A publisher at its address on each cable, and a reader that gets a file by a link which names the first.
struct Scene {
    lab: Lab,
    _server: Daemon,
    link: String,
    getting: Running,
}

impl Scene {
    fn new(test: &str) -> Option<Self> {
        let lab = Lab::two_cables(test)?;
        let (publisher, reader) = (lab.node(0), lab.node(1));
        publisher.limit_departures(&["eth0", "eth1"], MBIT_PER_S);
        let file = publisher.dir().join("file");
        tree::big_file(&file, BYTES, 71);
        let second = publisher.ips(1)[0];
        let server = Daemon::serve_with(publisher, ["--listen", &format!("{second}:{PORT}")]);
        let mut link: Link = server.publish(&file).link.parse().expect("a link");
        link.peers[0].addrs.retain(|at| at.ip() == publisher.ip());
        assert_eq!(link.peers[0].addrs.len(), 1, "the link names one address");
        let link = link.to_string();
        let getting = reader.start(daemon::get(reader, &link, &reader.dir().join("copy")));
        Some(Self {
            lab,
            _server: server,
            link,
            getting,
        })
    }

    /// Waits until the reader has a path over each cable. Its paths then.
    fn both_paths(&self) -> Vec<Value> {
        let reader = self.lab.node(1);
        wait::until(PATIENCE, "a path over each cable", || {
            assert!(
                self.getting.is_running(),
                "it is done without a second path: {}",
                self.getting.stderr()
            );
            let paths = paths(reader)?;
            (ends(&paths, "remote").len() == 2).then_some(paths)
        })
    }

    /// The transfer ends, and its bytes are right. The machines as it left them.
    fn finish(self) -> Lab {
        self.lab.node(0).lift_departures();
        self.getting.wait(PATIENCE).expect_ok();
        let [publisher, reader] = [0, 1].map(|i| self.lab.node(i).dir());
        assert_eq!(
            compare::differences(&publisher.join("file"), &reader.join("copy")),
            Vec::<String>::new()
        );
        self.lab
    }
}

/// What `ares paths --json` prints; none where no daemon runs yet.
fn paths(node: &Node) -> Option<Vec<Value>> {
    let outcome = node.run(node.ares(["paths", "--json"]));
    outcome
        .status
        .success()
        .then(|| outcome.json()["paths"].as_array().cloned())?
}

/// The addresses at one end of all paths, without ports.
fn ends(paths: &[Value], end: &str) -> BTreeSet<IpAddr> {
    let ip = |path: &Value| {
        let text = path[end].as_str()?.to_owned();
        text.parse().ok().or_else(|| text.rsplit_once(':')?.0.parse().ok())
    };
    paths.iter().filter_map(ip).collect()
}

#[test]
fn a_second_path_is_opened_by_itself_and_shown() {
    let Some(scene) = Scene::new("paths-two") else { return };
    let (publisher, reader) = (scene.lab.node(0).clone(), scene.lab.node(1).clone());
    let shown = scene.both_paths();
    let on_both = |node: &Node| BTreeSet::from([node.ips(0)[0], node.ips(1)[0]]);
    assert_eq!(ends(&shown, "remote"), on_both(&publisher));
    assert_eq!(
        ends(&shown, "local"),
        on_both(&reader),
        "each leaves by its own cable: {shown:?}"
    );
    for path in &shown {
        let device = if path["local"] == reader.ip().to_string() {
            "eth0"
        } else {
            "eth1"
        };
        assert_eq!(path["interface"], device, "{path}");
    }
    // Once both carry something each has a share, and they are all of it.
    wait::until(PATIENCE, "bytes over both paths", || {
        let shares: Option<Vec<f64>> = paths(&reader)?.iter().map(|path| path["share"].as_f64()).collect();
        let shares = shares.filter(|shares| shares.iter().all(|share| *share > 0.1))?;
        let all: f64 = shares.iter().sum();
        assert!((all - 1.0).abs() < 1e-6, "{shares:?}");
        Some(())
    });
    let table = reader.run(reader.ares(["paths"])).expect_ok().text();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(table.contains("eth1"), "{table}");
    assert_eq!(
        table.matches(" ago: ").count(),
        2,
        "since when each is what it is, and why: {table}"
    );
    let _lab = scene.finish();
    reader.run(reader.ares(["paths"])).expect_error(&["no daemon runs"]);
}

#[test]
fn a_cable_that_is_pulled_costs_no_byte() {
    for machine in [0, 1] {
        let Some(scene) = Scene::new(&format!("paths-pulled-{machine}")) else {
            return;
        };
        scene.both_paths();
        scene.lab.node(machine).set_link(LinkState::Down);
        scene.finish();
    }
}

/// The interface over which nearly all has come in the last seconds.
fn bearer(node: &Node) -> Option<String> {
    let shown = paths(node)?;
    let most = |path: &&Value| path["share"].as_f64().is_some_and(|share| share > 0.95);
    let bearer = shown.iter().find(most)?;
    bearer["interface"].as_str().map(str::to_owned)
}

#[test]
fn the_mode_is_changed_while_a_transfer_runs_and_the_standby_takes_over_from_a_path_that_is_cut() {
    let Some(scene) = Scene::new("paths-standby") else { return };
    let reader = scene.lab.node(1).clone();
    scene.both_paths();
    // For this release alone, which is all that is fetched.
    let set = ["set", "path-mode", "standby", "--release", &scene.link];
    reader.run(reader.ares(set)).expect_ok();
    let elsewhere = ["set", "get-window", "8MiB", "--release", &scene.link];
    reader
        .run(reader.ares(elsewhere))
        .expect_error(&["same for all releases", "path-mode"]);
    let first = wait::until(PATIENCE, "one path bears it alone", || bearer(&reader));
    reader.cut(&first);
    wait::until(PATIENCE, "the other takes over", || {
        bearer(&reader).filter(|interface| *interface != first)
    });
    scene.finish();
}
