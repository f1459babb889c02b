//! What this node says to those who take part in a release with it: which chunks it holds while it has not all of them, and who else is
//! there. Decides what is said to whom and when; never says it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::links::{Connected, LINKS, Links};
use super::turn::{Turn, lot};
use super::zone::{GATES, Zone, Zones, rank};
use crate::chunk::{ChunkTag, ReleaseId};
use crate::limits::{COMING_CHUNKS_MAX, HAVE_CHUNKS_MAX, TOLD_PEERS_MAX};
use crate::peer::{PeerAt, PeerId};
use crate::time::Instant;
use crate::wire::{ClaimState, Coming, Have, Peers};

/// How long what is new waits for more of it: for each peer with a part of the release that is to be told, but so long at least and at most. So who has
/// many says little more than who has eight, and their lines, some of them slow, are not full of it.
const HAVE_EACH: Duration = Duration::from_micros(3125);
const HAVE_EVERY: Duration = Duration::from_millis(25);
const HAVE_MAX: Duration = Duration::from_millis(100);

/// How long what is asked of another zone waits for more of it: others may ask for the same until they are told.
const COMING_EVERY: Duration = Duration::from_millis(5);

/// How often a peer is told again who else is there: some of all, others each time. Sooner while it has just come, as those who came at the same
/// moment were not known then.
const PEERS_EVERY: Duration = Duration::from_secs(10);
const PEERS_AGAIN: Duration = Duration::from_secs(1);

/// Others are told of newcomers more often than of those who were there before, until they have made up for so many times.
const NEWCOMERS_LEAD: u32 = 4;

/// Peers that one is told of at a time: those, and some for when one of them cannot be reached.
const OTHERS_MAX: usize = 16;

/// Peers that an operator may have a node go to: as many as it is told of at a time.
pub const LINKS_MAX: usize = OTHERS_MAX;

const _: () = assert!(LINKS <= LINKS_MAX && OTHERS_MAX <= TOLD_PEERS_MAX);

/// Peers of other zones that one is told of, of those; and one that fetches for its zone what nobody there has.
const FAR_MIN: usize = 1;
const FAR_OF_GATES: usize = 6;

/// How often what others hold is compared with what is held here.
const COMPARE_EVERY: Duration = Duration::from_secs(1);

/// So many others at least must be there to be compared with.
const COMPARED_MIN: usize = 8;

/// Who was later than half of the others with so many chunks more than it was sooner with, and with more than what it holds divided by that, is
/// behind. It goes to more of them while that grows.
const LAG_MIN: i64 = 48;
const LAG_PART: i64 = 30;

/// See the module.
#[derive(Debug)]
pub struct Sharing {
    zone: Zone,
    /// Peers that have said that they are in some zone.
    zones: Zones,
    /// Chunks that are asked of another zone, or not any more: those of this one are to know.
    coming: BTreeMap<ReleaseId, BTreeMap<ChunkTag, bool>>,
    /// When they are told.
    coming_at: Option<Instant>,
    releases: BTreeMap<ReleaseId, Swarm>,
    /// When there is something to say; `None` where nothing is new.
    have_at: Option<Instant>,
    /// Who is to be told who else is there, and when.
    rounds: BTreeSet<(Instant, ReleaseId, PeerId)>,
    /// Peers of a release that this node goes to.
    links: usize,
    /// When what others hold is compared with what is held here.
    compare_at: Instant,
}

/// What a peer is to be told of a release.
#[derive(Debug)]
pub struct Tell {
    /// The peer.
    pub peer: PeerId,
    /// The release.
    pub release: ReleaseId,
    /// Who in the peer's zone fetches for it what nobody there has; empty while there is one zone.
    pub gates: Vec<PeerId>,
    /// Who else takes part.
    pub others: Vec<PeerId>,
}

