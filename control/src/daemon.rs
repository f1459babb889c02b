//! The one place where fs meets node: owns the node, the mounts and the admin server of a state directory, and takes them down in
//! order. What commands do with them is in `jobs`, how fs and export get their chunks in `daemon/source.rs`.

mod guests;
mod held;
mod offline;
mod source;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ares_core::admission::Refusals;
use ares_core::link::Link;
use ares_core::manifest::Root;
use ares_core::store::ReleaseInfo;
use ares_fs::stale::{self, Silent};
use ares_node::api::{DhtConfig, DhtUse, EdgeConfig, Mdns, NodeConfig, Sink};
use ares_node::store::StoreError;
use ares_node::{Handle, Node, StartError};

use self::guests::Guests;
use crate::admin::proto::{Outcome, Request, SharedSink};
use crate::admin::server::{Server, too_late};
use crate::admin::socket::Caller;
use crate::cancel::Cancel;
use crate::config::{Config, Seed};
use crate::error::Failure;
use crate::handed::Handed;
use crate::http;
use crate::keeper::Keeper;
use crate::kept::KeptFile;
use crate::mounts::Mounts;
use crate::notify::Notify;
use crate::pins::Pins;
use crate::remounter::Remounter;
use crate::scrub::Scrubber;
use crate::timekeeper::{Timekeeper, Times};

/// How long a daemon that makes room for the next goes on giving peers what they asked for before.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// What a daemon in this process is for: decides where it listens, whether it may outlive the command and whether it keeps what it fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `ares serve`: listens where the config says, stays until told to end.
    Serve,
    /// `ares mount`: listens on any port, stays while something is mounted.
    Mount,
    /// Another command: listens on any port, ends with it.
    Passing,
    /// `ares get --discard`: as `Passing`, and keeps nothing.
    Discarding,
}

/// Why no daemon could be started.
pub(crate) enum StartFailure {
    /// Another process holds the state directory: it may answer soon, or end soon.
    Locked(Failure),
    /// Trying again would not help.
    Failed(Failure),
}

/// A running daemon.
pub(crate) struct Daemon {
    // Ended in this order: no new requests, no new commands, then nothing fetched in the background, then no mounts, then no node.
    http: Option<http::Server>,
    server: Server,
    keeper: Keeper,
    remounter: Remounter,
    scrubber: Scrubber,
    timekeeper: Timekeeper,
    shared: Arc<Shared>,
    node: Node,
}

/// What jobs see of it.
pub(crate) struct Shared {
    /// Settings.
    pub(crate) config: Arc<Config>,
    /// What this daemon is for.
    pub(crate) role: Role,
    /// The node.
    pub(crate) handle: Handle,
    /// What is mounted.
    pub(crate) mounts: Mounts,
    /// What the kernel has asked of mounts.
    pub(crate) fuse: Arc<ares_fs::Figures>,
    /// What is kept whole.
    pub(crate) pins: Pins,
    /// What the config file says for times of the week.
    pub(crate) times: Times,
    /// Users who may not command it and have tried.
    pub(crate) strangers: Arc<Refusals>,
    /// Who is told that it serves, where that is its job.
    pub(crate) notify: Arc<Notify>,
    /// The settings as the file has them, as of when it was last read.
    read: Mutex<Arc<Config>>,
    /// Where HTTP is answered, once it is.
    pub(crate) http: OnceLock<SocketAddr>,
    guests: Guests,
}

