//! Ways to a peer: which there are, whether they live, which carry the bytes.

pub mod health;
mod lane;

pub use lane::Lane;
