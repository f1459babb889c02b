//! Which peers to connect to and at which address, when. Decides; the hub carries it out.
//!
//! A peer's addresses are tried best first, each a little after the one before while none has answered (RFC 8305's idea), and then over
//! the lanes that the kernel would not choose; a peer that cannot be reached is tried again with growing pauses for as long as somebody
//! wants something from it.
//!
//! Further paths come behind the first one, which is used meanwhile: `further` says which, `troubles` when those that failed are tried
//! again. While a path is up all attempts are for further ones: the first ended the others. What becomes of them is nobody's trouble; a
//! peer is lost with its last path. A path that is silent while another one lives is given up.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ares_core::path::{Ends, Lane, Pair};
use ares_core::peer::{Address, PathId, PeerId};
use ares_core::time::Instant;

use super::further::{Further, View};
use super::troubles::{HEAL_EVERY, Purpose};
use crate::api::{AwayStatus, DialFailure};
use crate::mailbox::End;

/// How long after one address the next one is tried.
const STAGGER: Duration = Duration::from_millis(300);

/// Pause after all addresses of a peer have failed: the first one, and what it doubles up to.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// A path that has lived this long was a good one: its end is no reason to wait before the next dial.
const LIVED_MIN: Duration = Duration::from_secs(5);

/// How long a path may be suspect while another one lives. What is asked over it is asked elsewhere much sooner; a new connection is
/// worth its handshake only when the old one is not coming back by itself.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Peers that are remembered. Whoever comes then takes the place of one that is of no use, else it is ignored.
const PEERS_MAX: usize = 1024;

/// Addresses per peer that are remembered; more are ignored, oldest kept.
const ADDRS_MAX: usize = 16;

/// The local address that the kernel would send to that one from.
type Route = fn(IpAddr) -> Option<IpAddr>;

/// All peers this node was told of.
pub(super) struct Dialer {
    peers: BTreeMap<PeerId, Target>,
    timeout: Duration,
    here: Here,
}

/// This node's end of all paths.
struct Here {
    own: PeerId,
    shards: usize,
    /// Empty while they are not known.
    lanes: Vec<Lane>,
    route: Route,
}

/// What the hub is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Connect; report back with `on_started`.
    Dial { peer: PeerId, pair: Pair, purpose: Purpose },
    /// End the path or the attempt; report back with `on_down`.
    GiveUp { path: PathId, why: Lapse },
}

/// Why a path or an attempt is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lapse {
    /// The attempt has taken so long.
    NoAnswer { after: Duration },
    /// Nothing came over it though something was expected, and another path lives.
    Silent,
    /// The peer says that it is no longer at that address.
    Withdrawn,
}

impl Lapse {
    /// In words.
    pub(super) fn why(&self) -> String {
        match self {
            Self::NoAnswer { after } => {
                let ms = after.as_millis();
                format!("no answer within {ms} ms: is it running, and is UDP to it let through?")
            }
            Self::Silent => format!("silent for {} ms while another path lives", SILENCE_MAX.as_millis()),
            Self::Withdrawn => "the peer has that address no more".to_owned(),
        }
    }
}

/// What the end of a path or an attempt means for the round of dials it may have been part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// All addresses were tried and each has failed for good.
    InVain,
    /// It goes on, or a peer was met that will take us later, or there was none.
    Open,
}

#[derive(Default)]
struct Target {
    /// Where links say that it is.
    addrs: Vec<SocketAddr>,
    /// Where it was met.
    learned: Vec<SocketAddr>,
    /// Pairs of this round and how many of them have been tried. Empty until it begins.
    round: Vec<Pair>,
    next: usize,
    next_at: Instant,
    pause: Duration,
    attempts: Vec<Attempt>,
    paths_up: BTreeMap<PathId, Up>,
    /// Whether this side has dialed one of them: else it is the peer who opens further ones.
    is_opener: bool,
    further: Further,
    failures: BTreeMap<SocketAddr, String>,
    /// Whether the peer was met in this round and had no place for us.
    is_crowded: bool,
}

