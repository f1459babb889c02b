//! How FUSE writes requests and answers (include/uapi/linux/fuse.h, protocol 7). Reads what comes from the kernel without trusting its
//! lengths; does no I/O.
//!
//! ```text
//! request: len:u32 opcode:u32 unique:u64 node:u64 uid:u32 gid:u32 pid:u32 extlen:u16 pad:u16 | arguments
//! answer:  len:u32 -errno:i32 unique:u64                                                     | what was asked for
//! ```
//! Integers are in the machine's byte order; names end with a zero byte.

use std::time::Duration;

use crate::inode::{Attr, AttrKind, ROOT};
use crate::options::Permissions;
use crate::request::{BLOCK_BYTES, Space};

/// Protocol that we speak. The kernel puts up with older and newer minors.
pub(super) const MAJOR: u32 = 7;
const MINOR: u32 = 42;
/// From Linux 3.15 on: answers have had their present form since.
const MINOR_MIN: u32 = 23;
/// Length of a request's header, in bytes.
pub(super) const HEADER_BYTES: usize = 40;
/// Length of an answer's header, in bytes.
pub(super) const ANSWER_BYTES: usize = 16;
/// An entry and its attributes.
const ENTRY_BYTES: usize = 128;
/// How long the kernel may keep what it was told. A release never changes: a day, so that a mistake of ours does not live for ever.
pub(super) const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest read, in pages of 4 KiB. Larger ones are slower: see the measurements in the design.
pub(super) const REQUEST_PAGES_MAX: u16 = 128;
/// Reads ahead of readers that the kernel may have waiting at us. Enough for four stuck readers with 4 MiB each in 128 KiB pieces.
pub(super) const BACKGROUND_MAX: u16 = 128;
/// The backing files we hand over lie on a plain filesystem, so that an overlay may lie on us.
pub(super) const STACK_DEPTH_MAX: u32 = 1;
/// Whoever cannot write sends no more than the least that the kernel allows us to ask for.
const WRITE_BYTES_MAX: u32 = 4096;

/// Flags of FUSE_INIT.
pub(super) mod init {
    /// Reads of one file at a time are several.
    pub(in super::super) const ASYNC_READ: u64 = 1 << 0;
    /// Entries are found again by number, as lookups of `.` and `..`, so that file handles outlive the kernel's memory of them (NFS).
    pub(in super::super) const EXPORT_SUPPORT: u64 = 1 << 4;
    /// Listings with attributes.
    pub(in super::super) const DO_READDIRPLUS: u64 = 1 << 13;
    /// Opening files needs no word from us.
    pub(in super::super) const NO_OPEN_SUPPORT: u64 = 1 << 17;
    /// Lookups and listings of one directory at a time are several.
    pub(in super::super) const PARALLEL_DIROPS: u64 = 1 << 18;
    /// Reads of more than 128 KiB.
    pub(in super::super) const MAX_PAGES: u64 = 1 << 22;
    /// Link targets are kept.
    pub(in super::super) const CACHE_SYMLINKS: u64 = 1 << 23;
    /// Opening directories needs no word from us.
    pub(in super::super) const NO_OPENDIR_SUPPORT: u64 = 1 << 24;
    /// Pages are kept whatever attributes say.
    pub(in super::super) const EXPLICIT_INVAL_DATA: u64 = 1 << 25;
    /// There are more than 32 flags.
    pub(in super::super) const EXT: u64 = 1 << 30;
    /// The kernel reads files by itself.
    pub(in super::super) const PASSTHROUGH: u64 = 1 << 37;
    /// Requests that were taken and not answered are asked again when we say so (Linux 6.9).
    pub(in super::super) const HAS_RESEND: u64 = 1 << 39;
    /// Requests come by io_uring. Once this is agreed on the kernel waits for the queues.
    pub(in super::super) const OVER_IO_URING: u64 = 1 << 41;

