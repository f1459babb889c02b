//! `ares ls`: lists a directory of a release, one entry a line; with --json one object a line.

use super::{Context, parse_link};
use crate::admin::proto::Request;
use crate::daemon::Role;
use crate::error::Failure;
use crate::lowargs::LsArgs;

pub(super) fn run(context: &Context, args: LsArgs) -> Result<(), Failure> {
    let (_, link) = parse_link(&args.link)?;
    let result = context.run(Request::Ls { link }, Role::Passing);
    super::cat::forgive_closed_stdout(context, result).map(|_listed| ())
}
