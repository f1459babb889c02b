//! A directory under the destination, held open, so that nothing is ever reached through a symlink: every step goes one name deeper
//! from a descriptor, with O_NOFOLLOW. A hostile release, or an older release with a symlink where this one has a directory,
//! cannot lead outside.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ares_core::manifest::{Meta, Name};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::draft::{self, Draft, draft_name};
use super::meta::{self, os};
use super::place::{at, mark};
use crate::admin::proto::Overwrite;
use crate::error::{Failure, Kind};

/// A directory that is written into. Clones share the descriptor: the walk has one, and so has each file that is still to be written.
/// Whoever is done with its clone closes it.
#[derive(Clone)]
pub(crate) struct Dir(Arc<OpenDir>);

struct OpenDir {
    fd: OwnedFd,
    /// For errors, and for the store, which keeps files where they are.
    path: PathBuf,
    /// What is set when the last clone is closed; `None` where the directory is not ours.
    meta: Option<Meta>,
    rank: Rank,
}

/// Where a directory stands in what is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// It is the destination.
    Top,
    Below,
}

/// What stands under a name.
pub(super) enum Standing {
    Nothing,
    File(Existing),
    Symlink(Vec<u8>),
    Other(InTheWay),
}

impl Standing {
    /// What it is to an entry that is to stand there instead.
    pub(super) fn in_the_way(&self) -> InTheWay {
        match self {
            // A name that was free a moment ago, or a file of another size or other bytes.
            Standing::Nothing | Standing::File(_) => InTheWay::File,
            Standing::Symlink(_) => InTheWay::Symlink,
            Standing::Other(what) => *what,
        }
    }
}

/// What is in the way of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InTheWay {
    File,
    Symlink,
    Directory,
    /// A device, pipe or socket.
    Special,
}

impl Dir {
    /// Opens the destination itself; its own name may be a symlink: the user chose it.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let fd = fd.map_err(|e| Failure::io("opening", path, &e.into()))?;
        Ok(Self(Arc::new(OpenDir {
            fd,
            path: path.to_owned(),
            meta: None,
            rank: Rank::Top,
        })))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// As one whose mode and time are the release's; it has no clones yet.
    pub(super) fn owned(mut self, meta: &Meta) -> Result<Self, Failure> {
        let open = Arc::get_mut(&mut self.0).ok_or_else(super::twice)?;
        open.meta = Some(meta.clone());
        Ok(self)
    }

    pub(super) fn is_empty(&self) -> Result<bool, Failure> {
        let entries = rustix::fs::Dir::read_from(self.fd()).map_err(|e| Failure::io("listing", self.path(), &e.into()))?;
        for entry in entries {
            let entry = entry.map_err(|e| Failure::io("listing", self.path(), &e.into()))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether entries can be made in it, without making one.
    pub(super) fn check_writable(&self) -> Result<(), Failure> {
        use rustix::fs::Access;
        rustix::fs::accessat(self.fd(), ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .or_else(|e| if e == Errno::NOSYS { Ok(()) } else { Err(e) })
            .map_err(|e| Failure::io("writing to", self.path(), &e.into()))
    }

    /// The directory `name` in it, made where it is absent; it gets `meta` when it is closed.
    pub(super) fn enter(&self, name: &Name, meta: Meta) -> Result<Self, Failure> {
        let path = at(self.path(), name);
        let is_new = match rustix::fs::mkdirat(self.fd(), os(name), Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(disk("making", &path, &e.into())),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(self.fd(), os(name), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(
                    Failure::new(Kind::Disk, format!("{} is in the way: it is not a directory", path.display()))
                        .help("remove it, or choose another destination"),
                );
            }
            Err(e) => return Err(disk("opening", &path, &e.into())),
        };
        // An earlier run may have left it without the right to write into; it is set again when it is left.
        let mode = rustix::fs::fstat(&fd)
            .map_err(|e| disk("looking at", &path, &e.into()))?
            .st_mode
            & 0o7777;
        if mode & 0o700 != 0o700 {
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode | 0o700)).map_err(|e| disk("opening", &path, &e.into()))?;
        }
        let dir = Self(Arc::new(OpenDir {
            fd,
            path,
            meta: Some(meta),
            rank: Rank::Below,
        }));
        if !is_new {
            draft::sweep(&dir);
        }
        Ok(dir)
    }

    /// Nothing more is written into it through this clone. The last one sets mode, time and attributes.
    pub(super) fn close(self) -> Result<(), Failure> {
        let Some(open) = Arc::into_inner(self.0) else { return Ok(()) };
        let Some(meta) = open.meta else { return Ok(()) };
        if open.rank == Rank::Top {
            // Its mode may forbid it later.
            mark::remove(&open.fd);
        }
        meta::file(&File::from(open.fd), &meta).map_err(|e| disk("setting mode and time of", &open.path, &e))
    }

    /// What stands under `name`.
    pub(super) fn standing(&self, name: &Name) -> Result<Standing, Failure> {
        let path = at(self.path(), name);
        let stat = match rustix::fs::statat(self.fd(), os(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Standing::Nothing),
            Err(e) => return Err(disk("looking at", &path, &e.into())),
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Standing::Other(InTheWay::Directory),
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(self.fd(), os(name), Vec::new()).map_err(|e| disk("reading", &path, &e.into()))?;
                Standing::Symlink(target.into_bytes())
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(self.fd(), os(name), flags, Mode::empty())
                    .map_err(|e| disk("opening", &path, &e.into()))?;
                Standing::File(Existing {
                    file: File::from(fd),
                    bytes: u64::try_from(stat.st_size).unwrap_or(0),
                    path,
                })
            }
            _ => Standing::Other(InTheWay::Special),
        })
    }

    /// A whole small file.
    pub(super) fn file(&self, name: &Name, bytes: &[u8], meta: &Meta, overwrite: Overwrite) -> Result<(), Failure> {
        let mut draft = Draft::small(self, name, meta)?;
        draft
            .file
            .write_all(bytes)
            .map_err(|e| disk("writing", &at(self.path(), name), &e))?;
        draft.publish(meta, overwrite)
    }

    /// A symlink. It is stored as it is, wherever it leads; nothing here follows it.
    pub(super) fn symlink(&self, name: &Name, target: &[u8], overwrite: Overwrite) -> Result<(), Failure> {
        let path = at(self.path(), name);
        let make = |name: &std::ffi::OsStr| rustix::fs::symlinkat(target, self.fd(), name);
        let made = match overwrite {
            Overwrite::Refuse => make(os(name)),
            Overwrite::Replace => {
                let draft = draft_name();
                make(draft.as_ref()).and_then(|()| rustix::fs::renameat(self.fd(), &draft, self.fd(), os(name)))
            }
        };
        made.map_err(|e| disk("making", &path, &e.into()))
    }
}