/// Those who take part in one release.
#[derive(Debug, Default)]
struct Swarm {
    /// What is held here, in the order in which it came; empty once all is.
    log: Vec<ChunkTag>,
    held: BTreeSet<ChunkTag>,
    /// Of those in the log.
    held_bytes: u64,
    members: BTreeMap<PeerId, Member>,
    /// The same, in an order of their own.
    turns: BTreeSet<Turn>,
    /// How often others were told of any of them.
    times: u64,
    links: Links,
    /// The largest that the others were seen to have.
    lead_max: i64,
}

/// A peer that has some of the release.
#[derive(Debug)]
struct Member {
    state: ClaimState,
    /// Chunks that it has said it holds: those that it had sooner than this node, but for some at the same time, as nobody is told what it has
    /// told itself.
    chunks_told: u64,
    /// Chunks that it was told are held here, in the same way.
    chunks_said: u64,
    /// What it was ahead when it was first looked at: what it had before this node knew it does not count.
    ahead_at_first: Option<i64>,
    /// How much of the log it was told; `None` before the first word.
    told: Option<usize>,
    /// How much of the log counts as said, also when some of it is said again.
    counted: usize,
    turn: Turn,
    /// When it is told of others; rounds of an earlier membership are not this one's.
    round_at: Instant,
    /// How long after that the next time.
    round_pause: Duration,
    /// How often it was told of others.
    told_of: u32,
}

impl Sharing {
    /// Of a node in this zone.
    pub fn new(zone: Zone) -> Self {
        Self {
            zone,
            zones: Zones::default(),
            coming: BTreeMap::new(),
            coming_at: None,
            releases: BTreeMap::new(),
            have_at: None,
            rounds: BTreeSet::new(),
            links: LINKS,
            compare_at: Instant::ZERO,
        }
    }

    /// Goes to so many peers of a release from the next word of others on. Those that it has gone to stay.
    pub fn set_links(&mut self, links: usize) {
        self.links = links;
    }

    /// The peer says in which zone it is. Whether that is another than ours.
    pub fn on_zone(&mut self, peer: PeerId, zone: Zone) -> bool {
        self.zones.insert(peer, zone);
        zone != self.zone
    }

    /// A chunk of the release is asked of another zone, or not any more.
    pub fn on_crossing(&mut self, now: Instant, release: ReleaseId, chunk: ChunkTag, is_coming: bool) {
        self.coming_at.get_or_insert(now + COMING_EVERY);
        self.coming.entry(release).or_default().insert(chunk, is_coming);
    }

    /// Who is to be told what is asked of another zone: those of this one who have not all themselves.
    pub fn poll_coming(&mut self, now: Instant) -> Vec<(PeerId, Coming)> {
        let mut told = Vec::new();
        if self.coming_at.take_if(|at| *at <= now).is_none() {
            return told;
        }
        for (release, chunks) in std::mem::take(&mut self.coming) {
            let members = self.releases.get(&release).map(|swarm| &swarm.members);
            let is_near = |peer: &PeerId| self.zones.of(peer) == self.zone;
            let near = members
                .into_iter()
                .flatten()
                .filter(|(peer, member)| member.has_part() && is_near(peer));
            let [coming, not_coming] = [true, false].map(|is_coming| {
                let chosen = chunks.iter().filter(|(_, which)| **which == is_coming);
                chosen.map(|(chunk, _)| *chunk).take(COMING_CHUNKS_MAX).collect()
            });
            let coming = Coming {
                release,
                coming,
                not_coming,
            };
            told.extend(near.map(|(peer, _)| (*peer, coming.clone())));
        }
        told
    }