/// A path that is up.
struct Up {
    /// What was dialed, with the lane the kernel chose; `None` where the peer came by itself.
    pair: Option<Pair>,
    since: Instant,
    suspect_since: Option<Instant>,
    /// It is to be given up for this.
    lapse: Option<Lapse>,
}

struct Attempt {
    path: PathId,
    pair: Pair,
    purpose: Purpose,
    started: Instant,
    timeout: Duration,
    deadline: Instant,
}

impl Dialer {
    /// For the node `own`, which has so many shards. A dial without an answer for `timeout` has failed.
    pub(super) fn new(own: PeerId, shards: usize, timeout: Duration, route: Route) -> Self {
        Self {
            peers: BTreeMap::new(),
            timeout,
            here: Here {
                own,
                shards,
                lanes: Vec::new(),
                route,
            },
        }
    }

    /// A dial that begins from now on has failed without an answer for so long.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The machine has these lanes now.
    pub(super) fn on_lanes(&mut self, now: Instant, lanes: &[Lane]) {
        let old = std::mem::replace(&mut self.here.lanes, lanes.to_vec());
        let was_up = |lane: &Lane| old.iter().any(|old| old.is_up && old.id() == lane.id());
        let risen: Vec<&Lane> = self.here.lanes.iter().filter(|lane| lane.is_up && !was_up(lane)).collect();
        for target in self.peers.values_mut() {
            target.next_at = target.next_at.min(now);
            for lane in &risen {
                target.further.troubles.on_lane_up(now, lane.id());
            }
            for pair in target.paths_up.values_mut().filter_map(|up| up.pair.as_mut()) {
                *pair = self.here.ends(&[]).settle(pair.clone());
            }
            target.further.on_change(now);
        }
    }

    /// The pair with the lane that the kernel would choose, where it has none.
    pub(super) fn settle(&self, pair: Pair) -> Pair {
        self.here.ends(&[]).settle(pair)
    }

