//! `ares mount add`, `remove` and `profile`: what a mount of names shows and what was read of a mount, by the daemon that has it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::admin::proto::{Outcome, Overwrite, Raw, Request};
use crate::cmd::{Context, absolute, mount_point, parse_link, unexpected};
use crate::config::Format;
use crate::error::{Failure, Kind};
use crate::lowargs::MountAction;
use crate::render;
use crate::session::Session;

pub(super) fn run(context: &Context, action: &MountAction) -> Result<(), Failure> {
    let (request, at) = match action {
        MountAction::Add { link, at, replace } => {
            let (dir, name) = split(at)?;
            let at = dir.join(name.to_path());
            let request = Request::Show {
                dir: Raw::from(dir.as_path()),
                name,
                link: parse_link(link)?.1,
                overwrite: if *replace { Overwrite::Replace } else { Overwrite::Refuse },
            };
            (request, at)
        }
        MountAction::Profile { at } => {
            let at = mount_point(at)?;
            let request = Request::Profile {
                at: Raw::from(at.as_path()),
            };
            (request, at)
        }
        MountAction::Remove { at } => {
            let (dir, name) = split(at)?;
            let at = dir.join(name.to_path());
            let dir = Raw::from(dir.as_path());
            (Request::Hide { dir, name }, at)
        }
    };
    let mut daemon = Session::attach(&context.config)?;
    match daemon.run(&request, &*context.sink(), &context.cancel)? {
        Outcome::Shown { release, former } => {
            let text = match &former {
                Some(former) => format!("{} is {} now, and was {}", at.display(), &release[..10], &former[..10]),
                None => format!("{} is {}", at.display(), &release[..10]),
            };
            context.print(
                &text,
                &json!({"at": Raw::from(at.as_path()), "release": release, "former": former}),
            )
        }
        Outcome::Hidden { release } => {
            let text = format!("{} is no more, and was {}", at.display(), &release[..10]);
            context.print(&text, &json!({"at": Raw::from(at.as_path()), "release": release}))
        }
        Outcome::Recorded { profile } => match context.config.output.format {
            Format::Json => context.print("", &json!({"at": Raw::from(at.as_path()), "profile": profile})),
            // As it is, for a file.
            Format::Text => render::stdout(&profile.0).map(drop),
        },
        other => Err(unexpected(&other)),
    }
}

/// The mount and the name in it. The name is not looked at: it may be there, or not.
fn split(at: &Path) -> Result<(PathBuf, Raw), Failure> {
    let at = absolute(at)?;
    match (at.parent(), at.file_name()) {
        (Some(dir), Some(name)) => Ok((mount_point(dir)?, Raw(name.as_bytes().to_vec()))),
        _ => Err(Failure::new(Kind::Usage, format!("{} names nothing in a mount", at.display())).help("write DIR/NAME")),
    }
}
