//! How a writer's bytes get to a file: through a ring of its own, so that file I/O stays off the network shards. Where the kernel refuses a
//! ring, with plain writes: a store works on any kernel, only shards need io_uring. Decides nothing.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ares_ring::{Op, OpError, Outcome, Ring, RingConfig, Target};
use bytes::Bytes;

use super::object::ObjectFile;

/// A thread's way to write files. Not Send: a ring belongs to its thread.
pub(super) struct FileIo {
    ring: Option<Ring>,
}

impl FileIo {
    pub(super) fn new() -> Self {
        let config = RingConfig {
            entries: 8,
            cq_entries: 16,
            receive_buffers: 0,
            file_slots: 0,
        };
        let ring = Ring::new(&config).inspect_err(|e| tracing::debug!("the store writes without io_uring: {e}"));
        Self { ring: ring.ok() }
    }

    /// Writes all of `bytes` at `offset`, or fails. Short writes are continued.
    pub(super) fn write_all_at(&mut self, file: &Arc<ObjectFile>, offset: u64, bytes: &Bytes) -> io::Result<()> {
        let Some(ring) = &mut self.ring else {
            return file.file.write_all_at(bytes, offset);
        };
        ring.submit(
            Op::Write {
                file: Target::Open(file.clone()),
                offset,
                bytes: bytes.clone(),
            },
            0,
        );
        loop {
            ring.enter(None).map_err(io::Error::other)?;
            while let Some(done) = ring.reap() {
                if let Outcome::Written { result, .. } = done.outcome {
                    return result.map_err(to_io);
                }
            }
        }
    }
}

fn to_io(error: OpError) -> io::Error {
    match error {
        OpError::Kernel { source, .. } => source,
        OpError::NoProgress { .. } => io::ErrorKind::WriteZero.into(),
        OpError::Cancelled { .. } => io::ErrorKind::Interrupted.into(),
    }
}
