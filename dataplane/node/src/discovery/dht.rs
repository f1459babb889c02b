//! Finds peers anywhere by the Mainline DHT (BEP 5, BEP 44), and lets them find this node: one record a release, under a key that only who
//! knows the release can derive. A thread of its own, which hands what it finds to the hub like what is heard on the local network; the
//! library has another one for its socket. Whatever strangers answer is only where to knock: a peer proves its key, and every chunk its hash.

mod plan;
mod record;

use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ares_core::chunk::ReleaseId;
use ares_core::peer::PeerAt;
use ares_core::store::ReleaseState;
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use futures_lite::future::{block_on, or};
use mainline::async_dht::AsyncDht;
use mainline::errors::{PutMutableError, PutQueryError};
use mainline::{Dht, MutableItem, SigningKey};

use self::plan::{Plan, TOLD_MAX, Task};
use self::record::{ADDRS_MAX, Keys, Record, SLOTS, Told, slot_of};
use super::ToDiscovery;
use crate::api::{DhtConfig, DhtUse};
use crate::handle::Handle;
use crate::lanes::is_link_local;

/// How long it takes at least from one try to take part in the DHT to the next.
const OPEN_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked whether the node has stopped while names are looked up.
const STOP_LOOK: Duration = Duration::from_millis(50);

