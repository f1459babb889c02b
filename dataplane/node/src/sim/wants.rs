//! What a reader wants: chunks of the one release, one after the other and again from the first, for what has come is not kept.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ares_core::chunk::{ChunkRef, ReleaseId};
use ares_core::swarm::{Class, FetchError, Unreached, Want};
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, unbounded};

use super::node::Node;
use crate::api::WantId;
use crate::hub::Waiter;
use crate::mailbox::ToHub;

/// A want and what became of it.
type Ended = (WantId, Result<Bytes, FetchError>);

/// See the module.
pub(super) struct Wants {
    release: ReleaseId,
    /// Chunks that are not wanted now, longest first.
    unwanted: VecDeque<ChunkRef>,
    /// Wants that are still to be handed in, that wait, and that there ever were.
    pub(super) to_want: u64,
    pub(super) waiting: BTreeMap<WantId, ChunkRef>,
    wants_ever: u64,
    class: Class,
    /// Wants that wait at once.
    max: usize,
    ended: (Sender<Ended>, Receiver<Ended>),
}

impl Wants {
    pub(super) fn new(release: ReleaseId, chunks: &[ChunkRef], class: Class, max: usize) -> Self {
        Self {
            release,
            unwanted: chunks.iter().copied().collect(),
            to_want: 0,
            waiting: BTreeMap::new(),
            wants_ever: 0,
            class,
            max,
            ended: unbounded(),
        }
    }

    /// Shows what has ended and hands in new wants. Whether there are any.
    pub(super) fn go_on(&mut self, reader: &Node, mut show: impl FnMut(&Result<Bytes, FetchError>)) -> bool {
        while let Ok((want, result)) = self.ended.1.try_recv() {
            show(&result);
            self.unwanted.extend(self.waiting.remove(&want));
        }
        let before = self.wants_ever;
        while self.to_want > 0 && self.waiting.len() < self.max {
            let chunk = self.unwanted.pop_front().expect("there are more than are wanted at once");
            let ended = self.ended.0.clone();
            let id = WantId(self.wants_ever);
            let done = move |result| ended.send((id, result)).expect("the world has the other end");
            let want = Want {
                chunk,
                place: None,
                class: self.class,
                release: self.release,
                patience: Duration::from_secs(3600),
                unreached: Unreached::Wait,
            };
            reader.tell(ToHub::Fetch {
                id,
                want,
                waiter: Waiter::for_bytes(Box::new(done)),
            });
            self.to_want -= 1;
            self.waiting.insert(id, chunk);
            self.wants_ever += 1;
        }
        self.wants_ever > before
    }
}
