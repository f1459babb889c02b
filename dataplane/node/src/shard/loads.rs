//! Chunks on their way from the store to a connection: finds the extent, reads it in the shard's own ring, makes sure that a file
//! served in place has not changed meanwhile.

use std::collections::BTreeMap;

use ares_core::chunk::LEN_UNKNOWN;
use ares_core::peer::PathId;
use ares_core::wire::{AnswerHead, AskItem};
use ares_ring::{Op, OpError, Target};
use bytes::{Bytes, BytesMut};
use quinn_proto::StreamId;

use super::submit::Submit;
use super::tag::Tag;
use crate::store::{Extent, Store};

/// Reads in flight.
#[derive(Default)]
pub(super) struct Loads {
    inflight: BTreeMap<u64, Load>,
    next: u64,
}

struct Load {
    path: PathId,
    stream: StreamId,
    item: AskItem,
    extent: Extent,
}

/// A read that has ended, for the connection that wanted it.
pub(super) struct Loaded {
    pub(super) path: PathId,
    pub(super) stream: StreamId,
    pub(super) item: AskItem,
    pub(super) result: Result<Bytes, AnswerHead>,
}

impl Loads {
    /// Starts to read, or says at once why not. `is_elsewhere`: whether a chunk that is here had better be asked of others.
    pub(super) fn start(
        &mut self,
        ring: &mut impl Submit,
        store: &Store,
        path: PathId,
        stream: StreamId,
        item: AskItem,
        is_elsewhere: impl FnOnce() -> bool,
    ) -> Result<(), AnswerHead> {
        let fits = |extent: &Extent| item.len == extent.len || item.len == LEN_UNKNOWN;
        let extent = store.locate(&item.id).filter(fits).ok_or(AnswerHead::NotHeld)?;
        if is_elsewhere() {
            return Err(AnswerHead::Elsewhere);
        }
        let len = (extent.len - item.from) as usize;
        let op = Op::Read {
            file: Target::Open(extent.file.clone()),
            offset: extent.offset + u64::from(item.from),
            buf: BytesMut::new(),
            len,
        };
        let id = self.next;
        self.next += 1;
        self.inflight.insert(
            id,
            Load {
                path,
                stream,
                item,
                extent,
            },
        );
        ring.submit(op, Tag::Load(id).encode());
        Ok(())
    }

    /// A read has ended.
    pub(super) fn on_read(&mut self, id: u64, buf: BytesMut, result: Result<usize, OpError>, store: &Store) -> Option<Loaded> {
        let Load {
            path,
            stream,
            item,
            extent,
        } = self.inflight.remove(&id)?;
        let whole = buf.len() == (extent.len - item.from) as usize;
        let result = match result {
            Ok(_) if whole && extent.still_valid() => Ok(buf.freeze()),
            Ok(_) => {
                tracing::warn!(chunk = %item.id.short(), "held bytes have changed or vanished on disk; not served any more");
                store.forget_at(&item.id, &extent);
                Err(AnswerHead::Gone)
            }
            Err(error) => {
                tracing::warn!(chunk = %item.id.short(), %error, "held bytes could not be read");
                Err(AnswerHead::Gone)
            }
        };
        Some(Loaded {
            path,
            stream,
            item,
            result,
        })
    }
}
