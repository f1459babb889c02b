//! An edge with little disk, fed much more than it may keep, also while another program fills that disk: never over its quota, what is
//! pinned whole, every byte right, memory flat, and intake that goes on by itself when there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ares_tests::scratch::mount_tmpfs;
use ares_tests::{Daemon, Lab, Node, compare, daemon, lab, procfs, tree, wait};

const MIB: u64 = 1 << 20;
const QUOTA: u64 = 24 * MIB;
const RELEASE: u64 = 8 * MIB;

/// What all workers together may have written beyond: a chunk each, of a MiB at most.
const BATCH: u64 = 4 * MIB;

/// How often the disk is looked at.
const SAMPLE: Duration = Duration::from_millis(5);

/// How long all may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A publisher, an edge that pulls from it, and a reader whom only the edge can reach.
struct Scene {
    origin: Daemon,
    edge: Daemon,
    state: PathBuf,
    /// Goes last: with it goes what they have logged.
    lab: Lab,
}

impl Scene {
    /// `state`: of the edge.
    fn new(lab: Lab, state: PathBuf, free: u64) -> Self {
        let [publisher, edge, reader] = [0, 1, 2].map(|i| lab.node(i));
        publisher.part_from(reader);
        reader.part_from(publisher);
        let origin = Daemon::serve(publisher);
        let peer = origin.status()["peer"].as_str().expect("status names the peer").to_owned();
        let upstream = format!("{peer}@{}", publisher.listen());
        let config = format!(
            "[node]\nworkers = 2\n[edge]\nupstreams = [\"{upstream}\"]\n[set]\nstore-quota = \"{}MiB\"\nstore-free = \"{}MiB\"\nstore-evict = \"2MiB\"\n",
            QUOTA / MIB,
            free / MIB
        );
        let edge_node = edge.with_config("edge", &config).with_state(&state);
        let edge_daemon = Daemon::serve(&edge_node);
        Self {
            origin,
            edge: edge_daemon,
            state,
            lab,
        }
    }

    /// A release of a file and a few small ones.
    fn release(&self, n: u64) -> (PathBuf, String) {
        let dir = self.lab.node(0).dir().join(format!("release-{n}"));
        tree::source(&dir, 20, n);
        tree::big_file(&dir.join("big"), RELEASE, 1000 + n);
        let link = self.origin.publish(&dir).link;
        (dir, link)
    }

    /// Reads a release through the edge, and right.
    fn read(&self, (dir, link): &(PathBuf, String)) {
        let reader = self.reader("60s");
        let copy = reader.dir().join("copy");
        reader.run(daemon::get(&reader, link, &copy)).expect_ok();
        compare::assert_same(dir, &copy);
        // Else it had it the next time.
        [copy, reader.state().to_owned()]
            .iter()
            .for_each(|dir| fs::remove_dir_all(dir).expect("ours"));
    }

    /// The reader's machine, from where the edge is asked about every release.
    fn reader(&self, patience: &str) -> Node {
        let peer = self.edge.status()["peer"].as_str().expect("status names the peer").to_owned();
        let seed = format!("{peer}@{}", self.lab.node(1).listen());
        let text = format!("[swarm]\nseeds = [\"{seed}\"]\n[mount]\npatience = \"{patience}\"\n");
        self.lab.node(2).with_config("reader", &text)
    }

    fn pin(&self, (_, link): &(PathBuf, String)) {
        self.edge.tell(&["pin", link]);
    }

    fn wait_for_pins(&self) {
        wait::until(PATIENCE, "all pins whole", || {
            let pins = self.edge.tell(&["pin"]);
            let pins = pins["pins"].as_array().expect("a list").clone();
            pins.iter().all(|pin| pin["state"] == "whole").then_some(())
        });
    }

    fn own_disk_bytes(&self) -> u64 {
        disk_bytes(&self.state.join("data"))
    }

    fn store(&self, key: &str) -> serde_json::Value {
        self.edge.status()["store"][key].clone()
    }
}

fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0, // gone meanwhile
    });
    bytes.sum()
}

