//! `ares get --discard`: a node of its own fetches and verifies what a link names and keeps nothing. Its state directory is new and is
//! removed, so whatever this user's store holds, every byte comes over the network.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use ares_core::link::Link;
use serde_json::json;

use crate::cmd::Context;
use crate::config::Config;
use crate::daemon::{Daemon, Role, StartFailure};
use crate::error::Failure;
use crate::handed::Handed;
use crate::jobs::{self, Discarded};
use crate::render::{Bytes, Seconds, count, rate};

pub(super) fn run(context: &Context, link: &Link) -> Result<(), Failure> {
    let state = Throwaway::new()?;
    let mut config = Config::clone(&context.config);
    config.state = state.0.clone();
    let config = Arc::new(config);
    let daemon = Daemon::start(&config, Role::Discarding, &Handed::default())
        .map_err(|(StartFailure::Locked(e) | StartFailure::Failed(e))| e)?;
    let result = jobs::discard(daemon.shared(), link, &context.sink(), &context.cancel);
    context.terminal.clear();
    daemon.stop();
    let Discarded {
        bytes,
        entries,
        fetched_bytes,
        elapsed,
    } = result?;
    let text = format!(
        "fetched and verified {} in {}, kept nothing: {} from peers, {} ({})",
        Bytes(bytes),
        count(entries, "entry"),
        Bytes(fetched_bytes),
        Seconds(elapsed.as_secs_f64()),
        rate(fetched_bytes, elapsed)
    );
    let json = json!({
        "release": link.release.to_string(), "bytes": bytes, "entries": entries, "fetched_bytes": fetched_bytes,
        "elapsed_s": elapsed.as_secs_f64(),
    });
    context.print(&text, &json)
}

/// A state directory for this user alone, below the system's temporary one. Removed with all that is in it when dropped.
struct Throwaway(PathBuf);

impl Throwaway {
    fn new() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("ares-discard-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(|e| Failure::io("making", &dir, &e).help("name another place with TMPDIR"))?;
        Ok(Self(dir))
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("left behind: {}: {e}", self.0.display());
        }
    }
}
