//! What tests of this crate share: a directory that goes away, chunks made from a number.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ares_core::chunk::{ChunkId, ChunkRef, VerifiedChunk};
use bytes::Bytes;

use super::{Dest, Store, StoreError, Taken};

/// `len` bytes that only `seed` gives.
pub(crate) fn bytes_of(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A chunk of bytes.
pub(crate) fn verified(bytes: Vec<u8>) -> VerifiedChunk {
    VerifiedChunk::verify(ChunkId::of(&bytes), Bytes::from(bytes)).expect("its own hash")
}

/// A chunk of `len` bytes that only `seed` gives.
pub(crate) fn chunk(seed: u64, len: usize) -> VerifiedChunk {
    verified(bytes_of(seed, len))
}

/// Its name and length.
pub(crate) fn named(chunk: &VerifiedChunk) -> ChunkRef {
    ChunkRef {
        id: chunk.id(),
        len: chunk.bytes().len() as u32,
    }
}

/// A fresh directory (mode 0700), removed on drop.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// Under the system's temporary directory.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ares-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path); // of an earlier process with our number
        crate::store::prepare_state_dir(&path).expect("a temporary directory");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `take_blob` to a path whose directory nobody swaps.
pub(crate) fn take(
    store: &Store,
    blob: &ChunkId,
    path: &Path,
    dress: &mut dyn FnMut(&File) -> io::Result<()>,
) -> Result<Taken, StoreError> {
    let dir = File::open(path.parent().unwrap()).unwrap();
    let (dir, name) = (dir.as_fd(), path.file_name().unwrap());
    store.take_blob(blob, Dest { dir, name, path }, dress)
}
