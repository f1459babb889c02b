//! The judge's tools: places to run `ares` in, trees to publish, and eyes to compare what came out.
//!
//! Nothing here knows the product's insides: it is driven by its command line alone, so that a test fails where a user would.
//! A harness that cannot do its own work panics, with the command and what it printed.

pub mod compare;
pub mod daemon;
pub mod datagrams;
pub mod hostile;
pub mod http;
pub mod keys;
pub mod lab;
pub mod manager;
pub mod mount;
pub mod paths;
pub mod procfs;
pub mod reader;
pub mod relay;
pub mod rng;
pub mod run;
pub mod scratch;
pub mod tree;
pub mod wait;

pub use daemon::{Daemon, Published};
pub use lab::{Lab, Node};
pub use paths::TwoPaths;
pub use run::{Outcome, Running};
