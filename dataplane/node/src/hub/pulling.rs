//! The hub of an edge: carries out what `edge` decides. What others ask for and is not here is wanted like anything else, so it is asked of
//! whoever has it, verified, stored once, and then sent to all who wait.

use std::collections::BTreeSet;
use std::time::Duration;

use ares_core::admission::Access;
use ares_core::chunk::{ChunkId, ChunkRef, ReleaseId};
use ares_core::peer::{PathId, PeerId};
use ares_core::swarm::{Class, FetchError, Unreached, Want, WantKey};
use ares_core::time::Instant;
use ares_core::wire::{AnswerHead, AskItem, ClaimState};
use crossbeam::channel::{Receiver, Sender, unbounded};

use super::edge::{Edge, Lacked, Step};
use super::{Hub, Waiter};
use crate::api::NodeConfig;
use crate::counters::add;
use crate::edge::{Contents, PATIENCE};
use crate::mailbox::ToShard;

/// How long a chunk that is pulled may take while nothing of its release comes.
const PULL_PATIENCE: Duration = Duration::from_secs(30);

/// What an edge's hub has beside those of others.
pub(super) struct Pulling {
    edge: Edge,
    /// What became of wants on behalf of others; for this very thread, which ends wants.
    ended: (Sender<Ended>, Receiver<Ended>),
    /// Releases that this node takes part in for others alone.
    lent: BTreeSet<ReleaseId>,
    /// Releases of which all is to be had here, because somebody else has all.
    relayed: BTreeSet<ReleaseId>,
}

struct Ended {
    what: Wanted,
    result: Result<(), FetchError>,
}

#[derive(Clone, Copy)]
enum Wanted {
    RootOf(ReleaseId),
    Chunk(ChunkId),
}

impl Pulling {
    /// `None` for a node that is no edge.
    pub(super) fn new(now: Instant, config: &NodeConfig) -> Option<Self> {
        config.edge.is_edge().then(|| Self {
            edge: Edge::new(now, config.edge.clone(), &config.access),
            ended: unbounded(),
            lent: BTreeSet::new(),
            relayed: BTreeSet::new(),
        })
    }

    /// Keys have other roles now.
    pub(super) fn on_access(&mut self, access: &Access) {
        self.edge.on_access(access);
    }

    /// Whether the peer is to say whether it has a release that others ask for.
    pub(super) fn questions(&self, peer: &PeerId) -> bool {
        self.edge.questions(peer)
    }

    /// Whether all of the release is to be had here, because somebody else has all.
    pub(super) fn relays(&self, release: &ReleaseId) -> bool {
        self.relayed.contains(release)
    }

    fn waiter(&self, what: Wanted) -> Waiter {
        let post = self.ended.0.clone();
        // The hub ends with its last waiters.
        Waiter::for_held(Box::new(move |result| drop(post.send(Ended { what, result }))))
    }
}

impl Hub {
    /// A peer has said how much of a release it has, and the scheduler knows.
    pub(super) fn on_takes_part(&mut self, now: Instant, peer: PeerId, release: ReleaseId, state: ClaimState) {
        let is_whole = self.claim_of(release) == ClaimState::Complete;
        let Some(pulling) = &mut self.pulling else { return };
        let edge = &mut pulling.edge;
        if edge.is_open(&release) {
            self.judge_relay(now, release);
        } else if state == ClaimState::None {
            match edge.on_lacked(release, peer) {
                Some(Lacked::Root(want)) => self.scheduler.on_cancel(now, WantKey(want.0)),
                Some(Lacked::Question) => self.take_no_part(now, release),
                None => {}
            }
        } else if edge.on_had(&release, &peer) {
            self.seek_root(now, release);
        } else if !edge.is_upstream(&peer) && !is_whole {
            let step = edge.on_asked(now, release);
            let gone = edge.take_gone();
            if step.is_some() && !self.interests.knows(&release) {
                pulling.lent.insert(release);
            }
            match step {
                Some(Step::Question(upstreams)) => {
                    self.on_hints(now, release, &upstreams);
                    // Whoever has said so before does not say it again.
                    let has_it = |(known, _): (ReleaseId, ClaimState)| known == release;
                    if upstreams
                        .iter()
                        .any(|upstream| self.scheduler.claims_of(&upstream.peer).any(has_it))
                    {
                        self.seek_root(now, release);
                    }
                }
                Some(Step::Seek(peers)) => {
                    self.on_hints(now, release, &peers);
                    self.seek_root(now, release);
                }
                None => {}
            }
            for release in gone {
                self.judge_relay(now, release);
                self.take_no_part(now, release);
            }
        }
    }

    fn seek_root(&mut self, now: Instant, release: ReleaseId) {
        let Some(pulling) = &mut self.pulling else { return };
        let want = Want {
            chunk: release.root(),
            place: None,
            class: Class::Deadline,
            release,
            patience: PATIENCE,
            unreached: Unreached::GiveUp,
        };
        let id = self.parts.want_ids.next();
        pulling.edge.on_sought(now, release, id);
        let waiter = pulling.waiter(Wanted::RootOf(release));
        self.on_fetch(now, id, want, waiter);
    }

    /// Whether all of a release is to be had here may have changed: then those who care are told.
    fn judge_relay(&mut self, now: Instant, release: ReleaseId) {
        let Some(pulling) = &mut self.pulling else { return };
        let is_relayed = pulling.edge.is_open(&release) && self.scheduler.is_whole_elsewhere(release);
        let has_changed = match is_relayed {
            true => pulling.relayed.insert(release),
            false => pulling.relayed.remove(&release),
        };
        if has_changed {
            self.announce(release);
            self.sharing.say_again(now);
        }
    }

