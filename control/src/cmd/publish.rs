//! `ares publish`: adds a file or directory to the store and prints its link; with --serve it stays and serves it.

use ares_core::link::Link;
use serde_json::json;

use super::{Context, absolute, read_profile, unexpected};
use crate::admin::proto::{FileHash, ImportHow, LargeFiles, Outcome, Raw, Request, Troubled};
use crate::daemon::Role;
use crate::error::{Failure, Kind};
use crate::lowargs::PublishArgs;
use crate::render::{Bytes, Seconds, count, rate};

pub(super) fn run(context: &Context, args: PublishArgs) -> Result<(), Failure> {
    let path = absolute(&args.path)?;
    // Told before a node is started for it.
    if let Err(e) = std::fs::symlink_metadata(&path) {
        return Err(Failure::io("publishing", &path, &e));
    }
    if args
        .name
        .as_ref()
        .is_some_and(|name| name.is_empty() || Link::name_from(name.as_bytes()) != *name)
    {
        return Err(Failure::new(
            Kind::Usage,
            "--name must be what a file can be called: one line, no slash, at most 255 bytes",
        ));
    }
    let request = Request::Publish {
        path: Raw::from(path.as_path()),
        name: args.name,
        options: ImportHow {
            large_files: if args.copy { LargeFiles::Copy } else { LargeFiles::InPlace },
            troubled: if args.skip_changed { Troubled::Skip } else { Troubled::Fail },
            file_hash: if args.b3 { FileHash::Record } else { FileHash::Leave },
            profile: args.profile.as_deref().map(read_profile).transpose()?,
        },
    };
    let role = if args.serve { Role::Serve } else { Role::Passing };
    let mut session = context.session(role)?;
    let result = session.run(&request, &context.sink(), &context.cancel);
    context.terminal.clear();
    let printed = result.and_then(|outcome| print(context, &outcome));
    match (&printed, session.is_remote(), args.serve) {
        (Ok(()), true, _) => {}
        (Ok(()), false, false) => context.terminal.note(&format!(
            "note: no daemon runs on {}: run `ares serve` with the same --state to serve it",
            context.config.state.display()
        )),
        (Ok(()), false, true) => {
            context.terminal.note("serving it; Ctrl-C ends");
            while !context.cancel.wait(std::time::Duration::from_secs(3600)) {}
        }
        (Err(_), ..) => {}
    }
    session.close(&context.cancel);
    printed
}

fn print(context: &Context, outcome: &Outcome) -> Result<(), Failure> {
    let Outcome::Published {
        link,
        release,
        name,
        bytes,
        entries,
        elapsed_s,
        skipped,
        addrs,
    } = outcome
    else {
        return Err(unexpected(outcome));
    };
    let time = std::time::Duration::from_secs_f64(elapsed_s.max(0.0));
    let summary = format!(
        "published {name}: {} in {}, {} ({})",
        Bytes(*bytes),
        count(*entries, "entry"),
        Seconds(*elapsed_s),
        rate(*bytes, time)
    );
    context.terminal.note(&summary);
    let json = json!({
        "link": link, "release": release, "name": name, "bytes": bytes, "entries": entries,
        "elapsed_s": elapsed_s, "skipped": skipped, "addrs": addrs,
    });
    context.print(link, &json)
}
