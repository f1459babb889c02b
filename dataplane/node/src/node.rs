//! Starts and stops a node: identity, store, sockets, then the threads. The order of stopping is the reverse.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ares_core::chunk::ReleaseId;
use ares_core::knobs::{Knob, Setting, Settings};
use ares_core::store::Quota;
use ares_core::swarm::Spread;
use ares_ring::{Ring, RingConfig, RingError, SocketError, SocketOptions, UdpSocket, Waker};
use crossbeam::channel::{bounded, unbounded};

use crate::api::{DhtUse, NodeConfig};
use crate::backlog::Backlog;
use crate::clock::Clock;
use crate::counters::Totals;
use crate::discovery::dht::{self, Searcher};
use crate::discovery::{self, Discovery, ToDiscovery};
use crate::edge;
use crate::handle::{Handle, Inner};
use crate::hub::{self, Hub};
use crate::identity::{Identity, IdentityError};
use crate::lanes::{self, Leash, Routes};
use crate::mailbox::{Job, MAILBOX_MAX, ShardPost, ToHub, ToShard};
use crate::path_ids::PathIds;
use crate::shard::{self, Shard};
use crate::store::{Store, StoreError};
use crate::tls::{Tls, TlsError};
use crate::want_ids::WantIds;
use crate::worker::Worker;

/// How long an address in use may still be that of a process that was killed, and how often to look.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_POLL: Duration = Duration::from_millis(50);

/// What the secret for stateless resets is derived for: any other use of the identity gives other bytes (BLAKE3 section 6.2).
const RESET_CONTEXT: &str = "ares 2026-11-23 QUIC stateless reset and connection ids";

