//! What the store keeps and believes: the journal's bytes, the index they fold into, names on disk, room on disk.
//!
//! Pure: `node::store` reads and writes the files. Nothing here opens one.

mod journal;
mod object;

pub use journal::JournalError;
pub use object::{BlobRef, Guard, ObjectNo, ReleaseInfo, ReleaseState};
