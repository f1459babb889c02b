//! `ares cat`: writes a file of a release to stdout. A reader that has enough (`| head`) is no failure.

use super::{Context, parse_link};
use crate::admin::proto::{Outcome, Request};
use crate::daemon::Role;
use crate::error::{Failure, Kind};
use crate::lowargs::CatArgs;
use crate::render;

pub(super) fn run(context: &Context, args: CatArgs) -> Result<(), Failure> {
    let (_, link) = parse_link(&args.link)?;
    let result = context.run(Request::Cat { link }, Role::Passing);
    forgive_closed_stdout(context, result).map(|_sent| ())
}

/// An interruption that came from stdout rather than from the user: fine where the reader left, a failure where the disk is full.
pub(super) fn forgive_closed_stdout(context: &Context, result: Result<Outcome, Failure>) -> Result<Option<Outcome>, Failure> {
    match result {
        Err(failure) if failure.kind == Kind::Interrupted => match context.terminal.stdout_end() {
            Some(render::StdoutEnd::Closed) => Ok(None),
            Some(render::StdoutEnd::Failed(why)) => Err(why),
            None => Err(failure),
        },
        other => other.map(Some),
    }
}
