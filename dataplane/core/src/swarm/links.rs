//! Whom a node goes to because others told of them.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::zone::{GATES, rank};
use crate::peer::{PeerAt, PeerId};
use crate::time::Instant;

/// Peers of a release that this node goes to because others told of them, if it is not told another number. About as many come to it, since all
/// are told of alike.
pub const LINKS: usize = 10;

/// Whoever has fewer connections than its links and so many after a while goes to more: those who came last nobody goes to, and each of their few
/// sources has others to serve. As all of its connections are given alike, who has few gets less than its line takes until the end.
const LACKING: usize = 10;
const WHILE: Duration = Duration::from_millis(500);

/// Gates of the own zone to go to beside those: there are others until all have come.
const GATE_LINKS: usize = 2 * GATES;

/// Peers to go to beside all those, one at a time, while others leave this node further and further behind.
const FURTHER_MAX: usize = 10;

/// Peers remembered beside those, for when one of them cannot be reached; the one told first is forgotten for a new one.
const SPARE_MAX: usize = 256;

/// Of one release.
#[derive(Debug, Default)]
pub(super) struct Links {
    peers: BTreeSet<PeerId>,
    /// Those of the own zone that others called gates, best first, each with its rank.
    gates: BTreeSet<(u64, PeerId)>,
    spare: VecDeque<PeerAt>,
    /// Those gone to because others left this node behind.
    further: BTreeSet<PeerId>,
    /// When others were told of first.
    since: Option<Instant>,
}

/// Who takes part in the release and is connected.
pub(super) struct Connected<F> {
    pub(super) count: usize,
    /// Peers to go to at most, but for gates and where there are few connections.
    pub(super) links: usize,
    pub(super) is_it: F,
}

impl<F> Connected<F> {
    /// Connections, those to and those from it together, below which more are looked for.
    fn least(&self) -> usize {
        self.links + LACKING
    }
}

impl Links {
    /// This node goes to the peer on another account.
    pub(super) fn on_named(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
        self.further.remove(peer);
        self.spare.retain(|spare| spare.peer != *peer);
    }

    /// Others say who else is there. Those of them to go to.
    pub(super) fn on_told(
        &mut self,
        now: Instant,
        told: Vec<PeerAt>,
        connected: &Connected<impl Fn(&PeerId) -> bool>,
    ) -> Vec<PeerAt> {
        self.since.get_or_insert(now);
        for told in told {
            if self.goes_to(&told.peer) || (connected.is_it)(&told.peer) {
                continue;
            }
            self.spare.retain(|spare| spare.peer != told.peer);
            if self.spare.len() == SPARE_MAX {
                self.spare.pop_front();
            }
            self.spare.push_back(told);
        }
        self.take(now, connected)
    }

    /// Others say who are the gates of the own zone. Those of them to go to.
    pub(super) fn on_gates_told(
        &mut self,
        mut gates: Vec<PeerAt>,
        connected: &Connected<impl Fn(&PeerId) -> bool>,
    ) -> Vec<PeerAt> {
        gates.truncate(GATES);
        // Whoever names ever better ones may lie.
        let most = connected.links + connected.least() + 2 * GATE_LINKS;
        gates.retain(|PeerAt { peer, .. }| {
            // Each names the first of those it knows itself, so better ones are heard of later.
            let is_news = self.peers.len() < most && self.gates.insert((rank(peer), *peer));
            let is_kept = self.gates.len() <= GATE_LINKS || self.gates.pop_last().is_some_and(|(_, last)| last != *peer);
            is_news && is_kept && !(connected.is_it)(peer) && !self.further.contains(peer) && self.peers.insert(*peer)
        });
        self.spare.retain(|spare| !self.peers.contains(&spare.peer));
        gates
    }

    /// Others leave this node behind. One more to go to, if there is any.
    pub(super) fn on_lag(&mut self, connected: &Connected<impl Fn(&PeerId) -> bool>) -> Option<PeerAt> {
        if self.further.len() == FURTHER_MAX {
            return None;
        }
        let told = std::iter::from_fn(|| self.spare.pop_front()).find(|told| !(connected.is_it)(&told.peer))?;
        self.further.insert(told.peer);
        Some(told)
    }

    /// Nobody is needed any more.
    pub(super) fn on_complete(&mut self) {
        self.spare.clear();
    }

    /// The peer could not be reached. Whom to go to in its place; `None` where it was none of these.
    pub(super) fn on_unreached(
        &mut self,
        now: Instant,
        peer: &PeerId,
        connected: &Connected<impl Fn(&PeerId) -> bool>,
    ) -> Option<Vec<PeerAt>> {
        self.gates.remove(&(rank(peer), *peer));
        if self.further.remove(peer) {
            return Some(Vec::new());
        }
        self.peers.remove(peer).then(|| self.take(now, connected))
    }

    fn goes_to(&self, peer: &PeerId) -> bool {
        self.peers.contains(peer) || self.further.contains(peer)
    }

