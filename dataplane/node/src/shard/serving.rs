//! The answering half of a connection: reads asks, decides which chunk to load next, writes answers as the peer's windows open.
//!
//! Loads are bounded per connection and, by its share, per shard, so that a slow or greedy reader holds a few chunks of memory and no more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ares_core::chunk::{ChunkId, LEN_UNKNOWN};
use ares_core::limits::CHUNK_BYTES_MAX;
use ares_core::wire::{AnswerHead, AskItem, AskReader, Referral, WireError};
use bytes::Bytes;
use quinn_proto::{Connection, ReadError, StreamId, VarInt, WriteError};

use crate::quic::{self, Precedence};

/// Chunk bytes loaded for one connection and not yet handed to QUIC: once its peer is known to take much, and until then. More would
/// have left the processor's cache before it is sent. Less is loaded before the next chunk than this, so a peer that takes nothing holds
/// one of the largest.
const LOADED_BYTES_MAX: u64 = CHUNK_BYTES_MAX as u64;
const LOADED_BYTES_MIN: u64 = CHUNK_BYTES_MAX as u64 / 4;

/// Streams that are tried though those before them are blocked: the connection's window blocks all alike, and its own only a stream whose
/// peer takes others first.
const BLOCKED_MAX: usize = 4;

/// Ends a stream whose answer is not wanted or whose ask was not understood.
const RESET_ANSWER_DROPPED: VarInt = VarInt::from_u32(2);

/// All answers of a connection.
#[derive(Default)]
pub(super) struct Serving {
    streams: BTreeMap<StreamId, Answer>,
    /// Streams with items to load, oldest ask first.
    waiting: VecDeque<StreamId>,
    /// Streams with a loaded item that QUIC has not taken whole, first loaded first.
    writing: VecDeque<StreamId>,
    /// Streams whose next item is being fetched, by its chunk.
    awaiting: BTreeMap<ChunkId, Vec<StreamId>>,
    loaded_bytes: u64,
    served_bytes: u64,
    /// Asked and not yet handed to QUIC whole.
    queued_bytes: u64,
    /// Streams with a chunk under way that the peer was given in its turn: from when it is loaded until QUIC has taken it, or the peer all of
    /// the last.
    in_turn: BTreeSet<StreamId>,
    /// Streams with a whole answer that the peer has not all of yet.
    unheard: BTreeSet<StreamId>,
    /// What is asked from now on is not answered.
    is_closed: bool,
}

/// An ask and how far its answer is. One chunk of it at a time is loaded and written; other streams overlap with it.
struct Answer {
    reader: AskReader,
    asked: bool,
    referral: Referral,
    items: VecDeque<AskItem>,
    /// Of those and of the one at hand.
    queued_bytes: u64,
    /// What of it is not here was told once.
    is_told: bool,
    step: Step,
}

/// Where the item at hand is.
enum Step {
    /// No item is at hand.
    Idle,
    /// On its way from the store.
    Loading,
    /// Not here: somebody else is asked for it.
    Awaiting(AskItem),
    /// Head and body (empty for a refusal), as far as QUIC has not taken them.
    Writing { parts: [Bytes; 2], loaded_bytes: u64 },
}

impl Serving {
    /// A peer opened a stream to ask on.
    pub(super) fn on_opened(&mut self, id: StreamId) {
        if self.is_closed {
            return;
        }
        let answer = Answer {
            reader: AskReader::new(),
            asked: false,
            referral: Referral::Never,
            items: VecDeque::new(),
            queued_bytes: 0,
            is_told: false,
            step: Step::Idle,
        };
        self.streams.insert(id, answer);
    }