#[test]
fn an_edge_fed_ten_times_its_quota_keeps_to_it_with_its_pins_whole_and_its_memory_flat() {
    let Some(lab) = Lab::new("edge-quota", 3) else { return };
    let state = lab.node(1).dir().join("state");
    let scene = Scene::new(lab, state, 0);
    let pinned = [scene.release(0), scene.release(1)];
    pinned.iter().for_each(|release| scene.pin(release));
    scene.wait_for_pins();
    let (most, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let feed = 10 * QUOTA / RELEASE;
    let mut memory = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(scene.own_disk_bytes(), Ordering::Relaxed);
                std::thread::sleep(SAMPLE);
            }
        });
        for n in 2..2 + feed {
            scene.read(&scene.release(n));
            let used = scene.store("quota_used_bytes").as_u64().expect("a number");
            assert!(used <= QUOTA + BATCH, "{used} bytes after release {n}");
            memory.push(procfs::rss_bytes(scene.edge.pid()).expect("it runs"));
        }
        over.store(true, Ordering::Relaxed);
    });
    let most = most.into_inner();
    println!("{} MiB on disk at most, memory {memory:?}", most / MIB);
    assert!(most <= QUOTA + BATCH, "{most} bytes of the store's own files at one time");
    assert!(scene.store("evicted_bytes").as_u64() > Some(8 * QUOTA));
    let quarter = memory.len() / 4;
    let (early, late) = (memory[..quarter].iter().max(), memory[memory.len() - quarter..].iter().min());
    assert!(
        late < early.map(|early| early + 32 * MIB).as_ref(),
        "memory grows: {memory:?}"
    );

    // What is pinned is all here: nobody else need be.
    let Scene { origin, .. } = &scene;
    let fetched = scene.edge.counter("fetched_bytes");
    origin.signal(rustix::process::Signal::STOP);
    pinned.iter().for_each(|release| scene.read(release));
    assert_eq!(scene.edge.counter("fetched_bytes"), fetched);
    origin.signal(rustix::process::Signal::CONT);
}

#[test]
fn a_disk_filled_by_another_program_stops_intake_and_not_serving_until_it_is_freed() {
    const TEST: &str = "edge-full";
    let Some(lab) = Lab::new(TEST, 3) else { return };
    let disk = lab.node(1).dir().join("disk");
    fs::create_dir_all(&disk).expect("a mount point");
    if !mount_tmpfs(&disk, "size=64m") {
        return lab::skip(TEST, "the kernel lets only root mount a tmpfs");
    }
    let scene = Scene::new(lab, disk.join("state"), 8 * MIB);
    let pinned = [scene.release(0), scene.release(1)];
    pinned.iter().for_each(|release| scene.pin(release));
    scene.wait_for_pins();
    (2..8).for_each(|n| scene.read(&scene.release(n)));

    // As much as there is: own files make room as long as there are some that may go.
    let other = disk.join("other");
    let file = fs::File::create(&other).expect("writable");
    let free = || {
        let disk = rustix::fs::statvfs(&disk).expect("mounted");
        disk.f_bavail * disk.f_frsize
    };
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free() - MIB).expect("there is room");
    let new = scene.release(20);
    let hasty = scene.reader("3s");
    // Until only what is pinned is left, and that is more than may be.
    wait::until(PATIENCE, "intake to stop", || {
        let room = free().saturating_sub(MIB);
        if room > 0 {
            let size = file.metadata().expect("a file").len();
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), size, room).expect("there is room");
        }
        hasty.run(daemon::discard(&hasty, &new.1));
        scene.store("intake_stopped").is_string().then_some(())
    });
    let why = scene.store("intake_stopped");
    assert!(why.as_str().is_some_and(|why| why.contains("store-free")), "{why}");
    assert!(scene.edge.is_running());
    pinned.iter().for_each(|release| scene.read(release));

    fs::remove_file(&other).expect("ours");
    drop(file);
    wait::until(PATIENCE, "intake to go on", || {
        hasty.run(daemon::discard(&hasty, &new.1));
        scene.store("intake_stopped").is_null().then_some(())
    });
    scene.read(&new);
    pinned.iter().for_each(|release| scene.read(release));
}
