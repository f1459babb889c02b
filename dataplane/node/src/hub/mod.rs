//! The one place that owns the scheduler: turns events of shards, workers and clients into the machines' events, and the
//! machines' choices into messages. It sees one message a chunk, and it never touches a socket or the disk.

mod addresses;
mod dialer;
mod edge;
mod figures;
mod further;
mod interest;
mod lanes;
mod ledger;
mod path;
mod pulling;
mod sharing;
mod status;
mod troubles;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId};
use ares_core::knobs::{Knob, ROWS, Setting};
use ares_core::path::health::Pulse;
use ares_core::path::{Lane, Mode, Pair, Way};
use ares_core::peer::{PathId, PeerAt, PeerId, Source};
use ares_core::store::ReleaseState;
use ares_core::swarm::{self, Class, FetchError, Scheduler, Sharing, Want, WantKey, Zone};
use ares_core::time::Instant;
use ares_core::wire::{ClaimState, CloseCode, Frame};
use bytes::Bytes;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use self::addresses::Addresses;
use self::dialer::{Dialer, Lapse, Round};
use self::figures::Interfaces;
use self::interest::Interests;
use self::ledger::Ledger;
use self::path::Path;
use self::pulling::Pulling;
use self::sharing::Told;
use self::troubles::Purpose;
pub(crate) use self::waiting::Waiter;
use self::waiting::Waiting;
use crate::api::{NodeConfig, Sink, WantId};
use crate::clock::Clock;
use crate::counters::{Totals, add};
use crate::figures::{Loss, PathEvents};
use crate::lanes::Routes;
use crate::mailbox::{CloseReason, End, Job, PathAsk, ShardPost, ToHub, ToShard, Tune};
use crate::path_ids::PathIds;
use crate::store::Store;
use crate::want_ids::WantIds;

/// Messages handled before the machines are polled: long enough to batch, short enough to stay prompt.
const BATCH_MAX: usize = 256;

/// The longest sleep; every deadline that matters is earlier.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Held chunks checked at a time on the word of peers.
const CHECKS_MAX: usize = 4;

/// What a hub needs from the rest of the node.
pub(crate) struct Parts {
    pub(crate) config: NodeConfig,
    pub(crate) clock: Clock,
    pub(crate) identity: PeerId,
    pub(crate) listen: Vec<SocketAddr>,
    /// UDP ports of all shards, by address in `listen`.
    pub(crate) ports: Vec<Vec<u16>>,
    pub(crate) inbox: Receiver<ToHub>,
    pub(crate) shards: Vec<ShardPost>,
    pub(crate) jobs: Sender<Job>,
    pub(crate) store: Arc<Store>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) path_ids: Arc<PathIds>,
    pub(crate) want_ids: Arc<WantIds>,
    /// Who reads the manifests of releases that an edge is asked for.
    pub(crate) readers: Sender<ReleaseId>,
    pub(crate) routes: Routes,
    pub(crate) seed: u64,
}

/// The hub's state.
pub(crate) struct Hub {
    parts: Parts,
    scheduler: Scheduler,
    dialer: Dialer,
    addresses: Addresses,
    interests: Interests,
    waiting: Waiting,
    sharing: Sharing,
    /// Labels of the zones that peers say they are in, of those that there are paths to.
    zones: BTreeMap<PeerId, String>,
    ledger: Ledger,
    pulling: Option<Pulling>,
    /// Verified bytes on their way to the disk; bounded by the scheduler's in-flight bytes, which count until they are stored.
    landing: HashMap<ChunkId, Landing>,
    checking: BTreeSet<ChunkId>,
    paths: BTreeMap<PathId, Path>,
    path_events: PathEvents,
    interfaces: Interfaces,
    /// The machine's, and those of them that are to be used.
    machine_lanes: Vec<Lane>,
    lanes: Vec<Lane>,
    next_shard: usize,
    /// When the store hears again what is rare.
    rarity_at: Instant,
    stopping: bool,
}