impl Daemon {
    /// Locks the state directory, starts the node and opens the admin socket. Goes on with mounts whose connections were handed to it.
    pub(crate) fn start(config: &Arc<Config>, role: Role, handed: &Handed) -> Result<Self, StartFailure> {
        let listen = match role {
            Role::Serve => config.listen.clone(),
            Role::Mount | Role::Passing | Role::Discarding => Vec::new(),
        };
        let sink = match role {
            Role::Discarding => Sink::Discard,
            Role::Serve | Role::Mount | Role::Passing => Sink::Store,
        };
        let node = Node::start(NodeConfig {
            state: config.state.clone(),
            listen,
            shards: config.shards,
            workers: config.workers,
            access: config.access.clone(),
            lanes: config.lanes.clone(),
            zone: config.zone.clone(),
            mdns: match role {
                _ if !config.mdns => Mdns::Off,
                Role::Serve => Mdns::Always,
                Role::Mount | Role::Passing | Role::Discarding => Mdns::WhenSought,
            },
            dht: DhtConfig {
                usage: match role {
                    _ if !config.dht => DhtUse::Off,
                    Role::Serve => DhtUse::Tell,
                    Role::Mount | Role::Passing | Role::Discarding => DhtUse::Look,
                },
                bootstrap: config.dht_bootstrap.clone(),
                // The daemon's own: another node of this machine takes any.
                port: config.dht_port.filter(|_| role == Role::Serve),
            },
            edge: match role {
                Role::Serve => config.edge.for_node(&config.seeds, &config.access),
                Role::Mount | Role::Passing | Role::Discarding => EdgeConfig::default(),
            },
            pins: config.pins.iter().map(|link| (link.release, link.to_string())).collect(),
            sink,
            settings: config.settings.clone(),
        })
        .map_err(|error| match error {
            StartError::Store(StoreError::Locked { .. }) => StartFailure::Locked(error.into()),
            error => StartFailure::Failed(error.into()),
        })?;
        // The store's lock is ours, so whoever has mounted by this name is no more; and before anybody can ask for another.
        let notify = Arc::new(match role {
            Role::Serve => Notify::from_env(&|name| std::env::var_os(name)),
            Role::Mount | Role::Passing | Role::Discarding => Notify::default(),
        });
        let mounts = match role {
            Role::Serve => Mounts::remembered(KeptFile::of(&config.state), handed, Arc::clone(&notify)),
            Role::Mount | Role::Passing | Role::Discarding => Mounts::default(),
        };
        // Mounts of a daemon that is being started again wait for it, and for nobody else who has the lock meanwhile.
        let silent = match role {
            Role::Serve => Silent::Dead,
            Role::Mount | Role::Passing | Role::Discarding => Silent::Waits,
        };
        sweep_mounts(&mount_source(&node.handle()), &mounts.connected(), silent);
        let shared = Arc::new(Shared {
            config: Arc::clone(config),
            role,
            handle: node.handle(),
            mounts,
            fuse: Arc::default(),
            pins: Pins::open(node.handle().store()),
            times: Times::new(config.schedule.clone()),
            strangers: Arc::default(),
            notify,
            read: Mutex::new(Arc::clone(config)),
            http: OnceLock::new(),
            guests: Guests::default(),
        });
        let for_guests = Arc::clone(&shared);
        let handler = Arc::new(move |request: Request, caller: Caller, sink: SharedSink, cancel: &Cancel| {
            let Some(_guest) = for_guests.guests.enter() else {
                return Err(too_late());
            };
            crate::jobs::run(&for_guests, request, caller, sink, cancel)
        });
        let server = Server::start(&config.state, handler, Arc::clone(&shared.strangers));
        match server.and_then(|server| Ok((server, listen_http(&shared)?))) {
            Ok((server, http)) => Ok(Self {
                http,
                server,
                keeper: Keeper::start(&shared),
                remounter: Remounter::start(&shared),
                scrubber: Scrubber::start(&shared),
                timekeeper: Timekeeper::start(&shared),
                shared,
                node,
            }),
            Err(failure) => {
                node.stop();
                Err(StartFailure::Failed(failure))
            }
        }
    }

    /// What jobs see.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs a command of this very process.
    pub(crate) fn run(&self, request: Request, sink: SharedSink, cancel: &Cancel) -> Result<Outcome, Failure> {
        crate::jobs::run(&self.shared, request, Caller::own(), sink, cancel)
    }

    /// Waits for commands of other processes and for detached mounts, then stops. `cancel` cuts the waiting short.
    pub(crate) fn finish(self, cancel: &Cancel) {
        let others = || self.shared.guests.count() + self.shared.mounts.count();
        if others() > 0 && !cancel.is_cancelled() {
            let count = others();
            tracing::warn!(
                "{count} other command(s) or mount(s) use this process as their daemon: waiting for them; Ctrl-C ends them"
            );
        }
        loop {
            // A command that is let in may mount: only when none is, and none comes any more, is it known that nothing is mounted.
            if self.shared.guests.close() {
                if self.shared.mounts.count() == 0 {
                    break;
                }
                self.shared.guests.open();
            }
            if cancel.wait(Duration::from_millis(100)) {
                break;
            }
        }
        self.stop();
    }

