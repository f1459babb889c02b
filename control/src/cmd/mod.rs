//! One file per subcommand: each turns what was typed into requests, runs them, and prints how they ended. This one chooses the
//! file and turns the end into an exit code.

mod bugreport;
mod cat;
mod completions;
mod content;
mod demo;
mod doctor;
mod get;
mod help;
mod helper;
mod ls;
mod mount;
mod mount_helper;
mod paths;
mod peers;
mod pin;
mod publish;
mod reload;
mod serve;
mod set;
mod status;
mod top;
mod umount;
mod verify;
mod warm;

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ares_core::link::Link;
use ares_core::profile::{PROFILE_BYTES_MAX, Profile};
use clap::Parser as _;

use crate::admin::proto::{Outcome, Raw, Request, SharedSink, WireLink};
use crate::cancel::Cancel;
use crate::config::{self, Config, Format, Output};
use crate::daemon::Role;
use crate::error::{Failure, Kind};
use crate::lowargs::{Command, GlobalArgs, LowArgs};
use crate::render::{self, Listing, Terminal};
use crate::session::Session;

/// How much of a file is looked at for an access profile: comments in it may be longer than it is.
const PROFILE_FILE_BYTES_MAX: u64 = 4 * PROFILE_BYTES_MAX as u64;

/// What every subcommand has.
struct Context {
    config: Arc<Config>,
    /// As typed, for those that start another `ares`.
    global: GlobalArgs,
    cancel: Cancel,
    terminal: Arc<Terminal>,
}

/// The whole program.
pub(crate) fn main() -> ExitCode {
    // A huge page stays whole where a part of it is still used: 20,000 small files read through a mount took 255 MiB instead of 180. A kernel
    // without them refuses, and is as good.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let mut typed = std::env::args_os();
    if helper::is_called(typed.next().as_deref()) {
        return as_helper(typed);
    }
    run_typed(std::env::args_os())
}

/// For mount(8), which knows fewer ways to fail.
fn as_helper(typed: impl Iterator<Item = OsString>) -> ExitCode {
    match helper::parse(typed) {
        Ok(helper::Asked::Nothing) => ExitCode::SUCCESS,
        Ok(helper::Asked::Run(command)) => match run_typed([OsString::from("ares")].into_iter().chain(command)) {
            ExitCode::SUCCESS => ExitCode::SUCCESS,
            _ => ExitCode::from(helper::FAILED),
        },
        Err(why) => {
            render::note_line(&format!("mount.ares: {why}"));
            ExitCode::from(helper::MISCALLED)
        }
    }
}

fn run_typed(typed: impl Iterator<Item = OsString>) -> ExitCode {
    let args = match LowArgs::try_parse_from(typed) {
        Ok(args) => args,
        Err(e) => return refuse(&e),
    };
    let output = Output::of(&args.global);
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(End { failure, stdout }) => {
            render::failure(
                if stdout == StdoutUse::Taken {
                    Format::Text
                } else {
                    output.format
                },
                &failure,
            );
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

/// Whether an error object has a place on stdout, or other bytes are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StdoutUse {
    Results,
    Taken,
}

/// How a command failed, and where that can be printed.
struct End {
    failure: Failure,
    stdout: StdoutUse,
}

/// Help and version are no failure; the rest of what clap says is one, in its own words.
fn refuse(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a terminal that takes no text.
    drop(error.print());
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        let text = error.render().to_string();
        let message = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        drop(render::stdout(
            format!("{}\n", Failure::new(Kind::Usage, message).to_json()).as_bytes(),
        ));
    }
    ExitCode::from(Kind::Usage.exit_code())
}

fn run(args: LowArgs) -> Result<(), End> {
    let (stdout, stdout_after) = match args.command {
        Command::Cat(_) => (StdoutUse::Taken, StdoutUse::Taken),
        // Its report is printed whether or not it found failures.
        Command::Doctor(_) | Command::Verify => (StdoutUse::Results, StdoutUse::Taken),
        _ => (StdoutUse::Results, StdoutUse::Results),
    };
    let end = |failure| End { failure, stdout };
    // These need no settings, and must not fail where those are wrong.
    let described = match &args.command {
        Command::Help(args) => Some(help::run(args)),
        Command::Completions(args) => Some(completions::run(args)),
        Command::Man(args) => Some(completions::man(args)),
        Command::MountHelper => Some(mount_helper::run()),
        _ => None,
    };
    if let Some(result) = described {
        return result.map_err(end);
    }
    let config = config::resolve(&args.global, &|name| std::env::var_os(name)).map_err(end)?;
    let listing = match &args.command {
        Command::Ls(ls) if ls.long => Listing::Long,
        _ => Listing::Names,
    };
    let terminal = Arc::new(Terminal::new(config.output, listing));
    crate::log::start(config.log_filter(), &terminal).map_err(end)?;
    raise_descriptor_limit();
    let cancel = Cancel::new();
    crate::signals::watch(&cancel).map_err(end)?;
    let context = Context {
        terminal,
        config: Arc::new(config),
        global: args.global,
        cancel,
    };
    let result = match args.command {
        Command::Demo(args) => demo::run(&context, args),
        Command::Publish(args) => publish::run(&context, args),
        Command::Serve(args) => serve::run(context, args),
        Command::Get(args) => get::run(&context, args),
        Command::Warm(args) => warm::run(&context, args),
        Command::Mount(args) => mount::run(context, args),
        Command::Umount(args) => umount::run(&context, args),
        Command::Ls(args) => ls::run(&context, args),
        Command::Cat(args) => cat::run(&context, args),
        Command::Status => status::run(&context),
        Command::Top(args) => top::run(&context, &args),
        Command::Paths => paths::run(&context),
        Command::Peers => peers::run(&context),
        Command::Content(args) => content::run(&context, args),
        Command::Pin(args) => pin::run(&context, args),
        Command::Unpin(args) => pin::undo(&context, &args),
        Command::Reload => reload::run(&context),
        Command::Verify => verify::run(&context),
        Command::Set(args) => set::run(&context, args),
        Command::Doctor(args) => doctor::run(&context, args),
        Command::Bugreport(args) => bugreport::run(&context, args),
        Command::Help(_) | Command::Completions(_) | Command::Man(_) | Command::MountHelper => Ok(()),
    };
    result.map_err(|failure| End {
        failure,
        stdout: stdout_after,
    })
}

