//! Carries requests from the kernel to the machine and its answers back.
//!
//! Threads that take the kernel's requests never wait for bytes, and threads that bring chunks only leave them in the inbox: they
//! have a network to serve. Answers that took a chunk are given by one worker, which keeps the deadlines too.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ares_core::chunk::ChunkRef;
use ares_core::manifest::{Mtime, Name, Root};
use ares_core::swarm::FetchError;
use ares_core::time::Instant;
use bytes::Bytes;
use fuser::{
    AccessFlags, BackingId, BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    TimeOrNow, WriteFlags,
};

use crate::errno::Failure;
use crate::figures::{Figures, Op};
use crate::inode::{Attr, AttrKind};
use crate::machine::{Action, CallId, Machine, Settings};
use crate::opens::{How, Opens};
use crate::request::{self, BLOCK_BYTES, Listing, Reply, Request};
use crate::{MountOptions, Passthrough, Source};

/// How long the kernel may keep what it was told. A release never changes: a day, so that a mistake of ours does not live for ever.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest request, in bytes. Larger ones are slower: see the measurements in the design.
const REQUEST_BYTES_MAX: u32 = 512 << 10;
/// Reads ahead of readers that the kernel may have waiting at us. Enough for four stuck readers with 4 MiB each in 128 KiB pieces.
const BACKGROUND_MAX: u16 = 128;
/// Bytes that the files of a release must have on average for opens to be told to us. Being told of one costs 50 to 70 us at every open. A
/// MiB that the kernel reads by itself is read in 0.25 ms and not in 1.2 ms the first time, and as fast as ever when it is read again.
const PASSTHROUGH_MEAN_BYTES_MIN: u64 = 1 << 20;
/// The backing files we hand over lie on a plain filesystem, so that an overlay may lie on us.
const STACK_DEPTH_MAX: u32 = 1;
/// An inode number means the same for ever.
const GENERATION: Generation = Generation(0);

/// What all threads of a mount share.
pub(super) struct Shared {
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    /// Wakes the worker: something is in the inbox.
    wake: Condvar,
    source: Arc<dyn Source>,
    figures: Arc<Figures>,
    /// Who has what open, where the kernel tells us.
    opens: Mutex<Opens<Passed>>,
    /// Whether the kernel is to tell us. Once it was told not to, it never does again.
    told_of_opens: AtomicBool,
    started: std::time::Instant,
    user: u32,
    group: u32,
}

struct State {
    machine: Machine<Call>,
    /// The worker sleeps without a deadline and must be woken for the next one.
    idle: bool,
}

/// What the worker is to look at.
#[derive(Default)]
struct Inbox {
    arrived: Vec<Arrival>,
    /// There is a deadline where there was none.
    deadline: bool,
    stopped: bool,
}

/// The end of a fetch.
struct Arrival {
    call: CallId,
    chunk: ChunkRef,
    result: Result<Bytes, FetchError>,
}

/// A request that takes time.
struct Call {
    asker: Asker,
    since: Instant,
}

/// A file that the kernel reads by itself.
struct Passed {
    id: BackingId,
    /// Ends after the kernel was told.
    _lease: Box<dyn Send + Sync>,
}

/// Where an answer goes.
pub(super) enum Asker {
    Entry(ReplyEntry),
    Data(ReplyData),
    Directory(ReplyDirectory),
    DirectoryPlus(ReplyDirectoryPlus),
    /// With the room that the asker has for the value; 0 asks for its length.
    Xattr(ReplyXattr, u32),
}

