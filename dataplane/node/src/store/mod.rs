//! The store on disk.

mod state;
#[cfg(test)]
pub(crate) mod testing;

pub use state::{StateError, prepare_state_dir};
