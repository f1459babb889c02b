//! `ares mount`: shows a release as a directory, in the foreground until it is unmounted or interrupted, or in the background.

mod names;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum as _;
use serde_json::json;

use super::{Context, absolute, mount_point, parse_link, read_profile, unexpected};
use crate::admin::client::Client;
use crate::admin::proto::{
    Audience, Event, Force, Gone, Modes, MountHow, Outcome, Passthrough, Prefetch, Raw, Reach, Request, SharedSink, Sink, Stay,
    Transport, WireLink,
};
use crate::config::Config;
use crate::daemon::Role;
use crate::error::{Failure, Kind};
use crate::lowargs::{MountArgs, Way, When};
use crate::render;
use crate::unmount::{MOUNTINFO, fstype_at};

pub(super) fn run(mut context: Context, args: MountArgs) -> Result<(), Failure> {
    if args.offline {
        // Of a node that is started for this mount, which then has nobody to look for.
        let mut config = Config::clone(&context.config);
        config.seeds.clear();
        (config.mdns, config.dht) = (false, false);
        context.config = Arc::new(config);
    }
    let context = &context;
    if let Some(action) = &args.action {
        return names::run(context, action);
    }
    let link = args.link.as_deref().map(parse_link).transpose()?.map(|(_, wire)| wire);
    let Some(dir) = args.root.as_deref().or(args.dir.as_deref()) else {
        return Err(Failure::new(Kind::Usage, "no directory to mount on").help("`ares mount --help` has examples"));
    };
    let dir = mount_point(dir)?;
    if args.detached_child {
        // Out of the terminal's session: its end must not be ours. Fails only where we lead one already.
        let _ = rustix::process::setsid();
    }
    if args.detach {
        return match Client::connect(&context.config.state)? {
            Some(_) => in_daemon(context, request(context, &args, link, &dir, Stay::Detached)?, &dir),
            None => in_background(context, &args, &dir),
        };
    }
    in_foreground(
        context,
        request(context, &args, link, &dir, Stay::Attached)?,
        args.detached_child,
    )
}

fn request(context: &Context, args: &MountArgs, link: Option<WireLink>, dir: &Path, stay: Stay) -> Result<Request, Failure> {
    let is_open = args.allow_other || context.config.allow_other;
    Ok(Request::Mount {
        link,
        dir: Raw::from(dir),
        stay,
        how: MountHow {
            audience: if is_open { Audience::Everyone } else { Audience::Owner },
            passthrough: match args.passthrough {
                When::Auto => Passthrough::Auto,
                When::Always => Passthrough::Always,
                When::Never => Passthrough::Never,
            },
            transport: match args.transport {
                Way::Dev => Transport::Dev,
                Way::Uring => Transport::Uring,
                Way::Fuser => Transport::Fuser,
            },
            patience_ms: args
                .patience
                .map(|patience| u64::try_from(patience.as_millis()).unwrap_or(u64::MAX)),
            name: args.name.clone(),
            reach: if args.offline { Reach::Store } else { Reach::Swarm },
            modes: Modes {
                uid: args.uid,
                gid: args.gid,
                file: args.fmode,
                dir: args.dmode,
                umask: args.umask.unwrap_or(0),
            },
            prefetch: match &args.profile {
                Some(file) => Prefetch::This(read_profile(file)?),
                None if args.no_profile => Prefetch::Nothing,
                None => Prefetch::OfRelease,
            },
        },
    })
}

