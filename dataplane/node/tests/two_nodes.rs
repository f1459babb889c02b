//! Two real nodes over loopback: a release moves from one store to another, whole and right.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, CutterId, ReleaseId, VerifiedChunk};
use ares_core::knobs::{Knob, Setting, Settings};
use ares_core::manifest::{ListBuilder, Meta, Mtime, Root, Top, Walk};
use ares_core::peer::{PeerAt, PeerId};
use ares_core::swarm::{Class, FetchError};
use ares_node::api::{NodeConfig, Sink};
use ares_node::download::{self, DownloadError, DownloadJob, DownloadProgress, NODES_AHEAD, fetch_root};
use ares_node::store::StoreWriter;
use ares_node::{Handle, Node, TuneError};
use bytes::Bytes;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(state: &Path) -> NodeConfig {
    let mut settings = Settings::default();
    for (knob, text) in [(Knob::DialTimeout, "2s"), (Knob::StallTimeout, "300ms")] {
        settings.set(Setting::parse(knob, text).expect("a time"));
    }
    NodeConfig {
        state: state.to_owned(),
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        shards: 1,
        workers: 1,
        access: Default::default(),
        lanes: Default::default(),
        zone: Default::default(),
        mdns: Default::default(),
        dht: Default::default(),
        edge: Default::default(),
        pins: Default::default(),
        sink: Sink::Store,
        settings,
    }
}

fn start(state: &Path) -> Node {
    Node::start(config(state)).expect("a node starts in an empty directory")
}