    /// As `stop`, but peers get what they were promised, for a moment, and mounts stay for the next daemon: whoever reads them waits for it.
    /// Their connections, which the manager of this service, if it keeps such, has already.
    pub(crate) fn leave(mut self) -> Handed {
        drop(self.http.take());
        self.server.stop();
        self.keeper.stop();
        self.scrubber.stop();
        self.timekeeper.stop();
        self.shared.handle.drain(DRAIN_MAX);
        self.remounter.cancel();
        self.shared.mounts.close();
        self.remounter.join();
        let handed = self.shared.mounts.leave_all();
        self.node.stop();
        handed
    }

    /// Takes no more commands, ends the running ones, unmounts, closes connections with a reason, flushes the store.
    pub(crate) fn stop(mut self) {
        drop(self.http.take());
        self.server.stop();
        self.keeper.stop();
        self.remounter.cancel();
        self.scrubber.stop();
        self.timekeeper.stop();
        self.shared.mounts.end_all();
        self.remounter.join();
        self.node.stop();
    }
}

/// For a daemon that stays: a passing one would take the port from it.
fn listen_http(daemon: &Arc<Shared>) -> Result<Option<http::Server>, Failure> {
    let address = match daemon.role {
        Role::Serve | Role::Mount => daemon.config.http,
        Role::Passing | Role::Discarding => None,
    };
    let start = |address| {
        let site = http::Site::new(Arc::clone(daemon));
        let server = http::Server::start(address, Arc::new(move |request, cancel| site.answer(request, cancel)))?;
        daemon.http.get_or_init(|| server.address());
        Ok(server)
    };
    address.map(start).transpose()
}

/// Takes away what an earlier daemon of the same state directory left mounted when it was killed.
fn sweep_mounts(source: &str, live: &[u32], silent: Silent) {
    for swept in stale::clean_all(source, live, silent) {
        match swept {
            Ok(dir) => tracing::warn!("took away {}, which a killed daemon left mounted", dir.display()),
            Err(e) => tracing::warn!("{e}"),
        }
    }
}

/// What `df` shows as the source of a mount: the state directory's own name, so that its mounts are known again.
fn mount_source(handle: &Handle) -> String {
    format!("ares:{}", handle.peer_id().short())
}

impl Shared {
    /// The source of every mount of this daemon.
    pub(crate) fn mount_source(&self) -> String {
        mount_source(&self.handle)
    }

    /// Tells the node who may have the release of a link: those it names, whom the operator trusts to, and who is found nearby.
    pub(crate) fn hint(&self, link: &Link) {
        let hints = link.peers.iter().cloned().chain(self.config.seeds.iter().map(Seed::hint));
        self.handle.add_hints(link.release, hints.collect());
        self.handle.seek(link.release);
    }

    /// The config file as it was last read; who holds it reads it again.
    pub(crate) fn read_config(&self) -> MutexGuard<'_, Arc<Config>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link to a release that is known here: who has it, of those that pins and the config name.
    pub(crate) fn link_to(&self, known: &ReleaseInfo) -> Link {
        let pins = self.handle.store().pins().into_iter();
        let pinned = pins
            .filter(|pin| pin.release == known.release)
            .find_map(|pin| pin.link.parse().ok());
        pinned.unwrap_or_else(|| Link {
            release: known.release,
            name: known.name.clone(),
            peers: Vec::new(),
            inside: Vec::new(),
        })
    }

    /// Takes part in a release from now on: what is held of it is served to peers that ask, also after a restart.
    pub(crate) fn adopt(&self, link: &Link, root: &Root) -> Result<(), Failure> {
        let totals = root.totals();
        self.handle
            .store()
            .add_release(link.release, &link.name, totals.bytes, totals.entries)?;
        self.handle.announce(link.release);
        Ok(())
    }

    /// All of a release is held. False where some of it has had to make room meanwhile.
    pub(crate) fn complete(&self, link: &Link) -> Result<bool, StoreError> {
        let is_complete = self.handle.store().mark_complete(link.release)?;
        self.handle.announce(link.release);
        Ok(is_complete)
    }
}