    /// What we use wherever the kernel has it; what it lacks costs speed only. Listings come with attributes always, not where the kernel
    /// guesses that it pays: `ls -lR` of 100,000 files takes 0.3-0.8 s instead of 2.8. A release never changes, so the page cache is never
    /// wrong. Opening directories, and files that are not passed through, needs no word from us: the kernel keeps their pages anyway, and
    /// two round trips per file fall away.
    pub(in super::super) const WANTED: u64 = ASYNC_READ
        | EXPORT_SUPPORT
        | DO_READDIRPLUS
        | NO_OPEN_SUPPORT
        | PARALLEL_DIROPS
        | MAX_PAGES
        | CACHE_SYMLINKS
        | NO_OPENDIR_SUPPORT
        | EXPLICIT_INVAL_DATA
        | HAS_RESEND
        | EXT;
}

/// How an open file is to be treated.
pub(super) mod open {
    /// Pages that the kernel has stay.
    pub(in super::super) const KEEP_CACHE: u32 = 1 << 1;
    /// Closing needs no word from us.
    pub(in super::super) const NOFLUSH: u32 = 1 << 5;
    /// The kernel reads the backing file.
    pub(in super::super) const PASSTHROUGH: u32 = 1 << 7;
}

/// A request by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    opcode: u32,
    /// Names the request, and no other of this connection ever.
    pub(super) unique: u64,
    node: u64,
}

/// What the kernel asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    /// The first word: what it speaks and can do.
    Init {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u64,
    },
    Lookup {
        parent: u64,
        name: &'a [u8],
    },
    /// Expects no answer.
    Forget(Forgets<'a>),
    /// Whoever waits for that request has a signal to look at. Expects no answer.
    Interrupt {
        unique: u64,
    },
    Attr {
        ino: u64,
    },
    Link {
        ino: u64,
    },
    Open {
        ino: u64,
    },
    Release {
        ino: u64,
    },
    Read {
        ino: u64,
        offset: u64,
        len: u32,
    },
    /// With attributes or without; `room` in bytes.
    List {
        ino: u64,
        offset: u64,
        room: u32,
        plus: bool,
    },
    Statfs {
        ino: u64,
    },
    /// `room` in bytes; 0 asks for the length.
    Xattr {
        ino: u64,
        name: &'a [u8],
        room: u32,
    },
    Xattrs {
        ino: u64,
        room: u32,
    },
    /// Granted, whatever it is about.
    Grant,
    /// Would change something.
    Write,
    /// Nothing of ours: the kernel must not ask again.
    Unknown,
}

/// Entries that the kernel has forgotten: pairs of an inode number and how often it was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forgets<'a> {
    One(u64, u64),
    /// As the kernel writes them, sixteen bytes each.
    Many(&'a [u8]),
}

/// A request that is not what its opcode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Forgets<'_> {
    pub(super) fn for_each(self, mut tell: impl FnMut(u64, u64)) {
        match self {
            Self::One(ino, count) => tell(ino, count),
            Self::Many(pairs) => {
                for mut pair in pairs.chunks_exact(16).map(Fields) {
                    if let (Some(ino), Some(count)) = (pair.u64(), pair.u64()) {
                        tell(ino, count);
                    }
                }
            }
        }
    }
}

