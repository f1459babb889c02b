//! Strangers that want more connections than they are given: they are turned away with a reason, others are still served, and what they
//! leave is free again.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ares_core::admission::AdmissionLimits;
use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId, VerifiedChunk};
use ares_core::knobs::{Knob, Setting, Settings};
use ares_core::peer::PeerAt;
use ares_core::swarm::{Class, FetchError, Unreached, Want};
use ares_node::Node;
use ares_node::api::{Counters, NodeConfig, Sink};
use bytes::Bytes;

const FEW: AdmissionLimits = AdmissionLimits {
    connections_max: 100,
    per_net_max: 100,
    per_peer_max: 100,
    idle_min: Duration::from_secs(600),
};

/// Long enough for a few dials, each of which is refused at once.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(30);

fn start(state: &Path, admission: AdmissionLimits) -> Node {
    let mut settings = Settings::default();
    let idle_ms = admission.idle_min.as_millis() as usize;
    for (knob, number) in [
        (Knob::Connections, admission.connections_max),
        (Knob::ConnectionsPerAddress, admission.per_net_max),
        (Knob::ConnectionsPerKey, admission.per_peer_max),
        (Knob::ConnectionsIdle, idle_ms),
        (Knob::StallTimeout, 300),
    ] {
        settings.set(Setting::clamped(knob, number as u64));
    }
    let config = NodeConfig {
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
    };
    Node::start(config).expect("a node starts")
}

/// A server of one chunk, and those who want it.
struct Scene {
    dir: tempfile::TempDir,
    server: Node,
    chunk: VerifiedChunk,
}

impl Scene {
    fn new(limits: AdmissionLimits) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = start(&dir.path().join("server"), limits);
        let bytes = Bytes::from_static(b"what strangers want");
        let chunk = VerifiedChunk::verify(ChunkId::of(&bytes), bytes).expect("its own hash");
        server.handle().store().writer().put(&chunk, None).expect("room in the store");
        Self { dir, server, chunk }
    }

    fn reader(&self, name: &str) -> Node {
        start(&self.dir.path().join(name), FEW)
    }

    /// A reader with the key of another.
    fn twin(&self, name: &str, of: &str) -> Node {
        let state = self.dir.path().join(name);
        std::fs::create_dir(&state).expect("a fresh directory");
        std::fs::copy(self.dir.path().join(of).join("identity"), state.join("identity")).expect("a key");
        start(&state, FEW)
    }

    fn get(&self, reader: &Node, patience: Duration) -> Result<Bytes, FetchError> {
        let release = ReleaseId(self.chunk.id());
        let hint = PeerAt {
            peer: self.server.handle().peer_id(),
            addrs: self.server.handle().listen_addrs(),
        };
        reader.handle().add_hints(release, vec![hint]);
        let chunk = ChunkRef {
            id: self.chunk.id(),
            len: self.chunk.bytes().len() as u32,
        };
        reader.handle().fetch_blocking(Want {
            chunk,
            place: None,
            class: Class::Deadline,
            release,
            patience,
            unreached: Unreached::GiveUp,
        })
    }

    fn counters(&self) -> Counters {
        self.server.handle().status().expect("the server answers").counters
    }

    /// The reader is not let in, and is told why.
    fn expect_refused(&self, reader: &Node, why: &str) {
        let before = self.counters().refused_connections;
        let error = self.get(reader, SHORT).expect_err("there is no place for it");
        // Soon there may be one, so it is worth waiting; a peer that is not there is another matter.
        assert!(matches!(error, FetchError::Deadline { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(why), "expected {why:?} in {error:?}");
        assert!(self.counters().refused_connections > before, "it is counted");
    }

    fn expect_served(&self, reader: &Node) {
        assert_eq!(self.get(reader, LONG).as_ref(), Ok(self.chunk.bytes()));
    }
}

#[test]
fn an_address_has_its_share_and_what_it_leaves_is_free_again() {
    let scene = Scene::new(AdmissionLimits { per_net_max: 2, ..FEW });
    let [first, second, third] = ["first", "second", "third"].map(|name| scene.reader(name));
    scene.expect_served(&first);
    scene.expect_served(&second);
    scene.expect_refused(&third, "it takes no more connections now");
    first.stop();
    scene.expect_served(&third);
    assert_eq!(scene.counters().evicted_connections, 0);
}

#[test]
fn a_key_has_its_share_whatever_its_addresses() {
    let scene = Scene::new(AdmissionLimits { per_peer_max: 2, ..FEW });
    let first = scene.reader("first");
    let [second, third] = ["second", "third"].map(|name| scene.twin(name, "first"));
    scene.expect_served(&first);
    scene.expect_served(&second);
    scene.expect_refused(&third, "all the connections it takes with one key (2)");
    scene.expect_served(&scene.reader("another key"));
    second.stop();
    scene.expect_served(&third);
}

#[test]
fn who_is_busy_or_was_lately_stays_and_the_idle_make_room() {
    for (idle_min, is_let_in) in [(FEW.idle_min, false), (Duration::ZERO, true)] {
        let scene = Scene::new(AdmissionLimits {
            connections_max: 2,
            idle_min,
            ..FEW
        });
        let [first, second, third] = ["first", "second", "third"].map(|name| scene.reader(name));
        scene.expect_served(&first);
        scene.expect_served(&second);
        if is_let_in {
            scene.expect_served(&third);
            assert!(scene.counters().evicted_connections > 0);
        } else {
            scene.expect_refused(&third, "it takes no more connections now");
            assert_eq!(scene.counters().evicted_connections, 0);
        }
    }
}
