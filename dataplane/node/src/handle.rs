//! How the rest of the program asks a node for something: cheap to clone, usable from any thread.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ares_core::admission::Access;
use ares_core::chunk::{ChunkRef, ReleaseId};
use ares_core::knobs::{Knob, Setting, Settings};
use ares_core::path::{LaneRules, Mode};
use ares_core::peer::{PeerAt, PeerId};
use ares_core::store::Quota;
use ares_core::swarm::{BlobPlace, FetchError, Want};
use ares_core::wire::Peers;
use ares_ring::SocketError;
use bytes::Bytes;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded, unbounded};

use crate::api::{Done, Held, Sink, Status, WantId};
use crate::discovery::ToDiscovery;
use crate::figures::Figures;
use crate::hub::Waiter;
use crate::lanes;
use crate::mailbox::{ToHub, Tune};
use crate::store::Store;
use crate::want_ids::WantIds;

/// How long `status` and `figures` wait for the hub. It answers within one round of its loop; a second means that the node is stopping.
const STATUS_MAX: Duration = Duration::from_secs(2);

/// How long `tune` waits for the next thread to obey. Each does within one round of its loop; more means that the node is stopping.
const TUNE_MAX: Duration = Duration::from_secs(10);

/// A running node. It stops when told to, not when the last handle is gone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) peer: PeerId,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) store: Arc<Store>,
    /// Those of the start, and what became of them since.
    pub(crate) lanes: Mutex<LaneRules>,
    pub(crate) sink: Sink,
    /// As they are obeyed now.
    pub(crate) settings: Mutex<Settings>,
    /// Held while one of them is being changed.
    pub(crate) tuning: Mutex<()>,
    pub(crate) hub: Sender<ToHub>,
    /// Where peers that nobody names are looked for: on the local network, and by the DHT.
    pub(crate) discoveries: Vec<Sender<ToDiscovery>>,
    pub(crate) want_ids: Arc<WantIds>,
}

/// The node did not answer in time: it is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node does not answer; it is shutting down")]
pub struct Stopping;

