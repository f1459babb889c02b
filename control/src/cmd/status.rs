//! `ares status`: what the daemon is doing.

use super::{Context, unexpected};
use crate::admin::proto::{Outcome, Request};
use crate::error::Failure;
use crate::render;
use crate::session::Session;

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut daemon = Session::attach(&context.config)?;
    match daemon.run(&Request::Status, &*context.sink(), &context.cancel)? {
        Outcome::Status { status } => context.print(&render::status(&status), &status),
        other => Err(unexpected(&other)),
    }
}