    /// A peer says how much of a release it has.
    pub fn on_claim(&mut self, now: Instant, release: ReleaseId, peer: PeerId, state: ClaimState) {
        if state == ClaimState::None {
            if let Some(swarm) = self.releases.get_mut(&release) {
                swarm.remove(&peer);
            }
            return;
        }
        let Swarm {
            members, turns, times, ..
        } = self.releases.entry(release).or_default();
        let member = members.entry(peer).or_insert_with(|| {
            self.rounds.insert((now, release, peer));
            let mean = *times / (turns.len() as u64).max(1);
            let turn = Turn::new(peer, (mean as u32).saturating_sub(NEWCOMERS_LEAD));
            *times += u64::from(turn.times);
            turns.insert(turn);
            Member {
                state,
                chunks_told: 0,
                chunks_said: 0,
                ahead_at_first: None,
                told: None,
                counted: 0,
                turn,
                round_at: now,
                round_pause: PEERS_AGAIN,
                told_of: 0,
            }
        });
        member.state = state;
        if state == ClaimState::Partial && member.told.is_none() {
            self.have_at = Some(now);
        }
    }

    /// The last path to the peer is gone.
    pub fn on_peer_gone(&mut self, peer: &PeerId) {
        self.zones.remove(peer);
        for swarm in self.releases.values_mut() {
            swarm.remove(peer);
        }
    }

    /// A path to the peer is gone, and with it perhaps what was said over it.
    pub fn on_path_gone(&mut self, now: Instant, peer: &PeerId) {
        for swarm in self.releases.values_mut() {
            if let Some(member) = swarm.members.get_mut(peer) {
                member.told = None;
                self.have_at.get_or_insert(now + HAVE_EVERY);
            }
        }
    }

