//! `ares get`: copies what a link names to a place of the user's, or with `--discard` nowhere.

mod discard;

use serde_json::json;

use super::{Context, absolute, parse_link, unexpected};
use crate::admin::proto::{Outcome, Overwrite, Raw, Request};
use crate::daemon::Role;
use crate::error::Failure;
use crate::lowargs::GetArgs;
use crate::render::{Bytes, Seconds, count, rate};

pub(super) fn run(context: &Context, args: GetArgs) -> Result<(), Failure> {
    let (link, wire) = parse_link(&args.link)?;
    // Without one there is `--discard`: clap has seen to that.
    let Some(dest) = &args.dest else {
        return discard::run(context, &link);
    };
    let dest = absolute(dest)?;
    let request = Request::Get {
        link: wire,
        dest: Raw::from(dest.as_path()),
        overwrite: if args.force { Overwrite::Replace } else { Overwrite::Refuse },
    };
    let outcome = context.run(request, Role::Passing)?;
    let Outcome::Got {
        release,
        bytes,
        entries,
        fetched_bytes,
        reused_bytes,
        unchanged,
        elapsed_s,
    } = &outcome
    else {
        return Err(unexpected(&outcome));
    };
    let time = std::time::Duration::from_secs_f64(elapsed_s.max(0.0));
    let summary = format!(
        "got {} in {} at {}: {} fetched, {} reused, {} unchanged, {} ({})",
        Bytes(*bytes),
        count(*entries, "entry"),
        dest.display(),
        Bytes(*fetched_bytes),
        Bytes(*reused_bytes),
        count(*unchanged, "file"),
        Seconds(*elapsed_s),
        rate(*bytes, time)
    );
    let json = json!({
        "dest": Raw::from(dest.as_path()), "release": release, "bytes": bytes, "entries": entries, "fetched_bytes": fetched_bytes,
        "reused_bytes": reused_bytes, "unchanged": unchanged, "elapsed_s": elapsed_s,
    });
    context.print(&summary, &json)
}
