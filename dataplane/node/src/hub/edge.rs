//! What an edge pulls through for whom: which releases it may take part in because others ask it for them, how many at a time, and who waits
//! for which chunk. Decides; the hub carries it out.
//!
//! ```text
//!          asked for             an upstream has it         its root is here         its manifest is read
//! (none) ------------> Questioned ------------------> Sought ------------------> Read ----------------------> Open: every chunk of it
//!    ^                     |              listed ------^ |                         |                            |  may be asked for
//!    +--- nobody has it, or it is wrong: ask again later +-------------------------+   not asked for long, and another needs the place
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ares_core::admission::Access;
use ares_core::chunk::{ChunkId, ReleaseId};
use ares_core::peer::{PathId, PeerAt, PeerId};
use ares_core::swarm::Class;
use ares_core::time::Instant;
use ares_core::wire::AnswerHead;

use crate::api::{EdgeConfig, WantId};
use crate::edge::Contents;

/// Releases that are pulled through at a time, those not yet open among them.
const RELEASES_MAX: usize = 64;

/// A release that nobody has asked for anything of for so long makes room for another.
const RESTED: Duration = Duration::from_secs(60);

/// Releases that nobody here knows may be asked of upstreams so many at once, and so many more each second: what strangers can make an edge
/// say. A peer hears 8192 frames a second before it takes it for abuse.
const QUESTIONS_MAX: u32 = 64;
const QUESTIONS_PER_S: u32 = 16;

/// Chunks pulled at a time, and of these for one path. What of them is in memory is bounded by the scheduler.
const PULLS_MAX: usize = 8192;
const PULLS_PER_PATH_MAX: usize = 2048;

/// How long a release that could not be had is not sought again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long upstreams are waited for, to say whether they have a release.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Edge {
    config: EdgeConfig,
    /// Of the upstreams those of the config; behind them are the publishers, wherever they are.
    named: usize,
    releases: BTreeMap<ReleaseId, Pulled>,
    gone: Vec<ReleaseId>,
    pulls: BTreeMap<ChunkId, Pull>,
    pulls_of: BTreeMap<PathId, usize>,
    questions_left: u32,
    questions_at: Instant,
}

/// A chunk that is being fetched.
struct Pull {
    /// The most urgent in which it was asked for.
    class: Class,
    /// Who has asked for it.
    paths: BTreeSet<PathId>,
}

struct Pulled {
    stage: Stage,
    asked_at: Instant,
}

enum Stage {
    /// Upstreams are asked whether they have it; these have said that they have nothing of it. Nothing is fetched on the word of anybody else.
    Questioned {
        lack: BTreeSet<PeerId>,
    },
    /// Its root is wanted. As above, of all who are to be asked for it.
    Sought {
        want: WantId,
        lack: BTreeSet<PeerId>,
    },
    /// Its manifest is being read.
    Read,
    Open(Contents),
    /// It could not be had.
    Shut,
}

impl Pulled {
    fn may_be_asked_again(&self, now: Instant) -> bool {
        let rested = now.since(self.asked_at);
        match self.stage {
            Stage::Shut => rested >= AGAIN_AFTER,
            Stage::Questioned { .. } => rested >= ANSWER_MAX,
            Stage::Sought { .. } | Stage::Read | Stage::Open(_) => false,
        }
    }
}

/// What is to be done for a release that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask these whether they have it.
    Question(Vec<PeerAt>),
    /// Want its root, of these; `on_sought` follows.
    Seek(Vec<PeerAt>),
}

/// A release that nobody who is to be asked has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacked {
    /// Nothing of it was wanted yet.
    Question,
    /// Its root was.
    Root(WantId),
}

impl Edge {
    pub(super) fn new(now: Instant, config: EdgeConfig, access: &Access) -> Self {
        let mut edge = Self {
            named: config.upstreams.len(),
            config,
            releases: BTreeMap::new(),
            gone: Vec::new(),
            pulls: BTreeMap::new(),
            pulls_of: BTreeMap::new(),
            questions_left: QUESTIONS_MAX,
            questions_at: now,
        };
        edge.on_access(access);
        edge
    }

