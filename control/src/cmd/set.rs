//! `ares set`: shows the knobs of the running daemon, and turns one.

mod persist;

use std::path::PathBuf;

use serde_json::json;

use super::{Context, parse_link, unexpected};
use crate::admin::client::Client;
use crate::admin::proto::{Outcome, Request};
use crate::error::{Failure, Kind};
use crate::lowargs::SetArgs;
use crate::render;
use crate::session::Session;

pub(super) fn run(context: &Context, args: SetArgs) -> Result<(), Failure> {
    let is_one = args.key.is_some();
    let is_persistent = args.persist;
    let request = request(args)?;
    if is_persistent && matches!(request, Request::Knobs { .. }) {
        return Err(Failure::new(Kind::Usage, "--persist without a value").help("write `ares set KEY VALUE --persist`"));
    }
    let mut daemon = Session::attach(&context.config)?;
    match daemon.run(&request, &*context.sink(), &context.cancel)? {
        Outcome::Knobs { knobs } => {
            let json = match &knobs[..] {
                [knob] if is_one => json!(knob),
                _ => json!({ "knobs": knobs }),
            };
            context.print(&render::knobs(&knobs), &json)
        }
        Outcome::Set { key, old, value, unit } => {
            let [before, now] = [&old, &value].map(|value| render::knob_value(value, unit.as_deref()));
            let text = format!("{key}: {before} -> {now}");
            let written = is_persistent.then(|| write(context, &mut daemon, &key, &now)).transpose()?;
            let text = match &written {
                Some(path) => format!("{text}, also in {}", path.display()),
                None => text,
            };
            let mut json = json!({"key": key, "old": old, "value": value});
            if let Some(path) = &written {
                json["persisted"] = path.to_string_lossy().into();
            }
            context.print(&text, &json)
        }
        other => Err(unexpected(&other)),
    }
}

/// Writes what was set to the file that the daemon reads when it starts. Whoever gives the command must be allowed to.
fn write(context: &Context, daemon: &mut Client, key: &str, value: &str) -> Result<PathBuf, Failure> {
    let path = match daemon.run(&Request::Status, &*context.sink(), &context.cancel)? {
        Outcome::Status { status } => status["config"].as_str().map(PathBuf::from),
        other => return Err(unexpected(&other)),
    };
    let lasts = "it is set, until the daemon ends";
    let Some(path) = path else {
        return Err(Failure::new(Kind::Failed, "the daemon does not say where its config file is").help(lasts));
    };
    // What lanes and peers are told no more is not in the file. No word of a knob is `none`.
    let to = Some(value).filter(|value| *value != "none");
    persist::persist(&path, key, to).map_err(|failure| failure.help(lasts))?;
    Ok(path)
}

/// `KEY VALUE` and `KEY=VALUE` mean the same; no key has a `=` in it.
fn request(args: SetArgs) -> Result<Request, Failure> {
    let release = args.release.map(|link| parse_link(&link)).transpose()?.map(|(_, wire)| wire);
    let show = |key| match release {
        None => Ok(Request::Knobs { key }),
        Some(_) => {
            Err(Failure::new(Kind::Usage, "--release without a value").help("write `ares set path-mode VALUE --release LINK`"))
        }
    };
    let Some(typed) = args.key else {
        return show(None);
    };
    match (typed.split_once('='), args.value) {
        (None, None) => show(Some(typed)),
        (None, Some(value)) => Ok(Request::Set {
            key: typed,
            value,
            release,
        }),
        (Some((key, value)), None) => Ok(Request::Set {
            key: key.to_owned(),
            value: value.to_owned(),
            release,
        }),
        (Some(_), Some(_)) => Err(Failure::new(Kind::Usage, "a value stands before and after the space")
            .help("write `ares set KEY VALUE` or `ares set KEY=VALUE`, one knob at a time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_value_are_told_apart_in_either_form() {
        let check = |key: Option<&str>, value: Option<&str>, expect: Option<Request>| {
            let args = SetArgs {
                key: key.map(str::to_owned),
                value: value.map(str::to_owned),
                release: None,
                persist: false,
            };
            assert_eq!(request(args).ok(), expect, "{key:?} {value:?}");
        };
        let set = |key: &str, value: &str| {
            let (key, value) = (key.to_owned(), value.to_owned());
            Some(Request::Set {
                key,
                value,
                release: None,
            })
        };
        check(None, None, Some(Request::Knobs { key: None }));
        check(Some("k"), None, Some(Request::Knobs { key: Some("k".into()) }));
        check(Some("k"), Some("v"), set("k", "v"));
        check(Some("k=v"), None, set("k", "v"));
        check(Some("k"), Some("a=b"), set("k", "a=b"));
        check(Some("k=a=b"), None, set("k", "a=b"));
        check(Some("="), None, set("", ""));
        check(Some("k="), Some("v"), None);
    }
}
