//! Ways to a peer: which there are, whether they live, which carry the bytes.

mod caps;
pub mod health;
mod lane;
mod pairs;
mod policy;
mod rules;

pub use caps::{BadCap, BadPeer, Cap, CapRule, Caps, Direction, LaneCaps, PeerCaps, PeerPattern};
pub use lane::{Lane, LaneId, LaneLost};
pub use pairs::{Ends, Pair};
pub use policy::{Mode, Policy, Way, WayFigures};
pub use rules::{BadPattern, BadWeight, LanePattern, LaneRules, WEIGHT_MAX};