    /// A peer and where it may be reached. New addresses are tried at once. `wanted` as in `poll`: none of those is forgotten for it.
    pub(super) fn on_hint(&mut self, now: Instant, peer: PeerId, addrs: &[SocketAddr], wanted: impl Fn(&PeerId) -> bool) {
        let is_full = self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer);
        if is_full && !self.forget_one(wanted) {
            return;
        }
        let target = self.peers.entry(peer).or_default();
        for addr in addrs {
            if target.addrs.len() < ADDRS_MAX && !target.addrs.contains(addr) {
                target.addrs.push(*addr);
                if target.next > 0 {
                    target.round.push(chosen_by_kernel(*addr));
                }
                target.next_at = target.next_at.min(now);
                target.further.on_change(now);
            }
        }
    }

    /// Forgets a peer that nobody wants and that is not in use, if possible one that was never met: anybody on the network may say that there
    /// is a peer. Whether there was one.
    fn forget_one(&mut self, wanted: impl Fn(&PeerId) -> bool) -> bool {
        let useless = self
            .peers
            .iter()
            .filter(|(peer, target)| target.is_at_rest() && !wanted(peer));
        let least = useless.min_by_key(|(_, target)| !target.learned.is_empty());
        let least = least.map(|(peer, _)| *peer);
        least.is_some_and(|peer| self.peers.remove(&peer).is_some())
    }

    /// The hub has begun the dial asked for.
    pub(super) fn on_started(&mut self, now: Instant, peer: PeerId, path: PathId, pair: Pair, purpose: Purpose) {
        let timeout = match purpose {
            Purpose::Heal => self.timeout.min(HEAL_EVERY),
            Purpose::First | Purpose::Way | Purpose::Port => self.timeout,
        };
        if let Some(target) = self.peers.get_mut(&peer) {
            target.attempts.push(Attempt {
                path,
                pair,
                purpose,
                started: now,
                timeout,
                deadline: now + timeout,
            });
        }
    }

    /// A path to the peer is up. Returns attempts that are no longer needed.
    pub(super) fn on_up(&mut self, now: Instant, peer: PeerId, path: PathId) -> Vec<PathId> {
        // A stranger that came by itself has no addresses to keep.
        let Some(target) = self.peers.get_mut(&peer) else {
            return Vec::new();
        };
        let attempt = target.attempts.iter().position(|attempt| attempt.path == path);
        let attempt = attempt.map(|at| target.attempts.remove(at));
        // Its other ports are others in its next life.
        let is_lasting = attempt.as_ref().is_some_and(|attempt| attempt.purpose != Purpose::Port);
        let pair = attempt.map(|attempt| self.here.ends(&[]).settle(attempt.pair));
        target.is_opener |= pair.is_some();
        target.further.on_change(now);
        let is_first = target.is_lost(now);
        // What it only says of itself may be somebody else's.
        if let Some(pair) = &pair
            && is_lasting
            && target.learned.len() < ADDRS_MAX
            && !target.learned.contains(&pair.remote)
        {
            target.learned.push(pair.remote);
        }
        let up = Up {
            pair,
            since: now,
            suspect_since: None,
            lapse: None,
        };
        target.paths_up.insert(path, up);
        if !is_first {
            return Vec::new();
        }
        target.attempts.drain(..).map(|attempt| attempt.path).collect()
    }

    /// The peer told over a path that this side dialed which ports its shards have.
    pub(super) fn on_ports(&mut self, now: Instant, peer: PeerId, path: PathId, ports: &[u16]) {
        if let Some(target) = self.peers.get_mut(&peer)
            && let Some(pair) = target.paths_up.get(&path).and_then(|up| up.pair.as_ref())
        {
            target.further.on_ports(now, pair.remote, ports);
        }
    }

    /// The peer told over a path to `via` where it can be reached, and no longer elsewhere.
    pub(super) fn on_addresses(&mut self, now: Instant, peer: PeerId, via: IpAddr, addresses: Vec<Address>) {
        let Some(target) = self.peers.get_mut(&peer) else { return };
        target.further.on_addresses(now, via, addresses);
        if !target.paths_up.values().any(|up| up.is_well() && !target.is_withdrawn(up)) {
            return;
        }
        let further = &target.further;
        for up in target.paths_up.values_mut() {
            let is_gone = up.pair.as_ref().is_some_and(|pair| further.is_withdrawn(pair.remote.ip()));
            up.lapse = up.lapse.or(is_gone.then_some(Lapse::Withdrawn));
        }
    }

    /// Nothing comes over the path though something is expected.
    pub(super) fn on_suspect(&mut self, now: Instant, peer: PeerId, path: PathId) {
        if let Some(up) = self.up(peer, path) {
            up.suspect_since.get_or_insert(now);
        }
    }

    /// Something came over a path that was suspect.
    pub(super) fn on_well(&mut self, peer: PeerId, path: PathId) {
        if let Some(up) = self.up(peer, path) {
            up.suspect_since = None;
        }
    }

    fn up(&mut self, peer: PeerId, path: PathId) -> Option<&mut Up> {
        self.peers.get_mut(&peer)?.paths_up.get_mut(&path)
    }

    /// So many bulk bytes were asked of the peer.
    pub(super) fn on_asked(&mut self, now: Instant, peer: &PeerId, bytes: u32) {
        if let Some(target) = self.peers.get_mut(peer) {
            target.further.on_asked(now, bytes);
        }
    }

    /// An attempt has failed, or a path that was up is down.
    pub(super) fn on_down(&mut self, now: Instant, peer: PeerId, path: PathId, end: &End) -> Round {
        let Some(target) = self.peers.get_mut(&peer) else {
            return Round::Open;
        };
        let why = end.why();
        if let Some(at) = target.attempts.iter().position(|attempt| attempt.path == path) {
            let attempt = target.attempts.remove(at);
            if !target.is_lost(now) {
                let further = &mut target.further;
                let Attempt {
                    pair, started, purpose, ..
                } = attempt;
                further.troubles.on_failed(now, &pair, started, purpose, end);
                further.on_change(now);
                return Round::Open;
            }
            target.failures.insert(attempt.pair.remote, why.to_owned());
            // The next address need not wait for its turn.
            target.next_at = target.next_at.min(now);
            target.is_crowded |= *end == End::Crowded;
            return target.end_round_if_over(now);
        } else if let Some(up) = target.paths_up.remove(&path) {
            let lived = now.since(up.since);
            if lived >= LIVED_MIN {
                target.pause = Duration::ZERO;
                target.failures.clear();
            }
            if !target.paths_up.is_empty() {
                if let Some(pair) = up.pair {
                    let was_way = !self.here.ends(&[]).is_way_used(&pair, &target.pairs_up());
                    target.further.troubles.on_lost(now, &pair, lived, was_way, end);
                }
                target.further.on_change(now);
                return Round::Open;
            }
            target.on_lost(now, &up, why);
        }
        Round::Open
    }

    /// What to do now. `wanted`: whether somebody waits for something from that peer; unwanted peers are not tried again.
    pub(super) fn poll(&mut self, now: Instant, wanted: impl Fn(&PeerId) -> bool) -> Option<Action> {
        for (peer, target) in &mut self.peers {
            if let Some((path, why)) = target.next_lapse(now) {
                return Some(Action::GiveUp { path, why });
            }
            if target.is_deaf_and_idle() && target.is_lost(now) {
                target.restart(now);
            }
            let dial = |(pair, purpose)| Action::Dial {
                peer: *peer,
                pair,
                purpose,
            };
            if target.may_open_further(now) && wanted(peer) {
                let further = target.next_further(now, &self.here).map(dial);
                if further.is_some() {
                    return further;
                }
            }
            if !target.may_dial(now) || target.next_at > now {
                continue;
            }
            if target.is_next_try() && !wanted(peer) {
                continue;
            }
            return Some(dial((target.next_of_round(now, &self.here), Purpose::First)));
        }
        None
    }

    /// When `poll` may have something to do next.
    pub(super) fn deadline(&self, wanted: impl Fn(&PeerId) -> bool) -> Option<Instant> {
        let of_target = |(peer, target): (&PeerId, &Target)| {
            let has_next = target.has_next() || target.is_deaf_and_idle();
            let may_dial = has_next && (!target.is_next_try() || wanted(peer));
            let dial = target.lost_at().filter(|_| may_dial).map(|lost| lost.max(target.next_at));
            let further = target.further.deadline().filter(|_| target.is_opener && wanted(peer));
            let attempt = target.attempts.iter().map(|attempt| attempt.deadline).min();
            [dial, further, attempt, target.silence_due()].into_iter().flatten().min()
        };
        self.peers.iter().filter_map(of_target).min()
    }

    /// Peers that no path leads to and that were not dropped, with where they may be and what last became of dialing them.
    pub(super) fn away(&self, is_dropped: impl Fn(&PeerId) -> bool) -> Vec<AwayStatus> {
        let away = self
            .peers
            .iter()
            .filter(|(peer, target)| target.paths_up.is_empty() && !is_dropped(peer));
        let status = |(peer, target): (&PeerId, &Target)| {
            let failure = |(addr, why): (&SocketAddr, &String)| DialFailure {
                addr: *addr,
                why: why.clone(),
            };
            AwayStatus {
                peer: peer.to_string(),
                addrs: target.remotes(),
                failures: target.failures.iter().map(failure).collect(),
            }
        };
        away.map(status).collect()
    }

    /// What is known of the ways to these peers, for the reason of a failed want.
    pub(super) fn explain(&self, peers: impl IntoIterator<Item = PeerId>) -> Option<String> {
        let mut said = Vec::new();
        for peer in peers {
            let Some(target) = self.peers.get(&peer) else { continue };
            if target.addrs.is_empty() && target.paths_up.is_empty() {
                said.push(format!("peer {} has no known address", peer.short()));
            }
            said.extend(
                target
                    .failures
                    .iter()
                    .map(|(remote, why)| format!("peer {} at {remote}: {why}", peer.short())),
            );
            said.extend(
                target
                    .attempts
                    .iter()
                    .filter(|_| target.paths_up.is_empty())
                    .map(|a| format!("peer {} at {}: no answer yet", peer.short(), a.pair.remote)),
            );
        }
        (!said.is_empty()).then(|| said.join("; "))
    }
}

