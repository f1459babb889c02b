//! What stood in the way of a chunk, in words for the log line of a failed want.

use super::Scheduler;
use crate::chunk::ChunkRef;
use crate::peer::Source;
use crate::swarm::backoff::Trouble;
use crate::time::Instant;

/// Sources that a reason speaks of.
const SOURCES_MAX: usize = 4;

impl Scheduler {
    pub(super) fn reason(&self, now: Instant, chunk: ChunkRef) -> String {
        let Some(state) = self.chunks.get(&chunk) else {
            return "it is not wanted any more".to_owned();
        };
        let candidates = self.candidates(now, state.class, &state.releases);
        if candidates.is_empty() {
            return self.reason_of_nobody();
        }
        let mut parts: Vec<String> = candidates
            .iter()
            .take(SOURCES_MAX)
            .map(|c| self.word(now, chunk, c.source))
            .collect();
        if candidates.len() > SOURCES_MAX {
            parts.push(format!("and {} more", candidates.len() - SOURCES_MAX));
        }
        parts.join("; ") + &self.departures()
    }

    /// The reason where no source has anything of a chunk's releases.
    pub(super) fn reason_of_nobody(&self) -> String {
        let departures = self.departures();
        match self.sources.len() {
            0 => format!("no peer is connected{departures}"),
            paths => format!("none of the peers connected over {paths} path(s) has anything of its release{departures}"),
        }
    }

    fn word(&self, now: Instant, chunk: ChunkRef, source: Source) -> String {
        let peer = source.peer.short();
        let path = source.path.0;
        let state = &self.sources[&source];
        let chunk = &self.chunks[&chunk];
        let ask = chunk.asks.iter().map(|ask| &self.asks[ask]).find(|ask| ask.source == source);
        let silent_ms = state.silence(now).as_millis();
        match (ask, chunk.backoffs.last(&source.peer)) {
            (Some(ask), _) if ask.is_arrived => format!("peer {peer} sent it and it is being verified"),
            _ if state.is_suspect() => {
                format!("peer {peer} on path {path} is silent for {silent_ms} ms")
            }
            (Some(ask), _) => {
                let ms = now.since(ask.asked_at).as_millis();
                format!(
                    "peer {peer} on path {path} sent {} of {} bytes in {ms} ms",
                    ask.came, ask.bytes
                )
            }
            (None, Some((Trouble::NotHeld, times))) => format!("peer {peer} lacks it (asked {times} times)"),
            (None, Some((Trouble::Elsewhere { .. }, _))) => format!("peer {peer} has left it to others"),
            (None, Some((Trouble::Gone, _))) => format!("peer {peer} lost it: its file changed or was removed"),
            (None, Some((Trouble::Failed(why), times))) => format!("peer {peer} failed {times} times, last: {why}"),
            (None, None) => {
                let kib = state.window.outstanding() >> 10;
                format!("peer {peer} on path {path} was not asked yet: {kib} KiB are asked before it")
            }
        }
    }

    pub(super) fn departures(&self) -> String {
        self.peers
            .departed()
            .map(|(peer, why)| format!("; peer {} left: {why}", peer.short()))
            .collect()
    }
}
