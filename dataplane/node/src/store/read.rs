//! Reads chunks back and believes only what still hashes to its name. A place that does not is dropped.

use std::io::{self, IoSliceMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ares_core::chunk::{ChunkId, ChunkRef, LEN_UNKNOWN, Mismatch, VerifiedChunk};
use ares_core::store::{Coverage, HeldChunk, ObjectNo};
use ares_core::swarm::BlobPlace;
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags};

use super::lend::Lent;
use super::object::Extent;
use super::shared::Shared;
use super::{ReadError, Verified, locked};

/// What looking for a chunk gives.
type Located = Result<Option<Extent>, (PathBuf, io::Error)>;

/// Chunks whose places `verify` takes from the index at a time.
const VERIFY_PAGE: usize = 256;

impl Shared {
    /// For somebody who wants it.
    pub(super) fn read(&self, chunk: ChunkRef) -> Result<VerifiedChunk, ReadError> {
        self.read_where(chunk, Self::locate)
    }

    /// For the store's own sake: it counts as read by nobody.
    pub(super) fn look_at(&self, chunk: ChunkRef) -> Result<VerifiedChunk, ReadError> {
        self.read_where(chunk, Self::find)
    }

    fn read_where(&self, chunk: ChunkRef, find: fn(&Self, &ChunkId) -> Located) -> Result<VerifiedChunk, ReadError> {
        let mut first = None;
        // Each turn ends or drops one place of the chunk.
        loop {
            let located = find(self, &chunk.id).map_err(|(path, source)| ReadError::Disk {
                chunk: chunk.id,
                path,
                source,
            })?;
            let fits = |extent: &Extent| extent.len == chunk.len || chunk.len == LEN_UNKNOWN;
            let Some(extent) = located.filter(fits) else {
                return Err(first.unwrap_or(ReadError::NotHeld(chunk.id)));
            };
            match self.read_at(&chunk.id, &extent) {
                Ok(verified) => return Ok(verified),
                Err(error @ ReadError::Disk { .. }) => return Err(first.unwrap_or(error)),
                Err(error) => {
                    tracing::warn!("{error}");
                    first.get_or_insert(error);
                }
            }
        }
    }

    /// At its place in a blob that is whole in a file of our own, for somebody who wants it. What was right when it was read there since the
    /// file was opened, and is in the kernel's memory still, is not hashed again; what has to come from the disk is. `None` where that
    /// cannot be had: `read` may have it elsewhere.
    pub(super) fn read_warm(&self, chunk: ChunkRef, place: &BlobPlace) -> Option<Bytes> {
        let (offset, len) = (place.offset, chunk.len);
        let Lent {
            file,
            bytes,
            lease: _lease,
        } = self.lend(&place.blob)?;
        let seen = file.seen.get_or_init(|| Mutex::new(Coverage::new(bytes)));
        if !locked(seen).fits(offset, len.into()) {
            return None;
        }
        let end = offset + u64::from(len);
        let extent = Extent {
            file: Arc::clone(&file),
            offset,
            len,
        };
        if locked(seen).has(offset, end)
            && let Some(bytes) = read_cached(&extent)
        {
            return Some(bytes);
        }
        let read = self.read_at(&chunk.id, &extent);
        let verified = read.inspect_err(|error| tracing::warn!("{error}")).ok()?;
        locked(seen).insert(offset, end);
        Some(verified.bytes().clone())
    }

    fn read_at(&self, chunk: &ChunkId, extent: &Extent) -> Result<VerifiedChunk, ReadError> {
        let path = || extent.file.path.clone();
        let forget = || {
            self.forget_at(
                extent.file.object,
                extent.offset,
                ChunkRef {
                    id: *chunk,
                    len: extent.len,
                },
            )
        };
        let bytes = match read_exact(extent) {
            Ok(bytes) => bytes,
            Err(errno) => {
                if errno == Errno::IO {
                    forget(); // a bad sector: fetched again, it is written elsewhere or heals
                }
                return Err(ReadError::Disk {
                    chunk: *chunk,
                    path: path(),
                    source: io::Error::from(errno),
                });
            }
        };
        let actual = match VerifiedChunk::verify(*chunk, bytes) {
            Ok(verified) => return Ok(verified),
            Err(Mismatch::Hash { actual, .. }) => Some(actual),
            Err(Mismatch::Length { .. }) => None,
        };
        if !extent.still_valid() {
            return Err(ReadError::Changed {
                chunk: *chunk,
                path: path(),
            });
        }
        forget();
        Err(match actual {
            Some(actual) => ReadError::Bad {
                chunk: *chunk,
                path: path(),
                offset: extent.offset,
                actual,
            },
            None => ReadError::Short {
                chunk: *chunk,
                path: path(),
                offset: extent.offset,
            },
        })
    }

    pub(super) fn verify(&self, progress: &mut dyn FnMut(&Verified) -> bool) -> Verified {
        let mut done = Verified::default();
        self.each_place(|_, held| done.bytes_total += u64::from(held.chunk.len));
        let mut after = None;
        loop {
            let (places, last) = self.index().places_after(after, VERIFY_PAGE);
            for (object, held) in places {
                done.chunks += 1;
                done.bytes += u64::from(held.chunk.len);
                done.lost_chunks += u64::from(!self.is_right_at(object, &held));
                if !progress(&done) {
                    return done;
                }
            }
            match last {
                Some(_) => after = last,
                None => return done,
            }
        }
    }

    /// Whether a place has what it should; it is no longer believed where it has not. One that has had to make room meanwhile lacks nothing.
    fn is_right_at(&self, object: ObjectNo, held: &HeldChunk) -> bool {
        let HeldChunk { chunk, offset } = *held;
        if !self.index().holds(object, &chunk.id) {
            return true;
        }
        let Ok(file) = self.file(object) else { return false };
        let len = chunk.len;
        let read = self.read_at(&chunk.id, &Extent { file, offset, len });
        read.inspect_err(|error| tracing::warn!("{error}")).is_ok()
    }
}

/// The extent's bytes; fewer where the file ends before.
fn read_exact(extent: &Extent) -> Result<Bytes, Errno> {
    let len = extent.len as usize;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = extent.offset + bytes.len() as u64;
        match rustix::io::pread(&*extent.file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    bytes.truncate(len); // the allocator may have given more room than asked, and the kernel more bytes
    Ok(bytes.into())
}

/// The extent's bytes, if the kernel has all of them in memory (`RWF_NOWAIT`, preadv2(2)). A filesystem that cannot tell says no.
fn read_cached(extent: &Extent) -> Option<Bytes> {
    let mut bytes = vec![0; extent.len as usize];
    let mut done = 0;
    while done < bytes.len() {
        let at = extent.offset + done as u64;
        let rest = &mut [IoSliceMut::new(&mut bytes[done..])];
        match rustix::io::preadv2(&*extent.file, rest, at, ReadWriteFlags::NOWAIT) {
            Ok(0) => return None,
            Ok(some) => done += some,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(bytes.into())
}
