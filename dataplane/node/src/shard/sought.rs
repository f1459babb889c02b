//! Remote addresses that this side wants something from: what comes from them stays in the buffers it came in, what comes from others is
//! copied out.
//!
//! A slice of a burst keeps all 64 KiB of its buffer, and QUIC keeps slices of what came out of order, each counted by its own length: a
//! stranger could hold a hundred times what it has sent. Strangers send asks and acknowledgements, which are small; chunks come from
//! where they were asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ares_ring::Datagrams;
use bytes::BytesMut;

/// The addresses, each with the number of connections to it that this side has dialled or asked over.
#[derive(Debug, Default)]
pub(super) struct Sought(BTreeMap<SocketAddr, usize>);

impl Sought {
    /// One more connection to it is sought.
    pub(super) fn add(&mut self, remote: SocketAddr) {
        *self.0.entry(remote).or_default() += 1;
    }

    /// A connection that was added is gone.
    pub(super) fn remove(&mut self, remote: SocketAddr) {
        let count = self.0.get_mut(&remote).expect("it was added");
        *count -= 1;
        if *count == 0 {
            self.0.remove(&remote);
        }
    }

    /// Whether datagrams from there may keep their buffer.
    pub(super) fn has(&self, remote: SocketAddr) -> bool {
        self.0.contains_key(&remote)
    }
}

/// Takes the next datagram off a burst.
pub(super) fn take(burst: &mut Datagrams, is_sought: bool) -> Option<BytesMut> {
    let datagram = burst.take()?;
    Some(if is_sought { datagram } else { BytesMut::from(&datagram[..]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_sends_keeps_no_buffer_but_its_own() {
        const BUFFER_BYTES: usize = 64 << 10;
        for is_sought in [false, true] {
            let mut data = BytesMut::with_capacity(BUFFER_BYTES);
            data.resize(3000, 7);
            let mut burst = Datagrams {
                remote: SocketAddr::from(([127, 0, 0, 1], 1)),
                local_ip: None,
                ecn: None,
                stride: 1000,
                data,
            };
            let kept: Vec<BytesMut> = std::iter::from_fn(|| take(&mut burst, is_sought)).collect();
            assert_eq!(kept.concat(), [7; 3000]);
            // The buffer can be used again only if nobody else has a part of it.
            assert_eq!(burst.data.try_reclaim(BUFFER_BYTES), !is_sought);
        }
    }

    #[test]
    fn an_address_is_sought_as_long_as_one_connection_to_it_is() {
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut sought = Sought::default();
        sought.add(remote);
        sought.add(remote);
        sought.remove(remote);
        assert!(sought.has(remote));
        sought.remove(remote);
        assert!(!sought.has(remote));
    }
}
