//! An edge between a publisher and readers who can reach nobody else: what they ask it for it fetches once, passes on as it comes, and
//! refuses what it may not fetch.

use std::path::PathBuf;
use std::time::Duration;

use ares_tests::{Daemon, Lab, Node, Published, compare, daemon, tree, wait};

const BYTES: u64 = 24 << 20;

/// How long all may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A publisher, an edge, and readers for whom the edge is a seed and the publisher out of reach.
struct Relay {
    origin: Daemon,
    edge: Daemon,
    /// Goes last: with it goes what they have logged.
    lab: Lab,
}

impl Relay {
    /// `config`: of the edge.
    fn new(test: &str, config: impl Fn(&Node, &Daemon) -> String) -> Option<Self> {
        let lab = Lab::new(test, 5)?;
        let [publisher, edge] = [0, 1].map(|i| lab.node(i));
        for reader in (2..5).map(|i| lab.node(i)) {
            publisher.part_from(reader);
            reader.part_from(publisher);
        }
        let origin = Daemon::serve(publisher);
        let edge = Daemon::serve(&edge.with_config("edge", &config(publisher, &origin)));
        Some(Self { origin, edge, lab })
    }

    /// One that pulls whatever the publisher has.
    fn of_all(test: &str) -> Option<Self> {
        Self::new(test, |publisher, origin| {
            let upstream = format!("{}@{}", peer_of(origin), publisher.listen());
            format!("[edge]\nupstreams = [\"{upstream}\"]\n")
        })
    }

    /// The reader's machine, from where the edge is asked about every release.
    fn reader(&self, i: usize, patience: &str) -> Node {
        let seed = format!("{}@{}", peer_of(&self.edge), self.lab.node(1).listen());
        let text =
            format!("[swarm]\nseeds = [\"{seed}\"]\n[mount]\npatience = \"{patience}\"\n[node]\ndial_timeout = \"500ms\"\n");
        self.lab.node(2 + i).with_config("reader", &text)
    }
}

fn peer_of(daemon: &Daemon) -> String {
    daemon.status()["peer"].as_str().expect("status names the peer").to_owned()
}

fn file_on(node: &Node, name: &str, bytes: u64, seed: u64) -> PathBuf {
    let file = node.dir().join(name);
    tree::big_file(&file, bytes, seed);
    file
}

#[test]
fn readers_who_reach_only_the_edge_get_all_through_it_and_the_publisher_sends_one_copy() {
    let Some(relay) = Relay::of_all("edge-once") else { return };
    let publisher = relay.lab.node(0);
    publisher.limit_departures(&["eth0"], 100);
    let file = file_on(publisher, "file", BYTES, 211);
    let link = relay.origin.publish(&file).link;
    let readers: Vec<Node> = (0..3).map(|i| relay.reader(i, "30s")).collect();
    let get = |node: &Node| node.start(daemon::get(node, &link, &node.dir().join("copy")));
    let getting: Vec<_> = readers.iter().map(get).collect();
    let (fetched, served) = wait::until(PATIENCE, "a chunk through the edge", || {
        let figures = (relay.edge.counter("fetched_bytes"), relay.edge.counter("served_bytes"));
        (figures.1 > 1 << 20).then_some(figures)
    });
    assert!(fetched < BYTES, "{served} bytes went on only when {fetched} had come");
    for (node, getting) in readers.iter().zip(getting) {
        getting.wait(PATIENCE).expect_ok();
        compare::assert_same(&file, &node.dir().join("copy"));
    }
    let copies = publisher.sent_bytes() as f64 / BYTES as f64;
    println!("{copies:.3} copies left the publisher for three readers");
    assert!(copies < 1.15, "three readers, and {copies:.2} copies have left the publisher");
}

#[test]
fn what_the_edge_has_outlives_the_publisher_and_of_the_rest_it_is_said_that_nobody_has_it() {
    let Some(relay) = Relay::of_all("edge-left") else { return };
    let release = relay.lab.node(0).dir().join("release");
    std::fs::create_dir(&release).expect("writable");
    for (seed, name) in [(220, "first"), (221, "second")] {
        tree::big_file(&release.join(name), 4 << 20, seed);
    }
    let link = relay.origin.publish(&release).link;
    let get = |node: &Node, name: &str| {
        let link = format!("{link}/{name}");
        node.run(daemon::get(node, &link, &node.dir().join(name)))
    };
    get(&relay.reader(0, "20s"), "first").expect_ok();
    let late = relay.reader(1, "4s");
    relay.origin.kill();
    get(&late, "first").expect_ok();
    compare::assert_same(&release.join("first"), &late.dir().join("first"));
    let missed = get(&late, "second");
    assert_eq!(missed.status.code(), Some(4), "{}", missed.describe());
    missed.expect_error(&["lacks it"]);
}