    /// Publishers are upstreams, too.
    pub(super) fn on_access(&mut self, access: &Access) {
        self.config.upstreams.truncate(self.named);
        let publishers: Vec<PeerId> = access.publishers().filter(|peer| !self.is_upstream(peer)).collect();
        let somewhere = |peer| PeerAt { peer, addrs: Vec::new() };
        self.config.upstreams.extend(publishers.into_iter().map(somewhere));
    }

    /// Whether this peer is asked on behalf of others, and so is not told that what it has is to be had here.
    pub(super) fn is_upstream(&self, peer: &PeerId) -> bool {
        self.config.upstreams.iter().any(|upstream| upstream.peer == *peer)
    }

    /// A peer takes part in a release. What is to be done about that, if anything.
    pub(super) fn on_asked(&mut self, now: Instant, release: ReleaseId) -> Option<Step> {
        match self.releases.get_mut(&release) {
            None => {}
            Some(known) if known.may_be_asked_again(now) => drop(self.releases.remove(&release)),
            Some(Pulled { stage: Stage::Shut, .. }) => return None,
            Some(known) => {
                known.asked_at = now;
                return None;
            }
        }
        let is_listed = self.config.releases.contains_key(&release);
        if !is_listed && (self.config.upstreams.is_empty() || !self.may_question(now)) {
            return None;
        }
        if self.releases.len() >= RELEASES_MAX && !self.make_room(now) {
            tracing::info!(%release, "not pulled through: {RELEASES_MAX} other releases are");
            return None;
        }
        if !is_listed {
            let lack = BTreeSet::new();
            self.insert(now, release, Stage::Questioned { lack });
            return Some(Step::Question(self.config.upstreams.clone()));
        }
        Some(Step::Seek(self.whom_to_ask(&release).cloned().collect()))
    }

    fn whom_to_ask(&self, release: &ReleaseId) -> impl Iterator<Item = &PeerAt> {
        let named = self.config.releases.get(release).into_iter().flatten();
        named.chain(&self.config.upstreams)
    }

    fn insert(&mut self, asked_at: Instant, release: ReleaseId, stage: Stage) {
        self.releases.insert(release, Pulled { stage, asked_at });
    }

    /// A peer says that it has something of a release. Whether that is a reason to seek it; `on_sought` follows.
    pub(super) fn on_had(&self, release: &ReleaseId, peer: &PeerId) -> bool {
        let is_questioned = matches!(
            self.releases.get(release),
            Some(Pulled {
                stage: Stage::Questioned { .. },
                ..
            })
        );
        is_questioned && self.is_upstream(peer)
    }

    /// Whether an answer of the peer is awaited: it is to be connected to.
    pub(super) fn questions(&self, peer: &PeerId) -> bool {
        let is_questioned = |pulled: &Pulled| matches!(&pulled.stage, Stage::Questioned { lack } if !lack.contains(peer));
        self.is_upstream(peer) && self.releases.values().any(is_questioned)
    }

    fn may_question(&mut self, now: Instant) -> bool {
        let more = (now.since(self.questions_at).as_millis() * u128::from(QUESTIONS_PER_S) / 1000).min(u128::from(QUESTIONS_MAX));
        if more > 0 {
            self.questions_left = (self.questions_left + more as u32).min(QUESTIONS_MAX);
            self.questions_at = now;
        }
        let left = self.questions_left.checked_sub(1);
        self.questions_left = left.unwrap_or(0);
        left.is_some()
    }

    /// Forgets the release that was not asked for longest, if any has rested for long enough.
    fn make_room(&mut self, now: Instant) -> bool {
        let is_idle = |pulled: &Pulled| match pulled.stage {
            Stage::Shut => true,
            Stage::Questioned { .. } => now.since(pulled.asked_at) >= ANSWER_MAX,
            Stage::Open(_) => now.since(pulled.asked_at) >= RESTED,
            Stage::Sought { .. } | Stage::Read => false,
        };
        let idle = self.releases.iter().filter(|(_, pulled)| is_idle(pulled));
        let oldest = idle.min_by_key(|(_, pulled)| pulled.asked_at).map(|(release, _)| *release);
        self.gone.extend(oldest);
        oldest.is_some_and(|release| self.releases.remove(&release).is_some())
    }