/// Bytes that no two chunks share, from a 64-bit counter: incompressible enough for a test of identity.
fn chunk_bytes(number: u64, len: usize) -> Bytes {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    let mut bytes = vec![0; len];
    hasher.finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn verified(bytes: Bytes) -> VerifiedChunk {
    VerifiedChunk::verify(ChunkId::of(&bytes), bytes).expect("its own hash")
}

/// Puts a release of one file into a node's store, chunk by chunk, as packs.
fn publish(handle: &Handle, chunks: u64, chunk_len: usize) -> ReleaseId {
    let mut writer = handle.store().writer();
    let put = |writer: &mut StoreWriter, chunk: &VerifiedChunk| writer.put(chunk, None).expect("room in the store");
    let mut list = ListBuilder::new();
    let mut nodes = Vec::new();
    for number in 0..chunks {
        let chunk = verified(chunk_bytes(number, chunk_len));
        put(&mut writer, &chunk);
        list.push(
            ChunkRef {
                id: chunk.id(),
                len: chunk_len as u32,
            },
            &mut |node| nodes.push(node),
        );
    }
    let (bytes, content) = list.finish(&mut |node| nodes.push(node));
    let meta = Meta {
        mode: 0o644,
        mtime: Mtime { secs: 1, nanos: 2 },
        xattrs: Vec::new(),
    };
    let file = ares_core::manifest::File {
        bytes,
        content,
        b3: None,
    };
    let root = Root {
        cutter: CutterId::CURRENT,
        top: Top::File { meta, file },
    };
    nodes.push(root.encode());
    for node in &nodes {
        put(&mut writer, node);
    }
    handle
        .store()
        .add_release(root.release(), "test", bytes, 1)
        .expect("the journal takes it");
    handle.store().mark_complete(root.release()).expect("the journal takes it");
    root.release()
}

fn hint(handle: &Handle) -> PeerAt {
    PeerAt {
        peer: handle.peer_id(),
        addrs: handle.listen_addrs(),
    }
}

/// Downloads the release into the node's store and returns the file bytes that came from peers.
fn download(handle: &Handle, release: ReleaseId) -> Result<(), DownloadError> {
    let root = fetch_root(handle, release, PATIENCE)?;
    let job = DownloadJob {
        release,
        bytes: root.totals().bytes,
        patience: PATIENCE,
        nodes: Class::Deadline,
    };
    let progress = DownloadProgress::default();
    let walk = Walk::new(&root, NODES_AHEAD);
    download::download(handle, &job, walk, &progress, &Arc::new(AtomicBool::new(false)))?;
    assert_eq!(progress.bytes_done.load(Ordering::Relaxed), root.totals().bytes);
    Ok(())
}

/// Of each path: our shard, the address of the peer's, bytes received.
fn paths(handle: &Handle) -> Vec<(usize, SocketAddr, u64)> {
    let peers = handle.status().expect("a node answers").peers;
    let paths = peers.iter().flat_map(|peer| &peer.paths);
    paths
        .map(|path| (path.figures.shard, path.figures.remote, path.figures.rx_bytes))
        .collect()
}

fn fetched_bytes(handle: &Handle) -> u64 {
    handle.status().expect("a node answers").counters.fetched_bytes
}

#[test]
fn a_release_moves_whole_and_is_not_fetched_twice() {
    let dirs = [
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    ];
    let (chunks, len) = (400, 200_000);
    let seeder = start(dirs[0].path());
    let release = publish(&seeder.handle(), chunks, len);
    let reader = start(dirs[1].path());
    reader.handle().add_hints(release, vec![hint(&seeder.handle())]);
    download(&reader.handle(), release).expect("the seeder has it");
    for number in 0..chunks {
        let expect = chunk_bytes(number, len);
        let chunk = ChunkRef {
            id: ChunkId::of(&expect),
            len: len as u32,
        };
        let held = reader.handle().store().read(chunk).expect("held after the download");
        assert_eq!(held.bytes(), &expect, "chunk {number}");
    }
    let once = fetched_bytes(&reader.handle());
    assert!(once >= chunks * len as u64);
    download(&reader.handle(), release).expect("held already");
    assert_eq!(fetched_bytes(&reader.handle()), once, "held chunks are not fetched again");
    // Without the seeder and after a restart the reader still has it and can pass it on.
    seeder.stop();
    reader.stop();
    let reader = start(dirs[1].path());
    download(&reader.handle(), release).expect("held on disk");
    assert_eq!(fetched_bytes(&reader.handle()), 0, "a restart loses nothing");
}

#[test]
fn what_nobody_has_ends_in_time_with_the_reason() {
    let dirs = [
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    ];
    let seeder = start(dirs[0].path());
    let reader = start(dirs[1].path());
    let patience = Duration::from_secs(1);
    let release = ReleaseId(ChunkId::of(b"nobody has this"));
    let right = hint(&seeder.handle());
    let wrong_key = PeerAt {
        peer: PeerId::from_bytes([9; 32]),
        addrs: right.addrs.clone(),
    };
    let silent = PeerAt {
        peer: PeerId::from_bytes([8; 32]),
        addrs: vec![SocketAddr::from(([127, 0, 0, 1], 9))],
    };
    for (hints, expect) in [
        (vec![], "no peer"),
        (vec![right], "none of the peers connected"),
        (vec![wrong_key], "not 0909090909"),
        (vec![silent], "127.0.0.1:9"),
    ] {
        reader.handle().add_hints(release, hints);
        let error = fetch_root(&reader.handle(), release, patience).expect_err("nobody has it");
        let DownloadError::Fetch(FetchError::Deadline { why, .. }) = &error else {
            panic!("{error}")
        };
        assert!(why.contains(expect), "expected {expect:?} in {why:?}");
    }
}

#[test]
fn a_bulk_transfer_uses_the_shards_of_both_sides_and_a_small_one_does_not() {
    let dirs = [
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    ];
    let [seeder, reader] = dirs.each_ref().map(|dir| {
        Node::start(NodeConfig {
            shards: 2,
            ..config(dir.path())
        })
        .expect("a node starts in an empty directory")
    });
    let (seeder, reader) = (seeder.handle(), reader.handle());
    let fetch = |chunks, chunk_len| {
        let release = publish(&seeder, chunks, chunk_len);
        reader.add_hints(release, vec![hint(&seeder)]);
        download(&reader, release).expect("the seeder has it");
    };
    fetch(20, 100_000);
    assert_eq!(paths(&reader).len(), 1, "{:?}", paths(&reader));

    // A release is enough where the machine is not too busy to fetch it at the rate that is worth a second path.
    let moved = 4 << 20;
    let have_both = (0..20).any(|more| {
        fetch(500, 200_000 + more);
        paths(&reader).iter().filter(|(_, _, bytes)| *bytes >= moved).count() == 2
    });
    let paths = paths(&reader);
    assert!(have_both, "both paths carry chunks: {paths:?}");
    let [(shard, remote, _), (other_shard, other_remote, _)] = paths[..] else {
        panic!("one path for each shard: {paths:?}")
    };
    assert!(shard != other_shard && remote != other_remote, "{paths:?}");
}

/// Every knob of the node is turned up and down, over and over, while chunks come over connections that were there before.
#[test]
fn settings_change_under_a_transfer_and_reach_what_runs() {
    let (seeder_dir, reader_dir) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let (seeder_node, reader_node) = (start(seeder_dir.path()), start(reader_dir.path()));
    let (seeder, reader) = (seeder_node.handle(), reader_node.handle());
    let release = publish(&seeder, 400, 200_000);
    reader.add_hints(release, vec![hint(&seeder)]);
    let turn = |knob: Knob, value: &str| {
        let setting = Setting::parse(knob, value).expect("a value that may be");
        for handle in [&seeder, &reader] {
            handle.tune(setting).expect("less than any kernel's cap");
            assert_eq!(handle.settings().get(knob), setting);
        }
    };
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let turner = scope.spawn(|| {
            let mut rounds = 0;
            while rounds == 0 || !is_done.load(Ordering::Relaxed) {
                for (knob, values) in [
                    (Knob::Congestion, ["bbr", "newreno", "cubic"]),
                    (Knob::SocketReceiveBuffer, ["64KiB", "128KiB", "200KiB"]),
                    (Knob::SocketSendBuffer, ["64KiB", "128KiB", "200KiB"]),
                    (Knob::GetWindow, ["8MiB", "1GiB", "64MiB"]),
                    (Knob::ServeWindow, ["1MiB", "16GiB", "64MiB"]),
                    (Knob::SourceWindow, ["4MiB", "1GiB", "16MiB"]),
                    (Knob::HedgeWindow, ["0", "1GiB", "64MiB"]),
                    (Knob::StallTimeout, ["10ms", "1m", "300ms"]),
                    (Knob::GivePeers, ["1", "4096", "16"]),
                    (Knob::Connections, ["1", "65536", "8192"]),
                ] {
                    values.iter().for_each(|value| turn(knob, value));
                }
                rounds += 1;
            }
        });
        let result = download(&reader, release);
        is_done.store(true, Ordering::Relaxed);
        turner.join().expect("no turn failed");
        result.expect("the seeder has it");
    });

    // A connection that runs takes the choice with its next packet.
    turn(Knob::Congestion, "bbr");
    let release = publish(&seeder, 10, 100_000);
    reader.add_hints(release, vec![hint(&seeder)]);
    download(&reader, release).expect("the seeder has it");
    let kinds = |handle: &Handle| {
        let peers = handle.status().expect("it runs").peers;
        peers
            .into_iter()
            .flat_map(|peer| peer.paths)
            .map(|path| path.figures.congestion)
            .collect::<Vec<_>>()
    };
    assert_eq!((kinds(&seeder), kinds(&reader)), (vec!["bbr"], vec!["bbr"]));
    drop(seeder_node);
    let refused = seeder
        .tune(Setting::default_of(Knob::Congestion))
        .expect_err("it has stopped");
    assert!(matches!(refused, TuneError::Stopping(_)));
}
