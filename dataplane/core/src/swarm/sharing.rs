//! What this node says to those who take part in a release with it: which chunks it holds while it has not all of them, and who else is
//! there. Decides what is said to whom and when; never says it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::links::{Connected, LINKS_MAX, Links};
use super::turn::{Turn, lot};
use super::zone::{GATES, Zone, Zones, rank};
use crate::chunk::{ChunkTag, ReleaseId};
use crate::limits::{COMING_CHUNKS_MAX, HAVE_CHUNKS_MAX, TOLD_PEERS_MAX};
use crate::peer::{PeerAt, PeerId};
use crate::time::Instant;
use crate::wire::{ClaimState, Coming, Have, Peers};

/// How long what is new waits for more of it.
const HAVE_EVERY: Duration = Duration::from_millis(25);

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

const _: () = assert!(LINKS_MAX <= OTHERS_MAX && OTHERS_MAX <= TOLD_PEERS_MAX);

/// Peers of other zones that one is told of, of those; and one that fetches for its zone what nobody there has.
const FAR_MIN: usize = 1;
const FAR_OF_GATES: usize = 6;

/// See the module.
#[derive(Debug, Default)]
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
}

/// A peer that has some of the release.
#[derive(Debug)]
struct Member {
    state: ClaimState,
    /// Chunks that it has said it holds.
    chunks_told: u64,
    /// How much of the log it was told; `None` before the first word.
    told: Option<usize>,
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
        Self { zone, ..Self::default() }
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
                .filter(|(peer, member)| member.state == ClaimState::Partial && is_near(peer));
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
                told: None,
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
        member.is_some_and(|member| member.state == ClaimState::Partial)
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
            self.have_at.get_or_insert(now + HAVE_EVERY);
        }
    }

    /// These chunks are held no more, of whatever release. Who was told that they are hears it when it asks; nobody else is told.
    pub fn on_lost(&mut self, chunks: &[ChunkTag]) {
        let lost: BTreeSet<ChunkTag> = chunks.iter().copied().collect();
        for swarm in self.releases.values_mut().filter(|swarm| !swarm.held.is_disjoint(&lost)) {
            swarm.held.retain(|chunk| !lost.contains(chunk));
            for member in swarm.members.values_mut() {
                let told = &swarm.log[..member.told.unwrap_or(0)];
                let gone = told.iter().filter(|chunk| lost.contains(chunk)).count();
                member.told = member.told.map(|told| told - gone);
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
            swarm.members.values_mut().for_each(|member| member.told = None);
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
            let parts = swarm
                .members
                .iter_mut()
                .filter(|(_, member)| member.state == ClaimState::Partial);
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
                let chunks: Vec<ChunkTag> = swarm.log[from..to].iter().copied().filter(|tag| !knows(peer, *tag)).collect();
                if is_first || !chunks.is_empty() {
                    let release = *release;
                    haves.push((*peer, Have { release, chunks }));
                }
            }
        }
        haves
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
            if member.state == ClaimState::Partial {
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
        links.on_told(now, told.peers, &connected(members))
    }

    /// Others say who in this zone fetches for it what nobody there has. Those of them that this node is to go to.
    pub fn on_gates_told(&mut self, told: Peers) -> Vec<PeerAt> {
        let Swarm { links, members, .. } = self.releases.entry(told.release).or_default();
        links.on_gates_told(told.peers, &connected(members))
    }

    /// A peer could not be reached. The releases for which others told of it, and whom to go to in its place.
    pub fn on_unreached(&mut self, now: Instant, peer: &PeerId) -> Vec<(ReleaseId, Vec<PeerAt>)> {
        let releases = self
            .releases
            .iter_mut()
            .filter_map(|(release, Swarm { links, members, .. })| {
                let instead = links.on_unreached(now, peer, &connected(members))?;
                Some((*release, instead))
            });
        releases.collect()
    }
}

fn connected(members: &BTreeMap<PeerId, Member>) -> Connected<impl Fn(&PeerId) -> bool> {
    Connected {
        count: members.len(),
        is_it: |peer: &PeerId| members.contains_key(peer),
    }
}