    fn take(&mut self, now: Instant, connected: &Connected<impl Fn(&PeerId) -> bool>) -> Vec<PeerAt> {
        let coming = self
            .peers
            .union(&self.further)
            .filter(|peer| !(connected.is_it)(peer))
            .count();
        let is_alone = self.since.is_some_and(|since| now.since(since) >= WHILE);
        let least = connected.least();
        let lacking = if is_alone {
            least.saturating_sub(connected.count + coming)
        } else {
            0
        };
        let most = connected.links.max((self.peers.len() + lacking).min(connected.links + least));
        let mut new = Vec::new();
        while self.peers.len() < most
            && let Some(told) = self.spare.pop_front()
        {
            if !(connected.is_it)(&told.peer) && self.peers.insert(told.peer) {
                new.push(told);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(from: u16, count: u16) -> Vec<PeerAt> {
        let at = |n: u16| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            PeerAt {
                peer: PeerId::from_bytes(bytes),
                addrs: vec![([10, 0, 0, 1], 7411).into()],
            }
        };
        (from..from + count).map(at).collect()
    }

    const NOBODY: Connected<fn(&PeerId) -> bool> = Connected {
        count: 0,
        links: LINKS,
        is_it: |_| false,
    };

    #[test]
    fn who_has_few_connections_after_a_while_goes_to_more() {
        let mut links = Links::default();
        let (start, later) = (Instant::ZERO, Instant::ZERO + WHILE);
        let first = links.on_told(start, told(0, 32), &NOBODY);
        assert_eq!(first.len(), LINKS);
        let is_first = |peer: &PeerId| first.iter().any(|first| first.peer == *peer);
        let with = |count| Connected {
            count,
            links: LINKS,
            is_it: is_first,
        };
        assert_eq!(links.on_told(start, told(0, 32), &with(LINKS)), []);
        assert_eq!(
            links.on_told(later, told(0, 32), &with(LINKS + LACKING)),
            [],
            "as many came to it"
        );
        let more = links.on_told(later, told(0, 32), &with(LINKS));
        assert_eq!(more.len(), LACKING);
        assert_eq!(links.on_told(later, told(0, 32), &with(LINKS)), [], "they are on their way");
        let without_end = (0..20)
            .flat_map(|n| links.on_told(later, told(100 + 16 * n, 16), &with(0)))
            .count();
        assert!(without_end <= LINKS + LACKING, "{without_end}");
    }

    #[test]
    fn who_is_told_another_number_goes_to_so_many() {
        for number in [1, 4, 16] {
            let connected = Connected { links: number, ..NOBODY };
            let mut links = Links::default();
            assert_eq!(links.on_told(Instant::ZERO, told(0, 32), &connected).len(), number);
            let later = Instant::ZERO + WHILE;
            assert_eq!(links.on_told(later, told(0, 32), &connected).len(), LACKING);
        }
    }

    #[test]
    fn who_lags_goes_to_one_more_at_a_time_and_not_without_end() {
        let mut links = Links::default();
        assert_eq!(links.on_lag(&NOBODY), None, "nobody is known");
        assert_eq!(links.on_told(Instant::ZERO, told(0, 32), &NOBODY), told(0, LINKS as u16));
        let with_first = Connected {
            count: 1,
            links: LINKS,
            is_it: |peer: &PeerId| *peer == told(LINKS as u16, 1)[0].peer,
        };
        let further: Vec<PeerAt> = std::iter::from_fn(|| links.on_lag(&with_first)).collect();
        assert_eq!(
            further,
            told(LINKS as u16 + 1, FURTHER_MAX as u16),
            "the first of the others is connected"
        );
        let gone = &further[0].peer;
        assert_eq!(
            links.on_unreached(Instant::ZERO, gone, &NOBODY),
            Some(Vec::new()),
            "none at once"
        );
        assert_eq!(
            links.on_lag(&with_first).map(|told| told.peer == *gone),
            Some(false),
            "another one"
        );
    }

    /// So many peers that others call gates, the best last.
    fn gates(from: u16, count: u16) -> Vec<PeerAt> {
        let mut gates = told(from, count);
        gates.sort_unstable_by_key(|gate| std::cmp::Reverse(rank(&gate.peer)));
        gates
    }

    #[test]
    fn gates_are_gone_to_however_many_others_are_and_better_ones_when_they_are_heard_of() {
        let mut links = Links::default();
        assert_eq!(links.on_told(Instant::ZERO, told(0, 32), &NOBODY).len(), LINKS);
        let gates = gates(100, 2 * GATE_LINKS as u16);
        let mut go = |gates: &[PeerAt]| links.on_gates_told(gates.to_vec(), &NOBODY);
        assert_eq!(go(&gates), gates[..GATES], "so many of those that one names");
        assert!(go(&gates).is_empty(), "they are on their way");
        for four in gates.chunks(GATES).skip(1) {
            assert_eq!(go(four), four, "each is better than those before");
        }
        assert!(go(&gates).is_empty(), "worse than all that are known");
    }

    #[test]
    fn who_names_ever_better_gates_is_not_followed_without_end() {
        let mut links = Links::default();
        let gone_to = gates(100, 1000)
            .chunks(GATES)
            .flat_map(|four| links.on_gates_told(four.to_vec(), &NOBODY))
            .count();
        assert!((2 * GATE_LINKS..=60).contains(&gone_to), "{gone_to}");
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for_and_the_latest_told() {
        let mut links = Links::default();
        links.on_told(Instant::ZERO, told(0, 1000), &NOBODY);
        assert_eq!(links.spare.len(), SPARE_MAX - LINKS);
        assert_eq!(links.spare.back(), told(999, 1).first());
    }
}