/// The longest sleep; every deadline that matters is earlier.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Ends the thread when dropped, also in the middle of a question.
pub(crate) struct Leash(Arc<Stop>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Whether the thread is to end.
#[derive(Default)]
struct Stop {
    is_set: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Stop {
    fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        // First the waker: whoever sets it after that wakes us.
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        if self.is_set() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// See the module.
pub(crate) struct Searcher {
    handle: Handle,
    config: DhtConfig,
    inbox: Receiver<ToDiscovery>,
    stop: Arc<Stop>,
    plan: Plan,
    node: Option<AsyncDht>,
    next_open: Instant,
}

/// Why a question came to nothing.
enum Trouble {
    /// The thread is to end.
    Stopping,
    /// No node of the DHT took what was told.
    Refused(PutMutableError),
    /// This node has no address that could be told.
    Nowhere,
}

impl Searcher {
    /// For the node of `handle`.
    pub(crate) fn new(config: DhtConfig, handle: Handle, inbox: Receiver<ToDiscovery>) -> (Self, Leash) {
        let stop = Arc::<Stop>::default();
        let leash = Leash(Arc::clone(&stop));
        let searcher = Self {
            handle,
            config,
            inbox,
            stop,
            plan: Plan::default(),
            node: None,
            next_open: Instant::now(),
        };
        (searcher, leash)
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        self.on_changed();
        while !self.stop.is_set() {
            let now = Instant::now();
            let is_needed = self.config.usage == DhtUse::Tell || self.plan.seeks();
            if is_needed && self.node.is_none() && self.next_open <= now {
                self.open(now);
            }
            let task = self.plan.next(now).filter(|_| self.node.is_some());
            let wait = match task {
                Some(task) => {
                    self.carry_out(task);
                    Duration::ZERO
                }
                None => self.idle_for(now, is_needed),
            };
            match self.inbox.recv_timeout(wait) {
                Ok(ToDiscovery::Seek(release)) => self.on_seek(release),
                Ok(ToDiscovery::Changed) => self.on_changed(),
                Ok(ToDiscovery::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn idle_for(&self, now: Instant, is_needed: bool) -> Duration {
        let at = match &self.node {
            Some(_) => self.plan.deadline(),
            None => is_needed.then_some(self.next_open),
        };
        at.map_or(SLEEP_MAX, |at| at.saturating_duration_since(now).min(SLEEP_MAX))
    }

    fn on_seek(&mut self, release: ReleaseId) {
        if self.handle.store().release_state(release) != Some(ReleaseState::Complete) {
            self.plan.on_sought(Instant::now(), release);
        }
    }

    fn on_changed(&mut self) {
        let store = self.handle.store();
        self.plan
            .retain_sought(|release| store.release_state(*release) != Some(ReleaseState::Complete));
        if self.config.usage == DhtUse::Tell {
            let held: Vec<ReleaseId> = store.releases().iter().map(|known| known.release).collect();
            self.plan
                .on_held(Instant::now(), &held[held.len().saturating_sub(TOLD_MAX)..]);
        }
    }

    /// Takes part in the DHT, as soon as the names of the nodes to begin with are looked up: by a thread of its own, because nothing ends that
    /// early.
    fn open(&mut self, now: Instant) {
        self.next_open = now + OPEN_EVERY;
        let (config, (reply, answer)) = (self.config.clone(), bounded(1));
        let build = move || {
            let mut builder = Dht::builder();
            if let Some(nodes) = &config.bootstrap {
                builder.bootstrap(nodes);
            }
            if let Some(port) = config.port {
                builder.port(port).server_mode();
            }
            // Nobody waits for it any more where the node has stopped.
            let _ = reply.send(builder.build());
        };
        if let Err(error) = thread::Builder::new().name("ares-dht-open".to_owned()).spawn(build) {
            return tracing::warn!(%error, "no thread to take part in the DHT now");
        }
        let built = loop {
            match answer.recv_timeout(STOP_LOOK) {
                Err(RecvTimeoutError::Timeout) if !self.stop.is_set() => {}
                Err(_) => return,
                Ok(built) => break built,
            }
        };
        match built {
            Ok(node) => self.node = Some(node.as_async()),
            Err(error) => tracing::warn!(%error, port = self.config.port, "no part in the DHT now: is its UDP port free?"),
        }
    }

    fn carry_out(&mut self, task: Task) {
        let Some(node) = self.node.clone() else { return };
        let result = match task {
            Task::Look(release) => self.look(&node, release),
            Task::Tell(release) => self.tell(&node, release),
        };
        match &result {
            Ok(()) | Err(Trouble::Stopping) => {}
            Err(Trouble::Nowhere) => {
                tracing::debug!("the DHT is told nothing: no address of this node can be reached from elsewhere")
            }
            Err(Trouble::Refused(error)) => {
                tracing::debug!(%error, "the DHT did not take what it was told");
                if matches!(error, PutMutableError::Query(PutQueryError::NoClosestNodes)) {
                    // It has found nobody when it began.
                    self.node = None;
                }
            }
        }
        self.plan.on_done(Instant::now(), task, result.is_ok());
    }

    /// Goes to whoever is said to have a release.
    fn look(&self, node: &AsyncDht, release: ReleaseId) -> Result<(), Trouble> {
        let keys = Keys::of(release);
        for slot in 0..SLOTS {
            let Some(item) = self.ask(most_recent(node, &keys, slot))? else {
                continue;
            };
            let mut record = Record::read(item.value(), &keys);
            record.retain_fresh(minute());
            let peers: Vec<PeerAt> = record.0.into_iter().filter_map(|told| self.dialable(told.at)).collect();
            tracing::debug!(%release, slot, peers = peers.len(), "found by the DHT");
            self.handle.add_neighbours(release, peers);
        }
        Ok(())
    }

    /// Tells that this node has something of a release, beside the others that have said so.
    fn tell(&self, node: &AsyncDht, release: ReleaseId) -> Result<(), Trouble> {
        let peer = self.handle.peer_id();
        let addrs = self.handle.reachable_addrs();
        let at = self.dialable(PeerAt { peer, addrs }).ok_or(Trouble::Nowhere)?;
        let (keys, slot) = (Keys::of(release), slot_of(&peer));
        let before = self.ask(most_recent(node, &keys, slot))?;
        let mut record = before
            .as_ref()
            .map(|item| Record::read(item.value(), &keys))
            .unwrap_or_default();
        let now = minute();
        record.retain_fresh(now);
        record.insert(Told { at, minute: now });
        let seq = before.as_ref().map(MutableItem::seq);
        let value = record.write(nonce(), &keys);
        let next_seq = seq.map_or(1, |seq| seq.saturating_add(1));
        let item = MutableItem::new(SigningKey::from_bytes(&keys.signing), &value, next_seq, Some(&[slot]));
        let taken = self.ask(async { node.put_mutable(item, seq).await })?;
        taken.map_err(Trouble::Refused)?;
        tracing::debug!(%release, "told to the DHT");
        Ok(())
    }

    /// Waits for an answer, or for the end.
    fn ask<T>(&self, question: impl Future<Output = T>) -> Result<T, Trouble> {
        let stopping = poll_fn(|context| self.stop.poll(context));
        block_on(or(async { Ok(question.await) }, async {
            stopping.await;
            Err(Trouble::Stopping)
        }))
    }

    /// With only such addresses as may lead to it; `None` where there is none. On the public DHT none of somebody's private network.
    fn dialable(&self, at: PeerAt) -> Option<PeerAt> {
        let is_public = self.config.bootstrap.is_none();
        let mut addrs = at.addrs;
        addrs.retain(|addr| is_dialable(*addr) && (!is_public || is_global(addr.ip())));
        addrs.truncate(ADDRS_MAX);
        (!addrs.is_empty()).then_some(PeerAt { addrs, ..at })
    }
}

async fn most_recent(node: &AsyncDht, keys: &Keys, slot: u8) -> Option<MutableItem> {
    let public = SigningKey::from_bytes(&keys.signing).verifying_key().to_bytes();
    node.get_mutable_most_recent(&public, Some(&[slot])).await
}

fn is_dialable(addr: SocketAddr) -> bool {
    let ip = addr.ip();
    let is_special = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_link_local(ip);
    addr.port() != 0 && !is_special && ip != IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}

/// Whether an address is one of the internet (RFC 6890).
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            let is_reserved = a == 0 || a >= 240 || (a, b, c) == (192, 0, 0) || (a == 198 && (b == 18 || b == 19));
            !(ip.is_private() || is_shared || is_reserved || ip.is_documentation())
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0x0db8)
        }
    }
}

/// Minutes since 1970.
fn minute() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / 60).unwrap_or(u32::MAX)
}

fn nonce() -> [u8; 8] {
    crate::node::random().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_internet_are_told_from_others() {
        let check = |ip: &str, expect: bool| assert_eq!(is_global(ip.parse().expect("an address")), expect, "{ip}");
        for ip in [
            "1.1.1.1",
            "99.255.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "2600::1",
            "2001:4860::1",
        ] {
            check(ip, true);
        }
        for ip in [
            "10.0.0.1",
            "100.64.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "203.0.113.1",
        ] {
            check(ip, false);
        }
        for ip in [
            "0.1.2.3",
            "240.0.0.1",
            "fd00::1",
            "fe80::1",
            "::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            check(ip, false);
        }
    }

    #[test]
    fn who_stops_it_need_not_wait_for_an_answer() {
        let stop = Arc::<Stop>::default();
        let leash = Leash(Arc::clone(&stop));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| block_on(poll_fn(|context| stop.poll(context))));
            drop(leash);
            waiting.join().expect("no panic");
        });
        assert!(stop.is_set());
    }
}