    /// Releases of which another peer of this zone says that it has all.
    pub fn whole_nearby(&self) -> impl Iterator<Item = ReleaseId> + '_ {
        let is_whole = |(peer, has): (&PeerId, &Member)| has.state == ClaimState::Complete && self.zones.of(peer) == self.zone;
        let whole = self
            .releases
            .iter()
            .filter(move |(_, swarm)| swarm.members.iter().any(is_whole));
        whole.map(|(release, _)| *release)
    }

    /// Whether the peer has said that it has something of the release.
    pub fn is_member(&self, release: &ReleaseId, peer: &PeerId) -> bool {
        self.releases
            .get(release)
            .is_some_and(|swarm| swarm.members.contains_key(peer))
    }

    /// Whether the peer has said that it has a part of the release.
    pub fn has_part(&self, release: &ReleaseId, peer: &PeerId) -> bool {
        let member = self.releases.get(release).and_then(|swarm| swarm.members.get(peer));
        member.is_some_and(Member::has_part)
    }

    /// A peer with a part has said that it holds so many more chunks.
    pub fn on_chunks_told(&mut self, release: &ReleaseId, peer: &PeerId, chunks: usize) {
        let members = self.releases.get_mut(release).map(|swarm| &mut swarm.members);
        if let Some(member) = members.and_then(|members| members.get_mut(peer)) {
            member.chunks_told += chunks as u64;
        }
    }

    /// How many chunks of the release the peer has said it holds.
    pub fn chunks_told_by(&self, release: &ReleaseId, peer: &PeerId) -> u64 {
        let member = self.releases.get(release).and_then(|swarm| swarm.members.get(peer));
        member.map_or(0, |member| member.chunks_told)
    }

    /// Chunks of the release that were found to be held here, and their bytes; `None` where none was, or all are.
    pub fn held(&self, release: &ReleaseId) -> Option<(u64, u64)> {
        let swarm = self.releases.get(release).filter(|swarm| !swarm.log.is_empty())?;
        Some((swarm.log.len() as u64, swarm.held_bytes))
    }

    /// A chunk of the release, so long (0 where that is not known), is held here.
    pub fn on_held(&mut self, now: Instant, release: ReleaseId, chunk: ChunkTag, bytes: u64) {
        let swarm = self.releases.entry(release).or_default();
        if swarm.held.insert(chunk) {
            swarm.log.push(chunk);
            swarm.held_bytes += bytes;
            self.have_at.get_or_insert_with(|| {
                let parts = swarm.members.values().filter(|member| member.has_part());
                now + (HAVE_EACH * parts.count() as u32).clamp(HAVE_EVERY, HAVE_MAX)
            });
        }
    }

    /// These chunks are held no more, of whatever release. Who was told that they are hears it when it asks; nobody else is told.
    pub fn on_lost(&mut self, chunks: &[ChunkTag]) {
        let lost: BTreeSet<ChunkTag> = chunks.iter().copied().collect();
        for swarm in self.releases.values_mut().filter(|swarm| !swarm.held.is_disjoint(&lost)) {
            swarm.held.retain(|chunk| !lost.contains(chunk));
            for member in swarm.members.values_mut() {
                let gone = |of: usize| swarm.log[..of].iter().filter(|chunk| lost.contains(chunk)).count();
                member.told = member.told.map(|told| told - gone(told));
                member.counted -= gone(member.counted);
            }
            let before = swarm.log.len() as u64;
            swarm.log.retain(|chunk| !lost.contains(chunk));
            // How long each was is not remembered.
            swarm.held_bytes = (u128::from(swarm.held_bytes) * swarm.log.len() as u128 / u128::from(before)) as u64;
        }
    }

    /// All of the release is held here, and everybody was told so.
    pub fn on_complete(&mut self, release: &ReleaseId) {
        if let Some(swarm) = self.releases.get_mut(release) {
            (swarm.log, swarm.held, swarm.held_bytes) = (Vec::new(), BTreeSet::new(), 0);
            swarm.links.on_complete();
            // Should some of it be lost, the log begins anew.
            swarm.lead_max = 0;
            for member in swarm.members.values_mut() {
                (member.told, member.counted, member.ahead_at_first) = (None, 0, None);
            }
        }
    }

    /// This node takes no part in the release any more.
    pub fn forget(&mut self, release: &ReleaseId) {
        self.releases.remove(release);
    }

    /// What was not to be said may be by now.
    pub fn say_again(&mut self, now: Instant) {
        self.have_at.get_or_insert(now);
    }

    /// When there is something to say.
    pub fn deadline(&self) -> Option<Instant> {
        let round = self.rounds.first().map(|(at, ..)| *at);
        self.have_at.into_iter().chain(self.coming_at).chain(round).min()
    }

    /// What is to be said of the chunks held here, where `is_partial` says that they are not all of their release. `knows`: what need not be
    /// said, because the peer has it.
    pub fn poll_have(
        &mut self,
        now: Instant,
        is_partial: impl Fn(&ReleaseId) -> bool,
        knows: impl Fn(&PeerId, ChunkTag) -> bool,
    ) -> Vec<(PeerId, Have)> {
        if self.have_at.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        let mut haves = Vec::new();
        for (release, swarm) in self.releases.iter_mut().filter(|(release, _)| is_partial(release)) {
            let parts = swarm.members.iter_mut().filter(|(_, member)| member.has_part());
            for (peer, member) in parts {
                let from = member.told.unwrap_or(0);
                let to = swarm.log.len().min(from + HAVE_CHUNKS_MAX);
                if member.told == Some(to) {
                    continue;
                }
                let is_first = member.told.replace(to).is_none();
                if to < swarm.log.len() {
                    self.have_at.get_or_insert(now + HAVE_EVERY);
                }
                let new =
                    |part: &[ChunkTag]| -> Vec<ChunkTag> { part.iter().copied().filter(|tag| !knows(peer, *tag)).collect() };
                let (again, first) = swarm.log[from..to].split_at(member.counted.clamp(from, to) - from);
                let (mut chunks, first) = (new(again), new(first));
                member.chunks_said += first.len() as u64;
                member.counted = member.counted.max(to);
                chunks.extend(first);
                if is_first || !chunks.is_empty() {
                    let release = *release;
                    haves.push((*peer, Have { release, chunks }));
                }
            }
        }
        haves
    }

    /// Whom else to go to, because half of those near with a part of the release, eight at least, leave this node further and further behind.
    /// That may be so though it has as many connections as they have: each of its peers gives to all of its own alike, and these may have more
    /// than most.
    pub fn poll_lag(&mut self, now: Instant, is_partial: impl Fn(&ReleaseId) -> bool) -> Vec<(ReleaseId, PeerAt)> {
        if now < self.compare_at {
            return Vec::new();
        }
        self.compare_at = now + COMPARE_EVERY;
        let (zone, zones) = (self.zone, &self.zones);
        let mut more = Vec::new();
        for (release, swarm) in self.releases.iter_mut().filter(|(release, _)| is_partial(release)) {
            let Some(lead) = swarm.lead_of(|peer| zones.of(peer) == zone) else {
                continue;
            };
            let least = LAG_MIN.max(swarm.log.len() as i64 / LAG_PART);
            if lead >= least && lead > swarm.lead_max {
                swarm.lead_max = lead;
                let Swarm { links, members, .. } = swarm;
                let new = links.on_lag(&connected(self.links, members));
                more.extend(new.map(|peer| (*release, peer)));
            }
        }
        more
    }

    /// Who is to be told who else takes part in which release.
    pub fn poll_peers(&mut self, now: Instant) -> Vec<Tell> {
        let mut told = Vec::new();
        let mut first: BTreeMap<ReleaseId, BTreeMap<Zone, Vec<PeerId>>> = BTreeMap::new();
        while let Some((at, release, peer)) = self.rounds.first().copied()
            && at <= now
        {
            self.rounds.pop_first();
            let Some(swarm) = self.releases.get_mut(&release) else {
                continue;
            };
            let Some(member) = swarm.members.get_mut(&peer).filter(|member| member.round_at == at) else {
                continue;
            };
            member.round_at = now + member.round_pause;
            member.round_pause = (member.round_pause * 2).min(PEERS_EVERY);
            member.told_of = member.told_of.wrapping_add(1);
            self.rounds.insert((member.round_at, release, peer));
            if member.has_part() {
                let known = first.entry(release).or_default();
                let tell = swarm.next_others(release, peer, &self.zones, known);
                if !tell.others.is_empty() || !tell.gates.is_empty() {
                    told.push(tell);
                }
            }
        }
        told
    }

    /// A link names the peer: this node goes to it on that account, whether or not it can be reached.
    pub fn on_named(&mut self, release: &ReleaseId, peer: &PeerId) {
        if let Some(swarm) = self.releases.get_mut(release) {
            swarm.links.on_named(peer);
        }
    }

    /// Others say who else is there. Those of them that this node is to go to.
    pub fn on_told(&mut self, now: Instant, told: Peers) -> Vec<PeerAt> {
        let Swarm { links, members, .. } = self.releases.entry(told.release).or_default();
        links.on_told(now, told.peers, &connected(self.links, members))
    }

    /// Others say who in this zone fetches for it what nobody there has. Those of them that this node is to go to.
    pub fn on_gates_told(&mut self, told: Peers) -> Vec<PeerAt> {
        let Swarm { links, members, .. } = self.releases.entry(told.release).or_default();
        links.on_gates_told(told.peers, &connected(self.links, members))
    }

    /// A peer could not be reached. The releases for which others told of it, and whom to go to in its place.
    pub fn on_unreached(&mut self, now: Instant, peer: &PeerId) -> Vec<(ReleaseId, Vec<PeerAt>)> {
        let releases = self
            .releases
            .iter_mut()
            .filter_map(|(release, Swarm { links, members, .. })| {
                let instead = links.on_unreached(now, peer, &connected(self.links, members))?;
                Some((*release, instead))
            });
        releases.collect()
    }
}

