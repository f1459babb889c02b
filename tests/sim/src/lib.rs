//! A swarm of thousands of nodes in virtual time, over the machines of core that decide in a real node: `Scheduler`, `Spread` and
//! `Sharing` of each node are the real ones, fed as a hub feeds them. Links, disks and connections are modelled (`net.rs` says how, and
//! how that is wrong). One seed gives one trace.
//!
//! It judges policies: who is asked for what, who tells whom. What the programs cost, and what a transport does with a link, is measured
//! with real nodes (`bench swarm`).

mod names;
mod net;
mod node;
mod report;
mod scenario;
mod world;

pub use report::{Report, Span};
pub use scenario::{Fault, Line, Scenario, Temper};
pub use world::run;