impl Header {
    /// The header, and the arguments behind it as far as it says that they reach.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let header = Self::alone(bytes)?;
        let len = Fields(bytes).u32().and_then(|len| usize::try_from(len).ok());
        let arguments = len.and_then(|len| bytes.get(HEADER_BYTES..len)).ok_or(Malformed)?;
        Ok((header, arguments))
    }

    /// The header, whose arguments are elsewhere.
    pub(super) fn alone(bytes: &[u8]) -> Result<Self, Malformed> {
        let (header, _) = bytes.split_at_checked(HEADER_BYTES).ok_or(Malformed)?;
        let mut fields = Fields(header);
        let mut read = || {
            let (_len, opcode) = (fields.u32()?, fields.u32()?);
            let (unique, node) = (fields.u64()?, fields.u64()?);
            Some(Self { opcode, unique, node })
        };
        read().ok_or(Malformed)
    }

    /// Puts arguments into `arguments` as they are over /dev/fuse, which over io_uring come apart: the fixed ones, with whatever is behind
    /// them, and the others.
    pub(super) fn join(&self, fixed: &[u8], others: &[u8], arguments: &mut Vec<u8>) {
        arguments.clear();
        match self.opcode {
            // A lookup has none that are fixed, and getxattr eight bytes; both have a name.
            1 => arguments.extend_from_slice(others),
            22 => {
                arguments.extend_from_slice(&fixed[..8.min(fixed.len())]);
                arguments.extend_from_slice(others);
            }
            _ => arguments.extend_from_slice(fixed),
        }
    }

    /// What is asked, by the opcodes of the header file; those that we do not know are no mistake.
    pub(super) fn ask<'a>(&self, arguments: &'a [u8]) -> Result<Ask<'a>, Malformed> {
        let ino = self.node;
        let mut fields = Fields(arguments);
        let mut read = || {
            Some(match self.opcode {
                1 => Ask::Lookup {
                    parent: ino,
                    name: fields.name()?,
                },
                2 => Ask::Forget(Forgets::One(ino, fields.u64()?)),
                3 => Ask::Attr { ino },
                5 => Ask::Link { ino },
                // setattr, symlink, mknod, mkdir, unlink, rmdir, rename, link, write, setxattr, removexattr, create, fallocate, rename2,
                // copy_file_range, tmpfile
                4 | 6 | 8..=13 | 16 | 21 | 24 | 35 | 43 | 45 | 47 | 51 | 53 => Ask::Write,
                14 => Ask::Open { ino },
                15 => {
                    let (offset, len) = fields.extent()?;
                    Ask::Read { ino, offset, len }
                }
                17 => Ask::Statfs { ino },
                18 => Ask::Release { ino },
                // fsync, releasedir, fsyncdir, access: the last is never asked while the kernel checks permissions itself; destroy
                20 | 29 | 30 | 34 | 38 => Ask::Grant,
                22 => {
                    let (room, _) = (fields.u32()?, fields.u32()?);
                    let name = fields.name()?;
                    Ask::Xattr { ino, name, room }
                }
                23 => Ask::Xattrs {
                    ino,
                    room: fields.u32()?,
                },
                26 => fields.init()?,
                28 | 44 => {
                    let (offset, room) = fields.extent()?;
                    let plus = self.opcode == 44;
                    Ask::List { ino, offset, room, plus }
                }
                36 => Ask::Interrupt { unique: fields.u64()? },
                42 => {
                    let (count, _) = (usize::try_from(fields.u32()?).ok()?, fields.u32()?);
                    Ask::Forget(Forgets::Many(fields.0.get(..count.checked_mul(16)?)?))
                }
                // Among them flush (25) and opendir (27), which the kernel leaves out from then on, and lseek (46): its own answer to
                // SEEK_HOLE and SEEK_DATA is right, as no holes are known.
                _ => Ask::Unknown,
            })
        };
        read().ok_or(Malformed)
    }
}

/// Bytes that are read from their start.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    /// Up to its zero byte, which must be there.
    fn name(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        Some(&self.0[..end])
    }

    /// Offset and length out of `struct fuse_read_in`.
    fn extent(&mut self) -> Option<(u64, u32)> {
        let (_handle, offset, len) = (self.u64()?, self.u64()?, self.u32()?);
        Some((offset, len))
    }

    /// Kernels before Linux 5.17 have no second word of flags.
    fn init(&mut self) -> Option<Ask<'a>> {
        let (major, minor, max_readahead) = (self.u32()?, self.u32()?, self.u32()?);
        let low = u64::from(self.u32()?);
        let high = if low & init::EXT == 0 { 0 } else { self.u32()? };
        Some(Ask::Init {
            major,
            minor,
            max_readahead,
            flags: low | u64::from(high) << 32,
        })
    }
}

/// Whether we understand each other. Of a newer major the kernel is told ours, and asks again.
pub(super) fn is_spoken(major: u32, minor: u32) -> bool {
    major > MAJOR || (major == MAJOR && minor >= MINOR_MIN)
}