/// A chunk on its way to the disk.
struct Landing {
    bytes: Bytes,
    /// Of those who wanted it.
    releases: Vec<ReleaseId>,
}

fn mode_of(setting: Setting) -> Mode {
    assert_eq!(setting.knob(), Knob::PathMode, "another knob");
    Mode::ALL[setting.value() as usize]
}

/// Whether somebody waits for something that a peer may have.
fn wanted<'a>(
    waiting: &'a Waiting,
    interests: &'a Interests,
    pulling: Option<&'a Pulling>,
    scheduler: &'a Scheduler,
) -> impl Fn(&PeerId) -> bool + use<'a> {
    move |peer| {
        let may_have_it = waiting.has_any() && interests.is_hinted(peer);
        (may_have_it || pulling.is_some_and(|pulling| pulling.questions(peer))) && !scheduler.is_dropped(peer)
    }
}

impl Hub {
    pub(crate) fn new(now: Instant, parts: Parts) -> Self {
        let mut scheduler = Scheduler::new(swarm::SchedulerConfig::default(), parts.seed);
        scheduler.on_identity(&parts.identity);
        let settings = parts.config.settings.clone();
        let mut hub = Self {
            scheduler,
            dialer: Dialer::new(
                parts.identity,
                parts.shards.len(),
                settings.time(Knob::DialTimeout),
                parts.routes.source_for,
            ),
            addresses: Addresses::new(parts.listen.clone(), parts.ports.clone(), Vec::new()),
            interests: Interests::default(),
            waiting: Waiting::default(),
            sharing: Sharing::new(Zone::of(&parts.config.zone)),
            zones: BTreeMap::new(),
            ledger: Ledger::default(),
            pulling: Pulling::new(now, &parts.config),
            landing: HashMap::new(),
            checking: BTreeSet::new(),
            paths: BTreeMap::new(),
            path_events: PathEvents::default(),
            interfaces: Interfaces::default(),
            machine_lanes: Vec::new(),
            lanes: Vec::new(),
            next_shard: 0,
            rarity_at: now,
            stopping: false,
            parts,
        };
        ROWS.iter().for_each(|row| hub.obey(now, settings.get(row.knob)));
        // Peers have caps also where nobody tells of lanes.
        hub.pace();
        hub
    }

