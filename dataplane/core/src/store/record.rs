//! What one line of the journal says, and its bytes. Knows nothing of the lines around it.
//!
//! Body of each kind; integers are little-endian, `..` is the rest of the body:
//!
//! ```text
//!   1 Boot      boot id 16                                               what follows was written under this boot of the machine
//!   2 Sync      upto u64                                                 all before this journal offset is on stable storage
//!   3 Pack      object u32                                               a new pack segment
//!   4 Blob      object u32 | blob 32 | bytes u64                         a new backing file
//!   5 InPlace   object u32 | blob 32 | bytes u64 | guard 40 | path ..    a file of the publisher; or: the backing file now is there
//!   6 Held      object u32 | n x (chunk 32 | offset u64 | len u32)       these chunks are verified and written there
//!   7 Forget    object u32 | offset u64 | chunk 32 | len u32             the bytes there are not what Held said
//!   8 Gone      object u32                                               the object vanished or changed, with all that is in it
//!   9 Release   release 32 | bytes u64 | entries u64 | state u8 | name ..   a release is known, or has a new state
//!  10 Moving    object u32 | guard 40 | path ..                          the backing file is about to be renamed to `path`
//!  11 Covered   object u32 | n x (start u64 | end u64)                   these ranges of the backing file are held
//! 129 Pin       release 32 | link ..                                     the release is wanted whole and kept; no link: not any more
//! 130 Published release 32                                               the release was made here: nobody else need have it
//! 131 Read      n x object u32                                          these were read or written to since the last such record, in this order
//!
//!  guard:  dev u64 | ino u64 | size u64 | mtime ns i64 | ctime ns i64        state: 0 partial, 1 complete
//! ```
//! Kinds from 128 on are advisory: who does not know one skips it.

use super::{BlobRef, BootId, Guard, ObjectNo, ReleaseInfo, ReleaseState};
use crate::chunk::{ChunkId, ChunkRef, ReleaseId};
use crate::limits::CHUNK_BYTES_MAX;

/// Chunks that one `Held` may name, so that its length fits two bytes.
pub const HELD_CHUNKS_MAX: usize = 1024;
/// Ranges that one `Covered` may name.
pub const COVERED_RANGES_MAX: usize = 4000;
/// Objects that one `Read` may name.
pub const READ_OBJECTS_MAX: usize = 16_000;
/// Kinds from here on may be skipped by who does not know them.
pub(super) const ADVISORY_MIN: u8 = 128;

const HELD_BYTES: usize = 32 + 8 + 4;
const RANGE_BYTES: usize = 16;
const _: () = assert!(
    4 + HELD_CHUNKS_MAX * HELD_BYTES <= u16::MAX as usize,
    "a body's length has two bytes"
);
const _: () = assert!(
    4 + COVERED_RANGES_MAX * RANGE_BYTES <= u16::MAX as usize,
    "a body's length has two bytes"
);
const _: () = assert!(READ_OBJECTS_MAX * 4 <= u16::MAX as usize, "a body's length has two bytes");

/// A chunk and where it lies in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldChunk {
    /// What.
    pub chunk: ChunkRef,
    /// Where, in bytes.
    pub offset: u64,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are drawn and explained in the module's table")]
pub enum Record {
    Boot(BootId),
    Sync {
        upto: u64,
    },
    Pack {
        object: ObjectNo,
    },
    Blob {
        object: ObjectNo,
        blob: BlobRef,
    },
    InPlace {
        object: ObjectNo,
        blob: BlobRef,
        guard: Guard,
        path: Vec<u8>,
    },
    Held {
        object: ObjectNo,
        chunks: Vec<HeldChunk>,
    },
    Forget {
        object: ObjectNo,
        offset: u64,
        chunk: ChunkRef,
    },
    Gone {
        object: ObjectNo,
    },
    Release(ReleaseInfo),
    Moving {
        object: ObjectNo,
        guard: Guard,
        path: Vec<u8>,
    },
    Covered {
        object: ObjectNo,
        ranges: Vec<(u64, u64)>,
    },
    Pin {
        release: ReleaseId,
        link: String,
    },
    Published {
        release: ReleaseId,
    },
    Read {
        objects: Vec<ObjectNo>,
    },
}

/// Why a body that is what was written still says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// A kind that this version does not know and must not skip.
    Unknown,
    /// The fields do not fill the body, or hold impossible values.
    Malformed,
}

