//! One peer's control conversation: what has been said, what may come next, and when it is too much. Never looks at chunks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{ClaimState, Coming, Frame, Have, Hello, Load, PROTOCOL_VERSION, Peers};
use super::{WireError, varint};
use crate::chunk::{ChunkId, ReleaseId};
use crate::limits::FRAME_BYTES_MAX;
use crate::peer::Address;
use crate::time::Instant;

/// How much a peer may say.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeLimits {
    /// Frames allowed in one interval, known types or not. More than a peer with thousands of releases says right after its hello.
    pub frames_per_interval: u32,
    /// Of these, lists of its addresses. An honest peer tells one a second at most; those of a path that was cut for as long as a connection
    /// lives come at once.
    pub addresses_per_interval: u32,
    /// Chunks that it may say it holds. A node says two thirds of that at most.
    pub haves_per_interval: u32,
    /// Lists of other peers.
    pub peers_per_interval: u32,
    /// Length of that interval.
    pub interval: Duration,
    /// Bytes of our frames that may wait for the peer to read.
    pub output_bytes_max: usize,
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        Self {
            frames_per_interval: 8192,
            addresses_per_interval: 32,
            haves_per_interval: 256 << 10,
            peers_per_interval: 1024,
            interval: Duration::from_secs(1),
            output_bytes_max: 1 << 20,
        }
    }
}

/// What the peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its hello came and both sides speak the same version. Always the first event of a sound conversation.
    Ready(Hello),
    /// It holds this much of a release.
    Claim {
        /// The release.
        release: ReleaseId,
        /// How much of it.
        state: ClaimState,
    },
    /// It is so busy with others.
    Load(Load),
    /// It says that our bytes did not hash to this name: re-check the chunk before serving it again.
    Bad {
        /// The name they were asked by.
        chunk: ChunkId,
    },
    /// It can be reached at these addresses, and no longer at those it told before. Each is of one node; whether it leads to the peer is for
    /// its key to prove.
    Addresses(Vec<Address>),
    /// It holds these chunks of a release too.
    Have(Have),
    /// It has asked peers of other zones for some chunks of a release, or does not wait for them any more.
    Coming(Coming),
    /// It says who else takes part in a release.
    Peers(Peers),
    /// It says who of this node's zone fetches for it what nobody there has.
    Gates(Peers),
    /// It closes the connection, and why. Nothing follows.
    Bye {
        /// A `CloseCode`, or one of a later version.
        code: u64,
        /// For people; no control characters.
        reason: String,
    },
    /// It broke the protocol: close the connection with the error's code. Always the last event.
    Violation(WireError),
}

/// The conversation's machine.
#[derive(Debug)]
pub struct Exchange {
    limits: ExchangeLimits,
    phase: Phase,
    /// Bytes of a frame that is not whole yet; never more than one frame.
    input: BytesMut,
    output: BytesMut,
    events: VecDeque<Event>,
    interval_start: Instant,
    frames_in_interval: u32,
    addresses_in_interval: u32,
    haves_in_interval: u32,
    peers_in_interval: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The peer's hello is awaited.
    Opening,
    Open,
    /// After a violation or a goodbye: nothing is heard or said any more.
    Closed,
}

impl Exchange {
    /// Starts the conversation; our `hello` is the first output.
    pub fn new(now: Instant, limits: ExchangeLimits, hello: Hello) -> Self {
        let mut exchange = Self {
            limits,
            phase: Phase::Opening,
            input: BytesMut::new(),
            output: BytesMut::new(),
            events: VecDeque::new(),
            interval_start: now,
            frames_in_interval: 0,
            addresses_in_interval: 0,
            haves_in_interval: 0,
            peers_in_interval: 0,
        };
        exchange.send(&Frame::Hello(hello));
        exchange
    }

