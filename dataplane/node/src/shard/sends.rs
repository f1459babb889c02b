//! Datagrams on their way out: builds bursts (UDP GSO) into pooled buffers and hands them to the ring. Bounded: when all buffers
//! are with the kernel, connections wait their turn.

use std::net::SocketAddr;
use std::time::Instant;

use ares_ring::{Ecn, Op, OpError, Origin, SEGMENTS_MAX, SEND_BYTES_MAX, Target};
use quinn_proto::{EcnCodepoint, Transmit};
use rustix::io::Errno;

use super::Tag;
use super::conn::Conn;
use super::submit::Submit;
use crate::clock::Clock;

/// Bursts in the kernel's hands at once.
const BURSTS_MAX: usize = 64;

/// How much of what a connection has was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// As much as its turn or the pool had room for.
    Part,
    /// As much as its lane lets leave now.
    Allowed,
}

/// What IP and UDP put before each payload, in bytes.
pub(super) fn headers_bytes(remote: SocketAddr) -> usize {
    if remote.ip().to_canonical().is_ipv4() {
        20 + 8
    } else {
        40 + 8
    }
}

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

    /// Sends what a connection has and may send, at most `bursts_max` bursts.
    pub(super) fn transmit(
        &mut self,
        ring: &mut impl Submit,
        socket: &Target,
        conn: &mut Conn,
        now: Instant,
        clock: &Clock,
        bursts_max: usize,
    ) -> Sent {
        let lane = conn.lane().map(|lane| Origin {
            ip: lane.ip,
            interface: Some(lane.interface),
        });
        let tag = Tag::Send(conn.path).encode();
        let headers_bytes = headers_bytes(conn.remote());
        let (quic, gate) = (&mut conn.quic, &mut conn.gate);
        for _ in 0..bursts_max {
            if !self.has_room() {
                return Sent::Part;
            }
            let mtu = usize::from(quic.current_mtu());
            let allowed = gate.datagrams(clock.at(now), mtu + headers_bytes);
            if allowed == 0 {
                return Sent::Allowed;
            }
            let mut payload = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(SEND_BYTES_MAX));
            payload.clear();
            let datagrams_max = (SEND_BYTES_MAX / mtu).clamp(1, SEGMENTS_MAX).min(allowed);
            let Some(transmit) = quic.poll_transmit(now, datagrams_max, &mut payload) else {
                self.spare.push(payload);
                gate.on_all_sent();
                return Sent::All;
            };
            payload.truncate(transmit.size);
            let datagrams = transmit.segment_size.map_or(1, |bytes| transmit.size.div_ceil(bytes));
            gate.on_sent(transmit.size + datagrams * headers_bytes);
            let from = lane.or(transmit.src_ip.map(Origin::address));
            self.submit(ring, socket.clone(), &transmit, from, payload, tag);
        }
        Sent::Part
    }

    /// Sends an answer of the endpoint itself; under pressure it is dropped, the peer will ask again.
    pub(super) fn respond(&mut self, ring: &mut impl Submit, socket: Target, transmit: &Transmit, bytes: &[u8]) {
        if self.has_room() {
            let from = transmit.src_ip.map(Origin::address);
            self.submit(
                ring,
                socket,
                transmit,
                from,
                bytes[..transmit.size].to_vec(),
                Tag::Respond.encode(),
            );
        }
    }

    fn submit(
        &mut self,
        ring: &mut impl Submit,
        socket: Target,
        transmit: &Transmit,
        from: Option<Origin>,
        payload: Vec<u8>,
        tag: u64,
    ) {
        self.inflight += 1;
        let op = Op::Send {
            socket,
            to: transmit.destination,
            from,
            ecn: transmit.ecn.map(ecn_of),
            segment_bytes: transmit.segment_size.map(|bytes| bytes as u16),
            payload,
        };
        ring.submit(op, tag);
    }

    /// A burst was taken or refused. A refused one is lost like any datagram: QUIC sends it again. Answers why there is no point in that.
    pub(super) fn on_sent(&mut self, payload: Vec<u8>, result: Result<usize, OpError>) -> Option<OpError> {
        self.inflight -= 1;
        if payload.capacity() >= SEND_BYTES_MAX {
            self.spare.push(payload);
        }
        let error = result.err()?;
        tracing::debug!(%error, "a burst was not sent");
        Some(error).filter(has_no_way)
    }
}

/// Whether the kernel has no way from the address by the interface. Others pass (no room) or are how a firewall drops (EPERM).
fn has_no_way(error: &OpError) -> bool {
    let errno = error.errno().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL | Errno::NODEV)
    )
}

fn ecn_of(codepoint: EcnCodepoint) -> Ecn {
    match codepoint {
        EcnCodepoint::Ect0 => Ecn::Ect0,
        EcnCodepoint::Ect1 => Ecn::Ect1,
        EcnCodepoint::Ce => Ecn::Ce,
    }
}
