//! What came out of a simulation, as a row of a table and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ares_core::swarm::Refusal;
use ares_core::time::Instant;
use serde::Serialize;

use crate::node::{Node, PUBLISHER};
use crate::scenario::{Scenario, Temper};

/// Counted while it runs.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) events: u64,
    trace: u64,
    pub(crate) scheduler_time: Duration,
    /// Chunks that readers have got.
    pub(crate) chunks: u64,
    pub(crate) asks: u64,
    pub(crate) cancels: u64,
    pub(crate) frames: u64,
    pub(crate) failed_wants: u64,
    delivered_bytes: u64,
    /// The same in each tenth of the bound.
    delivered_in: Vec<u64>,
    crossing_bytes: u64,
    refusals: BTreeMap<Refusal, u64>,
    pub(crate) dropped: BTreeSet<u32>,
    pub(crate) chunks_out: u32,
    pub(crate) copy_out_at: Instant,
}

impl Tallies {
    /// Hashes what happens when.
    pub(crate) fn on_event(&mut self, at: Instant, what: u64) {
        self.events += 1;
        self.trace = (self.trace ^ what).rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.as_nanos();
    }

    /// `tenth` of the bound.
    pub(crate) fn on_delivered(&mut self, tenth: usize, bytes: u32, is_crossing: bool) {
        self.delivered_bytes += u64::from(bytes);
        if self.delivered_in.len() <= tenth {
            self.delivered_in.resize(tenth + 1, 0);
        }
        self.delivered_in[tenth] += u64::from(bytes);
        self.crossing_bytes += if is_crossing { u64::from(bytes) } else { 0 };
    }

    pub(crate) fn on_refusal(&mut self, refusal: Refusal) {
        *self.refusals.entry(refusal).or_default() += 1;
    }
}

/// Times of readers, each from when it came, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Span {
    /// Half of them were done by then.
    pub p50: f64,
    /// All but one of a hundred were.
    pub p99: f64,
    /// All were.
    pub last: f64,
}

impl Span {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (times.len() as f64 * share).ceil() as usize;
            times.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
            last: at(1.0),
        }
    }

    fn over(self, bound: f64) -> Self {
        Self {
            p50: self.p50 / bound,
            p99: self.p99 / bound,
            last: self.last / bound,
        }
    }
}

/// See the module. Copies are bytes over those of the release.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Readers that did not leave before they were done.
    pub readers: usize,
    /// Of these, those that have not got everything.
    pub unfinished: usize,
    /// The least time of any swarm, in seconds.
    pub bound_s: f64,
    /// What readers took, in seconds.
    pub time_s: Span,
    /// The same over the bound.
    pub over_bound: Span,
    /// When others than the publisher held all of it between them, over the bound.
    pub copy_out_over_bound: f64,
    /// What came to readers in each tenth of the bound, over what would have to come where the bound is met: shows where the time goes.
    pub pace: Vec<f64>,
    /// What the publisher sent.
    pub publisher_copies: f64,
    /// What came from the other zone.
    pub crossing_copies: f64,
    /// What came to readers and was of no use, over what they hold.
    pub wasted: f64,
    /// Asks for each chunk that came.
    pub asks_per_chunk: f64,
    /// Asks that were taken back, over all.
    pub cancelled: f64,
    /// Answers without bytes, over all asks: not held, busy, left to others.
    pub not_held: f64,
    /// See `not_held`.
    pub busy: f64,
    /// See `not_held`.
    pub elsewhere: f64,
    /// Frames for each chunk that came.
    pub frames_per_chunk: f64,
    /// Peers that somebody has dropped, and those of them that had sent wrong bytes.
    pub dropped: usize,
    /// See `dropped`.
    pub dropped_liars: usize,
    /// Peers that sent wrong bytes if asked.
    pub wrong_bytes_peers: usize,
    /// Connections of a reader on average at the end.
    pub links: f64,
    /// Wants that ended without their chunk.
    pub failed_wants: u64,
    /// Wall time of the scheduler for each chunk that came, in nanoseconds, on the machine that simulates.
    pub scheduler_ns_per_chunk: f64,
    /// Most memory of the process over the number of nodes, in KiB: of several runs in one process, of the largest.
    pub kib_per_node: u64,
    /// Events simulated.
    pub events: u64,
    /// Wall time, in seconds.
    pub wall_s: f64,
    /// Hash of all that happened: equal where everything was equal.
    pub trace: u64,
}