    /// Takes the next bytes of the control stream, in any split.
    pub fn on_bytes(&mut self, now: Instant, mut bytes: &[u8]) {
        while self.phase != Phase::Closed {
            match self.take_frame(&mut bytes) {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    if let Err(error) = self.on_frame(now, &frame) {
                        self.violate(error);
                    }
                }
                Err(error) => self.violate(error),
            }
        }
    }

    /// The control stream ended (FIN or reset) while the connection lives.
    pub fn on_fin(&mut self) {
        if self.phase != Phase::Closed {
            self.violate(WireError::ControlEnded);
        }
    }

    /// Queues a frame. A peer that reads nothing is a violation once the queue is full.
    pub fn send(&mut self, frame: &Frame) {
        if self.phase == Phase::Closed {
            return;
        }
        frame.encode(&mut self.output);
        if self.output.len() > self.limits.output_bytes_max {
            let queued = self.output.len();
            self.violate(WireError::Unread { queued });
        }
    }

    /// What the peer said, in order.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bytes to write to the control stream; empty if there are none. Take only what the stream has room for.
    pub fn take_output(&mut self, bytes_max: usize) -> Bytes {
        self.output.split_to(bytes_max.min(self.output.len())).freeze()
    }

    /// The next whole frame (type and body), out of what is held and `bytes`. Holds on to a part of one frame at most.
    fn take_frame(&mut self, bytes: &mut &[u8]) -> Result<Option<Bytes>, WireError> {
        loop {
            let mut head = &self.input[..];
            let missing = match varint::take(&mut head) {
                None => 1, // byte by byte until the length is known: it is 1 to 8 bytes
                Some(len) if len > u64::from(FRAME_BYTES_MAX) => return Err(WireError::FrameTooLong { len }),
                Some(len) => (len as usize).saturating_sub(head.len()),
            };
            if missing == 0 {
                let head_len = self.input.len() - head.len();
                self.input.advance(head_len);
                return Ok(Some(self.input.split().freeze()));
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            let taken = missing.min(bytes.len());
            self.input.extend_from_slice(&bytes[..taken]);
            *bytes = &bytes[taken..];
        }
    }

    fn on_frame(&mut self, now: Instant, frame: &[u8]) -> Result<(), WireError> {
        self.count_frame(now)?;
        let mut body = frame;
        let kind = varint::take(&mut body).ok_or(WireError::FrameMalformed {
            frame: "nameless",
            why: "no type",
        })?;
        if self.phase == Phase::Opening && kind != 0 {
            return Err(WireError::HelloMissing { kind });
        }
        let Some(frame) = Frame::parse(kind, body)? else {
            return Ok(());
        };
        self.events.push_back(match frame {
            Frame::Hello(_) if self.phase == Phase::Open => return Err(WireError::HelloTwice),
            Frame::Hello(hello) if hello.version != PROTOCOL_VERSION => {
                return Err(WireError::Version {
                    theirs: hello.version,
                    ours: PROTOCOL_VERSION,
                });
            }
            Frame::Hello(hello) => {
                self.phase = Phase::Open;
                Event::Ready(hello)
            }
            Frame::Claim { release, state } => Event::Claim { release, state },
            Frame::Load(load) => Event::Load(load),
            Frame::Bad { chunk } => Event::Bad { chunk },
            Frame::Addresses(addresses) => {
                self.addresses_in_interval += 1;
                self.hold_to(self.addresses_in_interval, self.limits.addresses_per_interval)?;
                Event::Addresses(addresses)
            }
            Frame::Have(have) => {
                self.haves_in_interval += have.chunks.len() as u32;
                self.hold_to(self.haves_in_interval, self.limits.haves_per_interval)?;
                Event::Have(have)
            }
            Frame::Coming(coming) => {
                self.haves_in_interval += (coming.coming.len() + coming.not_coming.len()) as u32;
                self.hold_to(self.haves_in_interval, self.limits.haves_per_interval)?;
                Event::Coming(coming)
            }
            Frame::Peers(peers) => {
                self.peers_in_interval += 1;
                self.hold_to(self.peers_in_interval, self.limits.peers_per_interval)?;
                Event::Peers(peers)
            }
            Frame::Gates(gates) => {
                self.peers_in_interval += 1;
                self.hold_to(self.peers_in_interval, self.limits.peers_per_interval)?;
                Event::Gates(gates)
            }
            Frame::Bye { code, reason } => {
                self.phase = Phase::Closed;
                Event::Bye { code, reason }
            }
        });
        Ok(())
    }

    /// A fixed window is enough: it bounds what is queued for us to `2 * frames_per_interval` in any interval.
    fn count_frame(&mut self, now: Instant) -> Result<(), WireError> {
        if now.since(self.interval_start) >= self.limits.interval {
            self.interval_start = now;
            self.frames_in_interval = 0;
            self.addresses_in_interval = 0;
            self.haves_in_interval = 0;
            self.peers_in_interval = 0;
        }
        self.frames_in_interval += 1;
        let queued = self.events.len() as u32 + 1;
        self.hold_to(self.frames_in_interval.max(queued), self.limits.frames_per_interval)
    }

    fn hold_to(&self, count: u32, allowed: u32) -> Result<(), WireError> {
        let interval_ms = self.limits.interval.as_millis() as u64;
        if count > allowed {
            return Err(WireError::Flood { allowed, interval_ms });
        }
        Ok(())
    }

    fn violate(&mut self, error: WireError) {
        self.phase = Phase::Closed;
        self.input = BytesMut::new();
        self.output = BytesMut::new();
        self.events.push_back(Event::Violation(error));
    }
}
