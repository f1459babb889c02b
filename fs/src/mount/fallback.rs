//! The connection to the kernel by way of the crate `fuser`: another program's reading of the protocol, to be had where ours is in doubt.
//! It tells us of no interrupts, so whoever waits for a chunk that nobody has waits for the deadline.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ares_core::manifest::Mtime;
use fuser::{
    AccessFlags, BackingId, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, SessionACL, TimeOrNow,
    WriteFlags,
};

use super::answer::{Answer, Backing, To};
use super::attach;
use super::session::Shared;
use super::wire::{self, Ask, Forgets, Line, Owner};
use crate::errno::Failure;
use crate::inode::{Attr, AttrKind};
use crate::request::BLOCK_BYTES;

/// Where the answer to one request goes.
pub(super) enum Ticket {
    Empty(ReplyEmpty),
    Entry(ReplyEntry),
    Attr(ReplyAttr),
    Data(ReplyData),
    Open(ReplyOpen),
    Directory(ReplyDirectory),
    DirectoryPlus(ReplyDirectoryPlus),
    Statfs(ReplyStatfs),
    Xattr(ReplyXattr),
}

/// A listing that is being filled.
pub(super) enum Page {
    Plain(ReplyDirectory),
    Plus(ReplyDirectoryPlus),
    /// Something else was asked for.
    No(Ticket),
}

/// Says the first words on a connection that was just mounted.
pub(super) fn greet(shared: &Arc<Shared>, connection: OwnedFd, threads: usize) -> io::Result<fuser::Session<Session>> {
    let mut config = fuser::Config::default();
    config.n_threads = Some(threads);
    config.clone_fd = attach::open_device().is_ok();
    // Who may look in is checked by the kernel; fuser's own check knows less.
    fuser::Session::from_fd(Session(shared.clone()), connection, SessionACL::All, config)
}

