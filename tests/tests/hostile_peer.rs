//! A peer that proves its key and then misbehaves: the transfer ends right through another peer, or with a clear error in time, and never
//! with a wrong byte or a full memory.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ares_core::link::Link;
use ares_tests::hostile::{Crowd, Hostile, MISDEEDS, Misdeed};
use ares_tests::mount::{self, Mounted};
use ares_tests::{Daemon, Lab, Node, Outcome, compare, daemon, procfs, tree, wait};
use serde_json::json;

/// Longest a transfer may take with a peer that does its worst.
const BOUND: Duration = Duration::from_secs(75);

/// Memory of a fetching process, bytes.
const RSS_MAX: u64 = 256 << 20;

struct Scene {
    lab: Lab,
    server: Daemon,
    release: std::path::PathBuf,
    honest: Link,
}

/// An honest publisher, on the first of `2 + rows` machines: one for a reader of each row, one for its hostile peer.
fn scene(test: &str, rows: usize) -> Scene {
    let lab = Lab::on_loopback(test, 1 + 2 * rows as u8);
    let release = lab.node(0).dir().join("release");
    tree::source(&release, 40, 111);
    tree::big_file(&release.join("big"), 6 << 20, 112);
    let server = Daemon::serve(lab.node(0));
    let honest = server.publish(&release).link.parse().expect("a link as core reads it");
    Scene {
        lab,
        server,
        release,
        honest,
    }
}

/// Fetches, and watches the process's memory meanwhile.
fn fetch(node: &Node, link: &Link, dest: &Path) -> (Outcome, u64) {
    let running = node.start(daemon::get(node, &link.to_string(), dest));
    let (mut peak, start) = (0, Instant::now());
    while !running.ended_within(Duration::from_millis(20)) && start.elapsed() < BOUND {
        peak = procfs::peak_rss_bytes(running.pid()).unwrap_or(0).max(peak);
    }
    (running.wait(Duration::from_millis(1)), peak)
}

/// Runs all misdeeds at once: most of their time is waiting.
fn each_misdeed(test: &str, judge: impl Fn(&Scene, Misdeed, &Node, &Hostile) + Sync) {
    let scene = scene(test, MISDEEDS.len());
    let (scene, judge) = (&scene, &judge);
    std::thread::scope(|scope| {
        let rows = MISDEEDS.iter().enumerate().map(|(i, misdeed)| {
            let (reader, place) = (scene.lab.node(1 + 2 * i), scene.lab.node(2 + 2 * i));
            let row = std::thread::Builder::new().name(format!("{misdeed:?}"));
            row.spawn_scoped(scope, move || {
                let hostile = Hostile::start(place.listen(), *misdeed, &scene.honest);
                judge(scene, *misdeed, reader, &hostile);
            })
        });
        let rows: Vec<_> = rows.map(|row| row.expect("a thread")).collect();
        let failed: Vec<Misdeed> = rows
            .into_iter()
            .zip(MISDEEDS)
            .filter_map(|(row, m)| row.join().is_err().then_some(m))
            .collect();
        assert!(failed.is_empty(), "see above: {failed:?}");
    });
}

#[test]
fn a_transfer_ends_right_beside_a_hostile_peer() {
    let met = AtomicUsize::new(0);
    each_misdeed("hostile-and-honest", |scene, misdeed, reader, hostile| {
        let mut link = scene.honest.clone();
        link.peers.insert(0, hostile.hint());
        let dest = reader.dir().join("dest");
        let (outcome, peak) = fetch(reader, &link, &dest);
        outcome.expect_ok();
        compare::assert_same(&scene.release, &dest);
        assert!(peak < RSS_MAX, "{misdeed:?}: {peak} bytes resident");
        met.fetch_add(usize::from(hostile.asked() > 0), Ordering::Relaxed);
    });
    // Not every one need be asked before the honest peer is done, or it is dropped; but most are.
    let met = met.into_inner();
    assert!(met > MISDEEDS.len() / 2, "only {met} hostile peers were asked for anything");
}

#[test]
fn a_hostile_peer_alone_is_told_by_name() {
    each_misdeed("hostile-alone", |scene, misdeed, reader, hostile| {
        let mut link = scene.honest.clone();
        link.peers = vec![hostile.hint()];
        let dest = reader.dir().join("dest");
        let (outcome, peak) = fetch(&reader.with_patience(10), &link, &dest);
        assert!(peak < RSS_MAX, "{misdeed:?}: {peak} bytes resident");
        // Wrong beside the asks: the right answers count if they come before the connection is dropped for it.
        let beside_the_asks = matches!(
            misdeed,
            Misdeed::FrameFlood | Misdeed::HugeFrame | Misdeed::ControlNoise | Misdeed::StreamFlood
        );
        if beside_the_asks && outcome.status.success() {
            compare::assert_same(&scene.release, &dest);
            return;
        }
        let name = format!("{}|{}", hostile.peer.short(), hostile.address);
        outcome.expect_error(&[&name]);
        for file in compare::files_below(&dest) {
            let inside = file.strip_prefix(&dest).expect("below the destination");
            let original = scene.release.join(inside);
            assert!(
                compare::differences(&original, &file).is_empty(),
                "{misdeed:?}: a wrong file at {}",
                file.display()
            );
        }
        assert!(
            hostile.asked() > 0 || beside_the_asks,
            "{misdeed:?}: nobody asked the hostile peer"
        );
    });
}

