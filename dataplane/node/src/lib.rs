//! Joins core and ring: shards that drive QUIC from io_uring, the hub that owns the scheduler, the store on disk, import.

pub mod api;
pub mod identity;
pub mod store;
