//! A lane with a cap carries no more, the others carry the rest, and a cap that is set or lifted under a transfer is obeyed at once.

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