#[test]
fn a_dropped_peer_is_shown_with_the_reason() {
    let scene = scene("hostile-shown", 1);
    let reader = scene.lab.node(1);
    let daemon = Daemon::serve(reader);
    let hostile = Hostile::start(scene.lab.node(2).listen(), Misdeed::Noise, &scene.honest);
    let mut link = scene.honest.clone();
    link.peers = vec![hostile.hint()];
    let name = hostile.peer.short();
    fetch(reader, &link, &reader.dir().join("dest")).0.expect_error(&[&name]);
    let told = daemon.tell(&["peers"]);
    let dropped = told["dropped"].as_array().expect("a list");
    let [dropped] = &dropped[..] else {
        panic!("one was dropped: {told}")
    };
    assert_eq!(dropped["peer"], hostile.peer.to_string());
    assert!(told["away"] == json!([]), "who was dropped is not away: {told}");
    let shown = reader.run(reader.ares(["peers"])).expect_ok().text();
    assert!(shown.contains(&format!("dropped {name}: it sent wrong bytes")), "{shown}");
}

#[test]
fn a_mount_reads_right_beside_a_hostile_peer() {
    const TEST: &str = "hostile-mount";
    if !mount::is_possible(TEST) {
        return;
    }
    let scene = scene(TEST, 1);
    let hostile = Hostile::start(scene.lab.node(2).listen(), Misdeed::WrongByte, &scene.honest);
    let mut link = scene.honest.clone();
    link.peers.insert(0, hostile.hint());
    let reader = scene.lab.node(1);
    let dir = reader.dir().join("mounted");
    std::fs::create_dir(&dir).expect("a mount point");
    let mounted = Mounted::new(reader, &link.to_string(), &dir);
    compare::assert_same(&scene.release, &dir);
    mounted.end_by(rustix::process::Signal::TERM).expect_ok();
}

/// A key costs nothing: what one can take of a server is little, and the others are served.
#[test]
fn one_key_does_not_crowd_out_the_others() {
    /// Connections that one key may have to a shard.
    const ALLOWED: usize = 16;
    const CROWD: usize = 100;
    let scene = scene("hostile-crowd", 1);
    let crowd = Crowd::gather(scene.lab.node(2).ip(), scene.lab.node(0).listen(), CROWD);
    let closed = wait::until(BOUND, "the server to turn away all but a few", || {
        let closed = crowd.closed();
        (closed.len() >= CROWD - ALLOWED).then_some(closed)
    });
    for why in &closed {
        assert!(why.contains("connections it takes with one key"), "{why}");
    }
    let reader = scene.lab.node(1);
    let dest = reader.dir().join("dest");
    fetch(reader, &scene.honest, &dest).0.expect_ok();
    compare::assert_same(&scene.release, &dest);
    assert_eq!(crowd.closed().len(), CROWD - ALLOWED, "those that were let in stay");
    assert_eq!(scene.server.counter("refused_connections"), (CROWD - ALLOWED) as u64);
}

/// Who asks for much and acknowledges nothing leaves the server with what it took out for it, once for each connection.
#[test]
fn who_acknowledges_nothing_holds_little() {
    const CONNECTIONS: u64 = 16;
    /// Handed to QUIC for one connection that has yet to show what it takes, in bytes: the window of `quic.rs` and the chunk that fills it.
    const HELD_MAX: u64 = 512 << 10;
    let lab = Lab::on_loopback("hostile-greedy", 3);
    let file = lab.node(0).dir().join("file");
    tree::big_file(&file, 300_000, 113);
    let server = Daemon::serve(lab.node(0));
    let link: Link = server.publish(&file).link.parse().expect("a link as core reads it");
    let before = server.counter("served_bytes");
    let crowd = Crowd::gather_greedy(lab.node(2).ip(), lab.node(0).listen(), CONNECTIONS as usize, link.release);
    // More than all the rest of the crowd took, and a small part of what they ask for.
    let greedy = wait::until(BOUND, "the server to have loaded for all of them", || {
        let bytes = server.counter("served_bytes") - before;
        (bytes > CONNECTIONS * (128 << 10)).then_some(bytes)
    });
    // Whatever else it would do for them, it does before it has served another one from begin to end.
    let reader = lab.node(1);
    let dest = reader.dir().join("dest");
    let (outcome, _) = fetch(reader, &link, &dest);
    outcome.expect_ok();
    assert!(compare::differences(&file, &dest).is_empty());
    let bytes = server.counter("served_bytes") - before;
    assert!(
        bytes < CONNECTIONS * HELD_MAX + 400_000,
        "{bytes} bytes for {CONNECTIONS} that took nothing (at first {greedy})"
    );
    let peak = procfs::peak_rss_bytes(server.pid()).expect("a living process");
    assert!(peak < RSS_MAX / 2, "{peak} bytes resident");
    assert_eq!(
        crowd.closed(),
        [] as [String; 0],
        "they stay, and the server keeps its memory"
    );
}
