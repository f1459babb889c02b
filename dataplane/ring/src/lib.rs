//! Asks the kernel: typed io_uring operations with owned buffers. It decides nothing, keeps no protocol state and knows no other crate of
//! ours; it is the only crate with `unsafe`.
//!
//! One [`Ring`] per thread. [`Ring::submit`] queues an [`Op`], [`Ring::enter`] submits everything queued and waits in one system call,
//! [`Ring::reap`] hands out [`Completion`]s. Nothing is shared between rings; other threads reach one through its [`Waker`].
//!
//! # Who owns a buffer when
//!
//! ```text
//!  op         before submit   submit .. completion     after the completion
//!  Send       caller: Vec     ring (kernel reads)      caller again: Outcome::Sent.payload, for reuse
//!  Read       caller: BytesMut ring (kernel writes)    caller again: Outcome::Read.buf, longer by what was read
//!  Write      caller: Bytes   ring (kernel reads)      caller again: Outcome::Written.bytes
//!  Receive    ring: pool of 64 KiB BytesMut, lent to the kernel through a buffer ring
//!                             kernel fills one         caller: Datagrams.data, the buffer itself, not a copy
//! ```
//!
//! A received buffer is cut with `split_to` and frozen without a copy. The pool keeps an empty twin of the handle and takes the allocation
//! back by itself once every piece of it was dropped, so nobody has to give anything back. Bursts of at most [`COPY_OUT_MAX`] bytes are
//! copied out instead, see there why.
//!
//! Files are kept open by the operation that uses them: an [`Target::Open`] by its `Arc`, an [`Target::Slot`] by a use count.

pub mod apart;
mod buffer;
mod file;
mod flight;
pub mod fuse;
pub mod handed;
mod msg;
mod op;
pub mod probe;
mod ring;
mod roster;
mod slot;
pub mod socket;
mod sys;
mod waker;

pub use buffer::COPY_OUT_MAX;
pub use file::FileSlot;
pub use msg::{Datagrams, Ecn, Origin, SEGMENTS_MAX, SEND_BYTES_MAX};
pub use op::{Completion, Op, OpError, OpKind, Outcome, SyncScope, Target};
pub use probe::{Probe, RingError, probe};
pub use ring::{Ring, RingConfig, RingStats, WAKE_TAG};
pub use roster::{Present, Roster};
pub use socket::{Buffer, SocketError, SocketOptions, UdpSocket};
pub use waker::Waker;
