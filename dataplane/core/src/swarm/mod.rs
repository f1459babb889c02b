//! Who is asked for what, and when.

mod action;
mod scheduler;
mod want;

pub use action::{Action, AskId, DropReason, Refusal, SchedulerConfig, SourceStats, WantKey};
pub use scheduler::Scheduler;
pub use want::{BlobPlace, Class, FetchError, Want};
