//! Stands in for `node::import` until it lands.
use std::path::Path;
use std::sync::atomic::AtomicU64;

use ares_core::chunk::ReleaseId;
use ares_node::Handle;

use crate::error::{Failure, Kind};

#[derive(Default)]
pub(crate) struct ImportProgress {
    pub(crate) bytes_done: AtomicU64,
    pub(crate) bytes_total: AtomicU64,
    pub(crate) files_done: AtomicU64,
    pub(crate) files_total: AtomicU64,
}
pub(crate) struct Imported {
    pub(crate) release: ReleaseId,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) skipped: u64,
}
pub(crate) fn publish(
    _: &Handle,
    _: &Path,
    _: Option<String>,
    _: &ImportProgress,
    _: &crate::cancel::Cancel,
) -> Result<Imported, Failure> {
    Err(Failure::new(Kind::Failed, "publishing is not there yet"))
}