    /// Releases that are forgotten since this was last asked.
    pub(super) fn take_gone(&mut self) -> Vec<ReleaseId> {
        std::mem::take(&mut self.gone)
    }

    /// Its root is wanted now.
    pub(super) fn on_sought(&mut self, now: Instant, release: ReleaseId, want: WantId) {
        let lack = BTreeSet::new();
        self.insert(now, release, Stage::Sought { want, lack });
    }

    /// A peer says that it has nothing of a release. Whether all who are to be asked for it have said so, and it is given up.
    pub(super) fn on_lacked(&mut self, release: ReleaseId, peer: PeerId) -> Option<Lacked> {
        let asked: Vec<PeerId> = self.whom_to_ask(&release).map(|asked| asked.peer).collect();
        let stage = &mut self.releases.get_mut(&release)?.stage;
        let (lack, lacked) = match stage {
            Stage::Questioned { lack } => (lack, Lacked::Question),
            Stage::Sought { want, lack } => (lack, Lacked::Root(*want)),
            Stage::Read | Stage::Open(_) | Stage::Shut => return None,
        };
        if asked.contains(&peer) {
            lack.insert(peer);
        }
        let is_over = asked.iter().all(|asked| lack.contains(asked));
        if is_over {
            *stage = Stage::Shut;
        }
        is_over.then_some(lacked)
    }

    /// What became of wanting its root. Whether its manifest is to be read; else it is forgotten.
    pub(super) fn on_root(&mut self, release: ReleaseId, is_here: bool) -> bool {
        let Some(pulled) = self.releases.get_mut(&release) else {
            return false;
        };
        pulled.stage = if is_here { Stage::Read } else { Stage::Shut };
        is_here
    }

    /// Its chunks are known, or it cannot be had. Whether that is news.
    pub(super) fn on_contents(&mut self, release: ReleaseId, contents: Option<Contents>) -> bool {
        let Some(pulled) = self.releases.get_mut(&release) else {
            return false;
        };
        pulled.stage = contents.map_or(Stage::Shut, Stage::Open);
        true
    }

    /// Whether it is known to be there and not yet what it has.
    pub(super) fn is_opening(&self, release: &ReleaseId) -> bool {
        self.releases
            .get(release)
            .is_some_and(|pulled| !matches!(pulled.stage, Stage::Open(_)))
    }

    /// Whether all of it may be asked for here, as far as somebody else has it.
    pub(super) fn is_open(&self, release: &ReleaseId) -> bool {
        matches!(
            self.releases.get(release),
            Some(Pulled {
                stage: Stage::Open(_),
                ..
            })
        )
    }

    /// The releases of which that is so.
    pub(super) fn open(&self) -> Vec<ReleaseId> {
        let open = self.releases.keys().filter(|release| self.is_open(release));
        open.copied().collect()
    }

    /// A chunk that is not here is asked for over a path. The release that it is to be fetched for, or `None` where it is being fetched in as
    /// urgent a class; or what to answer. `takes_part`: whether that release is spoken of over the path.
    pub(super) fn on_pull(
        &mut self,
        now: Instant,
        path: PathId,
        chunk: ChunkId,
        class: Class,
        takes_part: impl Fn(&ReleaseId) -> bool,
    ) -> Result<Option<ReleaseId>, AnswerHead> {
        let count = self.pulls_of.get(&path).copied().unwrap_or(0);
        let has = |(release, pulled): &(&ReleaseId, &mut Pulled)| match &pulled.stage {
            Stage::Open(contents) => contents.has(chunk) && takes_part(release),
            _ => false,
        };
        let (release, pulled) = self.releases.iter_mut().find(has).ok_or(AnswerHead::NotHeld)?;
        pulled.asked_at = now;
        let known = self.pulls.get(&chunk).map(|pull| pull.class);
        if count >= PULLS_PER_PATH_MAX || (known.is_none() && self.pulls.len() >= PULLS_MAX) {
            return Err(AnswerHead::Busy);
        }
        let pull = self.pulls.entry(chunk).or_insert_with(|| Pull {
            class,
            paths: BTreeSet::new(),
        });
        pull.class = pull.class.min(class);
        if pull.paths.insert(path) {
            self.pulls_of.insert(path, count + 1);
        }
        Ok(known.is_none_or(|known| class < known).then_some(*release))
    }