    /// Runs until told to stop; then tells shards and workers to stop too.
    pub(crate) fn run(mut self) {
        while !self.stopping {
            let sleep = self.deadline().map_or(SLEEP_MAX, |at| at.since(self.now()).min(SLEEP_MAX));
            match self.parts.inbox.recv_timeout(sleep) {
                Ok(message) => {
                    self.on_message(self.now(), message);
                    for _ in 1..BATCH_MAX {
                        let Ok(message) = self.parts.inbox.try_recv() else { break };
                        self.on_message(self.now(), message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.act(self.now());
        }
        for shard in &self.parts.shards {
            shard.send(ToShard::Stop);
        }
        // Workers end when the last sender of jobs is gone: this one, and the shards'.
    }

    fn now(&self) -> Instant {
        self.parts.clock.now()
    }

    /// When `act` has something to do though nobody said anything; `None` if never.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let dial = self
            .dialer
            .deadline(wanted(&self.waiting, &self.interests, self.pulling.as_ref(), &self.scheduler));
        let all = [
            self.scheduler.deadline(),
            dial,
            self.addresses.deadline(),
            self.sharing.deadline(),
        ];
        all.into_iter().flatten().min()
    }

    /// Hands what somebody says to the machines. `act` follows.
    pub(crate) fn on_message(&mut self, now: Instant, message: ToHub) {
        match message {
            ToHub::PathUp {
                source,
                remote,
                shard,
                rtt,
            } => self.on_path_up(now, source, remote, shard, rtt),
            ToHub::PathDown { path, end } => {
                let loss = if end == End::Restarted { Loss::Restarted } else { Loss::Ended };
                self.on_path_down(now, path, &end, loss);
            }
            ToHub::Lanes(lanes) => self.on_machine_lanes(now, lanes),
            ToHub::LaneRules(rules) => self.on_lane_rules(now, rules),
            ToHub::Ports { source, ports, nonce } => {
                self.dialer.on_ports(now, source.peer, source.path, &ports);
                self.on_life(now, source, nonce);
            }
            ToHub::Addresses { source, via, addresses } => self.dialer.on_addresses(now, source.peer, via.ip(), addresses),
            ToHub::Claim {
                path,
                peer,
                release,
                state,
            } => self.on_claim(now, path, peer, release, state),
            ToHub::Have { peer, have } => {
                if self.sharing.has_part(&have.release, &peer) {
                    let news = self.scheduler.on_have(now, peer, &have.chunks);
                    self.sharing.on_chunks_told(&have.release, &peer, news);
                }
            }
            ToHub::Zone { peer, zone } => self.on_zone(now, peer, zone),
            ToHub::Coming { peer, coming } => {
                if self.sharing.has_part(&coming.release, &peer) {
                    self.scheduler.on_not_coming(now, peer, &coming.not_coming);
                    self.scheduler.on_coming(now, peer, coming.release, &coming.coming);
                }
            }
            ToHub::Load { peer, load } => self.scheduler.on_load(now, peer, load),
            ToHub::Peers { by, told } => self.on_told(now, by, told, Told::Others),
            ToHub::Gates { by, told } => self.on_told(now, by, told, Told::Gates),
            ToHub::PeerSawBad { peer, chunk } => self.check(peer, chunk),
            ToHub::Checked(chunk) => drop(self.checking.remove(&chunk)),
            ToHub::Pull { path, items, class } => self.on_pull(now, path, items, class),
            ToHub::Contents { release, contents } => self.on_contents(now, release, contents),
            ToHub::Progress { ask, bytes } => self.scheduler.on_progress(now, ask, bytes),
            ToHub::Arrived { ask } => self.scheduler.on_arrived(now, ask),
            ToHub::Refused { ask, refusal } => self.scheduler.on_refused(now, ask, refusal),
            ToHub::AskFailed { ask, why } => self.scheduler.on_failed(now, ask, why),
            ToHub::Pulse { source, pulse } => self.on_pulse(now, source, pulse),
            ToHub::Stats { source, stats } => self.scheduler.on_source_stats(now, source, stats),
            ToHub::Verified { peer, chunk, bytes } => self.on_verified(peer, chunk, bytes),
            ToHub::Stored { chunk, place } => {
                if let Some(Landing { bytes, releases }) = self.landing.remove(&chunk) {
                    let held = |release| self.on_held(now, release, chunk, bytes.len() as u64);
                    releases.into_iter().for_each(held);
                }
                self.scheduler.on_verified(now, chunk);
                for fill in self.waiting.on_stored(chunk, place) {
                    self.send_job(fill);
                }
            }
            ToHub::BadChunk { ask, why } => {
                add(&self.parts.totals.bad_chunks, 1);
                tracing::warn!(path = ask.path.0, why, "a peer sent wrong bytes");
                // Its disk may have rotted: let it look before it is gone.
                self.say(ask.path, Frame::Bad { chunk: ask.chunk.id });
                self.scheduler.on_bad(now, ask.ask);
            }
            ToHub::Violation { peer, error } => self.scheduler.on_violation(now, peer, error),
            ToHub::StoreFailed { chunk, why } => {
                self.landing.remove(&chunk);
                self.scheduler.on_store_failed(now, chunk, why);
            }
            ToHub::Filled { want, result } => {
                if let Some(waiter) = self.waiting.take(want) {
                    waiter.tell(result);
                }
            }
            ToHub::Fetch { id, want, waiter } => self.on_fetch(now, id, want, waiter),
            ToHub::Reused { release, chunk } => self.on_reused(now, release, chunk),
            ToHub::Lost { id, want, waiter } => self.want(now, id, want, waiter),
            ToHub::CancelWant(id) => {
                if let Some(waiter) = self.waiting.take(id) {
                    waiter.fail(FetchError::Cancelled);
                }
                self.scheduler.on_cancel(now, WantKey(id.0));
            }
            ToHub::Hints { release, hints } => {
                for hint in &hints {
                    self.sharing.on_named(&release, &hint.peer);
                }
                self.on_hints(now, release, &hints);
            }
            ToHub::Neighbours(found) => self.on_others(now, found, Told::Others),
            ToHub::Announce(release) => self.announce(release),
            ToHub::Access(access) => self.on_access(now, access),
            ToHub::Evicted(evicted) => {
                self.sharing.on_lost(&evicted.chunks);
                evicted.releases.into_iter().for_each(|release| self.announce(release));
            }
            ToHub::Status(reply) => {
                // Whoever asked may have gone; that is theirs to know.
                let _ = reply.send(self.status(now));
            }
            ToHub::Figures(reply) => {
                let _ = reply.send(self.figures(now));
            }
            ToHub::Tune(tune) => self.tune(now, &tune),
            ToHub::Mode { release, mode, old } => {
                let before = self.scheduler.on_mode(now, Some(release), mode);
                // As with `Status`.
                let _ = old.send(before);
            }
            ToHub::Drain(drained) => {
                for shard in &self.parts.shards {
                    shard.send(ToShard::Drain(drained.clone()));
                }
            }
            ToHub::Stop => self.stopping = true,
        }
    }

    fn tune(&mut self, now: Instant, tune: &Tune) {
        self.obey(now, tune.setting);
        for shard in &self.parts.shards {
            shard.send(ToShard::Tune(tune.clone()));
        }
    }

    /// Obeys a setting, as far as it is the hub's.
    fn obey(&mut self, now: Instant, setting: Setting) {
        let value = setting.value();
        let change: fn(&mut swarm::SchedulerConfig, u64) = match setting.knob() {
            Knob::GetWindow => |config, bytes| config.inflight_bytes_max = bytes,
            Knob::SourceWindow => |config, bytes| config.window_bytes_max = bytes,
            Knob::HedgeWindow => |config, bytes| config.hedge_bytes_max = bytes,
            Knob::BulkRate => |config, rate| config.rates[Class::Bulk as usize] = rate,
            Knob::HealRate => |config, rate| config.rates[Class::Heal as usize] = rate,
            Knob::StallTimeout => |config, ms| config.stall_floor = Duration::from_millis(ms),
            Knob::PathMode => {
                self.scheduler.on_mode(now, None, mode_of(setting));
                return;
            }
            Knob::DialTimeout => return self.dialer.set_timeout(Duration::from_millis(value)),
            Knob::Links => return self.sharing.set_links(value as usize),
            _ => return,
        };
        self.scheduler.reconfigure(now, |config| change(config, value));
    }

    /// Lets the machines choose until they have nothing more to do, and carries their choices out.
    pub(crate) fn act(&mut self, now: Instant) {
        self.act_as_told(now);
        while self.end_pulls(now) {
            self.act_as_told(now);
        }
        self.dial_and_tell(now);
    }

    /// Carries out what the scheduler chooses.
    fn act_as_told(&mut self, now: Instant) {
        while let Some(action) = self.scheduler.poll(now) {
            match action {
                swarm::Action::Ask {
                    ask,
                    source,
                    chunk,
                    place,
                    class,
                    referral,
                } => {
                    if class != Class::Deadline {
                        self.dialer.on_asked(now, &source.peer, chunk.len);
                    }
                    let ask = |path| PathAsk {
                        path,
                        peer: source.peer,
                        ask,
                        chunk,
                        place,
                        class,
                        referral,
                    };
                    self.send_path(source.path, |path| ToShard::Ask(ask(path)));
                }
                swarm::Action::Crossing {
                    release,
                    chunk,
                    is_coming,
                } => {
                    // What passes through is not to be waited for.
                    if self.parts.config.sink == Sink::Store {
                        self.sharing.on_crossing(now, release, chunk, is_coming);
                    }
                }
                swarm::Action::Cancel { ask, source } => self.send_path(source.path, |path| ToShard::Cancel { path, ask }),
                swarm::Action::Done { want } => {
                    let id = WantId(want.0);
                    match self.waiting.take_unless_filling(id) {
                        Some((want, waiter)) if waiter.wants_bytes() => self.send_job(Job::Read { id, want, waiter }),
                        Some((_, waiter)) => waiter.tell(Ok(())),
                        None => {}
                    }
                }
                swarm::Action::Fail { want, error } => self.fail(WantId(want.0), error),
                swarm::Action::Drop { peer, why } => self.drop_peer(peer, why.close_code(), &why.to_string()),
            }
        }
    }

    fn dial_and_tell(&mut self, now: Instant) {
        loop {
            let wanted = wanted(&self.waiting, &self.interests, self.pulling.as_ref(), &self.scheduler);
            match self.dialer.poll(now, wanted) {
                Some(dialer::Action::Dial { peer, pair, purpose }) => self.dial(now, peer, pair, purpose),
                Some(dialer::Action::GiveUp { path, why }) => self.give_up(now, path, why),
                None => break,
            }
        }
        self.share(now);
        if self.addresses.poll(now) {
            self.open_paths().into_iter().for_each(|path| self.tell_addresses(path));
        }
    }

    fn open_paths(&self) -> Vec<PathId> {
        let open = self.paths.iter().filter(|(_, path)| path.is_up());
        open.map(|(id, _)| *id).collect()
    }

    fn dial(&mut self, now: Instant, peer: PeerId, pair: Pair, purpose: Purpose) {
        let shard = self.shard_for(peer);
        let path = self.parts.path_ids.next();
        let pair = self.dialer.settle(pair);
        let (from, remote) = (pair.from.clone(), pair.remote);
        let mut known = Path::dialed(shard, peer, remote, purpose.why());
        known.lane = from.clone();
        self.paths.insert(path, known);
        let lane = from.as_ref().map(|lane| &lane.name);
        tracing::debug!(peer = %peer.short(), %remote, lane, path = path.0, ?purpose, "dialing");
        self.dialer.on_started(now, peer, path, pair, purpose);
        self.parts.shards[shard].send(ToShard::Dial {
            path,
            peer,
            remote,
            from,
        });
    }

    fn give_up(&mut self, now: Instant, path: PathId, why: Lapse) {
        self.send_path(path, |path| ToShard::Close {
            path,
            why: match why {
                Lapse::NoAnswer { .. } => CloseReason::Redundant,
                Lapse::Silent | Lapse::Withdrawn => CloseReason::Lapsed,
            },
        });
        let loss = match why {
            Lapse::Withdrawn => Loss::Withdrawn,
            Lapse::NoAnswer { .. } | Lapse::Silent => Loss::Silent,
        };
        self.on_path_down(now, path, &End::Because(why.why()), loss);
    }

    /// The shard for one more path to the peer: of those with the fewest paths to it, the one whose turn it is.
    fn shard_for(&mut self, peer: PeerId) -> usize {
        let mut paths = vec![0; self.parts.shards.len()];
        for path in self.paths.values().filter(|path| path.peer == peer) {
            paths[path.shard] += 1;
        }
        let in_turn = (self.next_shard..paths.len()).chain(0..self.next_shard);
        let shard = in_turn.min_by_key(|shard| paths[*shard]).expect("a node has a shard");
        self.next_shard = (shard + 1) % paths.len();
        shard
    }

    fn on_path_up(&mut self, now: Instant, source: Source, remote: SocketAddr, shard: usize, rtt: Duration) {
        let Source { peer, path } = source;
        let by_peer = || Path::of_peer(shard, peer, remote);
        self.paths.entry(path).or_insert_with(by_peer).on_up(now);
        if self.scheduler.is_dropped(&peer) {
            let why = CloseReason::Misbehaved {
                code: CloseCode::Dropped,
                why: "it was dropped before".to_owned(),
            };
            self.send_path(path, |path| ToShard::Close { path, why });
            return;
        }
        self.path_events.opened += 1;
        tracing::info!(peer = %peer.short(), %remote, path = path.0, rtt_ms = rtt.as_secs_f64() * 1e3, "path up");
        for spare in self.dialer.on_up(now, peer, path) {
            self.send_path(spare, |path| ToShard::Close {
                path,
                why: CloseReason::Redundant,
            });
            self.paths.remove(&spare);
        }
        self.tell_addresses(path);
        self.scheduler.on_source_up(now, source, rtt);
        if !self.zones.contains_key(&peer) {
            // Until it says otherwise.
            self.on_zone(now, peer, String::new());
        }
        self.tell_way(now, path);
        for release in self.interests.hinted_releases(&peer) {
            self.tell_claim(path, release);
        }
    }

    /// Tells the scheduler which way a path goes, and how much that counts.
    fn tell_way(&mut self, now: Instant, path: PathId) {
        let Some(known) = self.paths.get(&path) else { return };
        let way = Way {
            lane: known.lane.as_ref().map(Lane::id),
            remote: known.remote.ip(),
        };
        let weight = known.lane.as_ref().map_or(1, |lane| self.parts.config.lanes.weight(lane));
        let source = Source { peer: known.peer, path };
        self.scheduler.on_way(now, source, way, weight);
    }

    fn on_path_down(&mut self, now: Instant, path: PathId, end: &End, loss: Loss) {
        let Some(gone) = self.paths.remove(&path) else { return };
        let (peer, remote) = (gone.peer, gone.remote);
        let round = self.dialer.on_down(now, peer, path, end);
        self.interests.on_path_down(path);
        let why = end.why();
        if gone.is_up() {
            self.path_events.lost[loss as usize] += 1;
            tracing::info!(peer = %peer.short(), %remote, path = path.0, why, "path down");
            for other in self.paths.values_mut().filter(|other| other.peer == peer && other.is_up()) {
                other.on_switch(now, format!("took over from {remote}: {why}"));
            }
            self.scheduler.on_source_down(now, Source { peer, path }, why.to_owned());
            self.on_source_gone(now);
            match self.paths_up_of(peer).is_empty() {
                true => {
                    self.sharing.on_peer_gone(&peer);
                    self.zones.remove(&peer);
                }
                false => self.sharing.on_path_gone(now, &peer),
            }
        } else {
            tracing::debug!(peer = %peer.short(), %remote, path = path.0, why, "dial failed");
        }
        if round == Round::InVain {
            self.scheduler.on_unreached(now, peer);
            for (release, others) in self.sharing.on_unreached(now, &peer) {
                self.interests.forget_hint(&release, &peer);
                self.scheduler.on_hint_gone(release, peer);
                self.on_hints(now, release, &others);
            }
        }
    }

    fn on_pulse(&mut self, now: Instant, source: Source, pulse: Pulse) {
        let (peer, path) = (source.peer.short(), source.path.0);
        match pulse {
            Pulse::Suspect => tracing::info!(peer, path, "path suspect: no answer to pings"),
            Pulse::Well | Pulse::Quiet => tracing::trace!(peer, path, ?pulse, "path"),
        }
        if self
            .paths
            .get_mut(&source.path)
            .is_some_and(|known| known.on_pulse(now, pulse))
        {
            let is_suspect = pulse == Pulse::Suspect;
            self.path_events.suspected += u64::from(is_suspect);
            self.path_events.recovered += u64::from(!is_suspect);
        }
        match pulse {
            Pulse::Suspect => self.dialer.on_suspect(now, source.peer, source.path),
            Pulse::Well => self.dialer.on_well(source.peer, source.path),
            Pulse::Quiet => {}
        }
        self.scheduler.on_pulse(now, source, pulse);
    }

    /// The peer says over a path which of its lives this is. Paths of an earlier one lead to nobody any more.
    fn on_life(&mut self, now: Instant, source: Source, nonce: u64) {
        if let Some(known) = self.paths.get_mut(&source.path) {
            known.nonce = Some(nonce);
        }
        let is_of_another = |path: &Path| path.nonce.is_some_and(|other| other != nonce);
        for path in self.paths_up_of(source.peer) {
            if is_of_another(&self.paths[&path]) {
                self.send_path(path, |path| ToShard::Close {
                    path,
                    why: CloseReason::Redundant,
                });
                self.on_path_down(now, path, &End::Restarted, Loss::Restarted);
            }
        }
    }

    fn paths_up_of(&self, peer: PeerId) -> Vec<PathId> {
        let up = self.paths.iter().filter(|(_, path)| path.is_up() && path.peer == peer);
        up.map(|(id, _)| *id).collect()
    }

    fn drop_peer(&mut self, peer: PeerId, code: CloseCode, why: &str) {
        tracing::warn!(peer = %peer.short(), why, "peer dropped");
        let paths: Vec<PathId> = self.paths.iter().filter(|(_, p)| p.peer == peer).map(|(id, _)| *id).collect();
        for path in paths {
            let why = CloseReason::Misbehaved {
                code,
                why: why.to_owned(),
            };
            self.send_path(path, |path| ToShard::Close { path, why });
        }
    }

    fn on_fetch(&mut self, now: Instant, id: WantId, want: Want, waiter: Waiter) {
        let landing = self.landing.get(&want.chunk.id);
        if let (true, Some(landing)) = (waiter.wants_bytes(), landing) {
            return waiter.give(landing.bytes.clone());
        }
        if !self.parts.store.has(&want.chunk.id) {
            return self.want(now, id, want, waiter);
        }
        self.on_reused(now, want.release, want.chunk);
        match want.place {
            _ if waiter.wants_bytes() => self.send_job(Job::Read { id, want, waiter }),
            Some(place) if !self.parts.store.has_at(&place, &want.chunk) => {
                self.waiting.insert(id, want, waiter);
                self.waiting.mark_filling(id);
                self.send_job(Job::Fill {
                    want: id,
                    chunk: want.chunk,
                    place,
                });
            }
            _ => waiter.tell(Ok(())),
        }
    }

    fn on_reused(&mut self, now: Instant, release: ReleaseId, chunk: ChunkRef) {
        add(&self.parts.totals.reused_bytes, chunk.len.into());
        self.on_held(now, release, chunk.id, chunk.len.into());
    }

    /// Asks peers, whatever the store believes.
    fn want(&mut self, now: Instant, id: WantId, want: Want, waiter: Waiter) {
        self.waiting.insert(id, want, waiter);
        self.scheduler.on_want(now, WantKey(id.0), want);
    }

    fn on_verified(&mut self, peer: PeerId, chunk: ChunkId, bytes: Bytes) {
        let releases = self.waiting.releases_of(&chunk);
        // A chunk of several releases counts once, so that they add up.
        if let Some(release) = releases.first() {
            self.ledger.on_fetched(*release, peer, bytes.len() as u64);
        }
        for waiter in self.waiting.take_byte_waiters(chunk) {
            waiter.give(bytes.clone());
        }
        // Who comes before it is in the store has it from here.
        self.landing.insert(chunk, Landing { bytes, releases });
    }

    /// Looks after a peer's word that our bytes were wrong. Hashing costs more than saying so: a few at a time, each once.
    fn check(&mut self, peer: PeerId, chunk: ChunkId) {
        if self.checking.len() < CHECKS_MAX && self.checking.insert(chunk) {
            tracing::warn!(peer = %peer.short(), chunk = %chunk.short(), "a peer found bytes of ours wrong; checking them");
            self.send_job(Job::Check(chunk));
        }
    }

    fn fail(&mut self, id: WantId, error: FetchError) {
        let Some((want, waiter)) = self.waiting.take_with_want(id) else {
            return;
        };
        add(&self.parts.totals.failed_wants[error.cause()], 1);
        let with_ways = |why: String| {
            let ways = self.dialer.explain(self.interests.hinted_peers(&want.release));
            ways.map_or(why.clone(), |ways| format!("{why}; {ways}"))
        };
        waiter.fail(match error {
            FetchError::Deadline { chunk, waited_ms, why } => FetchError::Deadline {
                chunk,
                waited_ms,
                why: with_ways(why),
            },
            FetchError::Unreached { chunk, waited_ms, why } => FetchError::Unreached {
                chunk,
                waited_ms,
                why: with_ways(why),
            },
            other => other,
        });
    }

    fn on_hints(&mut self, now: Instant, release: ReleaseId, hints: &[PeerAt]) {
        let own = self.parts.identity;
        for hint in hints.iter().filter(|hint| hint.peer != own) {
            self.interests.on_hint(release, hint.peer);
            self.scheduler.on_hint(now, release, hint.peer);
            let wanted = wanted(&self.waiting, &self.interests, self.pulling.as_ref(), &self.scheduler);
            self.dialer.on_hint(now, hint.peer, &hint.addrs, wanted);
            for path in self.paths_up_of(hint.peer) {
                self.tell_claim(path, release);
            }
        }
    }

    /// Tells the peer behind a path where this node is.
    fn tell_addresses(&self, path: PathId) {
        // Who dialed us opens further paths, and to who was dialed we need not say where we are.
        if let Some(known) = self.paths.get(&path).filter(|known| !known.is_dialed) {
            let addresses = self.addresses.for_peer_at(known.remote.ip());
            self.say(path, Frame::Addresses(addresses));
        }
    }

    /// Tells the peer behind a path what is here of a release, unless it has been told the same.
    fn tell_claim(&mut self, path: PathId, release: ReleaseId) {
        let state = self.claim_to(path, release);
        if self.interests.is_news(path, release, state) {
            self.say(path, Frame::Claim { release, state });
        }
    }

    fn announce(&mut self, release: ReleaseId) {
        if self.claim_of(release) == ClaimState::Complete {
            self.sharing.on_complete(&release);
        }
        for path in self.interests.paths_told_of(release) {
            self.tell_claim(path, release);
        }
    }

    fn claim_of(&self, release: ReleaseId) -> ClaimState {
        match self.parts.store.release_state(release) {
            Some(ReleaseState::Complete) => ClaimState::Complete,
            Some(ReleaseState::Partial) => ClaimState::Partial,
            None if self.interests.knows(&release) => ClaimState::Partial,
            None => ClaimState::None,
        }
    }

    /// Tells the peer behind a path something.
    fn say(&self, path: PathId, frame: Frame) {
        self.send_path(path, |path| ToShard::Say { path, frame });
    }

    fn send_path(&self, path: PathId, message: impl FnOnce(PathId) -> ToShard) {
        if let Some(known) = self.paths.get(&path) {
            self.parts.shards[known.shard].send(message(path));
        }
    }

    fn send_job(&self, job: Job) {
        // Workers outlive the hub: they end when it tells them to.
        let _ = self.parts.jobs.send(job);
    }
}
