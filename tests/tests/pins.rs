//! What is pinned becomes whole by itself and stays, whatever happens to the daemon and to whoever had it.

use std::path::PathBuf;
use std::time::Duration;

use ares_tests::{Daemon, Lab, Node, Published, compare, daemon, tree, wait};
use serde_json::Value;

const BYTES: u64 = 24 << 20;

/// How long a release may take to become whole on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

fn file_on(node: &Node, seed: u64) -> PathBuf {
    let file = node.dir().join("file");
    tree::big_file(&file, BYTES, seed);
    file
}

/// The one pin of a daemon, once this is so.
fn wait_for_pin(keeper: &Daemon, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait::until(PATIENCE, what, || {
        Some(keeper.tell(&["pin"])["pins"][0].clone()).filter(|pin| is_so(pin))
    })
}

fn is_whole(pin: &Value) -> bool {
    pin["state"] == "whole"
}

/// The release comes from the keeper, to whom no link leads.
fn bring(reader: &Node, keeper: &Daemon, at: &Node, link: &str, file: &std::path::Path) {
    let peer = keeper.status()["peer"].as_str().expect("status names the peer").to_owned();
    let reader = reader.with_config("seeds", &format!("[swarm]\nseeds = [\"{peer}@{}\"]\n", at.listen()));
    let copy = reader.dir().join("copy");
    reader.run(daemon::get(&reader, link, &copy)).expect_ok();
    compare::assert_same(file, &copy);
}

#[test]
fn a_pin_survives_kill_9_becomes_whole_and_outlives_the_publisher() {
    let Some(lab) = Lab::new("pin-killed", 3) else { return };
    let [publisher, keeper, reader] = [0, 1, 2].map(|i| lab.node(i));
    keeper.limit_arrivals(100);
    let file = file_on(publisher, 201);
    let origin = Daemon::serve(publisher);
    let Published { link, release } = origin.publish(&file);
    let own = Daemon::serve(keeper);
    let said = own.tell(&["pin", &link]);
    assert!(said["release"] == release.as_str() && said["already"] == false, "{said}");
    own.kill();

    let own = Daemon::serve(keeper);
    assert_eq!(
        own.tell(&["pin"])["pins"][0]["release"],
        release.as_str(),
        "it was said to be done"
    );
    wait_for_pin(&own, "a part of what is pinned", |pin| {
        pin["state"] == "fetching" && pin["held_bytes"].as_u64() > Some(BYTES / 4)
    });
    own.kill();

    let own = Daemon::serve(keeper);
    keeper.lift_limit();
    let pin = wait_for_pin(&own, "all of what is pinned", is_whole);
    assert!(pin["held_bytes"] == BYTES && pin["bytes"] == BYTES, "{pin}");
    let fetched = own.counter("fetched_bytes");
    assert!(fetched < BYTES, "what came before is not fetched again: {fetched}");
    let content = own.tell(&["content"])["releases"][0].clone();
    assert!(content["complete"] == true && content["pinned"] == true, "{content}");
    origin.kill();
    bring(reader, &own, keeper, &link, &file);
    own.kill();

    let own = Daemon::serve(keeper);
    assert_eq!(own.tell(&["pin", &link])["already"], true);
    wait_for_pin(&own, "that all is still here", is_whole);
    // Whoever gets it gets a copy, and may do with that what he likes.
    let copy = keeper.dir().join("copy");
    keeper.run(daemon::get(keeper, &link, &copy)).expect_ok();
    std::fs::remove_file(&copy).expect("ours");
    assert_eq!(own.tell(&["verify"])["bad_chunks"], 0);
    assert_eq!(own.counter("fetched_bytes"), 0);
    assert_eq!(own.tell(&["unpin", "file"])["release"], release.as_str());
    own.kill();
    let own = Daemon::serve(keeper);
    assert_eq!(own.tell(&["pin"])["pins"], serde_json::json!([]));
}

#[test]
fn what_nobody_has_is_tried_until_somebody_has_it() {
    let Some(lab) = Lab::new("pin-waits", 2) else { return };
    let (publisher, keeper) = (lab.node(0), lab.node(1));
    let keeper = &keeper.with_config("hasty", "[node]\ndial_timeout = \"300ms\"\n");
    let file = file_on(publisher, 202);
    let origin = Daemon::serve(publisher);
    let link = origin.publish(&file).link;
    origin.terminate().expect_ok();
    let own = Daemon::serve(keeper);
    own.tell(&["pin", &link]);
    let pin = wait_for_pin(&own, "a try in vain", |pin| pin["failed_tries"].as_u64() > Some(0));
    let why = pin["why"].as_str().expect("a reason");
    assert!(why.contains("could be reached"), "{why}");
    let _origin = Daemon::serve(publisher);
    wait_for_pin(&own, "all of what is pinned", is_whole);
}

#[test]
fn the_config_file_pins_too_and_what_cannot_be_pinned_is_said_with_the_remedy() {
    let Some(lab) = Lab::new("pin-config", 2) else { return };
    let (publisher, keeper) = (lab.node(0), lab.node(1));
    let file = file_on(publisher, 203);
    let origin = Daemon::serve(publisher);
    let Published { link, release } = origin.publish(&file);
    let refused = |node: &Node, args: &[&str], code: i32, words: &[&str]| {
        let outcome = node.run(node.ares(args.iter().copied()));
        assert_eq!(outcome.status.code(), Some(code), "{}", outcome.describe());
        outcome.expect_error(words);
    };
    refused(keeper, &["pin", &link], 3, &["no daemon", "ares serve"]);
    let keeper = &keeper.with_config("pins", &format!("pins = [\"{link}\"]\n"));
    let own = Daemon::serve(keeper);
    let pin = wait_for_pin(&own, "all of what is pinned", is_whole);
    assert!(pin["by"] == "config" && pin["release"] == release.as_str(), "{pin}");
    refused(keeper, &["unpin", &link], 2, &["config file", "restart"]);
    refused(keeper, &["unpin", "other"], 3, &["no pinned release", "ares pin"]);
    refused(
        keeper,
        &["pin", &format!("{link}/part")],
        2,
        &["part of a release", "leave out"],
    );
    refused(keeper, &["pin", "ares:abc"], 2, &["copy it again"]);
    own.terminate().expect_ok();
}
