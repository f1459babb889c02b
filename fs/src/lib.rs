//! The read-only view of a release as a FUSE filesystem. A machine turns requests into replies or fetches; `mount.rs` alone does I/O.

mod source;

pub use source::{Reply, Source};
