//! A file with chunks of its own: written chunk by chunk, or compared with what is there. Comparing turns into writing at the first
//! chunk that differs, if the user allows it.

use ares_core::chunk::{ChunkId, ChunkRef};
use ares_core::manifest::{Meta, Name};
use ares_core::swarm::BlobPlace;
use bytes::Bytes;

use super::dir::{Dir, Existing, InTheWay, may_replace};
use super::draft::Draft;
use super::uring::{Output, Uring};
use crate::admin::proto::Overwrite;
use crate::error::{Failure, Kind};
use crate::tree::Chunks;

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Written,
    Unchanged,
}

/// A file in the making.
pub(super) struct BigFile(State);

enum State {
    /// Its bytes are in place already.
    Skip,
    Compare(Box<Compare>),
    Write(Box<Write>),
}

struct Compare {
    dir: Dir,
    name: Name,
    meta: Meta,
    bytes: u64,
    there: Existing,
    overwrite: Overwrite,
}

struct Write {
    draft: Draft,
    output: Output,
    meta: Meta,
    overwrite: Overwrite,
}

impl BigFile {
    /// One that needs nothing more.
    pub(super) fn skip() -> Self {
        Self(State::Skip)
    }

    /// A new one of `bytes` bytes.
    pub(super) fn write(dir: &Dir, name: &Name, meta: Meta, bytes: u64, overwrite: Overwrite) -> Result<Self, Failure> {
        Write::new(dir, name, meta, bytes, overwrite).map(|write| Self(State::Write(Box::new(write))))
    }

    /// One of the same size that is there already and perhaps equal.
    pub(super) fn compare(dir: Dir, name: Name, meta: Meta, bytes: u64, there: Existing, overwrite: Overwrite) -> Self {
        Self(State::Compare(Box::new(Compare {
            dir,
            name,
            meta,
            bytes,
            there,
            overwrite,
        })))
    }

    /// Whether chunks may have to be written.
    pub(super) fn needs_uring(&self) -> bool {
        !matches!(self.0, State::Skip)
    }

    /// The next chunk, in order.
    pub(super) fn chunk(
        &mut self,
        chunks: &dyn Chunks,
        uring: Option<&mut Uring>,
        chunk: ChunkRef,
        place: BlobPlace,
    ) -> Result<(), Failure> {
        let Some(uring) = uring else { return Ok(()) };
        if let State::Compare(compare) = &self.0 {
            if compare.is_equal(chunk, place)? {
                return Ok(());
            }
            let write = compare.to_write(uring, place.offset)?;
            self.0 = State::Write(Box::new(write));
        }
        let State::Write(write) = &mut self.0 else { return Ok(()) };
        let bytes = chunks.placed(chunk, place)?;
        uring.write(&write.output, bytes, place.offset)
    }

    /// All chunks were given: gives the file its name.
    pub(super) fn finish(self, uring: Option<&mut Uring>) -> Result<End, Failure> {
        match self.0 {
            State::Skip => Ok(End::Written),
            State::Compare(compare) => compare.there.dress(&compare.meta).map(|()| End::Unchanged),
            State::Write(write) => {
                if let Some(uring) = uring {
                    uring.drain(&write.output)?;
                }
                write.draft.publish(&write.meta, write.overwrite).map(|()| End::Written)
            }
        }
    }
}

impl Write {
    fn new(dir: &Dir, name: &Name, meta: Meta, bytes: u64, overwrite: Overwrite) -> Result<Self, Failure> {
        let draft = Draft::large(dir, name)?;
        let output = Output::new(&draft.file, bytes, draft.path())?;
        Ok(Self {
            draft,
            output,
            meta,
            overwrite,
        })
    }
}

impl Compare {
    fn is_equal(&self, chunk: ChunkRef, place: BlobPlace) -> Result<bool, Failure> {
        let mut held = vec![0; chunk.len as usize];
        let n = self.there.read(place.offset, &mut held)?;
        Ok(ChunkId::of(&held[..n]) == chunk.id)
    }

    /// It differs from `equal` bytes on: a new file takes its place, if it may, and its equal part.
    fn to_write(&self, uring: &mut Uring, equal: u64) -> Result<Write, Failure> {
        may_replace(&self.dir, &self.name, InTheWay::File, self.overwrite)?;
        let write = Write::new(&self.dir, &self.name, self.meta.clone(), self.bytes, Overwrite::Replace)?;
        let mut offset = 0;
        while offset < equal {
            let mut block = vec![0; usize::try_from(equal - offset).unwrap_or(usize::MAX).min(1 << 20)];
            let n = self.there.read(offset, &mut block)?;
            if n == 0 {
                let path = write.draft.path();
                return Err(Failure::new(
                    Kind::Disk,
                    format!("{} became shorter while it was read", path.display()),
                ));
            }
            block.truncate(n);
            uring.write(&write.output, Bytes::from(block), offset)?;
            offset += n as u64;
        }
        Ok(write)
    }
}