impl Here {
    fn ends<'a>(&'a self, addresses: &'a [Address]) -> Ends<'a> {
        Ends {
            lanes: &self.lanes,
            addresses,
            route: &self.route,
        }
    }
}

impl Up {
    fn is_well(&self) -> bool {
        self.suspect_since.is_none() && self.lapse.is_none()
    }

    fn is_deaf(&self, now: Instant) -> bool {
        self.suspect_since.is_some_and(|since| now.since(since) >= SILENCE_MAX)
    }
}

impl Target {
    /// Whether it is to be looked for: it is not there, or nothing has come from it for so long that it may as well not be.
    fn may_dial(&self, now: Instant) -> bool {
        self.is_lost(now) && self.has_next()
    }

    /// Whether a round has yet to begin for the case that all its paths are silent.
    fn is_deaf_and_idle(&self) -> bool {
        !self.paths_up.is_empty() && self.attempts.is_empty() && !self.has_next()
    }

    /// Whether no path to it is up but such as have been suspect for long.
    fn is_lost(&self, now: Instant) -> bool {
        self.paths_up.values().all(|up| up.is_deaf(now))
    }

    /// Whether this round has something left to try, or is yet to begin.
    fn has_next(&self) -> bool {
        let is_known = !self.addrs.is_empty() || !self.learned.is_empty();
        self.next < self.round.len() || (self.next == 0 && is_known)
    }