fn in_foreground(context: &Context, request: Request, is_detached_child: bool) -> Result<(), Failure> {
    let mut session = context.session(Role::Mount)?;
    let inner: SharedSink = match is_detached_child {
        true => Arc::new(ToParent),
        false => context.sink(),
    };
    let checked = Arc::new(Visible {
        inner,
        fault: Mutex::default(),
    });
    let sink: SharedSink = checked.clone();
    let result = session.run(&request, &sink, &context.cancel);
    session.close(&context.cancel);
    match result {
        Ok(Outcome::Mounted { .. }) => Ok(()),
        Ok(other) => Err(unexpected(&other)),
        Err(failure) if failure.kind == Kind::Interrupted && checked.fault().is_some() => Err(checked.fault().unwrap_or(failure)),
        // The signal is how one ends a foreground mount: it was unmounted cleanly, nothing failed.
        Err(failure) if failure.kind == Kind::Interrupted && context.cancel.is_cancelled() => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// The running daemon keeps the mount.
fn in_daemon(context: &Context, request: Request, dir: &Path) -> Result<(), Failure> {
    let outcome = context.run(request, Role::Mount)?;
    let Outcome::Mounted { release, .. } = outcome else {
        return Err(unexpected(&outcome));
    };
    if let Some(failure) = hidden(dir) {
        // Of no use to anybody.
        let undo = Request::Umount {
            dir: Raw::from(dir),
            force: Force::Lazy,
        };
        drop(context.run(undo, Role::Passing));
        return Err(failure);
    }
    context.print(
        &format!("mounted on {}", dir.display()),
        &json!({"dir": Raw::from(dir), "release": release}),
    )
}

/// Starts this program once more, without a terminal, and waits for its first line: `{"mounted": ..}` or an error object.
fn in_background(context: &Context, args: &MountArgs, dir: &Path) -> Result<(), Failure> {
    let state = &context.config.state;
    ares_node::store::prepare_state_dir(state)?;
    let log_path = state.join("mount.log");
    let mut options = std::fs::OpenOptions::new();
    let log = options
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(|e| Failure::io("opening the log", &log_path, &e))?;
    let program = std::env::current_exe().map_err(|e| Failure::io("finding", Path::new("/proc/self/exe"), &e))?;
    let mut child = Command::new(program);
    // Whatever the file is called: under one name it is mount(8)'s helper.
    child.arg0("ares").arg("--state").arg(state).args(["--json", "--no-progress"]);
    if let Some(config) = &context.global.config {
        child.arg("--config").arg(config);
    }
    for lane in &context.global.lane {
        child.arg(format!("--lane={lane}"));
    }
    for lane in &context.global.no_lane {
        child.arg(format!("--no-lane={lane}"));
    }
    for seed in &context.global.seed {
        child.arg(format!("--seed={seed}"));
    }
    if let Some(zone) = &context.global.zone {
        child.arg(format!("--zone={zone}"));
    }
    if context.global.no_mdns {
        child.arg("--no-mdns");
    }
    if context.global.dht {
        child.arg("--dht");
    }
    if let Some(http) = context.global.http {
        child.arg(format!("--http={http}"));
    }
    child.args(std::iter::repeat_n("-v", usize::from(context.global.verbose)));
    child.args(["mount", "--detached-child"]);
    for (flag, is_given) in [
        ("--allow-other", args.allow_other),
        ("--offline", args.offline),
        ("--no-profile", args.no_profile),
    ] {
        if is_given {
            child.arg(flag);
        }
    }
    let numbers = [("--uid", args.uid), ("--gid", args.gid)];
    let numbers = numbers.map(|(flag, number)| (flag, number.map(|number| number.to_string())));
    let modes = [("--umask", args.umask), ("--fmode", args.fmode), ("--dmode", args.dmode)];
    let modes = modes.map(|(flag, mode)| (flag, mode.map(|mode| format!("{mode:o}"))));
    for (flag, value) in numbers.into_iter().chain(modes) {
        if let Some(value) = value {
            child.arg(format!("{flag}={value}"));
        }
    }
    if let Some(when) = args.passthrough.to_possible_value() {
        child.arg(format!("--passthrough={}", when.get_name()));
    }
    if let Some(way) = args.transport.to_possible_value() {
        child.arg(format!("--transport={}", way.get_name()));
    }
    if let Some(patience) = args.patience {
        child.arg("--patience").arg(format!("{}ms", patience.as_millis()));
    }
    if let Some(name) = &args.name {
        child.arg(format!("--name={name}"));
    }
    if let Some(file) = &args.profile {
        child.arg("--profile").arg(absolute(file)?);
    }
    match &args.link {
        Some(link) => child.arg("--").arg(link).arg(dir),
        None => child.arg("--root").arg(dir),
    };
    // The background must not hold the directory that this command was run in.
    child.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = child
        .spawn()
        .map_err(|e| Failure::new(Kind::Failed, format!("starting the background process: {e}")))?;
    let pid = child.id();
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let ending = context.cancel.clone();
        ending.on_cancel(move || terminate(pid));
        // A child that dies closes the pipe: the line is empty then.
        drop(BufReader::new(stdout).read_line(&mut line));
    }
    let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    if said.get("mounted").is_some() {
        let json = json!({"dir": Raw::from(dir), "release": said["release"], "pid": pid});
        return context.print(
            &format!("mounted on {} (process {pid}, log {})", dir.display(), log_path.display()),
            &json,
        );
    }
    drop(child.wait());
    if context.cancel.is_cancelled() {
        return Err(Failure::interrupted());
    }
    Err(read_failure(&said["error"]).unwrap_or_else(|| {
        Failure::new(Kind::Mount, "the background process ended without a word")
            .help(format!("its log is {}", log_path.display()))
    }))
}

fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// The error object of the background process.
fn read_failure(error: &serde_json::Value) -> Option<Failure> {
    let kind = Kind::ALL.into_iter().find(|kind| error["kind"] == kind.name())?;
    let failure = Failure::new(kind, error["message"].as_str()?);
    Some(match error["help"].as_str() {
        Some(help) => failure.help(help),
        None => failure,
    })
}

/// Why a mount that a daemon has made is not seen here; `None` where it is, or where the kernel does not tell.
fn hidden(dir: &Path) -> Option<Failure> {
    let table = std::fs::read(MOUNTINFO).ok()?;
    if fstype_at(&table, dir).is_some_and(|fstype| fstype == ares_fs::FSTYPE) {
        return None;
    }
    let message = format!(
        "the daemon has mounted {}, but out of sight of this process: its mounts are private to it",
        dir.display()
    );
    Some(
        Failure::new(Kind::Mount, message)
            .help("mount with a node of your own (another --state): a hardened service mounts for itself alone"),
    )
}

/// Ends a mount that nobody but its daemon sees.
struct Visible {
    inner: SharedSink,
    fault: Mutex<Option<Failure>>,
}

impl Visible {
    fn fault(&self) -> Option<Failure> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Visible {
    fn event(&self, event: Event) -> Result<(), Gone> {
        if let Event::Mounted { dir, .. } = &event
            && let Some(failure) = hidden(&dir.to_path())
        {
            *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            return Err(Gone);
        }
        if let Event::Mounted { dir, .. } = &event {
            let text = format!("mounted on {}; Ctrl-C unmounts", dir.lossy());
            self.inner.event(Event::Note { text })?;
        }
        self.inner.event(event)
    }
}

/// Tells the command that started us that the mount answers.
struct ToParent;

impl Sink for ToParent {
    fn event(&self, event: Event) -> Result<(), Gone> {
        match event {
            Event::Mounted { dir, release } => {
                let line = format!("{}\n", json!({"mounted": dir, "release": release}));
                // A parent that was killed meanwhile does not end the mount.
                drop(render::stdout(line.as_bytes()));
            }
            Event::Note { text } => tracing::info!("{text}"),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_process_fails_in_the_foregrounds_words() {
        let failure = Failure::new(Kind::Network, "no source").help("start one");
        let printed: serde_json::Value = serde_json::from_str(&failure.to_json().to_string()).unwrap();
        assert_eq!(read_failure(&printed["error"]), Some(failure));
        assert_eq!(read_failure(&serde_json::Value::Null), None);
    }
}
