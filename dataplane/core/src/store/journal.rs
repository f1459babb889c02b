//! Placeholder of the journal's errors.

/// Why bytes are not a journal this version can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It does not begin as a journal does.
    #[error("not an Ares journal (it begins with {0:02x?}); move it away or name another state directory with --state")]
    Foreign([u8; 8]),
    /// A format this version does not know.
    #[error("format version {found}, and this version of ares reads {known}; use the ares that wrote it")]
    Version {
        /// Version in the header.
        found: u32,
        /// Version this code reads.
        known: u32,
    },
}