thread_local! {
    /// Whether this thread is carrying out actions already: a source that answers at once calls back from within.
    static DRIVING: Cell<bool> = const { Cell::new(false) };
    /// Where bytes of several chunks are put together: the kernel takes one piece. Kept, as fresh memory costs more than the copy.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Shared {
    /// A view of `root`, whose single file, if it is one, is called `name`.
    pub(super) fn new(settings: Settings, root: &Root, name: Name, source: Arc<dyn Source>, options: &MountOptions) -> Self {
        let totals = root.totals();
        let told_of_opens = match options.passthrough {
            Passthrough::Always => true,
            Passthrough::Never => false,
            Passthrough::WherePays => totals.bytes / totals.entries.max(1) >= PASSTHROUGH_MEAN_BYTES_MIN,
        };
        let state = State {
            machine: Machine::new(settings, root, name),
            idle: false,
        };
        Self {
            state: Mutex::new(state),
            inbox: Mutex::default(),
            wake: Condvar::new(),
            source,
            figures: options.figures.clone(),
            opens: Mutex::default(),
            told_of_opens: told_of_opens.into(),
            started: std::time::Instant::now(),
            user: rustix::process::getuid().as_raw(),
            group: rustix::process::getgid().as_raw(),
        }
    }

    /// Gives answers as chunks arrive and ends requests at their deadlines, until `stop`. Runs on a thread of its own.
    pub(super) fn work(self: &Arc<Self>) {
        let mut arrived = Vec::new();
        loop {
            let now = self.now();
            let mut state = self.lock();
            for Arrival { call, chunk, result } in arrived {
                state.machine.on_fetched(now, call, chunk, result);
            }
            state.machine.on_time(now);
            drop(state);
            self.drive();
            let mut state = self.lock();
            let deadline = state.machine.deadline();
            state.idle = deadline.is_none();
            drop(state);
            let Some(next) = self.next_arrivals(deadline) else { return };
            arrived = next;
        }
    }

    /// Waits for the inbox or the deadline; `None` when it is time to stop.
    fn next_arrivals(&self, deadline: Option<Instant>) -> Option<Vec<Arrival>> {
        let mut inbox = self.inbox();
        while inbox.arrived.is_empty() && !inbox.deadline && !inbox.stopped {
            inbox = match deadline.map(|deadline| deadline.since(self.now())) {
                None => self.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.wake.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        inbox.deadline = false;
        (!inbox.stopped).then(|| std::mem::take(&mut inbox.arrived))
    }

    /// A chunk came, or will not. On a thread of the source, which has better things to do than to answer the kernel; unless the
    /// source answers from within our own call.
    fn on_arrival(self: &Arc<Self>, arrival: Arrival) {
        if DRIVING.get() {
            let Arrival { call, chunk, result } = arrival;
            let now = self.now();
            self.lock().machine.on_fetched(now, call, chunk, result);
            return;
        }
        let mut inbox = self.inbox();
        if !inbox.stopped {
            inbox.arrived.push(arrival);
            self.wake.notify_one();
        }
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.lock().machine.longest_wait(self.now())
    }

    /// Answers everything that waits, with EIO, and from now on everything that would have to wait.
    pub(super) fn close(self: &Arc<Self>) {
        self.lock().machine.close();
        self.drive();
    }

    /// Closes, and ends the worker.
    pub(super) fn stop(self: &Arc<Self>) {
        self.close();
        let mut inbox = self.inbox();
        inbox.stopped = true;
        inbox.arrived.clear();
        self.wake.notify_all();
    }

    /// Nobody has a file open any more: what the kernel has not told us of by now it never will.
    pub(super) fn forget_opens(&self) {
        self.opens().clear();
    }

    fn ask(self: &Arc<Self>, asker: Asker, request: Request) {
        self.figures.on_request(asker.op());
        let now = self.now();
        let mut state = self.lock();
        state.machine.on_request(now, Call { asker, since: now }, request);
        // All requests have the same patience: only the first of those waiting can be news to the worker.
        let news = state.idle && state.machine.deadline().is_some();
        state.idle &= !news;
        drop(state);
        if news {
            self.inbox().deadline = true;
            self.wake.notify_one();
        }
        self.drive();
    }

    /// Carries out what the machine has decided. Not under its lock: answering and fetching take time.
    fn drive(self: &Arc<Self>) {
        if DRIVING.replace(true) {
            return;
        }
        loop {
            let mut state = self.lock();
            let actions: Vec<Action<Call>> = std::iter::from_fn(|| state.machine.poll()).collect();
            drop(state);
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.carry_out(action);
            }
        }
        DRIVING.set(false);
    }

    fn carry_out(self: &Arc<Self>, action: Action<Call>) {
        match action {
            Action::Answer { to, reply } => {
                self.count(&to, &reply);
                self.answer(to.asker, reply);
            }
            Action::Fetch { call, want } => {
                let shared = self.clone();
                let chunk = want.chunk;
                let reply = move |result| shared.on_arrival(Arrival { call, chunk, result });
                self.source.chunk(want, Box::new(reply));
            }
        }
    }

    fn count(&self, call: &Call, reply: &Reply) {
        let op = call.asker.op();
        if matches!(reply, Reply::Failed(Failure::Unreadable)) {
            self.figures.on_unreadable(op);
        }
        if op == Op::Read {
            let bytes = match reply {
                Reply::Data(parts) => parts.iter().map(|part| part.len() as u64).sum(),
                _ => 0,
            };
            self.figures.on_read(bytes, self.now().since(call.since));
        }
    }

    fn answer(&self, to: Asker, reply: Reply) {
        match (to, reply) {
            (Asker::Entry(to), Reply::Entry(attr)) => to.entry(&TTL, &self.attr(attr), GENERATION),
            // Number 0 tells the kernel that there is no such entry, for as long as it likes.
            (Asker::Entry(to), Reply::Absent) => to.entry(&TTL, &self.attr(Attr::absent()), GENERATION),
            (Asker::Data(to), Reply::Data(parts)) => match parts.as_slice() {
                [] => to.data(&[]),
                [part] => to.data(part),
                parts => JOINED.with_borrow_mut(|joined| {
                    joined.clear();
                    parts.iter().for_each(|part| joined.extend_from_slice(part));
                    to.data(joined);
                }),
            },
            (Asker::Directory(to), Reply::Listing(listing)) => self.list(to, &listing),
            (Asker::DirectoryPlus(to), Reply::Listing(listing)) => self.list_plus(to, &listing),
            (Asker::Xattr(to, room), Reply::Xattr(value)) => answer_xattr(to, room, &value),
            (Asker::Xattr(to, room), Reply::Held { wants, bytes }) => {
                let held = wants.iter().filter(|want| self.source.is_held(want));
                let held: u64 = held.map(|want| u64::from(want.chunk.len)).sum();
                // A pack is larger than the file in it.
                answer_xattr(to, room, held.min(bytes).to_string().as_bytes());
            }
            (to, Reply::Failed(failure)) => to.fail(failure),
            // The machine answers what was asked; if it ever does not, the asker must not hang.
            (to, reply) => {
                tracing::error!(?reply, "an answer to another question");
                to.fail(Failure::Unreadable);
            }
        }
    }

    fn list(&self, mut to: ReplyDirectory, listing: &Listing) {
        for (offset, ino, name) in dots(listing) {
            if to.add(INodeNo(ino), offset, FileType::Directory, name) {
                return to.ok();
            }
        }
        for listed in listing.entries() {
            let name = OsStr::from_bytes(listed.entry.name.as_bytes());
            if to.add(INodeNo(listed.attr.ino), listed.next, file_type(listed.attr.kind), name) {
                break;
            }
        }
        to.ok();
    }

    fn list_plus(&self, mut to: ReplyDirectoryPlus, listing: &Listing) {
        for (offset, ino, name) in dots(listing) {
            let attr = self.attr(Attr::dir(ino));
            if to.add(INodeNo(ino), offset, name, &TTL, &attr, GENERATION) {
                return to.ok();
            }
        }
        let mut count = 0;
        for listed in listing.entries() {
            let name = OsStr::from_bytes(listed.entry.name.as_bytes());
            let attr = self.attr(listed.attr);
            if to.add(attr.ino, listed.next, name, &TTL, &attr, GENERATION) {
                break;
            }
            count += 1;
        }
        // Before the kernel can know of them, and so forget them.
        self.lock().machine.on_listed(listing, count);
        to.ok();
    }

    fn attr(&self, attr: Attr) -> FileAttr {
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
            perm: attr.mode,
            // 1 for directories too: it says that subdirectories are not counted, as on btrfs; find(1) knows.
            nlink: 1,
            uid: self.user,
            gid: self.group,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opens(&self) -> MutexGuard<'_, Opens<Passed>> {
        self.opens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file: passed to the kernel where it is held whole and nobody has it open otherwise.
    fn open(&self, ino: u64, reply: ReplyOpen) {
        let blob = self.lock().machine.blob(ino);
        let mut opens = self.opens();
        let how = opens.on_open(ino, || {
            let (blob, bytes) = blob?;
            let backing = self.source.backing(blob, bytes)?;
            match reply.open_backing(&*backing.file) {
                Ok(id) => Some(Passed {
                    id,
                    _lease: backing.lease,
                }),
                Err(error) => {
                    tracing::info!(%error, "the kernel takes no files to read by itself: reads are served from here");
                    self.told_of_opens.store(false, Ordering::Relaxed);
                    None
                }
            }
        });
        match how {
            How::Passed(passed) => reply.opened_passthrough(FileHandle(0), FopenFlags::FOPEN_NOFLUSH, &passed.id),
            How::Cached => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
                reply.opened(FileHandle(0), flags);
            }
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.started.elapsed()
    }
}

/// `.` and `..` where a listing begins with them: offset behind it, inode number, name.
fn dots(listing: &Listing) -> impl Iterator<Item = (u64, u64, &'static str)> {
    let dots = [(1, listing.dir, "."), (request::OFFSET_ENTRIES, listing.parent, "..")];
    let from = listing.offset;
    dots.into_iter().filter(move |(next, ..)| *next > from)
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

fn errno(failure: Failure) -> Errno {
    Errno::from_i32(failure.errno())
}

fn answer_xattr(to: ReplyXattr, room: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(len) if room == 0 => to.size(len),
        Ok(len) if len <= room => to.data(value),
        Ok(_) | Err(_) => to.error(Errno::ERANGE),
    }
}

impl Asker {
    fn op(&self) -> Op {
        match self {
            Self::Entry(_) => Op::Lookup,
            Self::Data(_) => Op::Read,
            Self::Directory(_) | Self::DirectoryPlus(_) => Op::List,
            Self::Xattr(..) => Op::Xattr,
        }
    }

    fn fail(self, failure: Failure) {
        let errno = errno(failure);
        match self {
            Self::Entry(to) => to.error(errno),
            Self::Data(to) => to.error(errno),
            Self::Directory(to) => to.error(errno),
            Self::DirectoryPlus(to) => to.error(errno),
            Self::Xattr(to, _) => to.error(errno),
        }
    }
}

/// The side of a mount that fuser calls.
pub(super) struct Session(pub(super) Arc<Shared>);

impl Filesystem for Session {
    fn init(&mut self, _req: &fuser::Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted = [
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_PARALLEL_DIROPS,
            // Always, not where the kernel guesses that it pays: `ls -lR` of 100,000 files takes 0.3-0.8 s instead of 2.8.
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            // A release never changes, so the page cache is never wrong.
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            // Opening directories, and files that are not passed through, needs no word from us: the kernel keeps their pages
            // anyway (FOPEN_KEEP_CACHE, FOPEN_CACHE_DIR), and two round trips per file fall away.
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ];
        for flag in wanted {
            // What an older kernel lacks costs speed only.
            let _ = config.add_capabilities(flag);
        }
        let told_of_opens = &self.0.told_of_opens;
        let passes = told_of_opens.load(Ordering::Relaxed) && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
        told_of_opens.store(passes, Ordering::Relaxed);
        let _ = config.set_max_stack_depth(STACK_DEPTH_MAX);
        // Sets the size of reads too. Each of these answers with the nearest it takes where it does not take ours.
        let _ = config.set_max_write(REQUEST_BYTES_MAX);
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, _req: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.as_bytes().to_vec();
        let parent = parent.0;
        self.0.ask(Asker::Entry(reply), Request::Lookup { parent, name });
    }

    fn forget(&self, _req: &fuser::Request, ino: INodeNo, count: u64) {
        self.0.lock().machine.on_forget(ino.0, count);
    }

    fn getattr(&self, _req: &fuser::Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.0.figures.on_request(Op::Attr);
        let attr = self.0.lock().machine.attr(ino.0);
        match attr {
            Ok(attr) => reply.attr(&TTL, &self.0.attr(attr)),
            Err(failure) => reply.error(errno(failure)),
        }
    }

    fn readlink(&self, _req: &fuser::Request, ino: INodeNo, reply: ReplyData) {
        self.0.figures.on_request(Op::Link);
        let target = self.0.lock().machine.target(ino.0);
        match target {
            Ok(target) => reply.data(&target),
            Err(failure) => reply.error(errno(failure)),
        }
    }

    /// An answer of ENOSYS ends all telling of opens, until the end of the mount.
    fn open(&self, _req: &fuser::Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.0.told_of_opens.load(Ordering::Relaxed) {
            true => self.0.open(ino.0, reply),
            false => reply.error(errno(Failure::Unknown)),
        }
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
        // What it gives back is dropped when the lock is free again.
        let _passed = self.0.opens().on_release(ino.0);
        reply.ok();
    }

    fn opendir(&self, _req: &fuser::Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(errno(Failure::Unknown));
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
        self.0.ask(Asker::Data(reply), Request::Read { ino, offset, len });
    }

    fn readdir(&self, _req: &fuser::Request, ino: INodeNo, _fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        let ino = ino.0;
        self.0.ask(Asker::Directory(reply), Request::List { ino, offset });
    }

    fn readdirplus(&self, _req: &fuser::Request, ino: INodeNo, _fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        let ino = ino.0;
        self.0.ask(Asker::DirectoryPlus(reply), Request::List { ino, offset });
    }

    fn statfs(&self, _req: &fuser::Request, _ino: INodeNo, reply: ReplyStatfs) {
        self.0.figures.on_request(Op::Statfs);
        let totals = self.0.lock().machine.totals();
        reply.statfs(
            request::blocks(&totals),
            0,
            0,
            totals.entries,
            0,
            BLOCK_BYTES,
            255,
            BLOCK_BYTES,
        );
    }

    fn getxattr(&self, _req: &fuser::Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let name = name.as_bytes().to_vec();
        let ino = ino.0;
        self.0.ask(Asker::Xattr(reply, size), Request::Xattr { ino, name });
    }

    fn listxattr(&self, _req: &fuser::Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.0.figures.on_request(Op::Xattr);
        let keys = self.0.lock().machine.xattrs(ino.0);
        let terminated = |keys: Vec<Bytes>| keys.iter().flat_map(|key| [&key[..], b"\0"]).collect::<Vec<_>>().concat();
        match keys.map(terminated) {
            Ok(list) => answer_xattr(reply, size, &list),
            Err(failure) => reply.error(errno(failure)),
        }
    }

    /// Never asked while the kernel checks permissions itself (`default_permissions`).
    fn access(&self, _req: &fuser::Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn flush(&self, _req: &fuser::Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        reply.error(errno(Failure::Unknown));
    }

    fn fsync(&self, _req: &fuser::Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    /// The kernel's own answer to SEEK_HOLE and SEEK_DATA is right: no holes are known.
    fn lseek(&self, _req: &fuser::Request, _ino: INodeNo, _fh: FileHandle, _offset: i64, _whence: i32, reply: ReplyLseek) {
        reply.error(errno(Failure::Unknown));
    }

    // What follows writes. The kernel refuses it by itself as long as the mount stays read-only, which root can change.

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
        reply.error(errno(Failure::ReadOnly));
    }

    fn mknod(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _mode: u32, _umask: u32, _rdev: u32, reply: ReplyEntry) {
        reply.error(errno(Failure::ReadOnly));
    }

    fn mkdir(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        reply.error(errno(Failure::ReadOnly));
    }

    fn unlink(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(errno(Failure::ReadOnly));
    }

    fn rmdir(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(errno(Failure::ReadOnly));
    }

    fn symlink(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(errno(Failure::ReadOnly));
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
        reply.error(errno(Failure::ReadOnly));
    }

    fn link(&self, _: &fuser::Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(errno(Failure::ReadOnly));
    }

    fn create(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _mode: u32, _umask: u32, _flags: i32, reply: ReplyCreate) {
        reply.error(errno(Failure::ReadOnly));
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
        reply.error(errno(Failure::ReadOnly));
    }

    fn fallocate(&self, _: &fuser::Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _mode: i32, reply: ReplyEmpty) {
        reply.error(errno(Failure::ReadOnly));
    }

    fn copy_file_range(
        &self,
        _req: &fuser::Request,
        _ino_in: INodeNo,
        _fh_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _fh_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(errno(Failure::ReadOnly));
    }

    fn setxattr(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, _: &[u8], _flags: i32, _position: u32, reply: ReplyEmpty) {
        reply.error(errno(Failure::ReadOnly));
    }

    fn removexattr(&self, _: &fuser::Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(errno(Failure::ReadOnly));
    }
}
