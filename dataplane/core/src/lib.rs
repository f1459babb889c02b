//! Decides. The machines of Ares 2P2: what to cut, ask, keep, believe and drop.
//!
//! Nothing here has a clock, a socket, a file, a thread or `async`: time and bytes come in as arguments, choices go out as
//! values, and the same inputs give the same outputs. `ring` asks the kernel, `node` joins the two.

pub mod admission;
pub mod chunk;
pub mod histogram;
pub mod knobs;
pub mod limits;
pub mod link;
pub mod manifest;
mod order;
pub mod path;
pub mod peer;
pub mod profile;
pub mod rng;
pub mod store;
pub mod swarm;
pub mod time;
pub mod wire;
