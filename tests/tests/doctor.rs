//! Why a release is slow, and what goes with a report of a fault.

use std::time::Duration;

use ares_tests::{Daemon, Lab, Node, Published, tree, wait};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// The first thing that is said of a release; `None` while it is not known.
fn first(node: &Node, release: &str) -> Option<Value> {
    let said = node.run(node.ares(["doctor", release, "--json"]));
    said.status.success().then(|| said.json()["checks"][0].clone())
}

#[test]
fn what_holds_a_release_up_is_named_with_its_remedy() {
    let Some(lab) = Lab::new("doctor-slow", 2) else { return };
    let file = lab.node(0).dir().join("slow");
    tree::big_file(&file, 64 << 20, 301);
    let origin = Daemon::serve(lab.node(0));
    let Published { link, release } = origin.publish(&file);
    let reader = lab
        .node(1)
        .with_config("capped", "[lanes]\ncap_down = { \"eth*\" = \"1MiB\" }\n");
    let reading = Daemon::serve(&reader);
    reading.tell(&["pin", &link]);
    wait::until(PATIENCE, "some of it to come over a full lane", || {
        let said = first(&reader, &release)?;
        (said["check"] == "path" && said["found"].as_str()?.contains("that its lane may carry")).then_some(())
    });
    reading.tell(&["set", "cap-down.eth*", "none"]);
    wait::until(PATIENCE, "all of it", || {
        (reading.tell(&["pin"])["pins"][0]["state"] == "whole").then_some(())
    });
    let said = first(&reader, "slow").expect("it is known");
    assert!(said["check"] == "release" && said["verdict"] == "ok", "{said}");
    let unknown = reader.run(reader.ares(["doctor", "nothing"]));
    assert_eq!(unknown.status.code(), Some(3), "{}", unknown.describe());
}

#[test]
fn a_report_says_how_things_are_and_gives_nobody_a_key() {
    let lab = Lab::on_loopback("bugreport", 1);
    let node = lab.node(0);
    let file = node.dir().join("published");
    tree::big_file(&file, 1 << 20, 302);
    let daemon = Daemon::serve(node);
    let Published { link, release } = daemon.publish(&file);
    let peer = daemon.status()["peer"].as_str().expect("a peer").to_owned();
    let report = node.dir().join("report.json");
    let write = || {
        let mut command = node.ares(["bugreport"]);
        command.arg(&report);
        node.run(command)
    };
    write().expect_ok();
    let text = std::fs::read_to_string(&report).expect("written");
    let said: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(said["daemon"]["status"]["releases"][0]["name"], "published");
    assert_eq!(said["daemon"]["status"]["releases"][0]["release"], release[..10]);
    assert!(said["checks"].as_array().is_some_and(|checks| checks.len() > 5), "{text}");
    assert!(said["daemon"]["knobs"].as_array().is_some_and(|knobs| !knobs.is_empty()));
    for secret in [&link, &release, &peer] {
        assert!(!text.contains(secret.as_str()), "{secret}");
    }
    let again = write();
    assert_eq!(again.status.code(), Some(2), "{}", again.describe());
    daemon.terminate().expect_ok();
    let alone = node.run(node.ares(["bugreport"])).expect_ok();
    assert!(alone.text().contains("no daemon runs"), "{}", alone.text());
}
