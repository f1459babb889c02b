//! Joins core and ring: shards that drive QUIC from io_uring, the hub that owns the scheduler, the store on disk, import.

pub mod api;
mod backlog;
mod clock;
mod congestion;
mod counters;
mod discovery;
pub mod download;
mod edge;
pub mod figures;
mod handle;
mod hub;
pub mod identity;
pub mod import;
mod lanes;
mod mailbox;
mod node;
mod pacer;
mod path_ids;
mod quic;
mod shard;
#[cfg(test)]
mod sim;
pub mod store;
mod tls;
mod want_ids;
mod worker;

pub use handle::{Handle, Stopping, TuneError};
pub use node::{Node, StartError};
pub use tls::TlsError;
