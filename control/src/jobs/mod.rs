//! What the daemon does for a command, one file per request. Runs on a thread of the daemon, whether the command is in this
//! process or behind the admin socket, so a command works alike in both.

mod cat;
mod content;
mod discard;
mod get;
mod lanes;
mod lists;
mod ls;
mod mount;
mod pin;
mod profile;
mod progress;
mod publish;
mod reload;
mod set;
mod show;
pub(crate) mod status;
mod umount;
mod verify;
mod warm;

use std::sync::Arc;

use ares_core::link::Link;

pub(crate) use self::discard::{Discarded, run as discard};
pub(crate) use self::get::{fetch, sound};
pub(crate) use self::mount::again as mount_again;
pub(crate) use self::set::{by_time as set_by_time, check as check_setting};
use crate::admin::proto::{Outcome, Request, SharedSink, WireLink};
use crate::admin::socket::Caller;
use crate::cancel::Cancel;
use crate::daemon::Shared;
use crate::error::Failure;
use crate::kept::{Kept, Named};

/// Carries `request` of `caller` out. Blocks until it is done, failed or cancelled.
pub(crate) fn run(
    daemon: &Arc<Shared>,
    request: Request,
    caller: Caller,
    sink: SharedSink,
    cancel: &Cancel,
) -> Result<Outcome, Failure> {
    tracing::debug!(job = request.name(), "begins");
    let name = request.name();
    let result = match request {
        Request::Status => status::run(daemon),
        Request::Content { release } => content::run(daemon, &release, cancel),
        Request::Publish { path, name, options } => {
            let path = path.to_path();
            publish::run(daemon, publish::Ask { path, name, options }, &sink, cancel)
        }
        Request::Get { link, dest, overwrite } => get::run(daemon, &read_link(&link)?, &dest.to_path(), overwrite, &sink, cancel),
        Request::Warm { link } => warm::run(daemon, &read_link(&link)?, &sink, cancel),
        Request::Mount { link, dir, stay, how } => mount::run(daemon, Kept::new(dir, link, how), stay, &sink, cancel),
        Request::Show {
            dir,
            name,
            link,
            overwrite,
        } => show::run(daemon, &dir.to_path(), Named { name, link, slot: 0 }, overwrite, cancel),
        Request::Hide { dir, name } => show::undo(daemon, &dir.to_path(), &name),
        Request::Profile { at } => profile::run(daemon, &at.to_path()),
        Request::Umount { dir, force } => umount::run(daemon, &dir.to_path(), force),
        Request::Pin { link } => pin::run(daemon, &read_link(&link)?),
        Request::Unpin { release } => pin::undo(daemon, &release),
        Request::Ls { link } => ls::run(daemon, &read_link(&link)?, &sink, cancel),
        Request::Cat { link } => cat::run(daemon, &read_link(&link)?, &sink, cancel),
        Request::Verify => verify::run(daemon, &sink, cancel),
        Request::Reload => reload::run(daemon, caller),
        Request::Knobs { key } => set::list(daemon, key.as_deref()),
        Request::Set {
            key,
            value,
            release: None,
        } => set::run(daemon, caller, &key, &value),
        Request::Set {
            key,
            value,
            release: Some(link),
        } => set::run_for(daemon, caller, &key, &value, read_link(&link)?.release),
    };
    match &result {
        Ok(_) => tracing::debug!(job = name, "done"),
        Err(failure) => tracing::debug!(job = name, error = failure.message, "failed"),
    }
    result
}

/// The link of a request. The command has parsed it already; another client of the socket may not have.
fn read_link(wire: &WireLink) -> Result<Link, Failure> {
    let mut link: Link = wire.link.parse()?;
    link.inside = wire.inside.0.clone();
    Ok(link)
}