    /// A chunk is here, or will not be. Who has asked for it.
    pub(super) fn on_pulled(&mut self, chunk: ChunkId) -> BTreeSet<PathId> {
        let paths = self.pulls.remove(&chunk).map(|pull| pull.paths).unwrap_or_default();
        for path in &paths {
            if let Some(count) = self.pulls_of.get_mut(path) {
                *count -= 1;
                if *count == 0 {
                    self.pulls_of.remove(path);
                }
            }
        }
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::testing::contents_of;

    fn chunk(n: usize) -> ChunkId {
        ChunkId::of(&n.to_le_bytes())
    }

    fn release(n: usize) -> ReleaseId {
        ReleaseId(chunk(n))
    }

    fn upstream(n: u8) -> PeerAt {
        PeerAt {
            peer: PeerId::from_bytes([n; 32]),
            addrs: vec![([10, 0, 0, n], 4227).into()],
        }
    }

    fn after(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    /// One that may pull release 0 from peer 1, and whatever these upstreams have.
    fn edge(upstreams: &[u8]) -> Edge {
        let config = EdgeConfig {
            releases: BTreeMap::from([(release(0), vec![upstream(1)])]),
            upstreams: upstreams.iter().copied().map(upstream).collect(),
            ..EdgeConfig::default()
        };
        Edge::new(Instant::ZERO, config, &Access::default())
    }

    fn open(edge: &mut Edge, now: Instant, n: usize, chunks: &[usize]) {
        assert!(edge.on_asked(now, release(n)).is_some(), "release {n}");
        edge.on_sought(now, release(n), WantId(n as u64));
        assert!(edge.on_root(release(n), true));
        let chunks: Vec<ChunkId> = chunks.iter().copied().map(chunk).collect();
        assert!(edge.on_contents(release(n), Some(contents_of(&chunks))));
    }

    #[test]
    fn only_what_is_allowed_is_sought_and_of_strangers_words_only_so_many() {
        let mut strict = edge(&[]);
        assert_eq!(strict.on_asked(after(0), release(1)), None, "nobody allows it");
        assert_eq!(strict.on_asked(after(0), release(0)), Some(Step::Seek(vec![upstream(1)])));
        strict.on_sought(after(0), release(0), WantId(7));
        assert_eq!(strict.on_asked(after(0), release(0)), None, "it is sought already");
        assert_eq!(strict.on_lacked(release(0), upstream(9).peer), None, "that one was not asked");
        assert_eq!(strict.on_lacked(release(0), upstream(1).peer), Some(Lacked::Root(WantId(7))));
        assert!(!strict.on_root(release(0), false));
        assert_eq!(strict.on_asked(after(0), release(0)), None, "not again so soon");
        assert!(strict.on_asked(after(1), release(0)).is_some());

        let mut free = edge(&[2, 3]);
        let question = Some(Step::Question(vec![upstream(2), upstream(3)]));
        assert_eq!(free.on_asked(after(0), release(5)), question);
        assert!(!free.on_had(&release(5), &upstream(9).peer), "a stranger's word is none");
        assert!(free.questions(&upstream(2).peer) && !free.questions(&upstream(9).peer));
        assert_eq!(free.on_lacked(release(5), upstream(2).peer), None);
        assert!(!free.questions(&upstream(2).peer) && free.on_had(&release(5), &upstream(3).peer));
        assert_eq!(free.on_lacked(release(5), upstream(3).peer), Some(Lacked::Question));
        assert_eq!(free.on_asked(after(0), release(5)), None, "not again so soon");
        let asked = |edge: &mut Edge, now| {
            let count = (10..500).filter(|n| edge.on_asked(now, release(*n)).is_some()).count();
            edge.releases.clear();
            count
        };
        assert_eq!(asked(&mut free, after(0)), QUESTIONS_MAX as usize - 1);
        assert_eq!(asked(&mut free, after(2)), 2 * QUESTIONS_PER_S as usize);
        assert_eq!(asked(&mut free, after(1000)), QUESTIONS_MAX as usize);
        assert!(
            free.on_asked(after(1000), release(0)).is_some(),
            "what is listed needs no asking"
        );
    }

    #[test]
    fn one_chunk_is_fetched_once_for_all_who_ask_and_no_other_than_of_the_release() {
        let mut edge = edge(&[]);
        open(&mut edge, after(0), 0, &[1, 2]);
        let (one, two) = (PathId(1), PathId(2));
        assert_eq!(
            edge.on_pull(after(0), one, chunk(1), Class::Bulk, |_| true),
            Ok(Some(release(0)))
        );
        assert_eq!(edge.on_pull(after(0), one, chunk(1), Class::Bulk, |_| true), Ok(None));
        assert_eq!(edge.on_pull(after(0), two, chunk(1), Class::Bulk, |_| true), Ok(None));
        assert_eq!(
            edge.on_pull(after(0), two, chunk(1), Class::Deadline, |_| true),
            Ok(Some(release(0))),
            "somebody waits for it now"
        );
        assert_eq!(edge.on_pull(after(0), one, chunk(1), Class::Deadline, |_| true), Ok(None));
        let not_held = Err(AnswerHead::NotHeld);
        assert_eq!(
            edge.on_pull(after(0), one, chunk(3), Class::Bulk, |_| true),
            not_held,
            "another release's"
        );
        assert_eq!(
            edge.on_pull(after(0), two, chunk(2), Class::Bulk, |_| false),
            not_held,
            "a stranger's"
        );
        assert_eq!(edge.on_pulled(chunk(1)), BTreeSet::from([one, two]));
        assert!(edge.pulls_of.is_empty());
        assert_eq!(
            edge.on_pull(after(0), one, chunk(1), Class::Bulk, |_| true),
            Ok(Some(release(0))),
            "anew"
        );
    }

    #[test]
    fn one_path_cannot_take_all_places() {
        let mut edge = edge(&[]);
        let all: Vec<usize> = (0..=PULLS_MAX).collect();
        open(&mut edge, after(0), 0, &all);
        let is_taken = |n: &usize| edge.on_pull(after(0), PathId(1), chunk(*n), Class::Bulk, |_| true).is_ok();
        assert_eq!((0..PULLS_MAX).rev().filter(is_taken).count(), PULLS_PER_PATH_MAX);
        assert_eq!(
            edge.on_pull(after(0), PathId(1), chunk(0), Class::Bulk, |_| true),
            Err(AnswerHead::Busy)
        );
        assert_eq!(
            edge.on_pull(after(0), PathId(2), chunk(0), Class::Bulk, |_| true),
            Ok(Some(release(0)))
        );
    }

    #[test]
    fn a_release_that_rests_makes_room() {
        let mut edge = edge(&[2]);
        for n in 0..RELEASES_MAX {
            open(&mut edge, after(n as u64 * 2), n + 1, &[n]);
        }
        let now = after(2 * RELEASES_MAX as u64);
        assert!(edge.on_pull(now, PathId(1), chunk(0), Class::Bulk, |_| true).is_ok());
        assert!(edge.on_asked(now, release(1000)).is_some());
        edge.on_sought(now, release(1000), WantId(0));
        assert!(
            edge.is_open(&release(1)) && !edge.is_open(&release(2)),
            "the one that rests longest"
        );
        let room = (2000..2100).filter(|n| {
            let is_asked = edge.on_asked(now + Duration::from_secs(4), release(*n)).is_some();
            if is_asked {
                edge.on_sought(now, release(*n), WantId(0));
            }
            is_asked
        });
        assert!(room.count() < RELEASES_MAX, "those that are asked for stay");
    }
}