/// A running node. Dropping it stops it.
pub struct Node {
    handle: Handle,
    /// Of the thread that follows the machine's lanes.
    leash: Option<Leash>,
    /// Of the thread that asks the DHT.
    dht_leash: Option<dht::Leash>,
    threads: Vec<JoinHandle<()>>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key file.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// io_uring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The kernel gave no thread.
    #[error("cannot start a thread: {0}; is the process limit (ulimit -u) too low?")]
    Thread(#[source] std::io::Error),
}

impl Node {
    /// Binds, opens, spawns. When it returns, the node answers.
    pub fn start(config: NodeConfig) -> Result<Self, StartError> {
        let store = Store::open(&config.state)?;
        // What may go is known before anything does.
        store.pin_configured(config.pins.clone());
        store.set_quota(Quota::of(&config.settings));
        let identity = Identity::load_or_create(&config.state)?;
        let tls = Tls::new(&identity)?;
        let sockets = bind_all(&config)?;
        let ports: Vec<Vec<u16>> = (0..sockets[0].len())
            .map(|lane| sockets.iter().map(|shard| shard[lane].local_addr().port()).collect())
            .collect();
        let listen: Vec<SocketAddr> = sockets[0].iter().map(UdpSocket::local_addr).collect();
        let (hub_post, hub_inbox) = unbounded::<ToHub>();
        let (jobs, job_inbox) = bounded::<Job>(MAILBOX_MAX);
        let parts = Common {
            clock: Clock::new(),
            store: store.clone(),
            totals: Arc::default(),
            path_ids: Arc::default(),
            tls,
            nonce: random(),
            reset_secret: blake3::derive_key(RESET_CONTEXT, &identity.pkcs8),
        };
        let (discovery, discovery_inbox) = discovery::post(config.mdns, &listen).unzip();
        let (dht, dht_inbox) = (config.dht.usage != DhtUse::Off).then(unbounded).unzip();
        let want_ids: Arc<WantIds> = Arc::default();
        let inner = Inner {
            peer: identity.peer,
            listen: listen.clone(),
            store,
            lanes: Mutex::new(config.lanes.clone()),
            sink: config.sink,
            settings: Mutex::new(with_granted(&config.settings, &sockets)),
            tuning: Mutex::default(),
            hub: hub_post.clone(),
            discoveries: [discovery, dht].into_iter().flatten().collect(),
            want_ids: want_ids.clone(),
        };
        let mut node = Self {
            handle: Handle { inner: Arc::new(inner) },
            leash: None,
            dht_leash: None,
            threads: Vec::new(),
        };
        if let Some((follower, leash)) = lanes::follow(listen.clone(), hub_post.clone()) {
            node.leash = Some(leash);
            node.spawn("ares-lanes".to_owned(), move || follower.run())?;
        }
        if let Some(inbox) = discovery_inbox {
            let discovery = Discovery::new(config.mdns, node.handle(), config.lanes.clone(), inbox);
            node.spawn("ares-discovery".to_owned(), move || discovery.run())?;
        }
        if let Some(inbox) = dht_inbox {
            let (searcher, leash) = Searcher::new(config.dht.clone(), node.handle(), inbox);
            node.dht_leash = Some(leash);
            node.spawn("ares-dht".to_owned(), move || searcher.run())?;
        }
        let (readers, to_read) = unbounded::<ReleaseId>();
        let readers_count = if config.edge.is_edge() { edge::READERS } else { 0 };
        for index in 0..readers_count {
            let reader = edge::Reader {
                handle: node.handle(),
                inbox: to_read.clone(),
                hub: hub_post.clone(),
            };
            node.spawn(format!("ares-edge-{index}"), move || reader.run())?;
        }
        let mut shards = Vec::new();
        let spread: Arc<Mutex<Spread>> = Arc::default();
        let backlog: Arc<Backlog> = Arc::default();
        for (index, sockets) in sockets.into_iter().enumerate() {
            let (queue, inbox) = bounded::<ToShard>(MAILBOX_MAX);
            let shard = shard::Parts {
                index,
                clock: parts.clock,
                sockets,
                ports: ports.clone(),
                inbox,
                hub: hub_post.clone(),
                jobs: jobs.clone(),
                store: parts.store.clone(),
                spread: spread.clone(),
                totals: parts.totals.clone(),
                backlog: backlog.clone(),
                tls: parts.tls.clone(),
                nonce: parts.nonce,
                zone: config.zone.clone(),
                reset_secret: parts.reset_secret,
                path_ids: parts.path_ids.clone(),
                access: config.access.clone(),
                settings: config.settings.clone(),
                routes: Routes::KERNEL,
                is_edge: config.edge.is_edge(),
            };
            let waker = node.spawn_shard(shard)?;
            shards.push(ShardPost { queue, waker });
        }
        // The quota may be less than it was; the queue is empty, so this does not wait.
        let _ = jobs.send(Job::MakeRoom);
        for index in 0..config.workers.max(1) {
            let worker = Worker {
                jobs: job_inbox.clone(),
                hub: hub_post.clone(),
                store: parts.store.clone(),
                sink: config.sink,
                totals: parts.totals.clone(),
            };
            node.spawn(format!("ares-work-{index}"), move || worker.run())?;
        }
        let hub = hub::Parts {
            config: NodeConfig {
                workers: config.workers.max(1),
                ..config
            },
            clock: parts.clock,
            identity: identity.peer,
            listen,
            ports,
            inbox: hub_inbox,
            shards,
            jobs,
            want_ids,
            readers,
            store: parts.store,
            totals: parts.totals,
            path_ids: parts.path_ids,
            routes: Routes::KERNEL,
            seed: random(),
        };
        node.spawn("ares-hub".to_owned(), move || Hub::new(hub.clock.now(), hub).run())?;
        Ok(node)
    }

    /// For asking it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Says goodbye to peers, writes what is pending, ends all threads.
    pub fn stop(self) {
        // Drop does it.
    }

