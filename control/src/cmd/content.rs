//! `ares content`: what the store has of releases, and who else has some.

use serde_json::{Value, json};

use super::{Context, release_named, unexpected};
use crate::admin::proto::{Outcome, Request};
use crate::error::Failure;
use crate::lowargs::ContentArgs;
use crate::render;
use crate::session::Session;

pub(super) fn run(context: &Context, args: ContentArgs) -> Result<(), Failure> {
    let request = match args.release {
        None => Request::Status,
        Some(typed) => Request::Content {
            release: release_named(&typed)?,
        },
    };
    let mut daemon = Session::attach(&context.config)?;
    match daemon.run(&request, &*context.sink(), &context.cancel)? {
        Outcome::Status { status } => {
            let contents = contents(&status);
            context.print(&render::contents(&contents), &contents)
        }
        Outcome::Content { content } => context.print(&render::one_content(&content), &content),
        other => Err(unexpected(&other)),
    }
}

/// The part of a status that is of releases.
fn contents(status: &Value) -> Value {
    json!({
        "peer": status["peer"],
        "uptime_s": status["uptime_s"],
        "releases": status["releases"],
        "pins": status["pins"],
        "left_out": { "releases": status["left_out"]["releases"], "pins": status["left_out"]["pins"] },
    })
}
