//! What `ares top` shows: the last status, and rates of the minute before. Draws nothing.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// Samples that the graphs have.
const SAMPLES_MAX: usize = 240;

/// See the module.
#[derive(Default)]
pub(super) struct View {
    status: Value,
    /// Bytes a second that came and went, the last one last.
    pub(super) came: VecDeque<u64>,
    pub(super) went: VecDeque<u64>,
    /// Why the daemon does not answer, while it does not.
    pub(super) gone: Option<String>,
}

impl View {
    pub(super) fn on_status(&mut self, status: Value) {
        self.status = status;
        self.gone = None;
        for (samples, key) in [(&mut self.came, "rx_bytes_per_s"), (&mut self.went, "tx_bytes_per_s")] {
            if samples.len() == SAMPLES_MAX {
                samples.pop_front();
            }
            samples.push_back(paths_of(&self.status).filter_map(|(_, path)| path[key].as_u64()).sum());
        }
    }

    pub(super) fn on_gone(&mut self, why: String) {
        self.gone = Some(why);
    }

    /// Something of the status.
    pub(super) fn of(&self, key: &str) -> &Value {
        &self.status[key]
    }

    /// One of its lists.
    pub(super) fn list(&self, key: &str) -> &[Value] {
        self.status[key].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Peers, those first with whom most is going on.
    pub(super) fn peers(&self) -> Vec<&Value> {
        let mut peers: Vec<&Value> = self.list("peers").iter().collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(rate_of(peer)));
        peers
    }

    /// Paths with the peer of each, the busiest first.
    pub(super) fn paths(&self) -> Vec<(&Value, &Value)> {
        let mut paths: Vec<_> = paths_of(&self.status).collect();
        paths.sort_by_key(|(_, path)| std::cmp::Reverse(number(path, "rx_bytes_per_s") + number(path, "tx_bytes_per_s")));
        paths
    }

    /// Reads of mounts that wait, the longest wait of each mount, the longest first.
    pub(super) fn waits(&self) -> Vec<(&Value, f64)> {
        let waits = self.list("mounts").iter();
        let mut waits: Vec<_> = waits
            .filter_map(|mount| Some((mount, mount["oldest_wait_s"].as_f64().filter(|wait| *wait > 0.0)?)))
            .collect();
        waits.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        waits
    }

    /// For scripts.
    pub(super) fn json(&self) -> Value {
        json!({
            "peer": self.of("peer"), "version": self.of("version"), "uptime_s": self.of("uptime_s"),
            "rx_bytes_per_s": self.came.back(), "tx_bytes_per_s": self.went.back(),
            "store": self.of("store"), "counters": self.of("counters"),
            "peers": self.peers(), "releases": self.of("releases"), "pins": self.of("pins"), "mounts": self.of("mounts"),
            "left_out": self.of("left_out"),
        })
    }
}

/// Bytes a second to and from a peer.
pub(super) fn rate_of(peer: &Value) -> u64 {
    let paths = peer["paths"].as_array().into_iter().flatten();
    paths
        .map(|path| number(path, "rx_bytes_per_s") + number(path, "tx_bytes_per_s"))
        .sum()
}

/// A number of an object; 0 where it has none.
pub(super) fn number(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap_or(0)
}

fn paths_of(status: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let peers = status["peers"].as_array().into_iter().flatten();
    peers.flat_map(|peer| peer["paths"].as_array().into_iter().flatten().map(move |path| (peer, path)))
}