impl Swarm {
    fn remove(&mut self, peer: &PeerId) {
        if let Some(member) = self.members.remove(peer) {
            self.turns.remove(&member.turn);
            self.times -= u64::from(member.turn.times);
        }
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
        let reading = self.members.iter().filter(|(_, member)| member.state == ClaimState::Partial);
        let mut first: Vec<PeerId> = reading.map(|(peer, _)| *peer).filter(|peer| zones.of(peer) == zone).collect();
        first.sort_unstable_by_key(rank);
        first.truncate(GATES + 1);
        first
    }
}

#[cfg(test)]
mod tests {
    use crate::chunk::ChunkId;

    use super::*;

    fn release() -> ReleaseId {
        ReleaseId(ChunkId::of(b"release"))
    }

    fn peer(n: u16) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    fn tag(n: u64) -> ChunkTag {
        ChunkTag::from_bytes(n.to_be_bytes())
    }

    fn at(n: u16) -> PeerAt {
        PeerAt {
            peer: peer(n),
            addrs: vec![([10, 0, 0, 1], 7411).into()],
        }
    }

    fn ms(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn who_has_a_part_is_told_each_chunk_once_and_at_first_that_there_will_be_some() {
        let mut sharing = Sharing::default();
        let said = |sharing: &mut Sharing, now| -> Vec<Vec<ChunkTag>> {
            let haves = sharing.poll_have(now, |_| true, |_, chunk| chunk == tag(9));
            haves.into_iter().map(|(_, have)| have.chunks).collect()
        };
        sharing.on_claim(ms(0), release(), peer(1), ClaimState::Complete);
        assert_eq!(said(&mut sharing, ms(0)), [[]; 0], "who has all needs nothing");
        sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
        assert_eq!(said(&mut sharing, ms(0)), [vec![]]);
        for n in [1, 2, 2, 9] {
            sharing.on_held(ms(10), release(), tag(n), 1);
        }
        assert_eq!(sharing.have_at, Some(ms(10) + HAVE_EVERY));
        assert_eq!(said(&mut sharing, ms(11)), [[]; 0], "more may come");
        assert_eq!(said(&mut sharing, ms(40)), [vec![tag(1), tag(2)]], "it has the third itself");
        assert_eq!((said(&mut sharing, ms(90)), sharing.have_at), (vec![], None));
        sharing.on_path_gone(ms(100), &peer(1));
        assert_eq!(
            said(&mut sharing, ms(200)),
            [vec![tag(1), tag(2)]],
            "it may have been lost with the path"
        );
        sharing.on_peer_gone(&peer(1));
        sharing.on_held(ms(300), release(), tag(3), 1);
        assert_eq!(said(&mut sharing, ms(400)), [[]; 0]);
    }

    #[test]
    fn what_is_gone_is_told_to_nobody_and_what_is_left_once() {
        let mut sharing = Sharing::default();
        let said = |sharing: &mut Sharing, now, to: u16| -> Vec<ChunkTag> {
            let haves = sharing.poll_have(now, |_| true, |_, _| false);
            haves
                .into_iter()
                .filter(|(told, _)| *told == peer(to))
                .flat_map(|(_, have)| have.chunks)
                .collect()
        };
        sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
        (1..5).for_each(|n| sharing.on_held(ms(0), release(), tag(n), 10));
        assert_eq!(said(&mut sharing, ms(100), 1), [1, 2, 3, 4].map(tag));
        sharing.on_lost(&[tag(1), tag(3), tag(77)]);
        assert_eq!(sharing.held(&release()), Some((2, 20)));
        sharing.on_held(ms(200), release(), tag(5), 10);
        sharing.on_claim(ms(200), release(), peer(2), ClaimState::Partial);
        assert_eq!(said(&mut sharing, ms(300), 2), [2, 4, 5].map(tag), "a newcomer");
        sharing.on_held(ms(400), release(), tag(1), 10);
        assert_eq!(
            said(&mut sharing, ms(500), 1),
            [tag(1)],
            "the fifth was told with the newcomer's"
        );
        sharing.on_lost(&[1, 2, 4, 5].map(tag));
        assert_eq!(sharing.held(&release()), None);
    }

    #[test]
    fn much_is_said_in_pieces() {
        let mut sharing = Sharing::default();
        let count = 3 * HAVE_CHUNKS_MAX as u64 - 1;
        (0..count).for_each(|n| sharing.on_held(ms(0), release(), tag(n), 1));
        sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
        let mut said = Vec::new();
        while let Some(now) = sharing.have_at {
            for (_, have) in sharing.poll_have(now, |_| true, |_, _| false) {
                assert!(have.chunks.len() <= HAVE_CHUNKS_MAX);
                said.extend(have.chunks);
            }
        }
        assert_eq!(said, (0..count).map(tag).collect::<Vec<_>>());
    }

    #[test]
    fn those_who_take_part_are_told_of_each_other_all_alike() {
        let mut sharing = Sharing::default();
        sharing.on_claim(ms(0), release(), peer(0), ClaimState::Complete);
        for n in 1..100 {
            sharing.on_claim(ms(0), release(), peer(n), ClaimState::Partial);
        }
        let mut met = BTreeSet::new();
        let mut times: BTreeMap<PeerId, usize> = BTreeMap::new();
        for round in 0..8 {
            let told = sharing.poll_peers(ms(0) + PEERS_EVERY * round);
            assert_eq!(told.len(), 99);
            let is_right = |tell: &Tell| tell.others.len() == OTHERS_MAX && !tell.others.contains(&tell.peer);
            assert!(told.iter().all(|tell| is_right(tell) && tell.gates.is_empty()));
            let others = told.iter().flat_map(|tell| &tell.others);
            others.for_each(|other| *times.entry(*other).or_default() += 1);
            let (least, most) = (times.values().min().copied(), times.values().max().copied());
            assert!(times.len() == 100 && most <= least.map(|times| times + 10), "{times:?}");
            met.extend(
                told.into_iter()
                    .find(|tell| tell.peer == peer(5))
                    .expect("it has a part")
                    .others,
            );
            assert!(
                sharing.poll_peers(ms(0) + PEERS_EVERY * round).is_empty(),
                "not again so soon"
            );
        }
        assert!(met.len() > 60, "others each time: {}", met.len());
    }

    /// In a swarm that has been there for a while newcomers would be told of nobody but newcomers.
    #[test]
    fn newcomers_are_told_of_those_who_were_there_before() {
        let mut sharing = Sharing::default();
        (0..50).for_each(|n| sharing.on_claim(ms(0), release(), peer(n), ClaimState::Partial));
        (0..8).for_each(|round| drop(sharing.poll_peers(ms(0) + PEERS_EVERY * round)));
        let now = ms(1) + PEERS_EVERY * 7;
        (50..70).for_each(|n| sharing.on_claim(now, release(), peer(n), ClaimState::Partial));
        let told = sharing.poll_peers(now);
        let of_old = |others: &[PeerId]| others.iter().filter(|other| **other < peer(50)).count();
        let all: usize = told.iter().map(|tell| of_old(&tell.others)).sum();
        assert_eq!(told.len(), 20);
        assert!(all > 20 * OTHERS_MAX / 3, "{all}");
        (0..70).for_each(|n| sharing.on_peer_gone(&peer(n)));
        let swarm = &sharing.releases[&release()];
        assert!(swarm.members.is_empty() && swarm.turns.is_empty());
    }

    /// Where each is linked to the few that came right before it, a chunk goes through all of them to reach the last.
    #[test]
    fn those_who_come_one_after_the_other_are_told_of_any_of_those_before_and_get_as_many_links() {
        const COUNT: u16 = 300;
        let mut sharing = Sharing::default();
        let (mut distance, mut links) = (0, BTreeMap::<PeerId, usize>::new());
        for n in 0..COUNT {
            sharing.on_claim(ms(0), release(), peer(n), ClaimState::Partial);
            for tell in sharing.poll_peers(ms(0)) {
                let taken = tell.others.iter().take(LINKS_MAX);
                for other in taken.clone().chain(taken.map(|_| &tell.peer)) {
                    *links.entry(*other).or_default() += 1;
                }
                let before = tell.others.iter().map(|other| (0..n).rev().position(|m| peer(m) == *other));
                distance += before.map(|before| before.expect("it was there")).sum::<usize>() / tell.others.len();
            }
        }
        // Any of those before are 75 away on average, the last sixteen eight.
        assert!(distance / usize::from(COUNT) > 40, "{distance}");
        let most = links.values().max().copied();
        assert!(most < Some(2 * 2 * LINKS_MAX), "{most:?} of {}", 2 * LINKS_MAX);
    }

    #[test]
    fn who_comes_and_goes_is_told_no_more_often() {
        let mut sharing = Sharing::default();
        sharing.on_claim(ms(0), release(), peer(0), ClaimState::Complete);
        for n in 0..10 {
            sharing.on_claim(ms(n), release(), peer(1), ClaimState::Partial);
            sharing.on_peer_gone(&peer(1));
        }
        sharing.on_claim(ms(10), release(), peer(1), ClaimState::Partial);
        for round in 0..3 {
            assert_eq!(sharing.poll_peers(ms(20) + PEERS_EVERY * round).len(), 1, "round {round}");
        }
        assert_eq!(sharing.rounds.len(), 2, "one for each that takes part");
    }

    /// Peers that take part from two zones by turns, and what each is told first.
    fn told_in_zones(count: u16) -> Vec<Tell> {
        let mut sharing = Sharing::new(Zone::of("a"));
        for n in 0..count {
            sharing.on_zone(peer(n), Zone::of(if n % 2 == 0 { "a" } else { "b" }));
            sharing.on_claim(ms(0), release(), peer(n), ClaimState::Partial);
        }
        sharing.poll_peers(ms(0))
    }

    #[test]
    fn where_there_are_zones_each_is_told_of_its_gates_and_mostly_of_its_own() {
        let told = told_in_zones(80);
        let zone = |peer: &PeerId| peer.as_bytes()[1] % 2;
        let mut by_rank: Vec<PeerId> = (0..80).map(peer).collect();
        by_rank.sort_unstable_by_key(rank);
        for tell in &told {
            let own = by_rank.iter().filter(|other| zone(other) == zone(&tell.peer));
            let gates: Vec<PeerId> = own
                .clone()
                .filter(|other| **other != tell.peer)
                .take(GATES)
                .copied()
                .collect();
            assert_eq!(tell.gates, gates, "of its zone, and all are told of the same");
            let is_gate = own.take(GATES).any(|gate| *gate == tell.peer);
            let far = |others: &[PeerId]| others.iter().filter(|other| zone(other) != zone(&tell.peer)).count();
            assert_eq!(far(&tell.others), if is_gate { FAR_OF_GATES } else { FAR_MIN });
            assert_eq!(far(&tell.others[..LINKS_MAX]), if is_gate { FAR_OF_GATES } else { 0 });
            assert_eq!(tell.others.len(), OTHERS_MAX);
            assert!(!tell.others.contains(&tell.peer) && tell.gates.iter().all(|gate| !tell.others.contains(gate)));
        }
        let alone = &told_in_zones(2)[0];
        assert_eq!((alone.gates.len(), alone.others.len()), (0, 1));
    }

    #[test]
    fn what_crosses_is_told_to_those_near_who_have_not_all() {
        let mut sharing = Sharing::new(Zone::of("a"));
        for (n, zone, state) in [
            (1, "a", ClaimState::Partial),
            (2, "b", ClaimState::Partial),
            (3, "a", ClaimState::Complete),
        ] {
            assert_eq!(sharing.on_zone(peer(n), Zone::of(zone)), zone == "b");
            sharing.on_claim(ms(0), release(), peer(n), state);
        }
        assert!(!Sharing::default().on_zone(peer(1), Zone::of("")), "no label is one zone");
        for (chunk, is_coming) in [(1, true), (2, true), (2, false)] {
            sharing.on_crossing(ms(100), release(), tag(chunk), is_coming);
        }
        let coming = Coming {
            release: release(),
            coming: vec![tag(1)],
            not_coming: vec![tag(2)],
        };
        assert!(sharing.poll_coming(ms(100)).is_empty(), "more may come");
        assert_eq!(sharing.poll_coming(ms(100) + COMING_EVERY), [(peer(1), coming)]);
        assert!(sharing.poll_coming(ms(999)).is_empty());
    }

    #[test]
    fn a_release_that_was_whole_and_lost_something_is_told_of_from_the_start() {
        let mut sharing = Sharing::default();
        assert_eq!(sharing.held(&release()), None);
        (0..9).chain([3]).for_each(|n| sharing.on_held(ms(0), release(), tag(n), 5));
        assert_eq!(sharing.held(&release()), Some((9, 45)));
        sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
        assert_eq!(sharing.poll_have(ms(0), |_| true, |_, _| false).len(), 1);
        sharing.on_complete(&release());
        assert_eq!(sharing.held(&release()), None);
        sharing.on_held(ms(100), release(), tag(3), 1);
        let said = sharing.poll_have(ms(200), |_| true, |_, _| false);
        let chunks = vec![tag(3)];
        let release = release();
        assert_eq!(said, [(peer(1), Have { release, chunks })]);
    }

    #[test]
    fn what_a_peer_has_told_counts_as_long_as_it_takes_part() {
        let mut sharing = Sharing::default();
        sharing.on_chunks_told(&release(), &peer(1), 7);
        assert_eq!(sharing.chunks_told_by(&release(), &peer(1)), 0, "it takes no part");
        sharing.on_claim(ms(0), release(), peer(1), ClaimState::Partial);
        sharing.on_chunks_told(&release(), &peer(1), 7);
        sharing.on_chunks_told(&release(), &peer(1), 2);
        assert_eq!(sharing.chunks_told_by(&release(), &peer(1)), 9);
        assert_eq!(sharing.chunks_told_by(&release(), &peer(2)), 0);
        sharing.on_peer_gone(&peer(1));
        assert_eq!(sharing.chunks_told_by(&release(), &peer(1)), 0);
    }

    #[test]
    fn some_of_those_told_of_are_gone_to_and_another_if_one_cannot_be_reached() {
        let mut sharing = Sharing::default();
        sharing.on_claim(ms(0), release(), peer(3), ClaimState::Partial);
        let all = || Peers {
            release: release(),
            peers: (0..1000).map(at).collect(),
        };
        let links = sharing.on_told(ms(0), all());
        assert_eq!(links.len(), LINKS_MAX);
        assert!(!links.contains(&at(3)), "it is here already");
        assert!(sharing.on_told(ms(0), all()).is_empty());
        let [(of, others)] = &sharing.on_unreached(ms(0), &links[0].peer)[..] else {
            panic!("one release")
        };
        assert_eq!((*of, others.len()), (release(), 1));
        assert!(!links.contains(&others[0]));
        assert!(sharing.on_unreached(ms(0), &peer(5000)).is_empty());
    }

    #[test]
    fn who_is_named_by_a_link_is_gone_to_whether_or_not_it_can_be_reached() {
        let mut sharing = Sharing::default();
        sharing.on_named(&release(), &peer(0));
        let all = |count| Peers {
            release: release(),
            peers: (0..count).map(at).collect(),
        };
        let links = sharing.on_told(ms(0), all(LINKS_MAX as u16 + 1));
        let [named, spare] = [links[0].peer, peer(LINKS_MAX as u16)];
        for peer in [named, spare] {
            sharing.on_named(&release(), &peer);
            assert_eq!(sharing.on_unreached(ms(0), &peer), [], "it is nobody's word that was wrong");
        }
        let told = sharing.on_told(
            ms(0),
            Peers {
                release: release(),
                peers: vec![at(1000), at(1001)],
            },
        );
        assert_eq!(told, [at(1000)], "there is room for one more");
    }
}