/// Why a setting is not obeyed. The one before it is.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The kernel does not grant it.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The node does not answer.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl Handle {
    /// This node's identity.
    pub fn peer_id(&self) -> PeerId {
        self.inner.peer
    }

    /// Addresses bound, first shard's ports.
    pub fn listen_addrs(&self) -> Vec<SocketAddr> {
        self.inner.listen.clone()
    }

    /// Addresses that a link may name: wildcards are the machine's own addresses now, as far as its rules leave them.
    pub fn reachable_addrs(&self) -> Vec<SocketAddr> {
        lanes::reachable(&self.inner.listen, &lanes::own_addresses(&self.lane_rules()))
    }

    /// What is held.
    pub fn store(&self) -> &Arc<Store> {
        &self.inner.store
    }

    /// Reads a chunk that is held, on the caller's thread. `None` where it is not, or not right any more: it is to be fetched.
    pub fn read_held(&self, release: ReleaseId, chunk: ChunkRef, place: &BlobPlace) -> Option<Bytes> {
        let store = &self.inner.store;
        if !store.has(&chunk.id) {
            return None;
        }
        let read = || {
            let read = store.read(chunk);
            let read = read.inspect_err(|error| tracing::warn!(chunk = %chunk.id.short(), %error, "a held chunk was lost"));
            Some(read.ok()?.bytes().clone())
        };
        let bytes = store.read_warm(chunk, place).or_else(read)?;
        self.tell(ToHub::Reused { release, chunk });
        Some(bytes)
    }

    /// What becomes of chunks that come from peers.
    pub fn sink(&self) -> Sink {
        self.inner.sink
    }

    /// Peers that may have a release; they are connected to at once.
    pub fn add_hints(&self, release: ReleaseId, hints: Vec<PeerAt>) {
        self.tell(ToHub::Hints { release, hints });
    }

    /// Peers that are said to take part in a release, by themselves or strangers: some of them are tried, and forgotten where there is nobody.
    pub(crate) fn add_neighbours(&self, release: ReleaseId, peers: Vec<PeerAt>) {
        self.tell(ToHub::Neighbours(Peers { release, peers }));
    }

    /// Looks for peers that may have a release on the local network and by the DHT, as far as they are used, until all of it is held or many others were looked for since.
    pub fn seek(&self, release: ReleaseId) {
        self.tell_discovery(ToDiscovery::Seek(release));
    }

    /// Gets a chunk's bytes, from the store where it is held, else from peers. `done` is called exactly once.
    pub fn fetch(&self, want: Want, done: Done) -> WantId {
        self.want(want, Waiter::for_bytes(done))
    }

    /// Sees to it that a chunk is in the store at its place. `held` is called exactly once.
    pub fn hold(&self, want: Want, held: Held) -> WantId {
        self.want(want, Waiter::for_held(held))
    }

    /// A node that has stopped drops the message, and with it the waiter, which is an answer too.
    fn want(&self, want: Want, waiter: Waiter) -> WantId {
        let id = self.inner.want_ids.next();
        self.tell(ToHub::Fetch { id, want, waiter });
        id
    }

    /// Like `fetch`, for a thread that may wait.
    pub fn fetch_blocking(&self, want: Want) -> Result<Bytes, FetchError> {
        let (reply, answer) = bounded(1);
        // The receiver lives until the answer is there, so it is never lost.
        self.fetch(want, Box::new(move |result| drop(reply.send(result))));
        answer.recv().unwrap_or(Err(FetchError::Shutdown))
    }

    /// Nobody waits for that want any more; whoever did hears `Cancelled`.
    pub fn cancel(&self, want: WantId) {
        self.tell(ToHub::CancelWant(want));
    }

    /// What is held of a release has changed: peers that care are told, the local network, and the DHT.
    pub fn announce(&self, release: ReleaseId) {
        self.tell(ToHub::Announce(release));
        self.tell_discovery(ToDiscovery::Changed);
    }

    /// How things are now.
    pub fn status(&self) -> Result<Status, Stopping> {
        let (reply, answer) = bounded(1);
        self.tell(ToHub::Status(reply));
        answer.recv_timeout(STATUS_MAX).map_err(|_| Stopping)
    }

    /// How things are now, in numbers alone: costs little however much there is.
    pub fn figures(&self) -> Result<Figures, Stopping> {
        let (reply, answer) = bounded(1);
        self.tell(ToHub::Figures(reply));
        answer.recv_timeout(STATUS_MAX).map_err(|_| Stopping)
    }

    /// What may be changed by `tune`, as it is now. Socket buffers are what the kernel granted.
    pub fn settings(&self) -> Settings {
        lock(&self.inner.settings).clone()
    }

    /// Changes a setting while everything goes on, and waits until it is obeyed. What it was before.
    pub fn tune(&self, setting: Setting) -> Result<Setting, TuneError> {
        let _one_at_a_time = lock(&self.inner.tuning);
        if let Knob::StoreQuota | Knob::StoreFree | Knob::StoreEvict = setting.knob() {
            let (old, settings) = {
                let mut settings = lock(&self.inner.settings);
                (settings.set(setting), settings.clone())
            };
            self.inner.store.set_quota(Quota::of(&settings));
            // What may not go stays over it, and is told by whoever wants to store more.
            let _ = self.inner.store.make_room();
            self.tell(ToHub::Evicted(self.inner.store.take_evicted()));
            return Ok(old);
        }
        let (done, answers) = unbounded();
        self.tell(ToHub::Tune(Tune { setting, done }));
        let mut is_obeyed = false;
        loop {
            match answers.recv_timeout(TUNE_MAX) {
                Ok(answer) => answer?,
                Err(RecvTimeoutError::Timeout) => return Err(Stopping.into()),
                // All have answered, or none is there any more.
                Err(RecvTimeoutError::Disconnected) if is_obeyed => return Ok(lock(&self.inner.settings).set(setting)),
                Err(RecvTimeoutError::Disconnected) => return Err(Stopping.into()),
            }
            is_obeyed = true;
        }
    }

    /// How the ways to the peers of one release are used, whatever the setting says for all, as long as the node lives. What it was before.
    pub fn set_path_mode(&self, release: ReleaseId, mode: Mode) -> Result<Mode, Stopping> {
        let (old, answer) = bounded(1);
        self.tell(ToHub::Mode { release, mode, old });
        answer.recv_timeout(STATUS_MAX).map_err(|_| Stopping)
    }

    /// Which lanes are used, how much they count and may carry, as it is now.
    pub fn lane_rules(&self) -> LaneRules {
        lock(&self.inner.lanes).clone()
    }

    /// Obeys other rules for lanes, as long as the node lives: paths from lanes that are left out now end.
    pub fn change_lane_rules<T>(&self, change: impl FnOnce(&mut LaneRules) -> T) -> T {
        let mut rules = lock(&self.inner.lanes);
        let changed = change(&mut rules);
        self.tell(ToHub::LaneRules(rules.clone()));
        changed
    }

    /// Speaks with these keys alone from now on: connections with others are closed.
    pub fn set_access(&self, access: Access) {
        self.tell(ToHub::Access(access));
    }

    /// Answers what peers have asked by now and no more, and waits until they have all of that, or for so long. To be called before the node stops.
    pub fn drain(&self, patience: Duration) {
        let (owing, drained) = bounded(1);
        self.tell(ToHub::Drain(owing));
        // Nothing ever comes: it ends with the last of those who hold the other end, or when time is up.
        let _ = drained.recv_timeout(patience);
    }

    pub(crate) fn tell_discovery(&self, message: ToDiscovery) {
        for discovery in &self.inner.discoveries {
            // As with the hub.
            let _ = discovery.send(message);
        }
    }

    fn tell(&self, message: ToHub) {
        // A node that has stopped needs no telling.
        let _ = self.inner.hub.send(message);
    }
}

/// Whatever a thread that panicked left behind is a setting like any other.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