fn connected(links: usize, members: &BTreeMap<PeerId, Member>) -> Connected<impl Fn(&PeerId) -> bool> {
    Connected {
        count: members.len(),
        links,
        is_it: |peer: &PeerId| members.contains_key(peer),
    }
}

impl Member {
    /// Whether it has a part of the release, and not all.
    fn has_part(&self) -> bool {
        self.state == ClaimState::Partial
    }
}

impl Swarm {
    fn remove(&mut self, peer: &PeerId) {
        if let Some(member) = self.members.remove(peer) {
            self.turns.remove(&member.turn);
            self.times -= u64::from(member.turn.times);
        }
    }

    /// With how many chunks more half of those near who say what they hold were sooner than this node than they were later; `None` where they are few.
    fn lead_of(&mut self, is_near: impl Fn(&PeerId) -> bool) -> Option<i64> {
        let speaks = |member: &Member| member.has_part() && member.chunks_told > 0;
        let near = self
            .members
            .iter_mut()
            .filter(|(peer, member)| speaks(member) && is_near(peer));
        let mut leads: Vec<i64> = near
            .map(|(_, member)| {
                let ahead = member.chunks_told as i64 - member.chunks_said as i64;
                ahead - *member.ahead_at_first.get_or_insert(ahead)
            })
            .collect();
        (leads.len() >= COMPARED_MIN).then(|| {
            let middle = leads.len() / 2;
            *leads.select_nth_unstable(middle).1
        })
    }