/// Bytes that grow by integers in the machine's order.
pub(super) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn u16(&mut self, value: u16) {
        self.put(&value.to_ne_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_ne_bytes());
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// An answer's header. `errno` is 0 where it went well, `bytes` the length of what follows.
pub(super) fn header(unique: u64, errno: i32, bytes: usize) -> [u8; ANSWER_BYTES] {
    let len = u32::try_from(ANSWER_BYTES + bytes).expect("no request takes 4 GiB for an answer");
    let mut header = [0; ANSWER_BYTES];
    header[..4].copy_from_slice(&len.to_ne_bytes());
    header[4..8].copy_from_slice(&(-errno).to_ne_bytes());
    header[8..].copy_from_slice(&unique.to_ne_bytes());
    header
}

/// What tells the kernel to ask again all that was taken and is not answered (FUSE_NOTIFY_RESEND): an answer to nothing, with a code in place of an
/// error.
pub(super) fn resend() -> [u8; ANSWER_BYTES] {
    const RESEND: i32 = 7;
    header(0, -RESEND, 0)
}

/// The header of a word that the kernel has not asked for: for it to keep a part of a file (FUSE_NOTIFY_STORE).
pub(super) fn store_header(bytes: usize) -> [u8; ANSWER_BYTES] {
    // Such words have their number where answers have their error, which is negative.
    header(0, -4, STORE_BYTES + bytes)
}

/// Length of `struct fuse_notify_store_out`, in bytes.
const STORE_BYTES: usize = 24;

/// `struct fuse_notify_store_out`: the file from its beginning. The bytes follow.
pub(super) fn put_store(out: &mut impl Put, ino: u64, bytes: u32) {
    out.u64(ino);
    out.u64(0);
    out.u32(bytes);
    out.u32(0);
}

/// `struct fuse_init_out`: what of the kernel's offer we take.
pub(super) fn put_init(out: &mut impl Put, max_readahead: u32, flags: u64) {
    out.u32(MAJOR);
    out.u32(MINOR);
    out.u32(max_readahead);
    out.u32(flags as u32);
    out.u16(BACKGROUND_MAX);
    // Where the kernel calls itself congested, three quarters as it has it by default.
    out.u16(BACKGROUND_MAX / 4 * 3);
    out.u32(WRITE_BYTES_MAX);
    // Times in nanoseconds.
    out.u32(1);
    out.u16(REQUEST_PAGES_MAX);
    out.u16(0);
    out.u32((flags >> 32) as u32);
    out.u32(if flags & init::PASSTHROUGH == 0 { 0 } else { STACK_DEPTH_MAX });
    out.put(&[0; 24]);
}

/// Whose everything in the mount is, with which permission bits, and how long the kernel may keep that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
    file_mode: Option<u16>,
    dir_mode: Option<u16>,
    umask: u16,
    /// Whether the top is a directory of names, which come and go.
    has_names: bool,
    /// Tells inode numbers of this mount from the same of others.
    pub(super) generation: u32,
}

impl Owner {
    /// As the mount is told; where it is not, this is `user` and `group`.
    pub(super) fn new(user: u32, group: u32, told: Permissions, has_names: bool, generation: u32) -> Self {
        Self {
            user: told.user.unwrap_or(user),
            group: told.group.unwrap_or(group),
            file_mode: told.file_mode,
            dir_mode: told.dir_mode,
            umask: told.umask,
            has_names,
            generation,
        }
    }

    /// What an inode number is valid with: where it comes from elsewhere, by a handle of NFS, it may be of another release. The kernel has
    /// given the top its own.
    pub(super) fn generation(&self, attr: &Attr) -> u64 {
        if attr.ino > ROOT { self.generation.into() } else { 0 }
    }

    /// How long the kernel may keep that a name leads to this.
    pub(super) fn name_ttl(&self, attr: &Attr) -> Duration {
        if self.has_names && attr.is_named_top() {
            Duration::ZERO
        } else {
            TTL
        }
    }

    /// How long it may keep its attributes.
    pub(super) fn ttl(&self, attr: &Attr) -> Duration {
        if self.has_names && attr.ino == ROOT {
            Duration::ZERO
        } else {
            TTL
        }
    }

    /// Permission bits that an entry is shown with.
    pub(super) fn mode(&self, attr: &Attr) -> u16 {
        let told = match attr.kind {
            AttrKind::Symlink => return attr.mode,
            AttrKind::File => self.file_mode,
            AttrKind::Dir => self.dir_mode,
        };
        told.unwrap_or(attr.mode) & !self.umask
    }
}

