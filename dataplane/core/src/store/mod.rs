//! What the store keeps and believes: the journal's bytes, the index they fold into, names on disk, room on disk.
//!
//! Pure: `node::store` reads and writes the files. Nothing here opens one.

mod coverage;
mod evict;
mod index;
mod journal;
pub mod layout;
mod object;
mod record;
mod space;

pub use coverage::Coverage;
pub use evict::{Candidate, QUOTA_BYTES_MAX, QUOTA_BYTES_MIN, Quota, Uses, victims};
pub use index::{Extent, Index, IndexTotals, Nonsense, Object, ObjectKind};
pub use journal::{Encoder, HEADER_BYTES, JournalError, Replay, Tail, TailEnd, Unsynced, VERSION, records, replay};
pub use object::{BlobRef, BootId, Guard, ObjectNo, ReleaseInfo, ReleaseState};
pub use record::{COVERED_RANGES_MAX, HELD_CHUNKS_MAX, HeldChunk, READ_OBJECTS_MAX, Record};
pub use space::{Admit, Intake, worth_compacting};

#[cfg(test)]
mod tests;
