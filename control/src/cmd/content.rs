//! `ares content`: what the store has of releases, and who else has some.

use std::ffi::OsStr;

use serde_json::{Value, json};

use super::{Context, parse_link, unexpected};
use crate::admin::proto::{Outcome, Request};
use crate::error::{Failure, Kind};
use crate::lowargs::ContentArgs;
use crate::render;
use crate::session::Session;

pub(super) fn run(context: &Context, args: ContentArgs) -> Result<(), Failure> {
    let request = match args.release {
        None => Request::Status,
        Some(typed) => Request::Content {
            release: release(&typed)?,
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

/// The release of a link; else what was typed.
fn release(typed: &OsStr) -> Result<String, Failure> {
    match typed.to_str() {
        Some(text) if !text.is_empty() && !text.starts_with("ares:") => Ok(text.to_owned()),
        Some("") => Err(Failure::new(Kind::Usage, "an empty name").help("`ares content` lists the releases")),
        _ => parse_link(typed).map(|(link, _)| link.release.to_string()),
    }
}

/// The part of a status that is of releases.
fn contents(status: &Value) -> Value {
    json!({
        "peer": status["peer"],
        "uptime_s": status["uptime_s"],
        "releases": status["releases"],
        "left_out": { "releases": status["left_out"]["releases"] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_digits_a_name_or_a_link() {
        let check = |typed: &str, expect: Result<&str, Kind>| {
            let named = release(OsStr::new(typed)).map_err(|failure| failure.kind);
            assert_eq!(named, expect.map(str::to_owned), "{typed}");
        };
        check("65f4a17319", Ok("65f4a17319"));
        check("rel", Ok("rel"));
        check("", Err(Kind::Usage));
        check("ares:nothing", Err(Kind::Usage));
    }
}