#[test]
fn nobody_makes_an_edge_fetch_what_it_may_not() {
    let listed = |publisher: &Node, origin: &Daemon| {
        let link = origin.publish(&file_on(publisher, "listed", BYTES / 8, 231)).link;
        std::fs::write(publisher.dir().join("link"), &link).expect("writable");
        format!("[edge]\nreleases = [\"{link}\"]\n")
    };
    let Some(relay) = Relay::new("edge-strict", listed) else {
        return;
    };
    let publisher = relay.lab.node(0);
    let other = relay.origin.publish(&file_on(publisher, "other", BYTES, 232)).link;
    let stranger = relay.reader(0, "3s");
    let missed = stranger.run(daemon::get(&stranger, &other, &stranger.dir().join("other")));
    assert_eq!(missed.status.code(), Some(4), "{}", missed.describe());
    missed.expect_error(&["has anything of its release"]);
    assert_eq!(relay.edge.counter("fetched_bytes"), 0);
    assert_eq!(relay.edge.tell(&["content"])["releases"], serde_json::json!([]));

    let link = std::fs::read_to_string(publisher.dir().join("link")).expect("written above");
    stranger
        .run(daemon::get(&stranger, &link, &stranger.dir().join("copy")))
        .expect_ok();
    compare::assert_same(&publisher.dir().join("listed"), &stranger.dir().join("copy"));
    let fetched = relay.edge.counter("fetched_bytes");
    assert!(fetched < BYTES / 4, "{fetched} bytes fetched of what is listed");
}

#[test]
fn strangers_who_have_something_do_not_make_an_edge_fetch_it_for_others() {
    let Some(relay) = Relay::of_all("edge-collude") else { return };
    let (giver, asker) = (relay.reader(0, "3s"), relay.reader(1, "3s"));
    let publisher = relay.lab.node(0);
    let met = relay.origin.publish(&file_on(publisher, "met", 1 << 20, 241)).link;
    let own = Daemon::serve(&giver);
    let Published { link, release } = own.publish(&file_on(&giver, "own", BYTES / 8, 242));
    // A connection to the edge, and then word of what is here: a seed is asked about every release.
    for link in [&met, &link] {
        let copy = giver.dir().join(format!("copy-{}", &link[5..15]));
        giver.run(daemon::get(&giver, link, &copy)).expect_ok();
    }
    wait::until(PATIENCE, "the giver's word that it has all", || {
        let told = relay.edge.tell(&["peers"]).to_string();
        told.contains(&release).then_some(())
    });
    let before = relay.edge.counter("fetched_bytes");
    asker.part_from(&giver);
    let missed = asker.run(daemon::get(&asker, &link, &asker.dir().join("copy")));
    assert_eq!(missed.status.code(), Some(4), "{}", missed.describe());
    assert_eq!(relay.edge.counter("fetched_bytes"), before);
    let held = relay.edge.tell(&["content"]).to_string();
    assert!(!held.contains(&release), "{held}");
    own.terminate().expect_ok();
}

#[test]
fn for_whom_nothing_is_pulled_gets_what_is_here_and_no_more_until_the_config_names_it() {
    let Some(relay) = Relay::of_all("edge-roles") else { return };
    let publisher = relay.lab.node(0);
    let [named, other] = [0, 1].map(|i| relay.reader(i, "3s"));
    let named_daemon = Daemon::serve(&named);
    let config = relay.lab.node(1).dir().join("edge.toml");
    let before = std::fs::read_to_string(&config).expect("ours");
    let write = |access: &str| {
        std::fs::write(&config, format!("{before}[access]\n{access}\n")).expect("writable");
        relay.edge.tell(&["reload"]);
    };
    write(&format!("reader = \"any\"\nedge = [\"{}\"]", peer_of(&named_daemon)));
    let file = file_on(publisher, "file", 1 << 20, 213);
    let link = relay.origin.publish(&file).link;
    let get = |node: &Node| node.run(daemon::get(node, &link, &node.dir().join("copy")));
    for _ in 0..2 {
        get(&other).expect_error(&[]);
    }
    // It may look what of that release its upstream has, which is what the manifest says.
    assert!(relay.edge.counter("fetched_bytes") < 64 << 10);
    assert!(relay.edge.counter("refused_pulls") >= 1);
    let said = relay.edge.log().matches("its role under `[access]` is not `edge`").count();
    assert_eq!(said, 1, "once a minute");
    get(&named).expect_ok();
    compare::assert_same(&file, &named.dir().join("copy"));
    // Now it is here, and is anybody's.
    get(&other).expect_ok();
    let more = file_on(publisher, "more", 1 << 20, 214);
    let link = relay.origin.publish(&more).link;
    write("");
    let got = other.dir().join("more");
    other.run(daemon::get(&other, &link, &got)).expect_ok();
    compare::assert_same(&more, &got);
}