    /// The ring belongs to its thread, so the thread makes it and tells whether that went well.
    fn spawn_shard(&mut self, parts: shard::Parts) -> Result<Waker, StartError> {
        let (report, made) = bounded::<Result<Waker, StartError>>(1);
        self.spawn(format!("ares-shard-{}", parts.index), move || {
            let made = Ring::new(&RingConfig::default()).map_err(StartError::from);
            let shard = made.and_then(|ring| {
                let waker = ring.waker();
                Ok((Shard::start(parts, ring)?, waker))
            });
            match shard {
                Ok((shard, waker)) => {
                    let _ = report.send(Ok(waker));
                    drop(report);
                    shard.run();
                }
                Err(error) => drop(report.send(Err(error))),
            }
        })?;
        made.recv()
            .unwrap_or_else(|_| Err(StartError::Thread(std::io::Error::other("the shard thread died"))))
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let thread = thread::Builder::new().name(name).spawn(run).map_err(StartError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Where the hub never started, nobody listens and the threads end because their mailboxes close.
        self.handle.tell_discovery(ToDiscovery::Stop);
        let _ = self.handle.inner.hub.send(ToHub::Stop);
        self.leash = None;
        self.dht_leash = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the node had panicked");
            }
        }
        if let Err(error) = self.handle.inner.store.flush() {
            tracing::error!(%error, "the last chunks could not be made durable; they will be fetched again");
        }
    }
}

/// What all threads share.
struct Common {
    clock: Clock,
    store: Arc<Store>,
    totals: Arc<Totals>,
    path_ids: Arc<PathIds>,
    tls: Tls,
    nonce: u64,
    reset_secret: [u8; 32],
}

/// One socket per shard and listening address: the first shard has the configured port, the others tell theirs in the hello.
fn bind_all(config: &NodeConfig) -> Result<Vec<Vec<UdpSocket>>, SocketError> {
    let options = SocketOptions {
        receive_buffer_bytes: u32::try_from(config.settings.bytes(Knob::SocketReceiveBuffer)).ok(),
        send_buffer_bytes: u32::try_from(config.settings.bytes(Knob::SocketSendBuffer)).ok(),
        ..SocketOptions::default()
    };
    let mut first = Vec::new();
    if config.listen.is_empty() {
        let any = |ip: IpAddr| UdpSocket::bind(SocketAddr::new(ip, 0), &options);
        first.push(any(Ipv4Addr::UNSPECIFIED.into())?);
        // A machine without IPv6 does without it.
        first.extend(any(Ipv6Addr::UNSPECIFIED.into()).ok());
    }
    for addr in &config.listen {
        first.push(bind_patiently(*addr, &options)?);
    }
    let addrs: Vec<IpAddr> = first.iter().map(|socket| socket.local_addr().ip()).collect();
    let mut shards = vec![first];
    for _ in 1..config.shards.max(1) {
        let sockets: Result<_, _> = addrs
            .iter()
            .map(|ip| UdpSocket::bind(SocketAddr::new(*ip, 0), &options))
            .collect();
        shards.push(sockets?);
    }
    Ok(shards)
}

/// The settings with the socket buffers that there are: a node starts with less than it asks for, since most systems grant less.
fn with_granted(asked: &Settings, sockets: &[Vec<UdpSocket>]) -> Settings {
    let mut settings = asked.clone();
    let granted = sockets[0][0].granted();
    for (knob, bytes) in [
        (Knob::SocketReceiveBuffer, granted.receive_buffer_bytes),
        (Knob::SocketSendBuffer, granted.send_buffer_bytes),
    ] {
        let setting = Setting::clamped(knob, bytes.into());
        let asked = settings.set(setting);
        if asked.value() > setting.value() {
            // That the default is more than the system grants is as usual as it is harmless.
            match asked == Setting::default_of(knob) {
                true => tracing::debug!("the kernel grants {setting} of {asked} for {}", knob.row().key),
                false => tracing::warn!(
                    "the kernel grants {setting} of {asked} for {}: `ares doctor` names its cap",
                    knob.row().key
                ),
            }
        }
    }
    settings
}

/// Binds an address, also while the kernel still takes down the ring of a killed process that had it: that goes on for a moment
/// after the process is gone, and nothing tells when it is over.
fn bind_patiently(addr: SocketAddr, options: &SocketOptions) -> Result<UdpSocket, SocketError> {
    let start = Instant::now();
    loop {
        match UdpSocket::bind(addr, options) {
            Err(SocketError::InUse { .. }) if start.elapsed() < LINGER_MAX => thread::sleep(LINGER_POLL),
            bound => return bound,
        }
    }
}

/// A number nobody can guess, from the operating system.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // std seeds each RandomState from the system's random source.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
