//! Writes big files through `tokio-uring`: several writes fly while the next chunk is read and verified. All-zero chunks stay holes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::dir::disk;
use crate::error::{Failure, Kind};

/// Writes in flight: enough for the kernel to work while the next chunk is verified.
const WRITES_MAX: usize = 8;

/// A ring, and what flies in it.
pub(super) struct Uring {
    runtime: tokio_uring::Runtime,
    flying: VecDeque<JoinHandle<std::io::Result<()>>>,
}

/// A file that is written to.
pub(super) struct Output {
    file: Rc<tokio_uring::fs::File>,
    /// What it will be, for errors.
    path: PathBuf,
}

impl Output {
    /// The same open file as `file`, made `bytes` long: what is not written is a hole.
    pub(super) fn new(file: &std::fs::File, bytes: u64, path: PathBuf) -> Result<Self, Failure> {
        file.set_len(bytes).map_err(|e| disk("writing", &path, &e))?;
        let twin = file.try_clone().map_err(|e| disk("writing", &path, &e))?;
        Ok(Self {
            file: Rc::new(tokio_uring::fs::File::from_std(twin)),
            path,
        })
    }
}

impl Uring {
    /// A ring of its own, for this thread.
    pub(super) fn new() -> Result<Self, Failure> {
        let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(64));
        let runtime = runtime.map_err(|e| {
            Failure::new(Kind::Failed, format!("no io_uring for writing: {}", crate::error::plain(&e)))
                .help("`ares doctor` says what it needs")
        })?;
        Ok(Self {
            runtime,
            flying: VecDeque::new(),
        })
    }

    /// Starts to write `bytes` at `offset`; waits for an earlier write where many fly. Its error comes from a later call.
    pub(super) fn write(&mut self, to: &Output, bytes: Bytes, offset: u64) -> Result<(), Failure> {
        if bytes.iter().all(|b| *b == 0) {
            return Ok(());
        }
        let file = Rc::clone(&to.file);
        let flying = &mut self.flying;
        let written = self.runtime.block_on(async {
            while flying.len() >= WRITES_MAX {
                land(flying).await?;
            }
            flying.push_back(tokio_uring::spawn(async move { file.write_all_at(bytes, offset).await.0 }));
            // Lets it start.
            tokio::task::yield_now().await;
            Ok(())
        });
        written.map_err(|e| disk("writing", &to.path, &e))
    }

    /// Waits for all writes.
    pub(super) fn drain(&mut self, to: &Output) -> Result<(), Failure> {
        self.land_all().map_err(|e| disk("writing", &to.path, &e))
    }

    fn land_all(&mut self) -> std::io::Result<()> {
        let flying = &mut self.flying;
        self.runtime.block_on(async {
            let mut first = Ok(());
            while !flying.is_empty() {
                let landed = land(flying).await;
                first = first.and(landed);
            }
            first
        })
    }
}

async fn land(flying: &mut VecDeque<JoinHandle<std::io::Result<()>>>) -> std::io::Result<()> {
    match flying.pop_front() {
        None => Ok(()),
        Some(write) => write.await.unwrap_or_else(|e| Err(std::io::Error::other(e))),
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // After an error some still fly, with buffers that the kernel reads: they land before the ring goes.
        drop(self.land_all());
    }
}
