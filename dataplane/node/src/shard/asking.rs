//! The requesting half of a connection: opens streams for asks, reads the answers, tells what became of each ask.

use std::collections::{BTreeMap, VecDeque};

use ares_core::limits::ASK_CHUNKS_MAX;
use ares_core::swarm::{AskId, Refusal};
use ares_core::wire::{AnswerEvent, AnswerReader, Ask, AskItem, Referral, WireError};
use bytes::Bytes;
use quinn_proto::{Connection, Dir, ReadError, SendStream, StreamId, VarInt, WriteError};

use crate::mailbox::PathAsk;
use crate::quic::{self, Precedence};

/// Asks up to this many bytes in all share a stream: small chunks travel as runs, large ones alone.
const RUN_BYTES_MAX: u64 = 256 << 10;

/// Tells the responder that the rest of an answer is not wanted.
const STOP_NOT_NEEDED: VarInt = VarInt::from_u32(1);

/// What became of an ask.
#[derive(Debug)]
pub(super) enum Outcome {
    /// More bytes arrived.
    Progress { ask: AskId, bytes: u32 },
    /// All bytes are here, not yet verified.
    Arrived { ask: PathAsk, bytes: Bytes },
    /// The peer declined.
    Refused { ask: AskId, refusal: Refusal },
    /// The stream ended without an answer.
    Failed { ask: AskId, why: String },
}

/// All asks of a connection.
#[derive(Default)]
pub(super) struct Asking {
    queue: VecDeque<PathAsk>,
    runs: BTreeMap<StreamId, Run>,
    /// Runs of which QUIC has not taken all, oldest first; some have ended since.
    unsent: VecDeque<StreamId>,
    inflight_bytes: u64,
}

/// A run of asks on one stream, answered in order.
struct Run {
    /// What the stream has not taken yet of the ask itself: the connection's window may be full of answers we give.
    unsent: Bytes,
    reader: AnswerReader,
    /// By item; `None` once it has ended or was cancelled.
    asks: Vec<Option<PathAsk>>,
}

impl Run {
    /// Writes what is left of the ask, and ends that half of the stream. Whether nothing more is to be done.
    fn write(&mut self, mut stream: SendStream<'_>) -> bool {
        while !self.unsent.is_empty() {
            match stream.write_chunks(std::slice::from_mut(&mut self.unsent)) {
                Ok(_) => {}
                Err(WriteError::Blocked) => return false,
                // The answering half tells why.
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return true,
            }
        }
        // It fails only where the peer has stopped the stream; the answering half tells.
        let _ = stream.finish();
        true
    }
}

impl Asking {
    pub(super) fn push(&mut self, ask: PathAsk) {
        self.inflight_bytes += u64::from(ask.chunk.len);
        self.queue.push_back(ask);
    }