impl Record {
    /// Its kind.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Boot(_) => 1,
            Self::Sync { .. } => 2,
            Self::Pack { .. } => 3,
            Self::Blob { .. } => 4,
            Self::InPlace { .. } => 5,
            Self::Held { .. } => 6,
            Self::Forget { .. } => 7,
            Self::Gone { .. } => 8,
            Self::Release(_) => 9,
            Self::Moving { .. } => 10,
            Self::Covered { .. } => 11,
            Self::Pin { .. } => 129,
            Self::Published { .. } => 130,
            Self::Read { .. } => 131,
        }
    }

    /// The object that it is about.
    pub(super) fn object(&self) -> Option<ObjectNo> {
        match self {
            Self::Pack { object }
            | Self::Blob { object, .. }
            | Self::InPlace { object, .. }
            | Self::Held { object, .. }
            | Self::Forget { object, .. }
            | Self::Gone { object }
            | Self::Moving { object, .. }
            | Self::Covered { object, .. } => Some(*object),
            Self::Boot(_)
            | Self::Sync { .. }
            | Self::Release(_)
            | Self::Read { .. }
            | Self::Pin { .. }
            | Self::Published { .. } => None,
        }
    }

    /// Appends the body.
    pub(super) fn put_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Boot(boot) => out.extend(boot.0),
            Self::Sync { upto } => out.extend(upto.to_le_bytes()),
            Self::Pack { object } | Self::Gone { object } => out.extend(object.0.to_le_bytes()),
            Self::Blob { object, blob } => {
                out.extend(object.0.to_le_bytes());
                put_blob(out, blob);
            }
            Self::InPlace {
                object,
                blob,
                guard,
                path,
            } => {
                out.extend(object.0.to_le_bytes());
                put_blob(out, blob);
                put_guard(out, guard);
                out.extend(path);
            }
            Self::Held { object, chunks } => {
                assert!(chunks.len() <= HELD_CHUNKS_MAX, "split by who makes it");
                out.extend(object.0.to_le_bytes());
                for held in chunks {
                    out.extend(held.chunk.id.as_bytes());
                    out.extend(held.offset.to_le_bytes());
                    out.extend(held.chunk.len.to_le_bytes());
                }
            }
            Self::Forget { object, offset, chunk } => {
                out.extend(object.0.to_le_bytes());
                out.extend(offset.to_le_bytes());
                out.extend(chunk.id.as_bytes());
                out.extend(chunk.len.to_le_bytes());
            }
            Self::Release(info) => {
                out.extend(info.release.0.as_bytes());
                out.extend(info.bytes.to_le_bytes());
                out.extend(info.entries.to_le_bytes());
                out.push(match info.state {
                    ReleaseState::Partial => 0,
                    ReleaseState::Complete => 1,
                });
                out.extend(info.name.as_bytes());
            }
            Self::Moving { object, guard, path } => {
                out.extend(object.0.to_le_bytes());
                put_guard(out, guard);
                out.extend(path);
            }
            Self::Covered { object, ranges } => {
                assert!(ranges.len() <= COVERED_RANGES_MAX, "split by who makes it");
                out.extend(object.0.to_le_bytes());
                for (start, end) in ranges {
                    out.extend(start.to_le_bytes());
                    out.extend(end.to_le_bytes());
                }
            }
            Self::Pin { release, link } => {
                out.extend(release.0.as_bytes());
                out.extend(link.as_bytes());
            }
            Self::Published { release } => out.extend(release.0.as_bytes()),
            Self::Read { objects } => {
                assert!(objects.len() <= READ_OBJECTS_MAX, "split by who makes it");
                objects.iter().for_each(|object| out.extend(object.0.to_le_bytes()));
            }
        }
    }

    /// Parses a body whose checksum was right. `None` for an advisory kind we do not know.
    pub(super) fn parse(kind: u8, body: &[u8]) -> Result<Option<Self>, BodyError> {
        let mut rest = Fields(body);
        let record = match kind {
            1 => rest.array().map(|boot| Self::Boot(BootId(boot))),
            2 => rest.u64().map(|upto| Self::Sync { upto }),
            3 => rest.object().map(|object| Self::Pack { object }),
            4 => rest
                .object()
                .zip(rest.blob())
                .map(|(object, blob)| Self::Blob { object, blob }),
            5 => rest.in_place(),
            6 => rest.held(),
            7 => rest.forget(),
            8 => rest.object().map(|object| Self::Gone { object }),
            9 => rest.release(),
            10 => rest.moving(),
            11 => rest.covered(),
            129 => rest.pin(),
            130 => rest.chunk().map(|id| Self::Published { release: ReleaseId(id) }),
            131 => rest.read(),
            ADVISORY_MIN.. => return Ok(None),
            _ => return Err(BodyError::Unknown),
        };
        match record {
            Some(record) if rest.0.is_empty() => Ok(Some(record)),
            _ => Err(BodyError::Malformed),
        }
    }
}

