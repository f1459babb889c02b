//! The machine's lanes: which there are, live. A thread of its own waits for the kernel's word and tells the hub; it chooses nothing but what
//! the node's sockets can send from.

mod kernel;
mod reach;
mod table;

use std::io::{self, PipeReader, PipeWriter};
use std::net::{IpAddr, SocketAddr};

use ares_core::path::{Lane, LaneRules};
use crossbeam::channel::Sender;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use self::kernel::{Interest, Kernel};
pub(crate) use self::reach::{Routes, is_link_local, reachable};
use crate::mailbox::ToHub;

/// The machine's addresses now that the rules leave, loopback last. Empty where the kernel does not tell.
pub(crate) fn own_addresses(rules: &LaneRules) -> Vec<IpAddr> {
    let lanes = Kernel::open(Interest::Now).ok().and_then(|kernel| kernel.lanes());
    rules.choose(lanes.unwrap_or_default()).iter().map(|lane| lane.ip).collect()
}

/// Tells the hub of lanes, at the start and when they change.
pub(crate) struct Follower {
    kernel: Kernel,
    /// Ends when the leash is dropped.
    leash: PipeReader,
    post: Post,
}

/// What keeps a follower going: it ends when this is dropped.
pub(crate) type Leash = PipeWriter;

/// What the hub hears.
struct Post {
    bound: Vec<SocketAddr>,
    told: Vec<Lane>,
    hub: Sender<ToHub>,
}

/// Tells the hub of the lanes that sockets bound to `bound` have, and gives who will tell of changes. `None`, with a line in the log, where
/// the kernel tells of none: paths leave then from where the routing table says.
pub(crate) fn follow(bound: Vec<SocketAddr>, hub: Sender<ToHub>) -> Option<(Follower, Leash)> {
    let mut post = Post {
        bound,
        told: Vec::new(),
        hub,
    };
    let started = Kernel::open(Interest::Changes).and_then(|kernel| Ok((kernel, io::pipe()?)));
    match started {
        Ok((kernel, (leash, held))) => {
            post.tell(kernel.lanes());
            Some((Follower { kernel, leash, post }, held))
        }
        Err(error) => {
            // getifaddrs(3) would ask the same kind of socket.
            let once = Kernel::open(Interest::Now).ok().and_then(|kernel| kernel.lanes());
            let found = once.as_ref().map_or(0, Vec::len);
            tracing::warn!(
                %error,
                addresses = found,
                "the kernel does not tell of changes of interfaces (netlink): a link that goes down is noticed by its silence"
            );
            post.tell(once);
            None
        }
    }
}

impl Follower {
    /// Runs until the leash is dropped.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.work() {
            tracing::warn!(%error, "changes of interfaces are no longer followed");
        }
    }

    fn work(&mut self) -> io::Result<()> {
        loop {
            let mut wait = [
                PollFd::new(&self.kernel, PollFlags::IN),
                PollFd::new(&self.leash, PollFlags::empty()),
            ];
            match poll(&mut wait, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !wait[1].revents().is_empty() {
                return Ok(());
            }
            // Each by itself: a link that goes down takes its IPv6 addresses along, and the first of the two is the reason.
            while self.kernel.read()? {
                self.post.tell(self.kernel.lanes());
            }
        }
    }
}

impl Post {
    fn tell(&mut self, lanes: Option<Vec<Lane>>) {
        let Some(lanes) = lanes else { return };
        let is_bound = |lane: &Lane| self.bound.iter().any(|addr| sends_from(addr.ip(), lane.ip));
        let lanes: Vec<Lane> = lanes.into_iter().filter(is_bound).collect();
        if lanes != self.told {
            tracing::debug!(?lanes, "lanes");
            self.told.clone_from(&lanes);
            // The hub outlives us, or the node stops.
            let _ = self.hub.send(ToHub::Lanes(lanes));
        }
    }
}

/// Whether a socket bound to `bound` can send from this address.
pub(crate) fn sends_from(bound: IpAddr, ip: IpAddr) -> bool {
    bound == ip || bound.is_unspecified() && bound.is_ipv4() == ip.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::{TryRecvError, unbounded};

    #[test]
    fn a_follower_tells_what_is_bound_at_once_and_ends_with_its_leash() {
        let (hub, inbox) = unbounded();
        let bound = vec![SocketAddr::from(([127, 0, 0, 1], 1))];
        let (follower, leash) = follow(bound, hub).expect("netlink answers everybody");
        let Ok(ToHub::Lanes(lanes)) = inbox.try_recv() else {
            panic!("lanes are told before it returns")
        };
        let said: Vec<_> = lanes
            .iter()
            .map(|l| (l.name.as_str(), l.ip, l.prefix_bits, l.is_up))
            .collect();
        assert_eq!(said, [("lo", IpAddr::from([127, 0, 0, 1]), 8, true)]);
        let thread = std::thread::spawn(|| follower.run());
        drop(leash);
        thread.join().expect("it ends");
        assert!(
            matches!(inbox.try_recv(), Err(TryRecvError::Disconnected)),
            "and nothing was news"
        );
    }

    #[test]
    fn sockets_send_from_where_they_are_bound() {
        for (bound, ip, expect) in [
            ("0.0.0.0", "10.0.1.2", true),
            ("0.0.0.0", "fd00::2", false),
            ("::", "fd00::2", true),
            ("::", "10.0.1.2", false),
            ("10.0.1.2", "10.0.1.2", true),
            ("10.0.1.2", "10.0.1.3", false),
        ] {
            let parse = |ip: &str| ip.parse().expect("an address");
            assert_eq!(sends_from(parse(bound), parse(ip)), expect, "{bound} {ip}");
        }
    }
}
