//! Names of files inside the state directory. Where a line of the journal says "object 7", this says which file.
//!
//! ```text
//! STATE/                                 mode 0700
//!   identity                             private key (not ours to touch)
//!   lock                                 flock'd while the store is open; holds the process id
//!   journal                              what is held (see `journal`)
//!   journal.new                          a journal being written; removed or renamed to `journal`
//!   journal.damaged                      the part of a journal that was not believed, kept for whoever wants to look
//!   data/packs/0000002a                  pack segment of object 0x2a: chunks one behind the other, up to 1 GiB
//!   data/blobs/9f/9f86d0...partial       backing file of blob 9f86d0.., sparse, chunks at their final offsets
//!   data/blobs/9f/9f86d0...              the same, every byte held
//! ```
//! In-place objects are files of the publisher, anywhere.

use super::ObjectNo;
use crate::chunk::ChunkId;

/// The lock file.
pub const LOCK: &str = "lock";
/// The journal.
pub const JOURNAL: &str = "journal";
/// A journal being written.
pub const JOURNAL_NEW: &str = "journal.new";
/// What was cut off a damaged journal.
pub const JOURNAL_DAMAGED: &str = "journal.damaged";
/// Directory of pack segments.
pub const PACKS: &str = "data/packs";
/// Directory of the directories of backing files.
pub const BLOBS: &str = "data/blobs";

/// A pack segment's file.
pub fn pack(object: ObjectNo) -> String {
    format!("{PACKS}/{:08x}", object.0)
}

/// The directory of a blob's backing file: 256 of them, so that none grows large.
pub fn blob_dir(blob: &ChunkId) -> String {
    format!("{BLOBS}/{:02x}", blob.as_bytes()[0])
}

/// A blob's backing file, once every byte is held.
pub fn blob(blob: &ChunkId) -> String {
    format!("{}/{blob}", blob_dir(blob))
}

/// A blob's backing file while bytes are missing.
pub fn blob_partial(blob: &ChunkId) -> String {
    format!("{}/{blob}.partial", blob_dir(blob))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_golden() {
        let id = ChunkId::of(b"");
        let hex = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(pack(ObjectNo(42)), "data/packs/0000002a");
        assert_eq!(pack(ObjectNo(u32::MAX)), "data/packs/ffffffff");
        assert_eq!(blob(&id), format!("data/blobs/af/{hex}"));
        assert_eq!(blob_partial(&id), format!("data/blobs/af/{hex}.partial"));
    }
}