fn put_blob(out: &mut Vec<u8>, blob: &BlobRef) {
    out.extend(blob.id.as_bytes());
    out.extend(blob.bytes.to_le_bytes());
}

fn put_guard(out: &mut Vec<u8>, guard: &Guard) {
    out.extend(guard.dev.to_le_bytes());
    out.extend(guard.ino.to_le_bytes());
    out.extend(guard.size.to_le_bytes());
    out.extend(guard.mtime_ns.to_le_bytes());
    out.extend(guard.ctime_ns.to_le_bytes());
}

/// What is left of a body. Every method takes one field off its front, or says `None`.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn object(&mut self) -> Option<ObjectNo> {
        self.u32().map(ObjectNo)
    }

    fn chunk(&mut self) -> Option<ChunkId> {
        self.array().map(ChunkId::from_bytes)
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    fn blob(&mut self) -> Option<BlobRef> {
        Some(BlobRef {
            id: self.chunk()?,
            bytes: self.u64()?,
        })
    }

    fn guard(&mut self) -> Option<Guard> {
        let (dev, ino, size) = (self.u64()?, self.u64()?, self.u64()?);
        Some(Guard {
            dev,
            ino,
            size,
            mtime_ns: self.i64()?,
            ctime_ns: self.i64()?,
        })
    }

    fn in_place(&mut self) -> Option<Record> {
        let (object, blob, guard) = (self.object()?, self.blob()?, self.guard()?);
        Some(Record::InPlace {
            object,
            blob,
            guard,
            path: self.rest(),
        })
    }

    fn read(&mut self) -> Option<Record> {
        let mut objects = Vec::with_capacity(self.0.len() / 4);
        while !self.0.is_empty() {
            objects.push(self.object()?);
        }
        Some(Record::Read { objects })
    }

    fn moving(&mut self) -> Option<Record> {
        let (object, guard) = (self.object()?, self.guard()?);
        Some(Record::Moving {
            object,
            guard,
            path: self.rest(),
        })
    }

    fn held(&mut self) -> Option<Record> {
        let object = self.object()?;
        let mut chunks = Vec::with_capacity(self.0.len() / HELD_BYTES);
        while !self.0.is_empty() {
            let (id, offset) = (self.chunk()?, self.u64()?);
            chunks.push(HeldChunk {
                chunk: ChunkRef {
                    id,
                    len: self.len_at(offset)?,
                },
                offset,
            });
        }
        Some(Record::Held { object, chunks })
    }

    fn forget(&mut self) -> Option<Record> {
        let (object, offset, id) = (self.object()?, self.u64()?, self.chunk()?);
        let len = self.len_at(offset)?;
        Some(Record::Forget {
            object,
            offset,
            chunk: ChunkRef { id, len },
        })
    }

    /// The length of a chunk at `offset`.
    fn len_at(&mut self, offset: u64) -> Option<u32> {
        let len = self.u32()?;
        let possible = len > 0 && len <= CHUNK_BYTES_MAX && offset.checked_add(u64::from(len)).is_some();
        possible.then_some(len)
    }

    fn release(&mut self) -> Option<Record> {
        let (release, bytes, entries) = (ReleaseId(self.chunk()?), self.u64()?, self.u64()?);
        let state = match self.array()? {
            [0] => ReleaseState::Partial,
            [1] => ReleaseState::Complete,
            _ => return None,
        };
        let name = String::from_utf8(self.rest()).ok()?;
        Some(Record::Release(ReleaseInfo {
            release,
            name,
            bytes,
            entries,
            state,
        }))
    }

    fn covered(&mut self) -> Option<Record> {
        let object = self.object()?;
        let mut ranges = Vec::with_capacity(self.0.len() / RANGE_BYTES);
        while !self.0.is_empty() {
            let (start, end) = (self.u64()?, self.u64()?);
            if start >= end {
                return None;
            }
            ranges.push((start, end));
        }
        Some(Record::Covered { object, ranges })
    }

    fn pin(&mut self) -> Option<Record> {
        let release = ReleaseId(self.chunk()?);
        let link = String::from_utf8(self.rest()).ok()?;
        Some(Record::Pin { release, link })
    }
}