/// Deep trees, many peers and many open files of a mount need more descriptors than the usual soft limit of 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit on open files stays as it is: {e}");
    }
}

impl Context {
    /// Runs one request by the daemon, or by one started here for it.
    fn run(&self, request: Request, role: Role) -> Result<Outcome, Failure> {
        let mut session = self.session(role)?;
        let result = session.run(&request, &self.sink(), &self.cancel);
        self.terminal.clear();
        session.close(&self.cancel);
        result
    }

    /// The daemon that runs, else one started here. Says so where flags come too late for it.
    fn session(&self, role: Role) -> Result<Session, Failure> {
        let session = Session::open(&self.config, role, &self.cancel)?;
        let flags = self.global.of_a_node();
        if session.is_remote() && !flags.is_empty() {
            self.terminal.note(&format!(
                "note: ignored: {}. A daemon runs on {} and keeps what it was started with: restart it with such flags, or name another --state",
                flags.join(", "),
                self.config.state.display(),
            ));
        }
        Ok(session)
    }

    fn sink(&self) -> SharedSink {
        let terminal: Arc<Terminal> = Arc::clone(&self.terminal);
        terminal
    }

    fn print(&self, text: &str, json: &serde_json::Value) -> Result<(), Failure> {
        render::result(self.config.output, text, json)
    }
}

/// A daemon that answers with another outcome than asked for is of another make.
fn unexpected(outcome: &Outcome) -> Failure {
    Failure::new(Kind::Failed, format!("the daemon answered something else: {outcome:?}"))
        .help("restart the daemon with this `ares`")
}

/// A link as typed. The place inside need not be UTF-8, what is before it is ASCII.
fn parse_link(typed: &OsStr) -> Result<(Link, WireLink), Failure> {
    let bytes = typed.as_bytes();
    let (head, inside) = match (typed.to_str(), bytes.iter().position(|b| *b == b'/')) {
        (None, Some(at)) => (&bytes[..at], &bytes[at + 1..]),
        _ => (bytes, &[][..]),
    };
    let text =
        str::from_utf8(head).map_err(|_| Failure::new(Kind::Usage, "the link is not text").help("copy it again, whole"))?;
    let mut link: Link = text.parse()?;
    if !inside.is_empty() {
        link.inside = inside.to_vec();
    }
    let bare = Link {
        inside: Vec::new(),
        ..link.clone()
    };
    let wire = WireLink {
        link: bare.to_string(),
        inside: Raw(link.inside.clone()),
    };
    Ok((link, wire))
}

/// The release of a link; else what was typed.
fn release_named(typed: &OsStr) -> Result<String, Failure> {
    match typed.to_str() {
        Some(text) if !text.is_empty() && !text.starts_with("ares:") => Ok(text.to_owned()),
        Some("") => Err(Failure::new(Kind::Usage, "an empty name")
            .help("`ares content` lists the releases, `ares pin` those that are pinned")),
        _ => parse_link(typed).map(|(link, _)| link.release.to_string()),
    }
}

/// `path` from the root: the daemon has another working directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::io("resolving", path, &e))
}

/// The text of an access profile that the user has in a file.
fn read_profile(file: &Path) -> Result<Raw, Failure> {
    let mut text = Vec::new();
    let opened = std::fs::File::open(file).map_err(|e| Failure::io("opening", file, &e))?;
    let read = opened.take(PROFILE_FILE_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|e| Failure::io("reading", file, &e))?;
    let profile = Profile::parse(&text).map_err(|e| Failure::new(Kind::Usage, format!("{}: {e}", file.display())))?;
    Ok(Raw(profile.text()))
}

/// The one name of a mount point: absolute, without links. A dead mount cannot be looked at, so then only what is above it is resolved.
fn mount_point(dir: &Path) -> Result<PathBuf, Failure> {
    let dir = absolute(dir)?;
    if let Ok(real) = dir.canonicalize() {
        return Ok(real);
    }
    let above = dir.parent().and_then(|p| p.canonicalize().ok());
    Ok(match (above, dir.file_name()) {
        (Some(above), Some(name)) => above.join(name),
        _ => dir,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_digits_a_name_or_a_link() {
        let check = |typed: &str, expect: Result<&str, Kind>| {
            let named = release_named(OsStr::new(typed)).map_err(|failure| failure.kind);
            assert_eq!(named, expect.map(str::to_owned), "{typed}");
        };
        check("65f4a17319", Ok("65f4a17319"));
        check("rel", Ok("rel"));
        check("", Err(Kind::Usage));
        check("ares:nothing", Err(Kind::Usage));
    }
}
