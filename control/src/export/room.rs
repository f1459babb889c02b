//! Whether a release fits where it is to go, asked before anything is fetched: hours of fetching that end with a full disk help nobody.
//! Refuses only what cannot fit. What may take no room (a hole, a file that is there already, a file that the store moves) counts as none,
//! and a filesystem that compresses or that does not say what is free is not asked.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};

use ares_core::chunk::{ChunkId, ChunkRef, CutterId, SizeClass};
use ares_core::manifest::{Content, File, Name, Root, Walk, WalkItem, WalkStep};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::AHEAD_NODES;
use super::meta::os;
use super::place::Place;
use crate::cancel::Cancel;
use crate::error::{Failure, Kind};
use crate::render::Bytes;
use crate::tree::Chunks;

/// Filesystems whose free bytes are what a file of so many bytes needs: ext2 to ext4, XFS, tmpfs, FAT, exFAT (statfs(2)).
const PLAIN: [i64; 5] = [0xef53, 0x5846_5342, 0x0102_1994, 0x4d44, 0x2011_bab0];

/// What the store has to do with the room at the destination.
pub(crate) trait Stock {
    /// Whether the store takes its room from the filesystem with this device number: then its files are moved, not copied.
    fn is_on(&self, device: u64) -> bool;
    /// Whether a chunk is held.
    fn holds(&self, chunk: &ChunkId) -> bool;
}

/// Fails where `root` cannot fit at `place`. Looks closer, by way of the whole manifest, only where the release's bytes alone are too many.
pub(crate) fn check(place: &Place, root: &Root, chunks: &dyn Chunks, stock: &dyn Stock, cancel: &Cancel) -> Result<(), Failure> {
    let dir = place.dir();
    let Some(free) = free(dir.fd()) else { return Ok(()) };
    // Another cutter may leave its holes elsewhere.
    if root.totals().bytes <= free || root.cutter != CutterId::CURRENT {
        return Ok(());
    }
    let device = rustix::fs::fstat(dir.fd()).map_or(0, |stat| stat.st_dev);
    let mut need = Need {
        top: Some(place),
        stock,
        is_shared: stock.is_on(device),
        dirs: Vec::new(),
        is_there: false,
        zeros: BTreeMap::new(),
        bytes: 0,
    };
    let mut walk = Walk::new(root, AHEAD_NODES);
    while need.bytes <= free {
        if cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        match walk.poll()? {
            WalkStep::Node(node) => walk.on_node(chunks.node(node)?),
            WalkStep::Item(item) => need.item(item),
            WalkStep::Done => return Ok(()),
            WalkStep::Wait => return Err(super::twice()),
        }
    }
    let message = format!(
        "{}: no room: of {} bytes ({}) more must be written than the {free} bytes ({}) that are free there",
        dir.path().display(),
        root.totals().bytes,
        Bytes(root.totals().bytes),
        Bytes(free),
    );
    Err(Failure::new(Kind::Disk, message)
        .help("free some space there, choose another destination, or get a part of it: LINK/path"))
}

/// Bytes that this user may still write, where the filesystem can be believed.
fn free(dir: std::os::fd::BorrowedFd<'_>) -> Option<u64> {
    let stat = rustix::fs::fstatfs(dir).ok()?;
    let is_plain = PLAIN.contains(&(stat.f_type as i64));
    let blocks = if rustix::process::geteuid().is_root() {
        stat.f_bfree
    } else {
        stat.f_bavail
    };
    (is_plain && stat.f_blocks > 0).then(|| blocks.saturating_mul(stat.f_bsize as u64))
}

/// Counts what must be written, at least.
struct Need<'a> {
    top: Option<&'a Place>,
    stock: &'a dyn Stock,
    /// Whether store and destination take from the same room.
    is_shared: bool,
    /// Directories entered, as far as they are there.
    dirs: Vec<Option<OwnedFd>>,
    /// Whether the file whose chunks follow seems to be there.
    is_there: bool,
    /// Names of chunks of zeros, by length.
    zeros: BTreeMap<u32, ChunkId>,
    bytes: u64,
}

impl Need<'_> {
    fn item(&mut self, item: WalkItem) {
        match item {
            WalkItem::Enter { name, .. } => {
                let dir = match (name, self.top.take()) {
                    (_, Some(place)) => place.dir().fd().try_clone_to_owned().ok(),
                    (Some(name), None) => self
                        .dirs
                        .last()
                        .and_then(Option::as_ref)
                        .and_then(|above| below(above, &name)),
                    (None, None) => None,
                };
                self.dirs.push(dir);
            }
            WalkItem::Leave => drop(self.dirs.pop()),
            WalkItem::Symlink { .. } => {}
            WalkItem::File { name, file, .. } => self.file(name, &file),
            WalkItem::Chunk { chunk, place } => {
                let is_last = place.offset + u64::from(chunk.len) == place.blob_bytes;
                // Inside a run of zeros nothing tells where to cut, so all its chunks have the greatest length, but for a file's last.
                let may_be_zeros = is_last || u64::from(chunk.len) == SizeClass::of(place.blob_bytes).max();
                let is_free = self.is_there || self.is_shared && self.stock.holds(&chunk.id);
                if !(is_free || may_be_zeros && self.is_zeros(chunk)) {
                    self.bytes += u64::from(chunk.len);
                }
            }
        }
    }

    fn file(&mut self, name: Option<Name>, file: &File) {
        self.is_there = match (name, self.top.take()) {
            (_, Some(Place::Entry { dir, name })) => is_there(dir.fd(), name, file),
            (Some(name), _) => {
                let dir = self.dirs.last().and_then(Option::as_ref);
                dir.is_some_and(|dir| is_there(dir.as_fd(), &name, file))
            }
            (None, _) => false,
        };
        if let (Content::Packed { .. }, false) = (&file.content, self.is_there) {
            self.bytes += file.bytes;
        }
    }

    fn is_zeros(&mut self, chunk: ChunkRef) -> bool {
        let zeros = |len: u32| ChunkId::of(&vec![0; len as usize]);
        *self.zeros.entry(chunk.len).or_insert_with_key(|len| zeros(*len)) == chunk.id
    }
}

fn below(dir: &OwnedFd, name: &Name) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, os(name), flags, Mode::empty()).ok()
}

/// Whether a file of that size is there: perhaps the same one.
fn is_there(dir: std::os::fd::BorrowedFd<'_>, name: &Name, file: &File) -> bool {
    rustix::fs::statat(dir, os(name), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && u64::try_from(stat.st_size) == Ok(file.bytes)
    })
}
