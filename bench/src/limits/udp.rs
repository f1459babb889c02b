//! Datagrams through the dataplane's own ring, bare: no QUIC, no ciphers, and only as much of a protocol as keeps datagrams from being lost.
//!
//! ```text
//!  sender    bursts until WINDOW_BYTES are not acknowledged ---->   receiver
//!            <---- how many bytes have arrived, every ACK_BYTES
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ares_ring::{Ecn, FileSlot, Op, Outcome, Ring, RingConfig, SocketOptions, UdpSocket};

use super::flow::{Figures, Stopwatch, say_ready};
use crate::error::{BenchError, Result};

/// Bytes under way: a few times what a shard sends in one turn, and far below the socket's buffer.
const WINDOW_BYTES: u64 = 2 << 20;

/// Bytes between two acknowledgements.
const ACK_BYTES: u64 = WINDOW_BYTES / 8;

/// The kernel charges small datagrams with twice their size and more.
const SOCKET_BYTES: u32 = 8 << 20;

/// Bursts that are built and wait for their turn or for the kernel.
const BURSTS: usize = 16;

/// Silence after which datagrams must have been lost.
const PATIENCE: Duration = Duration::from_secs(5);

const RECEIVE: u64 = 1;
const SEND: u64 = 2;

const _: () = assert!(
    WINDOW_BYTES * 2 < SOCKET_BYTES as u64,
    "a window fits the socket's buffer twice"
);

/// A ring with a socket that receives.
struct End {
    ring: Ring,
    socket: FileSlot,
    local: SocketAddr,
    /// When something happened last.
    heard: Instant,
}

impl End {
    fn open(at: SocketAddr) -> Result<Self> {
        let options = SocketOptions {
            receive_buffer_bytes: Some(SOCKET_BYTES),
            ..SocketOptions::default()
        };
        let socket = UdpSocket::bind(at, &options)?;
        let granted_bytes = socket.granted().receive_buffer_bytes;
        if granted_bytes < SOCKET_BYTES {
            return Err(BenchError::SmallSocket {
                granted_bytes,
                wanted_bytes: SOCKET_BYTES,
            });
        }
        let mut ring = Ring::new(&RingConfig::default())?;
        let slot = ring.register(&socket)?;
        ring.submit(Op::Receive { socket: slot.into() }, RECEIVE);
        Ok(Self {
            ring,
            socket: slot,
            local: socket.local_addr(),
            heard: Instant::now(),
        })
    }

    fn send(&mut self, to: SocketAddr, segment_bytes: Option<u16>, payload: Vec<u8>) {
        let send = Op::Send {
            socket: self.socket.into(),
            to,
            from: None,
            ecn: Some(Ecn::Ect0),
            segment_bytes,
            payload,
        };
        self.ring.submit(send, SEND);
    }

    /// Submits, waits, and hands out what has happened.
    fn turn(&mut self, mut on_outcome: impl FnMut(Outcome) -> Result<()>) -> Result<()> {
        self.ring.enter(Some(PATIENCE))?;
        while let Some(completion) = self.ring.reap() {
            self.heard = Instant::now();
            on_outcome(completion.outcome)?;
        }
        if self.heard.elapsed() < PATIENCE {
            Ok(())
        } else {
            Err(BenchError::DatagramsLost)
        }
    }
}

/// So many bytes in whole bursts.
fn whole_bursts(bytes: u64, segment: u16, count: u16) -> (u64, u64) {
    let burst = u64::from(segment) * u64::from(count);
    (burst, bytes.div_ceil(burst) * burst)
}

/// Sends at least `bytes` to `to`; ends when all have arrived.
pub(crate) fn send(to: SocketAddr, bytes: u64, segment: u16, count: u16) -> Result<Figures> {
    let mut end = End::open((Ipv4Addr::UNSPECIFIED, 0).into())?;
    let (burst_bytes, bytes) = whole_bursts(bytes, segment, count);
    let mut free: Vec<Vec<u8>> = (0..BURSTS).map(|_| vec![1; burst_bytes as usize]).collect();
    let (mut sent, mut arrived) = (0, 0);
    let watch = Stopwatch::start();
    while arrived < bytes {
        while sent < bytes && sent + burst_bytes - arrived <= WINDOW_BYTES {
            let Some(payload) = free.pop() else { break };
            end.send(to, Some(segment), payload);
            sent += burst_bytes;
        }
        end.turn(|outcome| {
            match outcome {
                Outcome::Sent { payload, result } => {
                    result?;
                    free.push(payload);
                }
                Outcome::Received(mut acks) => {
                    while let Some(ack) = acks.take() {
                        let told = <[u8; 8]>::try_from(&ack[..]).map_or(0, u64::from_be_bytes);
                        arrived = told.max(arrived);
                    }
                }
                Outcome::ReceiveEnded(error) => return Err(error.into()),
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(watch.stop(bytes))
}

/// Receives what `send` with the same numbers sends.
pub(crate) fn receive(at: SocketAddr, bytes: u64, segment: u16, count: u16) -> Result<Figures> {
    let mut end = End::open(at)?;
    let (_, bytes) = whole_bursts(bytes, segment, count);
    // Submits the receive: from here on nothing is lost.
    end.ring.enter(Some(Duration::ZERO))?;
    say_ready(end.local);
    let watch = Stopwatch::start();
    let (mut arrived, mut told) = (0, 0);
    let mut sender = None;
    while arrived < bytes || end.ring.in_flight() > 1 {
        end.turn(|outcome| {
            match outcome {
                Outcome::Received(datagrams) => {
                    arrived += datagrams.data.len() as u64;
                    sender = Some(datagrams.remote);
                }
                Outcome::Sent { result, .. } => {
                    result?;
                }
                Outcome::ReceiveEnded(error) => return Err(error.into()),
                _ => {}
            }
            Ok(())
        })?;
        if let Some(sender) = sender.filter(|_| arrived - told >= ACK_BYTES || (arrived >= bytes && told < bytes)) {
            end.send(sender, None, arrived.to_be_bytes().to_vec());
            told = arrived;
        }
    }
    Ok(watch.stop(arrived))
}
