//! `ares set` while bytes move: they stay right, connections that run obey, and what the kernel does not grant is refused with the remedy.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::time::{Duration, Instant};

use ares_tests::http::{address, metrics};
use ares_tests::mount::Mounted;
use ares_tests::{Daemon, Lab, Node, Published, compare, daemon, lab, mount, tree, wait};
use serde_json::Value;

const BOUND: Duration = Duration::from_secs(60);

/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

fn set(node: &Node, key: &str, value: &str) {
    node.run(node.ares(["set", key, value])).expect_ok();
}

fn value(node: &Node, key: &str) -> Value {
    node.run(node.ares(["set", key, "--json"])).expect_ok().json()["value"].clone()
}

/// What each path of the daemon follows.
fn congestion(server: &Daemon) -> Vec<String> {
    let status = server.status();
    let peers = status["peers"].as_array().expect("a list").iter();
    let paths = peers.flat_map(|peer| peer["paths"].as_array().expect("a list"));
    paths
        .map(|path| path["congestion"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn every_knob_is_turned_under_a_transfer_that_ends_with_the_right_bytes() {
    const TEST: &str = "set-under-way";
    if !mount::is_possible(TEST) {
        return;
    }
    let Some(lab) = Lab::new(TEST, 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    // About ten seconds.
    reader.limit_arrivals(120);
    let release = publisher.dir().join("release");
    fs::create_dir(&release).expect("a scratch directory can be written");
    tree::source(&release.join("source"), 100, 81);
    tree::big_file(&release.join("big"), 150_000_000, 82);
    // The reader has a daemon, too: both sides are turned.
    let (server, other) = (Daemon::serve(publisher), Daemon::serve(reader));
    let Published { link, .. } = server.publish(&release);
    let copy = reader.dir().join("copy");
    let running = reader.start(daemon::get(reader, &link, &copy));
    wait::until(BOUND, "first bytes", || {
        (server.counter("served_bytes") > 4 << 20).then_some(())
    });
    let mounted = Mounted::new(reader, &link, &lab.dir("mount"));
    let (of_mount, released) = (mounted.dir().to_owned(), release.clone());
    let read = std::thread::spawn(move || compare::assert_same(&released, &of_mount));
    let (mut turned, mut slowest) = (BTreeSet::from(["congestion".to_owned()]), (Duration::ZERO, ""));
    for kind in ["bbr", "newreno", "cubic", "bbr"] {
        set(publisher, "congestion", kind);
        wait::until(BOUND, "all running paths to follow", || {
            let kinds = congestion(&server);
            (!kinds.is_empty() && kinds.iter().all(|followed| followed == kind)).then_some(())
        });
        let rows = [
            ("socket-receive-buffer", "64KiB"),
            ("socket-receive-buffer", "200KiB"),
            ("socket-send-buffer", "64KiB"),
            ("socket-send-buffer", "200KiB"),
            ("get-window", "8MiB"),
            ("get-window", "1GiB"),
            ("serve-window", "1MiB"),
            ("serve-window", "16GiB"),
            ("source-window", "4MiB"),
            ("source-window", "1GiB"),
            ("hedge-window", "0"),
            ("hedge-window", "64MiB"),
            ("bulk-rate", "1MiB"),
            ("bulk-rate", "0"),
            ("heal-rate", "1MiB"),
            ("heal-rate", "0"),
            ("stall-timeout", "10ms"),
            ("stall-timeout", "2s"),
            ("dial-timeout", "300ms"),
            ("links", "1"),
            ("links", "16"),
            ("give-peers", "1"),
            ("give-peers", "64"),
            ("connections", "1"),
            ("connections", "8192"),
            ("connections-per-address", "1"),
            ("connections-per-address", "1024"),
            ("connections-per-key", "1"),
            ("connections-per-key", "16"),
            ("connections-idle", "100ms"),
            ("connections-idle", "1m"),
            ("read-patience", "20s"),
            ("mount-cache", "0"),
            ("mount-cache", "256MiB"),
            ("lookahead", "0"),
            ("lookahead", "64MiB"),
            ("path-mode", "standby"),
            ("path-mode", "lowest-latency"),
            ("store-quota", "1GiB"),
            ("store-free", "1MiB"),
            ("store-evict", "1MiB"),
            ("scrub-rate", "64MiB"),
            ("scrub-rate", "0"),
            ("log-level", "debug"),
            ("log-level", "warn"),
            ("cap-up.eth*", "1GiB"),
            ("cap-up.eth*", "none"),
            ("cap-down.eth*", "1GiB"),
            ("cap-down.eth*", "none"),
            ("weight.eth*", "7"),
            ("weight.eth*", "none"),
            ("peer-cap-up.*", "1GiB"),
            ("peer-cap-up.*", "none"),
            ("peer-cap-down.*", "1GiB"),
            ("peer-cap-down.*", "none"),
        ];
        for (key, value) in rows {
            for node in [publisher, reader] {
                let begun = Instant::now();
                set(node, key, value);
                slowest = slowest.max((begun.elapsed(), key));
            }
        }
        turned.extend(rows.map(|(key, _)| key.to_owned()));
        assert!(running.is_running(), "the transfer must outlast the turning");
    }
    println!("{slowest:?} until the slowest was obeyed");
    for knob in server.tell(&["set"])["knobs"].as_array().expect("a list") {
        assert!(turned.contains(knob["key"].as_str().expect("a key")), "{knob} was not turned");
    }
    running.wait(BOUND).expect_ok();
    compare::assert_same(&release, &copy);
    read.join().expect("the mount shows the same");
    mount::unmount(reader, mounted.dir()).expect_ok();
    mounted.gone().expect_ok();
    assert_eq!(
        (value(publisher, "congestion"), value(reader, "congestion")),
        ("bbr".into(), "cubic".into())
    );
    for daemon in [server, other] {
        let log = daemon.terminate().expect_ok().stderr;
        assert!(log.contains("set serve-window: 1MiB -> 16GiB"), "{log}");
    }
}

/// Payload that has come to a node so far.
fn received(daemon: &Daemon) -> u64 {
    let status = daemon.status();
    let peers = status["peers"].as_array().expect("a list").iter();
    peers.map(|peer| peer["rx_bytes"].as_u64().expect("a number")).sum()
}

/// How long after `turn` began as much comes as `is_felt` says, in bytes a second, over a third of one; and what came in the first second.
fn felt(reader: &Daemon, turn: impl FnOnce(), is_felt: impl Fn(u64) -> bool) -> (Duration, u64) {
    const WINDOW: Duration = Duration::from_millis(333);
    let begun = Instant::now();
    let before = received(reader);
    turn();
    let (mut samples, mut first) = (Vec::new(), None);
    let is_late = |at: Duration| at >= Duration::from_secs(1);
    let at = wait::closely(BOUND, || {
        let sample = (begun.elapsed(), received(reader));
        samples.push(sample);
        first = first.or(is_late(sample.0).then_some(sample.1 - before));
        let of_window = samples.iter().rfind(|(at, _)| *at + WINDOW <= sample.0);
        let (from, bytes) = of_window?;
        let rate = (sample.1 - bytes) as f64 / (sample.0 - *from).as_secs_f64();
        (first.is_some() && is_felt(rate as u64)).then_some(())
    });
    at.expect("it is never felt");
    // The first window that shows it.
    let shows = samples.iter().enumerate().find_map(|(at, (from, bytes))| {
        let (until, later) = samples[at..].iter().find(|(until, _)| *until >= *from + WINDOW)?;
        let rate = (later - bytes) as f64 / (*until - *from).as_secs_f64();
        is_felt(rate as u64).then_some(*from)
    });
    (shows.expect("the last one does"), first.expect("more than a second"))
}

#[test]
fn what_is_set_is_felt_by_a_transfer_that_goes_on() {
    let Some(lab) = Lab::new("set-felt", 3) else { return };
    let (publisher, reader, stranger) = (lab.node(0), lab.node(1), lab.node(2));
    reader.limit_arrivals(400);
    let file = publisher.dir().join("file");
    tree::big_file(&file, 600 << 20, 83);
    let (server, daemon) = (Daemon::serve(publisher), Daemon::serve(reader));
    let Published { link, .. } = server.publish(&file);
    let copy = reader.dir().join("copy");
    let running = reader.start(daemon::get(reader, &link, &copy));
    wait::until(BOUND, "the full rate", || (received(&daemon) > 16 << 20).then_some(()));
    const SLOW: u64 = 1 << 20;
    let rows = [
        (reader, "cap-down.*", "1MiB", "none"),
        (publisher, "cap-up.*", "1MiB", "none"),
        (reader, "peer-cap-down.*", "1MiB", "none"),
        (publisher, "peer-cap-up.*", "1MiB", "none"),
        (reader, "bulk-rate", "1MiB", "0"),
    ];
    for (node, key, low, high) in rows {
        let (slower, bytes) = felt(&daemon, || set(node, key, low), |rate| rate < SLOW + SLOW / 2);
        let (faster, _) = felt(&daemon, || set(node, key, high), |rate| rate > 8 * SLOW);
        println!("{key} is felt after {slower:?}, {bytes} bytes came in the first second; lifted after {faster:?}");
        assert!(running.is_running(), "the transfer must outlast the turning");
    }
    // Nobody new is let in, and who is in stays.
    set(publisher, "connections", "1");
    let refused = stranger.with_patience(2);
    refused.run(daemon::discard(&refused, &link)).expect_error(&["connections"]);
    set(publisher, "connections", "8192");
    running.wait(BOUND).expect_ok();
    compare::assert_same(&file, &copy);
}

/// Bytes that were wanted and were in the store, by figures that are gathered from now on.
fn reused(node: &Node) -> f64 {
    let at = address(node).expect("it runs");
    let begun = metrics(node, at)["ares_uptime_seconds"];
    wait::until(BOUND, "younger figures", || {
        let page = metrics(node, at);
        (page["ares_uptime_seconds"] > begun).then(|| page["ares_chunk_reused_bytes_total"])
    })
}

#[test]
fn what_mounts_are_told_holds_for_the_next_request() {
    const TEST: &str = "set-mounts";
    if !mount::is_possible(TEST) {
        return;
    }
    let Some(lab) = Lab::new(TEST, 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    fs::create_dir(&release).expect("a scratch directory can be written");
    for name in ["far", "near", "first", "stuck"] {
        tree::big_file(&release.join(name), 40 << 20, 84 + u64::from(name.as_bytes()[0]));
    }
    let watched = reader.with_config("http", "[http]\nlisten = \"127.0.0.1:0\"\n");
    let (server, daemon) = (Daemon::serve(publisher), Daemon::serve(&watched));
    let Published { link, .. } = server.publish(&release);
    let mounted = Mounted::new(reader, &link, &lab.dir("mount"));
    let fetched = |name: &str| {
        let before = daemon.counter("fetched_bytes");
        let file = fs::File::open(mounted.dir().join(name)).expect("it is there");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).expect("the kernel reads nothing ahead");
        let mut bytes = vec![0; 8 << 20];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).expect("its bytes");
        // What is fetched ahead comes a little later.
        let mut last = 0;
        wait::until(BOUND, "all that is asked for", || {
            let now = daemon.counter("fetched_bytes");
            (std::mem::replace(&mut last, now) == now).then_some(now - before)
        })
    };
    let far = fetched("far");
    set(reader, "lookahead", "0");
    let near = fetched("near");
    assert!(
        near < far && near < 12 << 20,
        "{far} bytes came with lookahead, {near} without"
    );

    // What is kept in memory is not read from the store for each page of it.
    let reread = |name: &str| {
        let before = reused(&watched);
        let file = fs::File::open(mounted.dir().join(name)).expect("it is there");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).expect("the kernel reads nothing ahead");
        let mut page = [0; 4096];
        for at in 0..8 {
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut page, (30 << 20) + at * 8192).expect("its bytes");
        }
        reused(&watched) - before
    };
    let kept = reread("far");
    set(reader, "mount-cache", "0");
    let not_kept = reread("near");
    set(reader, "mount-cache", "64MiB");
    assert!(kept < not_kept, "{kept} bytes read again with a cache, {not_kept} without");

    // Who waits for what does not come waits as long as was said when it began.
    server.signal(rustix::process::Signal::STOP);
    let first = mounted.dir().join("first");
    let waiting = std::thread::spawn(move || fs::read(first));
    wait::until(BOUND, "a reader that waits", || {
        let waits = daemon.status()["mounts"][0]["oldest_wait_s"].as_f64();
        // Longer than it takes to find the file.
        (waits > Some(0.2)).then_some(())
    });
    set(reader, "read-patience", "300ms");
    let error = fs::read(mounted.dir().join("stuck")).expect_err("nobody sends it");
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    assert!(!waiting.is_finished(), "it began before, and with more patience");
    set(reader, "read-patience", "30s");
    server.signal(rustix::process::Signal::CONT);
    waiting.join().expect("no panic").expect("what comes at last");
    set(reader, "mount-cache", "0");
    // What has just failed is asked again a moment later.
    wait::until(BOUND, "its bytes", || fs::read(mounted.dir().join("stuck")).ok().map(drop));
    compare::assert_same(&release, mounted.dir());
    mount::unmount(reader, mounted.dir()).expect_ok();
    mounted.gone().expect_ok();
}

#[test]
fn a_dial_waits_as_long_as_is_said_now() {
    let lab = Lab::on_loopback("set-dial", 2);
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let file = publisher.dir().join("file");
    tree::big_file(&file, 1 << 20, 85);
    let server = Daemon::serve(publisher);
    let link = server.publish(&file).link;
    // It takes no more datagrams, and the kernel refuses none for it.
    server.signal(rustix::process::Signal::STOP);
    let _daemon = Daemon::serve(reader);
    set(reader, "dial-timeout", "234ms");
    let get = daemon::get(reader, &link, &reader.dir().join("copy"));
    reader.run(get).expect_error(&["no answer within 234 ms"]);
    server.signal(rustix::process::Signal::CONT);
}

/// Without CAP_NET_ADMIN the kernel silently grants its cap and no more.
#[test]
fn a_buffer_that_the_kernel_does_not_grant_is_refused_with_the_remedy() {
    const TEST: &str = "set-capped";
    const ASKED_BYTES: u64 = 512 << 20;
    let cap_bytes = |sysctl: &str| {
        let text = fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/"))).expect("a sysctl");
        text.trim().parse::<u64>().expect("a number")
    };
    let buffers = [
        ("socket-receive-buffer", "net.core.rmem_max"),
        ("socket-send-buffer", "net.core.wmem_max"),
    ];
    if !lab::may_become(NOBODY) {
        return lab::skip(TEST, "only root of the machine can become another user");
    }
    if buffers.iter().any(|(_, sysctl)| cap_bytes(sysctl) >= ASKED_BYTES) {
        return lab::skip(TEST, "this system caps nothing");
    }
    let lab = Lab::on_loopback(TEST, 1);
    let home = lab.dir("home");
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("root gives directories away");
    // The build directory may be closed to others.
    let ares = home.join("ares");
    fs::copy(lab::binary(), &ares).expect("a copy of the binary");
    let node = lab.node(0).as_user(NOBODY);
    let command = |args: &[&str]| {
        let mut command = node.command(&ares);
        command.arg("--state").arg(home.join("state")).args(args);
        command
    };
    let server = node.start(command(&["serve", "--listen", "127.0.0.1:0"]));
    wait::until(BOUND, "an answer", || {
        assert!(server.is_running(), "{}", server.stderr());
        node.run(command(&["status"])).status.success().then_some(())
    });
    let value = |key: &str| node.run(command(&["set", key, "--json"])).expect_ok().json()["value"].clone();
    for (key, sysctl) in buffers {
        let before = value(key);
        assert!(
            before.as_u64().is_some_and(|bytes| bytes <= cap_bytes(sysctl)),
            "what was granted: {before}"
        );
        let refused = node.run(command(&["set", key, &ASKED_BYTES.to_string()]));
        let refused = refused.expect_error(&[sysctl, "CAP_NET_ADMIN", "ask for less", &cap_bytes(sysctl).to_string()]);
        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(value(key), before);
        node.run(command(&["set", key, "100000"])).expect_ok();
        assert_eq!(value(key), 100_000);
    }
}

#[test]
fn a_config_file_that_has_changed_is_obeyed_at_once_as_far_as_can_be_and_a_wrong_one_changes_nothing() {
    let lab = Lab::on_loopback("reload", 2);
    let publisher = Daemon::serve(lab.node(0));
    let file = lab.node(0).dir().join("file");
    tree::big_file(&file, 1 << 20, 93);
    let link = publisher.publish(&file).link;
    let write = |text: &str| lab.node(1).with_config("live", text);
    let node = write("[set]\ncongestion = \"bbr\"\n");
    let daemon = Daemon::serve(&node);
    // Not by the file, which is wrong for a while.
    let value = |key: &str| value(lab.node(1), key);
    let nothing = daemon.tell(&["reload"]);
    assert_eq!(
        nothing,
        serde_json::json!({"changed": [], "refused": [], "needs_restart": []})
    );

    write(&format!(
        "pins = [\"{link}\"]\n[set]\ncongestion = \"newreno\"\nstore-quota = \"64MiB\"\n[lanes]\ncap_up = {{ \"eth*\" = \"20MiB\" }}\n\
         [peers]\ncap_up = {{ \"*\" = \"4MiB\" }}\n[node]\nworkers = 3\n"
    ));
    let said = daemon.tell(&["reload"]);
    let changed = said["changed"].to_string();
    for expect in [
        "congestion newreno",
        "store-quota 64MiB",
        "cap-up.eth* 20MiB",
        "peer-cap-up.* 4MiB",
        "1 pins",
    ] {
        assert!(changed.contains(expect), "{expect} in {said}");
    }
    assert_eq!(said["needs_restart"], serde_json::json!(["node"]), "{said}");
    assert_eq!(
        (value("congestion"), value("store-quota")),
        ("newreno".into(), (64 << 20).into())
    );
    wait::until(BOUND, "what is pinned now", || {
        (daemon.tell(&["pin"])["pins"][0]["state"] == "whole").then_some(())
    });
    assert!(daemon.log().contains("config file read again"), "an audit line");

    write("[set]\ncongestion = \"cubic\"\nstore-quotta = 1\n");
    let refused = node.run(node.ares(["reload"]));
    assert_eq!(refused.status.code(), Some(2), "{}", refused.describe());
    refused.expect_error(&["store-quotta", "store-quota"]);
    assert_eq!(value("congestion"), "newreno", "nothing has changed");

    write("[node]\nworkers = 3\n");
    daemon.tell(&["reload"]);
    assert_eq!(value("congestion"), "cubic", "what is not said is at its default");
    assert_eq!(daemon.tell(&["pin"])["pins"], serde_json::json!([]));
}

#[test]
fn what_is_persisted_holds_after_a_restart_and_leaves_the_rest_of_the_file_alone() {
    let lab = Lab::on_loopback("persist", 1);
    let text = "# ours\n[node]\nworkers = 3 # enough\n";
    let node = lab.node(0).with_config("kept", text);
    let daemon = Daemon::serve(&node);
    let file = node.dir().join("kept.toml");
    let said = daemon.tell(&["set", "congestion", "bbr", "--persist"]);
    assert_eq!(said["persisted"], file.display().to_string(), "{said}");
    daemon.tell(&["set", "store-quota=64MiB", "--persist"]);
    daemon.tell(&["set", "cap-up.eth*", "20MiB", "--persist"]);
    daemon.tell(&["set", "peer-cap-up.*", "4MiB", "--persist"]);
    daemon.tell(&["set", "get-window", "8MiB"]);
    let written = fs::read_to_string(&file).expect("there");
    assert!(written.starts_with(text) && !written.contains("get-window"), "{written}");
    for args in [
        &["set", "congestion", "--persist"][..],
        &["set", "store-quota", "1MiB", "--persist"],
    ] {
        let refused = node.run(node.ares(args.iter().copied()));
        assert_eq!(refused.status.code(), Some(2), "{}", refused.describe());
    }
    assert_eq!(
        fs::read_to_string(&file).expect("there"),
        written,
        "what is refused is not written"
    );
    daemon.terminate().expect_ok();

    let _daemon = Daemon::serve(&node);
    assert_eq!(
        (value(&node, "congestion"), value(&node, "store-quota")),
        ("bbr".into(), (64 << 20).into())
    );
    assert_eq!(
        ["cap-up.eth*", "peer-cap-up.*", "get-window"].map(|key| value(&node, key)),
        [20 << 20, 4 << 20, 64 << 20].map(Value::from)
    );
}