    /// Reads the ask as far as it is here.
    pub(super) fn on_readable(&mut self, id: StreamId, quic: &mut Connection) -> Result<(), WireError> {
        let Some(answer) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        let mut stream = quic.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return Ok(()) };
        let mut over = false;
        let verdict = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => match answer.reader.on_bytes(&chunk.bytes) {
                    Ok(Some(ask)) => {
                        answer.asked = true;
                        answer.referral = ask.referral();
                        answer.items = ask.items().iter().copied().collect();
                        answer.queued_bytes = ask.items().iter().map(bytes_of).sum();
                        self.queued_bytes += answer.queued_bytes;
                        self.waiting.push_back(id);
                    }
                    Ok(None) => {}
                    Err(breach) => break Err(breach),
                },
                Ok(None) => break answer.reader.on_fin(),
                Err(ReadError::Blocked) => break Ok(()),
                Err(ReadError::Reset(_)) => {
                    over = true;
                    break Ok(());
                }
            }
        };
        let _ = chunks.finalize();
        if over || verdict.is_err() {
            self.drop_stream(id, quic);
        }
        verdict
    }

    /// The next chunk to bring from the store, if this connection may load more, and when its peer may be sent to others for it; answered by
    /// `on_loaded`. `ahead_bytes`: what the path
    /// will soon take; `share_bytes`, at least 1: this connection's part of what its shard may load; `is_turn`: whether its peer may be
    /// given now what others may have and nobody waits for.
    pub(super) fn next_load(
        &mut self,
        ahead_bytes: u64,
        share_bytes: u64,
        is_turn: impl FnOnce() -> bool,
    ) -> Option<(StreamId, AskItem, Referral)> {
        let bound = ahead_bytes.clamp(LOADED_BYTES_MIN, LOADED_BYTES_MAX).min(share_bytes);
        if self.loaded_bytes >= bound {
            return None;
        }
        let is_in_turn = |id: &StreamId| matches!(self.streams.get(id), Some(answer) if answer.referral == Referral::WhenGiven);
        let at = match self.waiting.front() {
            Some(first) if is_in_turn(first) && !is_turn() => self.waiting.iter().position(|id| !is_in_turn(id)),
            _ => Some(0),
        };
        let id = self.waiting.remove(at?)?;
        let answer = self.streams.get_mut(&id)?;
        let item = answer.items.pop_front()?;
        answer.step = Step::Loading;
        self.loaded_bytes += bytes_of(&item);
        if answer.referral == Referral::WhenGiven {
            self.in_turn.insert(id);
        }
        Some((id, item, answer.referral))
    }

    /// Whether something is under way that the peer was given in its turn.
    pub(super) fn is_giving(&self) -> bool {
        !self.in_turn.is_empty()
    }

    /// The peer has all of an answer.
    pub(super) fn on_finished(&mut self, id: StreamId) {
        self.in_turn.remove(&id);
        self.unheard.remove(&id);
    }

    /// Answers what is asked by now and no more: whoever asks then hears from somebody else when the connection is closed.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether the peer has not heard all that it asked for.
    pub(super) fn is_owing(&self) -> bool {
        self.is_answering() || !self.unheard.is_empty()
    }

    /// A chunk came from the store, or the reason why not. `bytes` starts at the item's `from`.
    pub(super) fn on_loaded(&mut self, id: StreamId, item: AskItem, loaded: Result<Bytes, AnswerHead>, quic: &mut Connection) {
        let Some(answer) = self.streams.get_mut(&id) else {
            self.loaded_bytes -= bytes_of(&item);
            return;
        };
        let head = match &loaded {
            Ok(bytes) => AnswerHead::Bytes(bytes.len() as u32),
            Err(refusal) => *refusal,
        };
        if loaded.is_err() {
            self.in_turn.remove(&id);
        }
        if loaded.is_err() && answer.items.is_empty() {
            quic::prefer(quic, id, Precedence::Short);
        }
        answer.step = Step::Writing {
            parts: [head.encode(), loaded.unwrap_or_default()],
            loaded_bytes: bytes_of(&item),
        };
        self.writing.push_back(id);
        self.on_writable(quic);
    }

    /// An item's chunk is not here and may be fetched: its stream waits for `on_pulled`. What had better be fetched with it, itself first.
    pub(super) fn on_absent(&mut self, id: StreamId, item: AskItem) -> Vec<AskItem> {
        self.loaded_bytes -= bytes_of(&item);
        self.in_turn.remove(&id);
        let Some(answer) = self.streams.get_mut(&id) else {
            return Vec::new();
        };
        answer.step = Step::Awaiting(item);
        self.awaiting.entry(item.id).or_default().push(id);
        let is_told = std::mem::replace(&mut answer.is_told, true);
        let rest = answer.items.iter().filter(|_| !is_told);
        std::iter::once(item).chain(rest.copied()).collect()
    }

    /// A chunk that answers may wait for is here now, or they are to be refused it.
    pub(super) fn on_pulled(&mut self, chunk: ChunkId, refusal: Option<AnswerHead>, quic: &mut Connection) {
        for id in self.awaiting.remove(&chunk).unwrap_or_default() {
            let Some(answer) = self.streams.get_mut(&id) else { continue };
            let Step::Awaiting(item) = std::mem::replace(&mut answer.step, Step::Idle) else {
                continue;
            };
            match refusal {
                None => {
                    answer.items.push_front(item);
                    self.waiting.push_front(id);
                }
                Some(refusal) => {
                    self.loaded_bytes += bytes_of(&item);
                    self.on_loaded(id, item, Err(refusal), quic);
                }
            }
        }
    }

    /// Whether answers are awaited of it.
    pub(super) fn is_answering(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Chunk bytes asked and not yet handed to QUIC, in whole chunks.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// Chunk bytes handed to QUIC since this was last asked.
    pub(super) fn take_served_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.served_bytes)
    }

    /// Some stream has room again. QUIC tells first of the one that was blocked last; what was asked first is written first all the same.
    pub(super) fn on_writable(&mut self, quic: &mut Connection) {
        let mut blocked = 0;
        while blocked < BLOCKED_MAX
            && let Some(&id) = self.writing.get(blocked)
        {
            self.write(id, quic);
            blocked += usize::from(self.writing.get(blocked) == Some(&id));
        }
    }

    /// Writes as much as the windows take; ends the stream after its last item.
    fn write(&mut self, id: StreamId, quic: &mut Connection) {
        let Some(answer) = self.streams.get_mut(&id) else { return };
        let Step::Writing { parts, loaded_bytes } = &mut answer.step else {
            return;
        };
        let mut stream = quic.send_stream(id);
        while parts.iter().any(|part| !part.is_empty()) {
            match stream.write_chunks(parts) {
                // QUIC advances a part that it took in part, and empties one that it took whole.
                Ok(written) => self.served_bytes += written.bytes as u64,
                Err(WriteError::Blocked) => return,
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return self.drop_stream(id, quic),
            }
        }
        self.loaded_bytes -= *loaded_bytes;
        self.queued_bytes -= *loaded_bytes;
        answer.queued_bytes -= *loaded_bytes;
        self.writing.retain(|writing| *writing != id);
        answer.step = Step::Idle;
        if answer.items.is_empty() {
            // It fails only where the requester has stopped the stream, and then it has ended already.
            if stream.finish().is_ok() {
                self.unheard.insert(id);
            }
            self.streams.remove(&id);
        } else {
            self.in_turn.remove(&id);
            self.waiting.push_front(id);
        }
    }

    /// The requester wants no more of this answer.
    pub(super) fn on_stopped(&mut self, id: StreamId, quic: &mut Connection) {
        self.drop_stream(id, quic);
        self.in_turn.remove(&id);
        self.unheard.remove(&id);
        // An answer that QUIC has taken whole is not here any more, but its bytes still wait to be sent.
        let _ = quic.send_stream(id).reset(RESET_ANSWER_DROPPED);
    }

    fn drop_stream(&mut self, id: StreamId, quic: &mut Connection) {
        if !self.forget(id) {
            return;
        }
        // Both fail only where that half has ended already.
        let _ = quic.send_stream(id).reset(RESET_ANSWER_DROPPED);
        let _ = quic.recv_stream(id).stop(RESET_ANSWER_DROPPED);
    }

    /// Whether it was there. Nothing of it stays: a peer may open and drop as many streams as it likes.
    fn forget(&mut self, id: StreamId) -> bool {
        let Some(answer) = self.streams.remove(&id) else {
            return false;
        };
        self.queued_bytes -= answer.queued_bytes;
        self.in_turn.remove(&id);
        match answer.step {
            Step::Writing { loaded_bytes, .. } => {
                self.loaded_bytes -= loaded_bytes;
                self.writing.retain(|writing| *writing != id);
            }
            // Few may be open at once, so few wait.
            Step::Awaiting(item) => {
                if let Some(streams) = self.awaiting.get_mut(&item.id) {
                    streams.retain(|waiting| *waiting != id);
                    if streams.is_empty() {
                        self.awaiting.remove(&item.id);
                    }
                }
            }
            Step::Idle if answer.asked => self.waiting.retain(|waiting| *waiting != id),
            // What is on its way from the store counts until it is here.
            Step::Idle | Step::Loading => {}
        }
        true
    }
}