    /// Whether what is next is to try again what has failed.
    fn is_next_try(&self) -> bool {
        self.next == 0 && !self.failures.is_empty()
    }

    /// Whether there is neither a path nor an attempt, nor one to come that has not failed before.
    fn is_at_rest(&self) -> bool {
        let is_used = !self.paths_up.is_empty() || !self.attempts.is_empty();
        !is_used && (self.is_next_try() || !self.has_next())
    }

    /// Where it may be, best first.
    fn remotes(&self) -> Vec<SocketAddr> {
        let learned = self.learned.iter().filter(|remote| !self.addrs.contains(remote));
        self.addrs.iter().chain(learned).copied().collect()
    }

    /// The kernel chooses the lane first, as long as that may do; then it is told.
    fn next_of_round(&mut self, now: Instant, here: &Here) -> Pair {
        if self.next == 0 {
            let remotes = self.remotes();
            let at = |remote: &SocketAddr| Address {
                ip: remote.ip(),
                ports: vec![remote.port()],
            };
            let addresses: Vec<Address> = remotes.iter().map(at).collect();
            self.round = remotes.into_iter().map(chosen_by_kernel).collect();
            let others = here.ends(&addresses).others(&self.round);
            self.round.extend(others);
        }
        let pair = self.round[self.next].clone();
        self.next += 1;
        self.next_at = now + STAGGER;
        pair
    }

    fn may_open_further(&self, now: Instant) -> bool {
        let is_due = self.further.deadline().is_some_and(|at| at <= now);
        is_due && self.is_opener && !self.paths_up.is_empty()
    }

    fn next_further(&mut self, now: Instant, here: &Here) -> Option<(Pair, Purpose)> {
        let (healing, opening): (Vec<&Attempt>, _) = self.attempts.iter().partition(|attempt| attempt.purpose == Purpose::Heal);
        let pairs = |attempts: Vec<&Attempt>| attempts.into_iter().map(|attempt| attempt.pair.clone()).collect::<Vec<_>>();
        let view = View {
            lanes: &here.lanes,
            route: &here.route,
            shards: here.shards,
            // The keys of readers are random: a peer's shards get equal shares of them.
            turn: usize::from(here.own.as_bytes()[0]),
            hints: &self.addrs,
            up_count: self.paths_up.len(),
            up: &self.pairs_up(),
            opening: &pairs(opening),
            healing: &pairs(healing),
        };
        self.further.poll(now, &view)
    }

    fn pairs_up(&self) -> Vec<Pair> {
        self.paths_up.values().filter_map(|up| up.pair.clone()).collect()
    }

    fn is_withdrawn(&self, up: &Up) -> bool {
        let pair = up.pair.as_ref();
        pair.is_some_and(|pair| self.further.is_withdrawn(pair.remote.ip()))
    }

