//! Who is asked for what, and when.

mod action;
mod backoff;
mod giving;
mod haves;
mod links;
mod load;
mod peers;
mod queue;
mod scheduler;
mod sharing;
mod source;
mod spread;
mod tally;
mod throughput;
mod timers;
mod turn;
mod want;
mod window;
mod zone;

pub use action::{Action, AskId, DropReason, Refusal, SOURCE_BYTES_MAX, SchedulerConfig, SourceStats, WantKey};
pub use giving::{GIVING_MIN, Giving};
pub use links::LINKS;
pub use load::LoadTeller;
pub use scheduler::Scheduler;
pub use sharing::{LINKS_MAX, Sharing};
pub use spread::{BUSY_MIN, Spread};
pub use tally::{Outstanding, SwitchCause, Tally};
pub use want::{BlobPlace, Class, FetchError, Unreached, Want};
pub use zone::Zone;
