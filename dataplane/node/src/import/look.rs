//! What the kernel says of a file: its kind, its guard, its metadata. The only place that reads directories and attributes.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ares_core::limits::XATTRS_BYTES_MAX;
use ares_core::manifest::{Meta, Mtime, Name, Xattr};
use ares_core::store::Guard;
use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

/// Everything that one look tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) kind: FileType,
    pub(super) guard: Guard,
    pub(super) mode: u16,
    pub(super) mtime: Mtime,
    /// Bytes on disk are fewer than its size: it has holes, or is compressed.
    pub(super) sparse: bool,
}

impl From<Stat> for Look {
    fn from(stat: Stat) -> Self {
        let nanos = |secs: i64, nanos: u64| secs.saturating_mul(1_000_000_000).saturating_add(nanos as i64);
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            guard: Guard {
                dev: stat.st_dev,
                ino: stat.st_ino,
                size: stat.st_size as u64,
                mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
                ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
            },
            mode: (stat.st_mode & 0o777) as u16,
            mtime: Mtime {
                secs: stat.st_mtime,
                nanos: stat.st_mtime_nsec as u32,
            },
            sparse: (stat.st_blocks as u64).saturating_mul(512) < stat.st_size as u64,
        }
    }
}

impl Look {
    pub(super) fn meta(&self, xattrs: Vec<Xattr>) -> Meta {
        Meta {
            mode: self.mode,
            mtime: self.mtime,
            xattrs,
        }
    }
}

/// Looks at a name in a directory, not through it.
pub(super) fn look_at(dir: BorrowedFd<'_>, name: &Name) -> io::Result<Look> {
    Ok(rustix::fs::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?.into())
}

/// Looks at an open file.
pub(super) fn look(file: impl AsFd) -> io::Result<Look> {
    Ok(rustix::fs::fstat(file)?.into())
}

/// Opens a regular file or a directory under its name, which must not be a symlink. A pipe that took the name does not block us.
pub(super) fn open_at(dir: BorrowedFd<'_>, name: &Name, kind: FileType) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags.set(OFlags::DIRECTORY, kind == FileType::Directory);
    Ok(rustix::fs::openat(dir, name.as_bytes(), flags, Mode::empty())?)
}

/// The names in a directory, in byte order. Names that no release can hold do not occur on Linux.
pub(super) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        // `.` and `..` are no names.
        if let Ok(name) = Name::new(entry?.file_name().to_bytes().to_vec()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn target(dir: BorrowedFd<'_>, name: &Name) -> io::Result<Bytes> {
    Ok(rustix::fs::readlinkat(dir, name.as_bytes(), Vec::new())?.into_bytes().into())
}

/// The attributes of a file, told by its path where it is not open.
pub(super) enum Attributed<'a> {
    Path(&'a Path),
    Open(BorrowedFd<'a>),
}

/// Attributes as they were found.
pub(super) enum Attributes {
    Fit(Vec<Xattr>),
    TooMany,
}

/// Attributes that `get` keeps for itself, on a directory that it has not finished.
const OWN_PREFIX: &[u8] = b"user.ares.";

/// The `user.` attributes but our own, by ascending key. None where the filesystem has no attributes, or the file is gone: that shows elsewhere.
pub(super) fn xattrs(of: &Attributed<'_>) -> io::Result<Attributes> {
    let list = |buffer: &mut [u8]| match of {
        Attributed::Path(path) => rustix::fs::llistxattr(*path, buffer),
        Attributed::Open(file) => rustix::fs::flistxattr(file, buffer),
    };
    let get = |key: &CStr, buffer: &mut [u8]| match of {
        Attributed::Path(path) => rustix::fs::lgetxattr(*path, key, buffer),
        Attributed::Open(file) => rustix::fs::fgetxattr(file, key, buffer),
    };
    let mut keys = [0; 1024];
    let mut many = Vec::new();
    let keys = match list(&mut keys) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOENT) => return Ok(Attributes::Fit(Vec::new())),
        Ok(len) => &keys[..len],
        Err(Errno::RANGE) => {
            // Linux XATTR_LIST_MAX.
            many.resize(64 << 10, 0);
            let len = list(&mut many)?;
            &many[..len]
        }
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Vec::new();
    let mut bytes = 0;
    for key in keys
        .split_inclusive(|&b| b == 0)
        .filter_map(|key| CStr::from_bytes_with_nul(key).ok())
    {
        if !key.to_bytes().starts_with(b"user.") || key.to_bytes().starts_with(OWN_PREFIX) {
            continue;
        }
        let mut value = vec![0; XATTRS_BYTES_MAX];
        match get(key, &mut value) {
            Ok(len) => value.truncate(len),
            Err(Errno::NODATA | Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        }
        bytes += key.count_bytes() + value.len();
        xattrs.push(Xattr {
            key: Bytes::copy_from_slice(key.to_bytes()),
            value: Bytes::copy_from_slice(&value),
        });
    }
    if bytes > XATTRS_BYTES_MAX {
        return Ok(Attributes::TooMany);
    }
    xattrs.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(Attributes::Fit(xattrs))
}

/// Fills `buffer` from `offset` on; less only at the end of the file.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Where the first data at or behind `at` begin; `None` if there are none. A filesystem that does not know says that all are data.
pub(super) fn data_from(file: &File, at: u64) -> Option<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Some(data),
        Err(Errno::NXIO) => None,
        Err(_) => Some(at),
    }
}

/// Where the first hole behind `at` begins; the end of the file counts as one.
pub(super) fn hole_from(file: &File, at: u64) -> u64 {
    rustix::fs::seek(file, SeekFrom::Hole(at)).unwrap_or(u64::MAX)
}

/// A name as a part of a path.
pub(super) fn as_path(name: &Name) -> &Path {
    Path::new(OsStr::from_bytes(name.as_bytes()))
}