/// What an item may take of memory; one of unknown length counts as the longest.
fn bytes_of(item: &AskItem) -> u64 {
    u64::from(if item.len == LEN_UNKNOWN {
        CHUNK_BYTES_MAX
    } else {
        item.wanted_bytes()
    })
}

#[cfg(test)]
mod tests {
    use ares_core::chunk::ChunkId;
    use quinn_proto::{Dir, Side};

    use super::*;

    /// A stream on which a chunk was asked.
    fn ask(serving: &mut Serving, number: u64, referral: Referral) -> StreamId {
        let id = StreamId::new(Side::Client, Dir::Bi, number);
        serving.on_opened(id);
        let answer = serving.streams.get_mut(&id).expect("just opened");
        answer.asked = true;
        answer.referral = referral;
        answer.items.push_back(AskItem {
            id: ChunkId::of(b"one"),
            len: CHUNK_BYTES_MAX,
            from: 0,
        });
        serving.waiting.push_back(id);
        id
    }

    /// Streams that a peer opened, asked on and dropped stayed in line as long as it took nothing of earlier answers.
    #[test]
    fn nothing_stays_of_a_dropped_ask() {
        let mut serving = Serving::default();
        let mut numbers = 0..;
        let mut ask = |serving: &mut Serving| ask(serving, numbers.next().expect("without end"), Referral::WhenGiven);
        // Load as much as may be loaded; from now on nothing leaves the line by being served.
        for _ in 0..LOADED_BYTES_MAX.div_ceil(u64::from(CHUNK_BYTES_MAX)) {
            ask(&mut serving);
            assert!(serving.next_load(LOADED_BYTES_MAX, u64::MAX, || true).is_some());
        }
        let loading: Vec<StreamId> = serving.streams.keys().copied().collect();
        for _ in 0..1000 {
            let id = ask(&mut serving);
            assert!(serving.next_load(LOADED_BYTES_MAX, u64::MAX, || true).is_none());
            assert!(serving.forget(id));
            assert!(!serving.forget(id), "once");
        }
        assert_eq!((serving.streams.len(), serving.waiting.len()), (loading.len(), 0));
        assert!(serving.is_giving());
        loading.into_iter().for_each(|id| assert!(serving.forget(id)));
        assert!(!serving.is_giving(), "a turn ends with what was given in it");
    }