    /// The chunks of a release are known, or not.
    pub(super) fn on_contents(&mut self, now: Instant, release: ReleaseId, contents: Result<Contents, String>) {
        let Some(pulling) = &mut self.pulling else { return };
        match &contents {
            Ok(_) => tracing::info!(%release, "pulled through for whoever asks"),
            Err(why) => tracing::warn!(%release, why, "not pulled through"),
        }
        if pulling.edge.on_contents(release, contents.ok()) {
            self.judge_relay(now, release);
            // Until now nobody was told even what is here.
            self.announce(release);
        }
    }

    /// A peer asks for what is not here.
    pub(super) fn on_pull(&mut self, now: Instant, path: PathId, items: Vec<AskItem>, class: Class) {
        for item in items {
            let Some(pulling) = &mut self.pulling else { return };
            let Some(peer) = self.paths.get(&path).map(|known| known.peer) else {
                return;
            };
            let access = &self.parts.config.access;
            let takes_part = |release: &ReleaseId| self.interests.was_told(&path, release) && access.may_have(&peer, release);
            match pulling.edge.on_pull(now, path, item.id, class, takes_part) {
                Ok(None) => {}
                Ok(Some(release)) => {
                    let chunk = ChunkRef {
                        id: item.id,
                        len: item.len,
                    };
                    let want = Want {
                        chunk,
                        place: None,
                        class,
                        release,
                        patience: PULL_PATIENCE,
                        unreached: Unreached::Refuse,
                    };
                    let (id, waiter) = (self.parts.want_ids.next(), pulling.waiter(Wanted::Chunk(item.id)));
                    self.on_fetch(now, id, want, waiter);
                }
                Err(refusal) => self.tell_pulled(path, item.id, Some(refusal)),
            }
        }
    }

    fn tell_pulled(&self, path: PathId, chunk: ChunkId, refusal: Option<AnswerHead>) {
        if refusal.is_some() {
            add(&self.parts.totals.refused_pulls, 1);
        }
        self.send_path(path, |path| ToShard::Pulled { path, chunk, refusal });
    }

    /// Tells who has waited what became of it. Whether there was anything to tell.
    pub(super) fn end_pulls(&mut self, now: Instant) -> bool {
        let Some(pulling) = &self.pulling else { return false };
        let ended: Vec<Ended> = pulling.ended.1.try_iter().collect();
        let is_any = !ended.is_empty();
        for Ended { what, result } in ended {
            match what {
                Wanted::RootOf(release) => self.on_root(now, release, result),
                Wanted::Chunk(chunk) => self.on_pulled(chunk, result),
            }
        }
        is_any
    }

    fn on_root(&mut self, now: Instant, release: ReleaseId, result: Result<(), FetchError>) {
        let Some(pulling) = &mut self.pulling else { return };
        if let Err(why) = &result {
            tracing::info!(%release, %why, "not pulled through");
        }
        if pulling.edge.on_root(release, result.is_ok()) {
            // Readers outlive the hub.
            let _ = self.parts.readers.send(release);
        } else {
            self.take_no_part(now, release);
        }
    }

    /// Nobody who was asked has it. Where nobody here wants it, it is as if it had never been heard of.
    fn take_no_part(&mut self, now: Instant, release: ReleaseId) {
        let is_lent = self.pulling.as_mut().is_some_and(|pulling| pulling.lent.remove(&release));
        if !is_lent || self.parts.store.release_state(release).is_some() {
            return;
        }
        tracing::debug!(%release, "not pulled through: nobody who was asked has it");
        for peer in self.interests.hinted_peers(&release) {
            self.scheduler.on_hint_gone(release, peer);
        }
        self.interests.forget(&release);
        self.sharing.forget(&release);
        self.sharing.say_again(now);
    }

    fn on_pulled(&mut self, chunk: ChunkId, result: Result<(), FetchError>) {
        let Some(pulling) = &mut self.pulling else { return };
        let paths = pulling.edge.on_pulled(chunk);
        let refusal = match result {
            Ok(()) => {
                add(&self.parts.totals.pulled_chunks, 1);
                None
            }
            Err(why) => {
                tracing::debug!(chunk = %chunk.short(), %why, "not pulled");
                Some(AnswerHead::NotHeld)
            }
        };
        for path in paths {
            self.tell_pulled(path, chunk, refusal);
        }
    }

    /// Somebody whom chunks were asked of is gone: what was to be had of him is not to be had here any more.
    pub(super) fn on_source_gone(&mut self, now: Instant) {
        let Some(pulling) = &self.pulling else { return };
        for release in pulling.edge.open() {
            self.judge_relay(now, release);
        }
    }

    /// What the peer behind a path is told of a release. Upstreams are told what is here and nothing more: two edges that are each
    /// other's upstream would else believe that the other one has it.
    pub(super) fn claim_to(&self, path: PathId, release: ReleaseId) -> ClaimState {
        let own = self.claim_of(release);
        let Some(known) = self.paths.get(&path) else { return own };
        if !self.parts.config.access.may_have(&known.peer, &release) {
            return ClaimState::None;
        }
        let Some(pulling) = &self.pulling else { return own };
        if own == ClaimState::Partial && !pulling.edge.is_upstream(&known.peer) && pulling.relays(&release) {
            ClaimState::Complete
        } else if pulling.edge.is_opening(&release) && self.parts.store.release_state(release).is_none() {
            ClaimState::None
        } else {
            own
        }
    }
}
