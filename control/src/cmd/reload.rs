//! `ares reload`: has the daemon read its config file again.

use serde_json::json;

use super::{Context, unexpected};
use crate::admin::proto::{Outcome, Request};
use crate::error::Failure;
use crate::session::Session;

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut daemon = Session::attach(&context.config)?;
    let outcome = daemon.run(&Request::Reload, &*context.sink(), &context.cancel)?;
    let Outcome::Reloaded {
        changed,
        refused,
        needs_restart,
    } = &outcome
    else {
        return Err(unexpected(&outcome));
    };
    let lines = [("changed", changed), ("refused", refused), ("after a restart", needs_restart)];
    let mut text: Vec<String> = lines
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(word, list)| format!("{word}: {}", list.join("; ")))
        .collect();
    if text.is_empty() {
        text.push("nothing has changed in the config file".to_owned());
    }
    let json = json!({"changed": changed, "refused": refused, "needs_restart": needs_restart});
    context.print(&text.join("\n"), &json)
}