    #[test]
    fn what_is_asked_by_now_is_owed_and_what_is_asked_then_is_not() {
        let mut serving = Serving::default();
        let before = ask(&mut serving, 0, Referral::Never);
        serving.close();
        serving.on_opened(StreamId::new(Side::Client, Dir::Bi, 1));
        assert_eq!(serving.streams.keys().collect::<Vec<_>>(), [&before]);
        assert!(serving.is_owing());
        assert!(serving.forget(before) && !serving.is_owing());
        serving.unheard.insert(before);
        assert!(serving.is_owing(), "it may be lost on its way");
        serving.on_finished(before);
        assert!(!serving.is_owing());
    }

    #[test]
    fn what_one_must_have_of_us_does_not_wait_for_a_turn() {
        let mut serving = Serving::default();
        let asked = [Referral::WhenGiven, Referral::WhenGiven, Referral::WhenBusy, Referral::Never];
        let asked = std::array::from_fn(|number| ask(&mut serving, number as u64, asked[number]));
        let [first, second, urgent, firm] = asked;
        let mut next = |is_turn| {
            let next = serving.next_load(LOADED_BYTES_MAX, u64::MAX, || is_turn);
            serving.loaded_bytes = 0;
            (next.map(|(id, ..)| id), serving.is_giving())
        };
        assert_eq!(next(false), (Some(urgent), false));
        assert_eq!(next(false), (Some(firm), false));
        assert_eq!(next(false), (None, false));
        assert_eq!(next(true), (Some(first), true));
        assert_eq!(next(true), (Some(second), true));
        assert_eq!(next(true), (None, true));
        serving.on_finished(first);
        assert!(serving.is_giving());
        serving.on_finished(second);
        assert!(!serving.is_giving());
    }
}
