//! Whether a peer is worth more than one path, and to which of its ports the others go. A path is one thread here and one there, so a
//! bulk transfer between two hosts takes several to use more than one core of either. Decides for one peer; the dialer knows its paths.

use std::net::SocketAddr;
use std::time::Duration;

use ares_core::time::Instant;

/// Paths to one peer, the first one included: four cores a side fill a link of 25 Gbit/s. The peer counts each at the shard it leads
/// to, where a key has room for more (`ares_core::admission`).
const PATHS_MAX: usize = 4;

/// Ports of a peer that are looked at: as many as a node has shards. What it names beyond costs it nothing and us a dial each.
const PORTS_MAX: usize = 16;

/// Bulk bytes asked of a peer within `DEMAND_TIME` that make it worth more paths: a tenth of what one core moves. Over a link
/// that is slower no core is what everybody waits for, and who reads a small file is done before.
const DEMAND_BYTES: u64 = 32 << 20;
const DEMAND_TIME: Duration = Duration::from_secs(1);

/// Pause before a port that could not be reached is tried again: the first one, and what it doubles up to. A firewall that lets only
/// the first port through will do so tomorrow.
const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Default)]
pub(super) struct Further {
    ports: Vec<Port>,
    /// Bulk bytes asked since then.
    counted_from: Instant,
    asked_bytes: u64,
    wanted_until: Instant,
}

/// One shard of the peer.
struct Port {
    remote: SocketAddr,
    retry_at: Instant,
    pause: Duration,
}

impl Further {
    /// The peer said over a path dialed to `remote` which ports its shards have. Readers that differ in `turn` begin with different ones.
    pub(super) fn on_ports(&mut self, remote: SocketAddr, ports: &[u16], turn: usize) {
        // Where somebody on the way gave the peer another port, its own lead to others.
        if !self.ports.is_empty() || !ports.contains(&remote.port()) {
            return;
        }
        let at_port = |port: &u16| Port {
            remote: SocketAddr::new(remote.ip(), *port),
            retry_at: Instant::ZERO,
            pause: Duration::ZERO,
        };
        self.ports = ports.iter().take(PORTS_MAX).map(at_port).collect();
        let first = turn % self.ports.len();
        self.ports.rotate_left(first);
    }

    /// So many bulk bytes were asked of the peer.
    pub(super) fn on_asked(&mut self, now: Instant, bytes: u32) {
        if now.since(self.counted_from) >= DEMAND_TIME {
            self.counted_from = now;
            self.asked_bytes = 0;
        }
        self.asked_bytes += u64::from(bytes);
        if self.asked_bytes >= DEMAND_BYTES {
            self.wanted_until = now + DEMAND_TIME;
        }
    }

    /// A path to this port is up.
    pub(super) fn on_up(&mut self, remote: SocketAddr) {
        if let Some(port) = self.port(remote) {
            port.pause = Duration::ZERO;
        }
    }

    /// A path to this port, or the attempt to open one, has failed while another path lives.
    pub(super) fn on_failed(&mut self, now: Instant, remote: SocketAddr) {
        if let Some(port) = self.port(remote) {
            port.pause = (port.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
            port.retry_at = now + port.pause;
        }
    }

    /// Where to open one more path now, if anywhere: this node has `shards`, and `paths` are up or being opened, also to where
    /// `is_used`. Who is asked much is asked often, so there is no deadline to wait for.
    pub(super) fn next(
        &self,
        now: Instant,
        shards: usize,
        paths: usize,
        is_used: impl Fn(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        let paths_max = shards.min(self.ports.len()).min(PATHS_MAX);
        if now >= self.wanted_until || paths >= paths_max {
            return None;
        }
        let free = |port: &&Port| port.retry_at <= now && !is_used(port.remote);
        self.ports.iter().find(free).map(|port| port.remote)
    }

    fn port(&mut self, remote: SocketAddr) -> Option<&mut Port> {
        self.ports.iter_mut().find(|port| port.remote == remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u16 = 7411;
    const NOW: Instant = Instant::ZERO;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn is_first(remote: SocketAddr) -> bool {
        remote == at(FIRST)
    }

    /// A peer with these ports, dialed at the first one; asked enough.
    fn busy(ports: &[u16]) -> Further {
        let mut further = Further::default();
        further.on_ports(at(FIRST), ports, 0);
        further.on_asked(NOW, DEMAND_BYTES as u32);
        further
    }

    #[test]
    fn there_are_as_many_paths_as_the_side_with_fewer_shards_has_and_no_more_than_four() {
        let many: Vec<u16> = (FIRST..FIRST + 20).collect();
        for (shards, ports, expect) in [
            (1, &many[..], 1),
            (2, &many, 2),
            (16, &many, PATHS_MAX),
            (8, &many[..1], 1),
            (8, &many[..3], 3),
            (8, &[], 1),
            (8, &[1, 2, 3], 1), // the port that was dialed is none of them
        ] {
            let further = busy(ports);
            let mut used = vec![at(FIRST)];
            while let Some(remote) = further.next(NOW, shards, used.len(), |remote| used.contains(&remote)) {
                assert!(!used.contains(&remote), "{remote} twice");
                used.push(remote);
            }
            assert_eq!(used.len(), expect, "{shards} shards, {} ports", ports.len());
        }
    }

    #[test]
    fn only_much_bulk_at_once_is_worth_a_path() {
        let check = |bytes: u32, every: Duration, expect: Option<SocketAddr>| {
            let mut further = Further::default();
            further.on_ports(at(FIRST), &[FIRST, 2], 0);
            let mut now = NOW;
            let found = (0..100).find_map(|_| {
                further.on_asked(now, bytes);
                now = now + every;
                further.next(now, 2, 1, is_first)
            });
            assert_eq!(found, expect, "{bytes} bytes every {every:?}");
        };
        check(1 << 20, Duration::from_millis(5), Some(at(2)));
        check(1 << 20, Duration::from_millis(50), None);
        check(100, Duration::from_micros(1), None);
        let further = busy(&[FIRST, 2]);
        assert_eq!(further.next(NOW + DEMAND_TIME, 2, 1, is_first), None, "it is idle again");
    }

    #[test]
    fn a_port_that_cannot_be_reached_is_left_alone_longer_and_longer() {
        let mut further = busy(&[FIRST, 2]);
        let mut now = NOW;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(further.next(now, 2, 1, is_first), Some(at(2)));
            further.on_failed(now, at(2));
            let failed = now;
            while further.next(now, 2, 1, is_first).is_none() {
                now = now + DEMAND_TIME;
                further.on_asked(now, DEMAND_BYTES as u32);
            }
            pauses.push(now.since(failed).as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn readers_begin_with_different_ports() {
        let first_of = |turn| {
            let mut further = Further::default();
            further.on_ports(at(FIRST), &[FIRST, 2, 3, 4], turn);
            further.on_asked(NOW, DEMAND_BYTES as u32);
            further.next(NOW, 2, 1, is_first)
        };
        assert_eq!([0, 1, 2, 3, 255].map(first_of), [2, 2, 3, 4, 4].map(|port| Some(at(port))));
    }
}