    /// A path or an attempt that is to be given up now.
    fn next_lapse(&mut self, now: Instant) -> Option<(PathId, Lapse)> {
        if let Some(late) = self.attempts.iter_mut().find(|attempt| attempt.deadline <= now) {
            let after = late.timeout;
            late.deadline = now + after;
            return Some((late.path, Lapse::NoAnswer { after }));
        }
        self.judge_silence(now);
        let further = &self.further;
        let lapses = self
            .paths_up
            .iter_mut()
            .filter_map(|(path, up)| Some((*path, up.lapse.take()?, &up.pair)));
        // A later list of its addresses may have taken back what an earlier one said.
        let is_so = |why: &Lapse, pair: &Option<Pair>| {
            *why != Lapse::Withdrawn || pair.as_ref().is_some_and(|pair| further.is_withdrawn(pair.remote.ip()))
        };
        let mut lapses = lapses.filter(|(_, why, pair)| is_so(why, pair));
        lapses.next().map(|(path, why, _)| (path, why))
    }

    /// Gives up what has been suspect for too long while another path lives, and with it all paths of the same way, if it is on another way.
    fn judge_silence(&mut self, now: Instant) {
        let is_due = |up: &&Up| up.suspect_since.is_some_and(|since| now.since(since) >= SILENCE_MAX);
        if self.silence_due().is_none_or(|at| at > now) {
            return;
        }
        let silent: Vec<Option<Pair>> = self.paths_up.values().filter(is_due).map(|up| up.pair.clone()).collect();
        let is_of = |up: &Up, way: &Option<Pair>| matches!((&up.pair, way), (Some(one), Some(other)) if is_same_way(one, other));
        let is_dead = |way: &&Option<Pair>| self.paths_up.values().any(|up| up.is_well() && !is_of(up, way));
        let dead: Vec<Option<Pair>> = silent.iter().filter(is_dead).cloned().collect();
        for up in self.paths_up.values_mut() {
            if is_due(&&*up) || dead.iter().any(|way| is_of(up, way)) {
                up.suspect_since = None;
                up.lapse = Some(Lapse::Silent);
            }
        }
    }

    /// When no path to it is up any more, but such as have been suspect for long.
    fn lost_at(&self) -> Option<Instant> {
        let deaf_at = |up: &Up| Some(up.suspect_since? + SILENCE_MAX);
        let mut all = self.paths_up.values().map(deaf_at);
        all.try_fold(Instant::ZERO, |latest, at| Some(latest.max(at?)))
    }

    /// When the first suspect path will have been silent for too long; never while no other path lives.
    fn silence_due(&self) -> Option<Instant> {
        let suspect = self.paths_up.values().filter_map(|up| up.suspect_since).min()?;
        self.paths_up.values().any(Up::is_well).then_some(suspect + SILENCE_MAX)
    }

    /// The last path is down.
    fn on_lost(&mut self, now: Instant, up: &Up, why: &str) {
        // Remembered for the reason of a failed want, and so that a peer that lets us in only to close is not stormed. Its other ports will
        // be others in its next life.
        let (addrs, learned) = (&self.addrs, &self.learned);
        self.failures
            .retain(|remote, _| addrs.contains(remote) || learned.contains(remote));
        if let Some(pair) = &up.pair {
            self.failures.insert(pair.remote, why.to_owned());
        }
        self.further = Further::default();
        self.is_opener = false;
        self.restart(now);
    }

    fn restart(&mut self, now: Instant) {
        self.round.clear();
        self.next = 0;
        self.next_at = now + self.pause;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    }

    fn end_round_if_over(&mut self, now: Instant) -> Round {
        if !self.attempts.is_empty() || self.has_next() || !self.is_lost(now) {
            return Round::Open;
        }
        self.pause = self.pause.max(PAUSE_MIN);
        self.restart(now);
        if std::mem::take(&mut self.is_crowded) {
            Round::Open
        } else {
            Round::InVain
        }
    }
}

fn chosen_by_kernel(remote: SocketAddr) -> Pair {
    Pair { from: None, remote }
}

/// Both with the lanes they leave from, as far as those are known.
fn is_same_way(one: &Pair, other: &Pair) -> bool {
    let lane = |pair: &Pair| pair.from.as_ref().map(Lane::id);
    one.remote.ip() == other.remote.ip() && lane(one) == lane(other)
}

#[cfg(test)]
mod tests;