/// `struct fuse_entry_out`. Number 0 tells the kernel that there is no such entry, for as long as it may keep that.
pub(super) fn put_entry(out: &mut impl Put, attr: &Attr, owner: Owner) {
    out.u64(attr.ino);
    out.u64(owner.generation(attr));
    out.u64(owner.name_ttl(attr).as_secs());
    out.u64(owner.ttl(attr).as_secs());
    out.u64(0);
    put_stat(out, attr, owner);
}

/// `struct fuse_attr_out`
pub(super) fn put_attr(out: &mut impl Put, attr: &Attr, owner: Owner) {
    out.u64(owner.ttl(attr).as_secs());
    out.u64(0);
    put_stat(out, attr, owner);
}

/// `struct fuse_attr`
fn put_stat(out: &mut impl Put, attr: &Attr, owner: Owner) {
    out.u64(attr.ino);
    out.u64(attr.size);
    out.u64(attr.size.div_ceil(512));
    // Read, changed, changed in its attributes: all the same.
    for _ in 0..3 {
        out.u64(attr.mtime.secs as u64);
    }
    for _ in 0..3 {
        out.u32(attr.mtime.nanos);
    }
    out.u32(kind(attr.kind) | u32::from(owner.mode(attr)));
    // 1 for directories too: it says that subdirectories are not counted, as on btrfs; find(1) knows.
    out.u32(1);
    out.u32(owner.user);
    out.u32(owner.group);
    out.u32(0);
    out.u32(BLOCK_BYTES);
    out.u32(0);
}

/// File type as `st_mode` has it.
fn kind(kind: AttrKind) -> u32 {
    match kind {
        AttrKind::Dir => libc::S_IFDIR,
        AttrKind::Symlink => libc::S_IFLNK,
        AttrKind::File => libc::S_IFREG,
    }
}

/// One line of a listing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Offset of what follows it.
    pub(super) next: u64,
    pub(super) attr: Attr,
    pub(super) name: &'a [u8],
}

/// `struct fuse_dirent`, or `struct fuse_direntplus`. `false`, and nothing, where it does not fit into `room` bytes.
pub(super) fn put_line(out: &mut Vec<u8>, room: usize, line: &Line<'_>, owner: Owner, plus: bool) -> bool {
    let entry = if plus { ENTRY_BYTES } else { 0 };
    let bytes = (entry + 24 + line.name.len()).next_multiple_of(8);
    let end = out.len() + bytes;
    if end > room {
        return false;
    }
    if plus {
        // `.` and `..` are not entries of their own: the kernel skips them by their names.
        put_entry(out, &line.attr, owner);
    }
    out.u64(line.attr.ino);
    out.u64(line.next);
    out.u32(line.name.len() as u32);
    out.u32(kind(line.attr.kind) >> 12);
    out.put(line.name);
    out.resize(end, 0);
    true
}

/// `struct fuse_open_out`. `backing` is the number of a file that the kernel reads by itself.
pub(super) fn put_open(out: &mut impl Put, flags: u32, backing: u32) {
    out.u64(0);
    out.u32(flags);
    out.u32(backing);
}

/// `struct fuse_statfs_out`
pub(super) fn put_statfs(out: &mut impl Put, space: &Space) {
    out.u64(space.blocks());
    // Not used, which is what is not here; and to be had by writers, which is nothing.
    out.u64(space.blocks_lacking());
    out.u64(0);
    out.u64(space.entries);
    out.u64(0);
    out.u32(BLOCK_BYTES);
    out.u32(NAME_BYTES_MAX);
    out.u32(BLOCK_BYTES);
    out.put(&[0; 28]);
}

/// What statfs(2) says about names.
pub(super) const NAME_BYTES_MAX: u32 = 255;

/// `struct fuse_getxattr_out`
pub(super) fn put_length(out: &mut impl Put, bytes: u32) {
    out.u32(bytes);
    out.u32(0);
}

#[cfg(test)]
mod tests;
