//! Datagrams on their way out: builds bursts (UDP GSO) into pooled buffers and hands them to the ring. Bounded: when all buffers
//! are with the kernel, connections wait their turn.

use std::time::Instant;

use ares_ring::{Ecn, Op, OpError, Origin, Ring, SEGMENTS_MAX, SEND_BYTES_MAX, Target};
use quinn_proto::{Connection, EcnCodepoint, Transmit};

use super::Tag;

/// Bursts in the kernel's hands at once.
const BURSTS_MAX: usize = 64;

/// The pool.
#[derive(Default)]
pub(super) struct Sends {
    spare: Vec<Vec<u8>>,
    inflight: usize,
}

impl Sends {
    pub(super) fn has_room(&self) -> bool {
        self.inflight < BURSTS_MAX
    }

    /// Sends what a connection has, at most `bursts_max` bursts. Returns whether that was all.
    pub(super) fn transmit(
        &mut self,
        ring: &mut Ring,
        socket: &Target,
        quic: &mut Connection,
        now: Instant,
        bursts_max: usize,
    ) -> bool {
        for _ in 0..bursts_max {
            if !self.has_room() {
                return false;
            }
            let mut payload = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(SEND_BYTES_MAX));
            payload.clear();
            let datagrams_max = (SEND_BYTES_MAX / usize::from(quic.current_mtu())).clamp(1, SEGMENTS_MAX);
            let Some(transmit) = quic.poll_transmit(now, datagrams_max, &mut payload) else {
                self.spare.push(payload);
                return true;
            };
            payload.truncate(transmit.size);
            self.submit(ring, socket.clone(), &transmit, payload);
        }
        false
    }

    /// Sends an answer of the endpoint itself; under pressure it is dropped, the peer will ask again.
    pub(super) fn respond(&mut self, ring: &mut Ring, socket: Target, transmit: &Transmit, bytes: &[u8]) {
        if self.has_room() {
            self.submit(ring, socket, transmit, bytes[..transmit.size].to_vec());
        }
    }

    fn submit(&mut self, ring: &mut Ring, socket: Target, transmit: &Transmit, payload: Vec<u8>) {
        self.inflight += 1;
        let op = Op::Send {
            socket,
            to: transmit.destination,
            from: transmit.src_ip.map(Origin::address),
            ecn: transmit.ecn.map(ecn_of),
            segment_bytes: transmit.segment_size.map(|bytes| bytes as u16),
            payload,
        };
        ring.submit(op, Tag::Send.encode());
    }

    /// A burst was taken or refused. A refused one is lost like any datagram: QUIC sends it again.
    pub(super) fn on_sent(&mut self, payload: Vec<u8>, result: Result<usize, OpError>) {
        self.inflight -= 1;
        if payload.capacity() >= SEND_BYTES_MAX {
            self.spare.push(payload);
        }
        if let Err(error) = result {
            tracing::debug!(%error, "a burst was not sent");
        }
    }
}

fn ecn_of(codepoint: EcnCodepoint) -> Ecn {
    match codepoint {
        EcnCodepoint::Ect0 => Ecn::Ect0,
        EcnCodepoint::Ect1 => Ecn::Ect1,
        EcnCodepoint::Ce => Ecn::Ce,
    }
}