/// A regular file that is there already.
pub(super) struct Existing {
    pub(super) file: File,
    pub(super) bytes: u64,
    path: PathBuf,
}

impl Existing {
    /// Whether it holds `bytes` and nothing else.
    pub(super) fn holds(&self, bytes: &[u8]) -> Result<bool, Failure> {
        if self.bytes != bytes.len() as u64 {
            return Ok(false);
        }
        let mut held = Vec::with_capacity(bytes.len());
        (&self.file)
            .take(bytes.len() as u64 + 1)
            .read_to_end(&mut held)
            .map_err(|e| disk("reading", &self.path, &e))?;
        Ok(held == bytes)
    }

    /// Reads `len` bytes at `offset`; fewer where it ends.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Failure> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.file.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(disk("reading", &self.path, &e)),
            }
        }
        Ok(filled)
    }

    /// Sets mode, time and attributes where they differ.
    pub(super) fn dress(&self, meta: &Meta) -> Result<(), Failure> {
        meta::file(&self.file, meta).map_err(|e| disk("setting mode and time of", &self.path, &e))
    }
}

/// Files and symlinks may be replaced where the user said so; a directory never: that would remove what is in it.
pub(super) fn may_replace(dir: &Dir, name: &Name, there: InTheWay, overwrite: Overwrite) -> Result<(), Failure> {
    let what = match there {
        InTheWay::File => "a file with other bytes",
        InTheWay::Symlink => "a symlink that leads elsewhere",
        InTheWay::Directory => "a directory",
        InTheWay::Special => "a device, pipe or socket",
    };
    let failure = Failure::new(
        Kind::Disk,
        format!("{} exists already: {what}", at(dir.path(), name).display()),
    );
    match (there, overwrite) {
        (InTheWay::Directory | InTheWay::Special, _) => Err(failure.help("remove it, or choose another destination")),
        (_, Overwrite::Refuse) => Err(failure.help("--force replaces it; or choose another destination")),
        (_, Overwrite::Replace) => Ok(()),
    }
}

/// A failure of the destination's disk, with what is free there where that is the reason.
pub(super) fn disk(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let mut failure = Failure::io(doing, path, error);
    failure.kind = Kind::Disk;
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        let there = path.ancestors().find_map(|p| rustix::fs::statvfs(p).ok());
        let free = there.map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        failure
            .message
            .push_str(&format!(" ({} free there)", crate::render::Bytes(free)));
        failure =
            failure.help("free some space there and run it again: what is held is not fetched again, what is written stays");
    }
    failure
}