impl Report {
    pub(crate) fn new(scenario: &Scenario, nodes: &[Node], tallies: Tallies, wall: Duration) -> Self {
        let bytes = scenario.bytes() as f64;
        let readers: Vec<&Node> = nodes[1..]
            .iter()
            .filter(|node| node.temper.is_reader() && (!node.is_gone || node.done_at.is_some()))
            .collect();
        let times: Vec<f64> = readers
            .iter()
            .filter_map(|node| Some(node.done_at?.since(node.joined_at?).as_secs_f64()))
            .collect();
        let held: u64 = nodes[1..].iter().map(|node| u64::from(node.held_count)).sum();
        let held_bytes = (held * u64::from(scenario.chunk_bytes)) as f64;
        let bound_s = scenario.bound().as_secs_f64();
        let time_s = Span::of(times.clone());
        let asks = tallies.asks.max(1) as f64;
        let chunks = tallies.chunks.max(1) as f64;
        let refused = |refusal| tallies.refusals.get(&refusal).copied().unwrap_or(0) as f64 / asks;
        let links: usize = readers.iter().map(|node| node.conns.len()).sum();
        let is_wrong = |number: &&u32| nodes[**number as usize].temper == Temper::WrongBytes;
        Self {
            name: scenario.name.clone(),
            seed: scenario.seed,
            readers: readers.len(),
            unfinished: readers.len() - times.len(),
            bound_s,
            time_s,
            over_bound: time_s.over(bound_s),
            copy_out_over_bound: tallies.copy_out_at.since(Instant::ZERO).as_secs_f64() / bound_s,
            pace: tallies
                .delivered_in
                .iter()
                .map(|delivered| *delivered as f64 * 10.0 / (bytes * readers.len() as f64))
                .collect(),
            publisher_copies: nodes[PUBLISHER as usize].outlet.sent_bytes as f64 / bytes,
            crossing_copies: tallies.crossing_bytes as f64 / bytes,
            wasted: (tallies.delivered_bytes as f64 - held_bytes) / held_bytes.max(1.0),
            asks_per_chunk: asks / chunks,
            cancelled: tallies.cancels as f64 / asks,
            not_held: refused(Refusal::NotHeld),
            busy: refused(Refusal::Busy),
            elsewhere: refused(Refusal::Elsewhere),
            frames_per_chunk: tallies.frames as f64 / chunks,
            dropped: tallies.dropped.len(),
            dropped_liars: tallies.dropped.iter().filter(is_wrong).count(),
            wrong_bytes_peers: nodes.iter().filter(|node| node.temper == Temper::WrongBytes).count(),
            links: links as f64 / readers.len().max(1) as f64,
            failed_wants: tallies.failed_wants,
            scheduler_ns_per_chunk: tallies.scheduler_time.as_nanos() as f64 / chunks,
            kib_per_node: peak_kib() / nodes.len() as u64,
            events: tallies.events,
            wall_s: wall.as_secs_f64(),
            trace: tallies.trace,
        }
    }

    /// Head of the table that `row` fills.
    pub fn head() -> String {
        let columns = [
            "scenario",
            "bound s",
            "p50",
            "p99",
            "last",
            "copy out",
            "pub copies",
            "crossing",
            "wasted",
            "asks",
            "cancel",
            "lack",
            "busy",
            "elsew",
            "frames",
            "links",
            "us/chunk",
            "KiB/node",
            "wall s",
            "unfinished",
        ];
        let rule = columns.map(|_| "---");
        format!("| {} |\n| {} |", columns.join(" | "), rule.join(" | "))
    }

    /// One row. Times are over the bound.
    pub fn row(&self) -> String {
        let span = self.over_bound;
        let cells = [
            self.name.clone(),
            format!("{:.2}", self.bound_s),
            format!("{:.3}", span.p50),
            format!("{:.3}", span.p99),
            format!("{:.3}", span.last),
            format!("{:.3}", self.copy_out_over_bound),
            format!("{:.2}", self.publisher_copies),
            format!("{:.2}", self.crossing_copies),
            format!("{:.3}", self.wasted),
            format!("{:.2}", self.asks_per_chunk),
            format!("{:.2}", self.cancelled),
            format!("{:.2}", self.not_held),
            format!("{:.2}", self.busy),
            format!("{:.2}", self.elsewhere),
            format!("{:.1}", self.frames_per_chunk),
            format!("{:.1}", self.links),
            format!("{:.1}", self.scheduler_ns_per_chunk / 1000.0),
            format!("{}", self.kib_per_node),
            format!("{:.1}", self.wall_s),
            format!("{}", self.unfinished),
        ];
        format!("| {} |", cells.join(" | "))
    }
}

/// The most memory that this process has used, in KiB; 0 where the kernel does not say.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
