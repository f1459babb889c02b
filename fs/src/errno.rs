//! The one place where a failure becomes an errno. Why it failed goes to the log: an errno has no room for it.

/// Why a request gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A directory operation on something else.
    NotDirectory,
    /// There is no such name now. The kernel does not keep that.
    Absent,
    /// A file operation on a directory.
    IsDirectory,
    /// A link operation on something else.
    NotLink,
    /// The kernel names an inode that it has forgotten.
    Stale,
    /// The bytes did not come in time, or the manifest that names them is malformed.
    Unreadable,
    /// The entry has no such extended attribute.
    NoAttribute,
    /// The value is longer than the asker has room for.
    NoRoom,
    /// Whoever asked was sent a signal.
    Interrupted,
    /// A release never changes.
    ReadOnly,
    /// Nothing of ours: the kernel must not ask again.
    Unknown,
}

impl Failure {
    /// As Linux has it, see errno(3).
    pub(crate) const fn errno(self) -> i32 {
        match self {
            Self::NotDirectory => libc::ENOTDIR,
            Self::Absent => libc::ENOENT,
            Self::IsDirectory => libc::EISDIR,
            Self::NotLink => libc::EINVAL,
            Self::Stale => libc::ESTALE,
            Self::Unreadable => libc::EIO,
            Self::NoAttribute => libc::ENODATA,
            Self::NoRoom => libc::ERANGE,
            Self::Interrupted => libc::EINTR,
            Self::ReadOnly => libc::EROFS,
            Self::Unknown => libc::ENOSYS,
        }
    }
}
