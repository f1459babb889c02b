//! Ways to a peer: which there are, whether they live, which carry the bytes.

pub mod health;
mod lane;
mod rules;

pub use lane::{Lane, LaneLost};
pub use rules::{BadPattern, LanePattern, LaneRules, WEIGHT_MAX};
