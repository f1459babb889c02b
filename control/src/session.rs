//! Where a command is carried out: by the daemon of its state directory if one runs, else by a daemon inside this process for as
//! long as the command takes. Knows nothing of what commands do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::client::Client;
use crate::admin::proto::{Outcome, Request, SharedSink};
use crate::cancel::Cancel;
use crate::config::Config;
use crate::daemon::{Daemon, Role, StartFailure};
use crate::error::{Failure, Kind};

/// How long a state directory may be locked by a process that does not answer yet: it is starting or stopping.
const LOCKED_MAX: Duration = Duration::from_secs(5);

/// A place to run commands.
pub(crate) enum Session {
    /// A daemon of another process.
    Remote(Client),
    /// A daemon in this one, whose admin socket other commands use meanwhile.
    Embedded(Box<Daemon>),
}

impl Session {
    /// Finds the daemon of `config.state` or starts one here. `role` is what a daemon here would be.
    pub(crate) fn open(config: &Arc<Config>, role: Role, cancel: &Cancel) -> Result<Self, Failure> {
        let deadline = Instant::now() + LOCKED_MAX;
        loop {
            if let Some(client) = Client::connect(&config.state)? {
                return Ok(Session::Remote(client));
            }
            match Daemon::start(config, role) {
                Ok(daemon) => return Ok(Session::Embedded(Box::new(daemon))),
                Err(StartFailure::Locked(failure)) => {
                    if Instant::now() >= deadline {
                        return Err(failure);
                    }
                    if cancel.wait(Duration::from_millis(50)) {
                        return Err(Failure::interrupted());
                    }
                }
                Err(StartFailure::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// The daemon of `config.state`, which must run.
    pub(crate) fn attach(config: &Config) -> Result<Self, Failure> {
        match Client::connect(&config.state)? {
            Some(client) => Ok(Session::Remote(client)),
            None => Err(
                Failure::new(Kind::NotFound, format!("no daemon runs on {}", config.state.display()))
                    .help("start one with `ares serve`, or name its state directory with --state"),
            ),
        }
    }

    /// Whether another process does the work.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Session::Remote(_))
    }

    /// Runs one command to its end.
    pub(crate) fn run(&mut self, request: Request, sink: &SharedSink, cancel: &Cancel) -> Result<Outcome, Failure> {
        match self {
            Session::Remote(client) => client.run(&request, &**sink, cancel),
            Session::Embedded(daemon) => daemon.run(request, Arc::clone(sink), cancel),
        }
    }

    /// Ends it. A daemon in this process first waits for the commands of others; raising `cancel` cuts that short.
    pub(crate) fn close(self, cancel: &Cancel) {
        if let Session::Embedded(daemon) = self {
            daemon.finish(cancel);
        }
    }
}
