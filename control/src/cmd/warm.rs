//! `ares warm`: brings what a link names into the store ahead of its readers.

use std::os::unix::ffi::OsStrExt as _;

use serde_json::json;

use super::{Context, parse_link, unexpected};
use crate::admin::proto::{Outcome, Request};
use crate::daemon::Role;
use crate::error::Failure;
use crate::lowargs::WarmArgs;
use crate::render::{Bytes, Seconds, count, rate};

pub(super) fn run(context: &Context, args: WarmArgs) -> Result<(), Failure> {
    let (_, mut link) = parse_link(&args.link)?;
    if let Some(path) = &args.path {
        link.inside.0.push(b'/');
        link.inside.0.extend_from_slice(path.as_os_str().as_bytes());
    }
    let outcome = context.run(Request::Warm { link }, Role::Passing)?;
    let Outcome::Warmed {
        release,
        bytes,
        entries,
        fetched_bytes,
        reused_bytes,
        elapsed_s,
    } = &outcome
    else {
        return Err(unexpected(&outcome));
    };
    let time = std::time::Duration::from_secs_f64(elapsed_s.max(0.0));
    let text = format!(
        "in the store: {} in {}: {} fetched, {} reused, {} ({})",
        Bytes(*bytes),
        count(*entries, "entry"),
        Bytes(*fetched_bytes),
        Bytes(*reused_bytes),
        Seconds(*elapsed_s),
        rate(*fetched_bytes, time)
    );
    let json = json!({
        "release": release, "bytes": bytes, "entries": entries, "fetched_bytes": fetched_bytes, "reused_bytes": reused_bytes,
        "elapsed_s": elapsed_s,
    });
    context.print(&text, &json)
}