    /// Some of those that take part, but for this one. Where there are zones, mostly of its own; whoever is a gate itself needs more from
    /// elsewhere. `known`: the first of each zone, as far as they were looked for.
    fn next_others(&mut self, release: ReleaseId, peer: PeerId, zones: &Zones, known: &mut BTreeMap<Zone, Vec<PeerId>>) -> Tell {
        let zone = zones.of(&peer);
        let (mut gates, mut others) = (Vec::new(), Vec::new());
        if zones.are_one() {
            self.draw(&peer, OTHERS_MAX, &mut others, |_| true);
        } else {
            let first = known.entry(zone).or_insert_with(|| self.first_of(zone, zones));
            gates.extend(first.iter().copied().filter(|gate| *gate != peer).take(GATES));
            let is_gate = gates.get(GATES - 1).is_none_or(|last| rank(&peer) < rank(last));
            let is_far = |other: &PeerId| zones.of(other) != zone;
            if is_gate {
                self.draw(&peer, FAR_OF_GATES, &mut others, is_far);
            }
            let near_max = OTHERS_MAX - if is_gate { others.len() } else { FAR_MIN };
            self.draw(&peer, near_max, &mut others, |other| !is_far(other) && !gates.contains(other));
            self.draw(&peer, OTHERS_MAX - others.len(), &mut others, is_far);
        }
        for other in &others {
            let member = self.members.get_mut(other).expect("turns are members'");
            self.turns.remove(&member.turn);
            member.turn = Turn::new(*other, member.turn.times + 1);
            self.turns.insert(member.turn);
        }
        self.times += others.len() as u64;
        Tell {
            peer,
            release,
            gates,
            others,
        }
    }

    /// Adds some that fit and are not there yet. Any of all, so that who came at the same time does not know the same few and nobody else, and a chunk
    /// is never far from anybody; but of each two those that fewer were told of, so that all get about as many links.
    fn draw(&self, peer: &PeerId, count: usize, others: &mut Vec<PeerId>, fits: impl Fn(&PeerId) -> bool) {
        let times = self.members.get(peer).map_or(0, |member| member.told_of);
        let from = Turn {
            lot: lot(peer, times),
            peer: *peer,
            times: 0,
        };
        let all = self.turns.range(from..).chain(self.turns.range(..from));
        let fitting = all.filter(|turn| turn.peer != *peer && fits(&turn.peer) && !others.contains(&turn.peer));
        let mut some: Vec<Turn> = fitting.take(2 * count).copied().collect();
        some.sort_by_key(|turn| turn.times);
        others.extend(some.iter().take(count).map(|turn| turn.peer));
    }

    /// Those of a zone who have not all, by rank: one more than its gates, since none of these is told of itself.
    fn first_of(&self, zone: Zone, zones: &Zones) -> Vec<PeerId> {
        let reading = self.members.iter().filter(|(_, member)| member.has_part());
        let mut first: Vec<PeerId> = reading.map(|(peer, _)| *peer).filter(|peer| zones.of(peer) == zone).collect();
        first.sort_unstable_by_key(rank);
        first.truncate(GATES + 1);
        first
    }
}

#[cfg(test)]
mod tests;
