//! `ares pin` and `ares unpin`: which releases the daemon keeps whole.

use serde_json::json;

use super::{Context, parse_link, release_named, unexpected};
use crate::admin::proto::{Outcome, Request};
use crate::error::Failure;
use crate::lowargs::{PinArgs, UnpinArgs};
use crate::render;
use crate::session::Session;

pub(super) fn run(context: &Context, args: PinArgs) -> Result<(), Failure> {
    let request = match args.link {
        None => Request::Status,
        Some(typed) => Request::Pin {
            link: parse_link(&typed)?.1,
        },
    };
    match tell(context, &request)? {
        Outcome::Status { status } => {
            let json = json!({"pins": status["pins"], "left_out": {"pins": status["left_out"]["pins"]}});
            context.print(&render::pins(&json), &json)
        }
        Outcome::Pinned { release, name, already } => {
            let again = if already { " (it was before)" } else { "" };
            let text = format!("pinned {name} ({}){again}", &release[..10]);
            context.print(&text, &json!({"release": release, "name": name, "already": already}))
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) fn undo(context: &Context, args: &UnpinArgs) -> Result<(), Failure> {
    let release = release_named(&args.release)?;
    match tell(context, &Request::Unpin { release })? {
        Outcome::Unpinned { release, name } => {
            let text = format!("unpinned {name} ({})", &release[..10]);
            context.print(&text, &json!({"release": release, "name": name}))
        }
        other => Err(unexpected(&other)),
    }
}

fn tell(context: &Context, request: &Request) -> Result<Outcome, Failure> {
    let mut daemon = Session::attach(&context.config)?;
    Ok(daemon.run(request, &*context.sink(), &context.cancel)?)
}
