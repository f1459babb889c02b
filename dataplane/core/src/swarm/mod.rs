//! Who is asked for what, and when.

mod action;
mod backoff;
mod peers;
mod picker;
mod queue;
mod scheduler;
mod source;
mod timers;
mod want;
mod window;

pub use action::{Action, AskId, DropReason, Refusal, SchedulerConfig, SourceStats, WantKey};
pub use scheduler::Scheduler;
pub use want::{BlobPlace, Class, FetchError, Unreached, Want};
