//! `ares verify`: whether the disk still has what was written to it.

use std::time::Duration;

use serde_json::json;

use super::{Context, unexpected};
use crate::admin::proto::{Outcome, Request};
use crate::daemon::Role;
use crate::error::{Failure, Kind};
use crate::render::{Bytes, Seconds, count, rate};

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let outcome = context.run(Request::Verify, Role::Passing)?;
    let Outcome::Verified {
        chunks,
        bytes,
        bad_chunks,
        lacking_releases,
        mended_releases,
        whys,
        elapsed_s,
    } = &outcome
    else {
        return Err(unexpected(&outcome));
    };
    let mut text = format!(
        "verified {} in {}, {} ({}): {} wrong",
        Bytes(*bytes),
        count(*chunks, "chunk"),
        Seconds(*elapsed_s),
        rate(*bytes, Duration::from_secs_f64(elapsed_s.max(0.0))),
        count(*bad_chunks, "chunk"),
    );
    if *lacking_releases > 0 {
        text.push_str(&format!(
            "; {} lacked something, of which {mended_releases} were mended",
            count(*lacking_releases, "release")
        ));
    }
    let json = json!({
        "chunks": chunks, "bytes": bytes, "bad_chunks": bad_chunks, "lacking_releases": lacking_releases,
        "mended_releases": mended_releases, "whys": whys, "elapsed_s": elapsed_s,
    });
    context.print(&text, &json)?;
    match whys.first() {
        None => Ok(()),
        Some(why) => {
            let message = format!(
                "{} not whole any more: {why}",
                count(lacking_releases - mended_releases, "release")
            );
            Err(Failure::new(Kind::Disk, message)
                .help("check the disk (dmesg, smartctl); `ares verify` again when somebody who has it can be reached, or publish it again"))
        }
    }
}
