//! What is going on: the node's status with what only control knows.

use serde_json::{Value, json};

use crate::admin::proto::{Outcome, Raw};
use crate::daemon::Shared;
use crate::error::{Failure, Kind};

pub(super) fn run(daemon: &Shared) -> Result<Outcome, Failure> {
    let failed = |e: serde_json::Error| Failure::new(Kind::Failed, format!("the status cannot be written as JSON: {e}"));
    let answer = daemon
        .handle
        .status()
        .map_err(|e| Failure::new(Kind::Interrupted, e.to_string()))?;
    let mut status = serde_json::to_value(answer).map_err(failed)?;
    let mounts: Vec<Value> = daemon
        .mounts
        .list()
        .iter()
        .map(|(dir, entry)| json!({"dir": Raw::from(dir.as_path()), "release": entry.release, "name": entry.name}))
        .collect();
    if let Value::Object(fields) = &mut status {
        fields.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        fields.insert("pid".into(), std::process::id().into());
        fields.insert("state".into(), daemon.config.state.to_string_lossy().into());
        fields.insert("mounts".into(), mounts.into());
    }
    Ok(Outcome::Status { status })
}