impl Ticket {
    pub(super) fn send(self, owner: Owner, answer: &Answer<'_>) {
        match (self, answer) {
            (to, Answer::Failed(failure)) => to.fail(*failure),
            (Self::Empty(to), Answer::Done) => to.ok(),
            (Self::Entry(to), Answer::Entry(attr)) => {
                to.entry(&owner.name_ttl(attr), &shown(attr, owner), Generation(owner.generation(attr)))
            }
            (Self::Attr(to), Answer::Attr(attr)) => to.attr(&owner.ttl(attr), &shown(attr, owner)),
            (Self::Data(to), Answer::Bytes(bytes)) => to.data(bytes),
            (Self::Data(to), Answer::Data([part])) => to.data(part),
            // It takes one piece.
            (Self::Data(to), Answer::Data(parts)) => to.data(&parts.concat()),
            (Self::Open(to), Answer::Opened(Some(Backing::Fuser(id)))) => {
                to.opened_passthrough(FileHandle(0), FopenFlags::FOPEN_NOFLUSH, id);
            }
            (Self::Open(to), Answer::Opened(None)) => {
                to.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH);
            }
            (Self::Statfs(to), Answer::Statfs(space)) => {
                let (blocks, free, entries) = (space.blocks(), space.blocks_lacking(), space.entries);
                to.statfs(blocks, free, 0, entries, 0, BLOCK_BYTES, wire::NAME_BYTES_MAX, BLOCK_BYTES);
            }
            (Self::Xattr(to), Answer::Bytes(bytes)) => to.data(bytes),
            (Self::Xattr(to), Answer::Length(bytes)) => to.size(*bytes),
            (to, _) => to.fail(Failure::Unreadable),
        }
    }

    fn fail(self, failure: Failure) {
        let errno = Errno::from_i32(failure.errno());
        match self {
            Self::Empty(to) => to.error(errno),
            Self::Entry(to) => to.error(errno),
            Self::Attr(to) => to.error(errno),
            Self::Data(to) => to.error(errno),
            Self::Open(to) => to.error(errno),
            Self::Directory(to) => to.error(errno),
            Self::DirectoryPlus(to) => to.error(errno),
            Self::Statfs(to) => to.error(errno),
            Self::Xattr(to) => to.error(errno),
        }
    }

    pub(super) fn page(self) -> Page {
        match self {
            Self::Directory(to) => Page::Plain(to),
            Self::DirectoryPlus(to) => Page::Plus(to),
            to => Page::No(to),
        }
    }

    pub(super) fn back(&self, file: &dyn AsFd) -> io::Result<BackingId> {
        match self {
            Self::Open(to) => to.open_backing(file),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl Page {
    pub(super) fn add(&mut self, line: &Line<'_>, owner: Owner) -> bool {
        let name = OsStr::from_bytes(line.name);
        let ino = INodeNo(line.attr.ino);
        !match self {
            Self::Plain(page) => page.add(ino, line.next, file_type(line.attr.kind), name),
            Self::Plus(page) => page.add(
                ino,
                line.next,
                name,
                &owner.name_ttl(&line.attr),
                &shown(&line.attr, owner),
                Generation(owner.generation(&line.attr)),
            ),
            Self::No(_) => true,
        }
    }

    pub(super) fn send(self) {
        match self {
            Self::Plain(page) => page.ok(),
            Self::Plus(page) => page.ok(),
            Self::No(to) => to.fail(Failure::Unreadable),
        }
    }
}

fn shown(attr: &Attr, owner: Owner) -> FileAttr {
    let mtime = system_time(attr.mtime);
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: mtime,
        mtime,
        ctime: mtime,
        crtime: mtime,
        kind: file_type(attr.kind),
        perm: owner.mode(attr),
        nlink: 1,
        uid: owner.user,
        gid: owner.group,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn file_type(kind: AttrKind) -> FileType {
    match kind {
        AttrKind::Dir => FileType::Directory,
        AttrKind::Symlink => FileType::Symlink,
        AttrKind::File => FileType::RegularFile,
    }
}

/// A moment the clock's type cannot express is shown as 1970.
fn system_time(mtime: Mtime) -> SystemTime {
    let whole = Duration::from_secs(mtime.secs.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if mtime.secs < 0 {
        epoch.checked_sub(whole)
    } else {
        epoch.checked_add(whole)
    };
    time.and_then(|time| time.checked_add(Duration::from_nanos(mtime.nanos.into())))
        .unwrap_or(epoch)
}

/// The side of a mount that fuser calls.
pub(super) struct Session(Arc<Shared>);

impl Session {
    fn serve(&self, ask: Ask<'_>, ticket: Ticket) {
        self.0.serve(ask, To::Fuser(ticket));
    }
}

impl Filesystem for Session {
    fn init(&mut self, _req: &fuser::Request, config: &mut KernelConfig) -> io::Result<()> {
        // What an older kernel lacks costs speed only.
        for flag in InitFlags::from_bits_retain(wire::init::WANTED).iter() {
            let _ = config.add_capabilities(flag);
        }
        let passes = self.0.is_told_of_opens() && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
        if !passes {
            self.0.expect_no_opens();
        }
        let _ = config.set_max_stack_depth(wire::STACK_DEPTH_MAX);
        // Sets the size of reads too. Each of these answers with the nearest it takes where it does not take ours.
        let _ = config.set_max_write(u32::from(wire::REQUEST_PAGES_MAX) * BLOCK_BYTES);
        let _ = config.set_max_background(wire::BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, _req: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (parent, name) = (parent.0, name.as_bytes());
        self.serve(Ask::Lookup { parent, name }, Ticket::Entry(reply));
    }

    fn forget(&self, _req: &fuser::Request, ino: INodeNo, count: u64) {
        self.0.forget(Forgets::One(ino.0, count));
    }

    fn getattr(&self, _req: &fuser::Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.serve(Ask::Attr { ino: ino.0 }, Ticket::Attr(reply));
    }

    fn readlink(&self, _req: &fuser::Request, ino: INodeNo, reply: ReplyData) {
        self.serve(Ask::Link { ino: ino.0 }, Ticket::Data(reply));
    }

    fn open(&self, _req: &fuser::Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.serve(Ask::Open { ino: ino.0 }, Ticket::Open(reply));
    }

    fn opendir(&self, _req: &fuser::Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.serve(Ask::Unknown, Ticket::Open(reply));
    }

    fn release(
        &self,
        _req: &fuser::Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.serve(Ask::Release { ino: ino.0 }, Ticket::Empty(reply));
    }

    fn read(
        &self,
        _req: &fuser::Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        len: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let ino = ino.0;
        self.serve(Ask::Read { ino, offset, len }, Ticket::Data(reply));
    }

    fn readdir(&self, _req: &fuser::Request, ino: INodeNo, _fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.serve(listing(ino, offset, false), Ticket::Directory(reply));
    }

    fn readdirplus(&self, _req: &fuser::Request, ino: INodeNo, _fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        self.serve(listing(ino, offset, true), Ticket::DirectoryPlus(reply));
    }

    fn statfs(&self, _req: &fuser::Request, ino: INodeNo, reply: ReplyStatfs) {
        self.serve(Ask::Statfs { ino: ino.0 }, Ticket::Statfs(reply));
    }

    fn getxattr(&self, _req: &fuser::Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (ino, name, room) = (ino.0, name.as_bytes(), size);
        self.serve(Ask::Xattr { ino, name, room }, Ticket::Xattr(reply));
    }

    fn listxattr(&self, _req: &fuser::Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.serve(Ask::Xattrs { ino: ino.0, room: size }, Ticket::Xattr(reply));
    }

    fn access(&self, _req: &fuser::Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        self.serve(Ask::Grant, Ticket::Empty(reply));
    }

    fn fsync(&self, _req: &fuser::Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.serve(Ask::Grant, Ticket::Empty(reply));
    }

    // What follows writes. The kernel refuses it by itself as long as the mount stays read-only, which root can change; what is not here is
    // answered with ENOSYS by fuser.

    fn setattr(
        &self,
        _req: &fuser::Request,
        _ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.serve(Ask::Write, Ticket::Attr(reply));
    }

    fn mknod(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _mode: u32, _umask: u32, _rdev: u32, reply: ReplyEntry) {
        self.serve(Ask::Write, Ticket::Entry(reply));
    }

    fn mkdir(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        self.serve(Ask::Write, Ticket::Entry(reply));
    }

    fn unlink(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        self.serve(Ask::Write, Ticket::Empty(reply));
    }

    fn rmdir(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        self.serve(Ask::Write, Ticket::Empty(reply));
    }

    fn symlink(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        self.serve(Ask::Write, Ticket::Entry(reply));
    }

    fn rename(
        &self,
        _req: &fuser::Request,
        _parent: INodeNo,
        _name: &OsStr,
        _newparent: INodeNo,
        _newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.serve(Ask::Write, Ticket::Empty(reply));
    }

    fn link(&self, _: &fuser::Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        self.serve(Ask::Write, Ticket::Entry(reply));
    }

    fn create(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _mode: u32, _umask: u32, _flags: i32, reply: ReplyCreate) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _req: &fuser::Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _: &[u8], _flags: i32, _position: u32, reply: ReplyEmpty) {
        self.serve(Ask::Write, Ticket::Empty(reply));
    }

    fn removexattr(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        self.serve(Ask::Write, Ticket::Empty(reply));
    }
}

/// How much room there is fuser knows.
fn listing(ino: INodeNo, offset: u64, plus: bool) -> Ask<'static> {
    Ask::List {
        ino: ino.0,
        offset,
        room: u32::MAX,
        plus,
    }
}
