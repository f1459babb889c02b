//! `ares serve`: the daemon in the foreground, from the first packet to the last unmount.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Context;
use crate::admin::client::Client;
use crate::admin::proto::{Event, Gone, Request, Sink};
use crate::cancel::Cancel;
use crate::config::Config;
use crate::daemon::{Daemon, Role, StartFailure};
use crate::error::{Failure, Kind};
use crate::handed::{self, Handed};
use crate::lowargs::ServeArgs;
use crate::notify::Manager;

/// How long a short command that holds the state directory may take to end.
const LOCKED_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(context: Context, args: ServeArgs) -> Result<(), Failure> {
    let mut config = Config::clone(&context.config);
    config.listen_on(args.listen);
    let config = Arc::new(config);
    let handed = Handed::from_env(&|name| std::env::var_os(name));
    let leave = crate::signals::watch_leave(&context.cancel)?;
    let daemon = start(&config, &handed, &context.cancel)?;
    // The mounts have theirs.
    drop(handed);
    let listen: Vec<String> = daemon
        .shared()
        .handle
        .listen_addrs()
        .iter()
        .map(ToString::to_string)
        .collect();
    context.terminal.note(&format!(
        "serving {} on {} as peer {}",
        config.state.display(),
        listen.join(" "),
        daemon.shared().handle.peer_id().short()
    ));
    if let Some(http) = daemon.shared().http.get() {
        let more = [(config.http_status, ", status page"), (config.http_gateway, ", gateway")];
        let more: String = more.into_iter().filter_map(|(is_on, what)| is_on.then_some(what)).collect();
        let what = format!("answering HTTP on http://{http}/ (metrics, healthz, readyz{more})");
        context.terminal.note(&what);
    }
    let notify = &daemon.shared().notify;
    notify.say(&format!("READY=1\nSTATUS=serving on {}", listen.join(" ")));
    let interval = notify.watchdog_interval().unwrap_or(Duration::from_secs(3600));
    while !context.cancel.wait(interval) {
        // A node that does not answer for itself must not be reported alive: without this word systemd restarts it.
        if notify.watchdog_interval().is_some() && daemon.run(Request::Status, Arc::new(Silent), &Cancel::new()).is_ok() {
            notify.say("WATCHDOG=1");
        }
    }
    notify.say("STOPPING=1");
    let manager = notify.manager();
    if leave.is_asked() && has_next(manager) {
        context.terminal.note("making room for the next daemon: mounts stay");
        let handed = daemon.leave();
        return match manager {
            // It has them.
            Manager::Keeper | Manager::Plain => Ok(()),
            Manager::None => Err(handed.exec()),
        };
    }
    context
        .terminal
        .note("stopping: unmounting, closing connections, flushing the store");
    daemon.stop();
    Ok(())
}

/// Whether there will be somebody to leave mounts for: once they are left there is no way back.
fn has_next(manager: Manager) -> bool {
    match manager {
        Manager::Keeper => true,
        Manager::Plain => false,
        Manager::None => handed::next_program()
            .inspect_err(|failure| tracing::error!("{failure}"))
            .is_ok(),
    }
}

fn start(config: &Arc<Config>, handed: &Handed, cancel: &Cancel) -> Result<Daemon, Failure> {
    let deadline = Instant::now() + LOCKED_MAX;
    loop {
        match Daemon::start(config, Role::Serve, handed) {
            Ok(daemon) => return Ok(daemon),
            Err(StartFailure::Failed(failure)) => return Err(failure),
            Err(StartFailure::Locked(failure)) => {
                let is_daemon = Client::connect(&config.state).is_ok_and(|client| client.is_some());
                if is_daemon || Instant::now() >= deadline {
                    return Err(failure.help("a daemon serves it already: use that, stop it first, or name another --state"));
                }
            }
        }
        if cancel.wait(Duration::from_millis(50)) {
            return Err(Failure::new(Kind::Interrupted, "interrupted before it was ready"));
        }
    }
}

/// For requests whose events interest nobody.
struct Silent;

impl Sink for Silent {
    fn event(&self, _: Event) -> Result<(), Gone> {
        Ok(())
    }
}
