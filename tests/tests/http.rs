//! What a daemon tells of itself over HTTP: counters that move with what happens, a node that lives, one that serves.

use std::time::Duration;

use ares_tests::hostile::Crowd;
use ares_tests::http::{address, get, metrics, total};
use ares_tests::mount::{Mounted, is_possible};
use ares_tests::paths::{Direction, PATHS, Path, Servers, TwoPaths};
use ares_tests::relay::Shape;
use ares_tests::{Daemon, Lab, Published, compare, daemon, lab, tree, wait};
use rustix::process::Signal;

/// Answers HTTP on a port of its own, on loopback alone.
const HTTP: [&str; 2] = ["--http", "127.0.0.1:0"];

const PATIENCE: Duration = Duration::from_secs(60);

const BYTES: u64 = 8 << 20;

#[test]
fn counters_move_with_a_transfer_and_with_reads_of_a_mount() {
    let Some(lab) = Lab::new("http-metrics", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let file = publisher.dir().join("file");
    tree::big_file(&file, BYTES, 91);
    let serving = Daemon::serve_with(publisher, HTTP);
    let Published { link, release } = serving.publish(&file);
    let _reading = Daemon::serve_with(reader, HTTP);
    let at = address(reader).expect("it runs");
    for target in ["/healthz", "/readyz"] {
        let answer = get(reader, at, target);
        assert_eq!((answer.status, answer.text()), (200, "ok\n"), "{target}");
    }
    for target in ["/", "/metrics/", "/../state/identity", "/%2e%2e/etc/passwd", "//metrics"] {
        assert_eq!(get(reader, at, target).status, 404, "{target}");
    }
    let page = get(reader, at, "/metrics");
    assert!(page.head.contains("content-type: text/plain; version=0.0.4"), "{}", page.head);
    assert_eq!(total(&metrics(reader, at), "ares_chunk_verified_bytes_total"), 0.0);

    let copies = [0, 1].map(|n| reader.dir().join(format!("copy-{n}")));
    for copy in &copies {
        reader.run(daemon::get(reader, &link, copy)).expect_ok();
        compare::assert_same(&file, copy);
    }
    // Nothing else was wanted but the manifest, and for the second copy nothing at all. What a busy machine answers late is
    // asked again, so more may have been received. The shards count by themselves, and are a moment behind the command.
    let least = BYTES as f64;
    let about = least..least * 1.01;
    let seen = wait::until(PATIENCE, "all that was wanted is counted", || {
        let seen = metrics(reader, at);
        let is_all = total(&seen, "ares_chunk_verified_bytes_total") >= least
            && total(&seen, "ares_wants_outstanding") == 0.0
            && seen["ares_chunk_reused_bytes_total"] >= least;
        is_all.then_some(seen)
    });
    assert!(about.contains(&total(&seen, "ares_chunk_verified_bytes_total")), "{seen:?}");
    assert!(total(&seen, "ares_chunk_received_bytes_total") >= least, "{seen:?}");
    assert!(seen["ares_chunk_verified_bytes_total{class=\"bulk\"}"] >= least);
    assert!(total(&seen, "ares_asks_total") >= seen["ares_chunks_verified_total"]);
    assert_eq!((seen["ares_peers_connected"], seen["ares_chunks_bad_total"]), (1.0, 0.0));
    assert!(total(&seen, "ares_paths") >= 1.0 && seen["ares_paths_opened_total"] >= 1.0);
    assert!(total(&seen, "ares_store_bytes") >= least && seen["ares_store_filesystem_free_bytes"] > 0.0);
    let received = "ares_udp_received_bytes_total{interface=\"eth0\"}";
    wait::until(PATIENCE, "what the interface has carried, counted once a second", || {
        (*metrics(reader, at).get(received)? >= least).then_some(())
    });
    let at_publisher = address(publisher).expect("it runs");
    let closed = get(publisher, at_publisher, &format!("/r/{release}"));
    assert_eq!(closed.status, 404, "releases are not to be read where nobody said so");
    let served = metrics(publisher, at_publisher)["ares_chunk_served_bytes_total"];
    assert!(served >= least, "{served}");

    if !is_possible("http-metrics") {
        return;
    }
    let dir = lab.dir("mount");
    let _mount = Mounted::new(reader, &link, &dir);
    compare::assert_same(&file, &dir.join("file"));
    let reads = "ares_fuse_requests_total{operation=\"read\"}";
    let seen = wait::until(PATIENCE, "what was read ahead is answered too", || {
        let seen = metrics(reader, at);
        (seen[reads] > 0.0 && seen["ares_fuse_request_seconds_count{operation=\"read\"}"] == seen[reads]).then_some(seen)
    });
    assert!(seen["ares_fuse_read_bytes_total"] >= least, "{seen:?}");
    assert_eq!((seen["ares_mounts"], total(&seen, "ares_fuse_errors_total")), (1.0, 0.0));
}

/// Of what is asked of the daemon most often the cost is bounded whatever there is of peers.
#[test]
fn a_scrape_is_small_with_a_thousand_peers() {
    const PEERS: usize = 1000;
    const BYTES_MAX: usize = 64 << 10;
    let lab = Lab::on_loopback("http-peers", 2);
    let node = &lab.node(0).with_config("one", "[node]\nshards = 1\n");
    let serving = Daemon::serve_with(node, HTTP);
    let file = node.dir().join("file");
    tree::big_file(&file, 400 << 20, 95);
    let link = serving.publish(&file).link;
    let at = address(node).expect("it runs");
    let crowd = Crowd::gather_peers(lab.node(1).ip(), node.listen(), PEERS);
    wait::until(PATIENCE, "all to be known", || {
        let seen = metrics(node, at);
        let known = [seen["ares_peers_connected"], total(&seen, "ares_paths")];
        (known == [PEERS as f64; 2]).then_some(())
    });
    let reading = lab.node(1).start(daemon::discard(lab.node(1), &link));
    let (mut scrapes, mut last_look) = (Vec::new(), 0.0);
    while reading.is_running() {
        let begun = std::time::Instant::now();
        let bytes = get(node, at, "/metrics").body.len();
        let took = begun.elapsed();
        // Who asks often is told the same again.
        let look = metrics(node, at)["ares_uptime_seconds"];
        if look != std::mem::replace(&mut last_look, look) {
            scrapes.push((took, bytes));
        }
    }
    reading.wait(PATIENCE).expect_ok();
    scrapes.sort();
    let (median, slowest) = (scrapes[scrapes.len() / 2], scrapes[scrapes.len() - 1]);
    println!(
        "{} looks while 400 MiB went out: {median:?} (time, bytes) in the median, {slowest:?} at most",
        scrapes.len()
    );
    assert!(scrapes.iter().all(|(_, bytes)| *bytes < BYTES_MAX), "{scrapes:?}");
    assert_eq!(crowd.closed(), [] as [String; 0]);
}

#[test]
fn a_path_that_is_cut_shows_as_a_switch_that_brought_bytes_and_one_that_heals_as_a_recovery_or_a_new_path() {
    let shape = Shape::new(100, Duration::from_millis(2));
    let Some(lab) = TwoPaths::new("http-cut", Servers::One, [shape, shape]) else {
        return;
    };
    let (reader, publisher) = (lab.reader(), lab.server(Path::A));
    let file = publisher.dir().join("file");
    tree::big_file(&file, 96 << 20, 92);
    let other_address = format!("{}:{}", Path::B.server(), lab::PORT);
    let serving = Daemon::serve_with(publisher, ["--listen", &other_address]);
    let link = serving.publish(&file).link;
    let own_other = format!("{}:{}", Path::B.reader(), lab::PORT);
    let _reading = Daemon::serve_with(reader, [HTTP[0], HTTP[1], "--listen", &own_other]);
    let at = address(reader).expect("it runs");
    let copy = reader.dir().join("copy");
    let running = reader.start(daemon::get(reader, &link, &copy));
    wait::until(PATIENCE, "both paths carry much", || {
        let carried = PATHS.map(|path| lab.tallies(path)[0].bytes);
        carried.iter().all(|bytes| *bytes > 4 << 20).then_some(())
    });
    let before = metrics(reader, at);
    assert!(total(&before, "ares_paths") >= 2.0);
    lab.cut(Path::A, Direction::Both);
    let after = wait::until(PATIENCE, "a switch", || {
        let seen = metrics(reader, at);
        let brought = "ares_path_switch_first_byte_seconds_count";
        (seen[brought] > before[brought]).then_some(seen)
    });
    for counter in ["ares_path_suspicions_total", "ares_path_switches_total{cause=\"silent\"}"] {
        assert!(after[counter] > before[counter], "{counter}: {before:?} {after:?}");
    }
    lab.heal(Path::A);
    wait::until(PATIENCE, "the path is used again", || {
        let seen = metrics(reader, at);
        let more = |series| seen[series] > before[series];
        (more("ares_path_recoveries_total") || more("ares_paths_opened_total")).then_some(())
    });
    running.wait(PATIENCE).expect_ok();
    compare::assert_same(&file, &copy);
}

#[test]
fn a_mount_is_not_ready_before_it_is_there() {
    if !is_possible("http-ready") {
        return;
    }
    let Some(lab) = Lab::new("http-ready", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let file = publisher.dir().join("file");
    tree::big_file(&file, 1 << 20, 93);
    let serving = Daemon::serve(publisher);
    let link = serving.publish(&file).link;
    // There, and silent.
    serving.signal(Signal::STOP);
    let dir = lab.dir("mount");
    let mut command = reader.ares(["mount", &link]);
    command.arg(&dir).args(HTTP);
    let mounting = reader.start(command);
    let at = wait::until(PATIENCE, "the mount's daemon", || {
        assert!(mounting.is_running(), "{}", mounting.stderr());
        address(reader)
    });
    let [lives, serves] = ["/healthz", "/readyz"].map(|target| get(reader, at, target));
    assert_eq!((lives.status, serves.status), (200, 503));
    assert!(serves.text().contains("nothing is mounted"), "{}", serves.text());
    serving.signal(Signal::CONT);
    wait::until(PATIENCE, "the mount", || {
        assert!(mounting.is_running(), "{}", mounting.stderr());
        (get(reader, at, "/readyz").status == 200).then_some(())
    });
    compare::assert_same(&file, &dir.join("file"));
}

#[test]
fn the_page_shows_who_sends_what_to_whom_where_that_is_wanted_and_nobody_what_to_fetch() {
    let Some(lab) = Lab::new("http-page", 2) else { return };
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let file = publisher.dir().join("named");
    tree::big_file(&file, BYTES / 8, 92);
    let serving = Daemon::serve(publisher);
    let Published { link, release } = serving.publish(&file);
    let shown = reader.with_config("page", "[http]\nlisten = \"127.0.0.1:0\"\nstatus = true\n");
    let showing = Daemon::serve(&shown);
    showing.tell(&["pin", &link]);
    wait::until(PATIENCE, "the pin", || {
        (showing.tell(&["pin"])["pins"][0]["state"] == "whole").then_some(())
    });
    let at = address(&shown).expect("it runs");
    let page = get(&shown, at, "/");
    assert_eq!(
        (page.status, page.field("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(
        page.field("content-security-policy")
            .is_some_and(|policy| policy.starts_with("default-src 'none'"))
    );
    assert!(page.text().contains("Who sends what to whom") && page.text().ends_with("</script>\n"));
    let answer = get(&shown, at, "/status.json");
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/json")));
    let status: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
    assert_eq!(status["releases"][0]["name"], "named");
    assert_eq!(status["releases"][0]["release"], release[..10]);
    // A path that has just opened may be on standby.
    let state = &status["peers"][0]["paths"][0]["state"];
    assert!(*state == "up" || *state == "standby", "{status}");
    let state = shown.state().display().to_string();
    for secret in [release.as_str(), &state, serving.status()["peer"].as_str().expect("a peer")] {
        assert!(!answer.text().contains(secret), "{secret} in {}", answer.text());
    }
    // For machines, over the admin socket, all of it.
    assert!(showing.status().to_string().contains(&release));
    assert_eq!(get(&shown, at, "/status.json/").status, 404);
}