    /// Whether nothing is asked or waits to be.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.runs.is_empty()
    }

    /// Chunk bytes asked and not yet arrived.
    pub(super) fn inflight_bytes(&self) -> u64 {
        self.inflight_bytes
    }

    /// Forgets an ask; stops its stream if nothing else on it is wanted.
    pub(super) fn cancel(&mut self, ask: AskId, quic: &mut Connection) {
        if let Some(at) = self.queue.iter().position(|queued| queued.ask == ask) {
            let queued = self.queue.remove(at).expect("found above");
            self.inflight_bytes -= u64::from(queued.chunk.len);
            return;
        }
        let named = |slot: &Option<PathAsk>| slot.is_some_and(|open| open.ask == ask);
        let Some((&id, run)) = self.runs.iter_mut().find(|(_, run)| run.asks.iter().any(named)) else {
            return;
        };
        for slot in run.asks.iter_mut().filter(|slot| named(slot)) {
            self.inflight_bytes -= slot.take().map_or(0, |open| u64::from(open.chunk.len));
        }
        if run.asks.iter().all(Option::is_none) {
            let unsent = self.runs.remove(&id).is_some_and(|run| !run.unsent.is_empty());
            if unsent {
                let _ = quic.send_stream(id).reset(STOP_NOT_NEEDED);
            }
            // An error says that the stream has ended meanwhile: nothing is left to stop.
            let _ = quic.recv_stream(id).stop(STOP_NOT_NEEDED);
        }
    }

    /// Opens streams for queued asks as far as the peer allows.
    pub(super) fn open_runs(&mut self, quic: &mut Connection) {
        while !self.queue.is_empty() {
            let Some(id) = quic.streams().open(Dir::Bi) else { break };
            quic::prefer(quic, id, Precedence::Short);
            let run = self.take_run();
            let referral = run.first().map_or(Referral::Never, |ask| ask.referral);
            let items: Vec<AskItem> = run
                .iter()
                .map(|ask| AskItem {
                    id: ask.chunk.id,
                    len: ask.chunk.len,
                    from: 0,
                })
                .collect();
            let ask = Ask::new(items).with_referral(referral);
            let reader = AnswerReader::new(&ask);
            let bytes = ask.encode();
            let asks = run.into_iter().map(Some).collect();
            self.runs.insert(
                id,
                Run {
                    unsent: bytes,
                    reader,
                    asks,
                },
            );
            self.unsent.push_back(id);
        }
        self.on_writable(quic);
    }

    /// Writes what is left of asks, in order, and ends that half of their streams.
    pub(super) fn on_writable(&mut self, quic: &mut Connection) {
        while let Some(&id) = self.unsent.front() {
            if let Some(run) = self.runs.get_mut(&id)
                && !run.write(quic.send_stream(id))
            {
                return;
            }
            self.unsent.pop_front();
        }
    }

    /// The next asks to share a stream: one large chunk, or small ones up to the limits.
    fn take_run(&mut self) -> Vec<PathAsk> {
        let mut run = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.queue.front() {
            bytes += u64::from(next.chunk.len);
            let is_other = run.first().is_some_and(|first: &PathAsk| first.referral != next.referral);
            if is_other || (!run.is_empty() && (bytes > RUN_BYTES_MAX || run.len() == ASK_CHUNKS_MAX)) {
                break;
            }
            run.extend(self.queue.pop_front());
        }
        run
    }

    /// Whether the stream is one of ours.
    pub(super) fn owns(&self, id: StreamId) -> bool {
        self.runs.contains_key(&id)
    }

    /// Reads what has arrived on a stream. An error is the peer's breach of the protocol.
    pub(super) fn on_readable(&mut self, id: StreamId, quic: &mut Connection, out: &mut Vec<Outcome>) -> Result<(), WireError> {
        let Some(run) = self.runs.get_mut(&id) else { return Ok(()) };
        let mut stream = quic.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else { return Ok(()) };
        let mut ended = None;
        let verdict = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    if let Err(breach) = run.reader.on_bytes(&chunk.bytes) {
                        break Err(breach);
                    }
                }
                Ok(None) => {
                    ended = Some("the peer ended its answer early".to_owned());
                    break run.reader.on_fin();
                }
                Err(ReadError::Blocked) => break Ok(()),
                Err(ReadError::Reset(code)) => {
                    ended = Some(format!("the peer reset its answer (code {code})"));
                    break Ok(());
                }
            }
        };
        // Whether credit should go out at once is answered by the poll_transmit that follows every event.
        let _ = chunks.finalize();
        while let Some(event) = run.reader.poll() {
            if let Some(outcome) = outcome_of(&event, run, &mut self.inflight_bytes) {
                out.push(outcome);
            }
        }
        if let Some(why) = ended {
            let run = self.runs.remove(&id).expect("looked up above");
            for ask in run.asks.into_iter().flatten() {
                self.inflight_bytes -= u64::from(ask.chunk.len);
                out.push(Outcome::Failed {
                    ask: ask.ask,
                    why: why.clone(),
                });
            }
        }
        verdict
    }
}

fn outcome_of(event: &AnswerEvent, run: &mut Run, inflight_bytes: &mut u64) -> Option<Outcome> {
    let mut end = |item: usize| {
        let ask = run.asks.get_mut(item)?.take()?;
        *inflight_bytes -= u64::from(ask.chunk.len);
        Some(ask)
    };
    let mut refused = |item: usize, refusal| {
        Some(Outcome::Refused {
            ask: end(item)?.ask,
            refusal,
        })
    };
    match event {
        AnswerEvent::Progress { item, bytes } => {
            let ask = run.asks.get(*item)?.as_ref()?;
            Some(Outcome::Progress {
                ask: ask.ask,
                bytes: *bytes,
            })
        }
        AnswerEvent::NotHeld { item } => refused(*item, Refusal::NotHeld),
        AnswerEvent::Busy { item } => refused(*item, Refusal::Busy),
        AnswerEvent::Gone { item } => refused(*item, Refusal::Gone),
        AnswerEvent::Elsewhere { item } => refused(*item, Refusal::Elsewhere),
        AnswerEvent::Chunk { item, bytes } => Some(Outcome::Arrived {
            ask: end(*item)?,
            bytes: bytes.clone(),
        }),
    }
}
