//! Where a command is carried out: by the daemon of its state directory if one runs, else by a daemon inside this process for as
//! long as the command takes. Knows nothing of what commands do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::admin::client::{Client, Error};
use crate::admin::proto::{Event, Gone, Outcome, Request, SharedSink, Sink};
use crate::cancel::Cancel;
use crate::config::Config;
use crate::daemon::{Daemon, Role, StartFailure};
use crate::error::{Failure, Kind};
use crate::handed::Handed;

/// How long a state directory may be locked by a process that does not answer yet: it is starting or stopping.
const LOCKED_MAX: Duration = Duration::from_secs(5);

/// How often a command that came to a daemon's end just as it stopped is run again.
const RETRIES_MAX: usize = 20;

/// Pause before that.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A place to run commands.
pub(crate) struct Session {
    config: Arc<Config>,
    role: Role,
    place: Place,
}

enum Place {
    /// A daemon of another process.
    Remote(Client),
    /// A daemon in this one, whose admin socket other commands use meanwhile.
    Embedded(Box<Daemon>),
}

impl Session {
    /// Finds the daemon of `config.state` or starts one here. `role` is what a daemon here would be.
    pub(crate) fn open(config: &Arc<Config>, role: Role, cancel: &Cancel) -> Result<Self, Failure> {
        let deadline = Instant::now() + LOCKED_MAX;
        let place = loop {
            if let Some(client) = Client::connect(&config.state)? {
                break Place::Remote(client);
            }
            match Daemon::start(config, role, &Handed::default()) {
                Ok(daemon) => break Place::Embedded(Box::new(daemon)),
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
        };
        Ok(Self {
            config: Arc::clone(config),
            role,
            place,
        })
    }

    /// The daemon of `config.state`, which must run.
    pub(crate) fn attach(config: &Config) -> Result<Client, Failure> {
        Client::connect(&config.state)?.ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("no daemon runs on {}", config.state.display()))
                .help("start one with `ares serve`, or name its state directory with --state")
        })
    }

    /// Whether another process does the work.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.place, Place::Remote(_))
    }

    /// Runs one command to its end. A daemon that was another command's and ends with it may refuse this one: then it is run elsewhere.
    pub(crate) fn run(&mut self, request: &Request, sink: &SharedSink, cancel: &Cancel) -> Result<Outcome, Failure> {
        let watched = Arc::new(Watched {
            inner: Arc::clone(sink),
            is_silent: AtomicBool::new(true),
        });
        for _ in 0..RETRIES_MAX {
            let client = match &mut self.place {
                Place::Remote(client) => client,
                Place::Embedded(daemon) => return daemon.run(request.clone(), Arc::clone(sink), cancel),
            };
            match client.run(request, &*watched, cancel) {
                // Nothing was shown of it, so nobody sees it begin anew.
                Err(Error::Stopping) if watched.is_silent.load(Relaxed) && !cancel.is_cancelled() => {
                    cancel.wait(RETRY_PAUSE);
                    *self = Self::open(&Arc::clone(&self.config), self.role, cancel)?;
                }
                other => return other.map_err(Failure::from),
            }
        }
        Err(Error::Stopping.into())
    }

    /// Ends it. A daemon in this process first waits for the commands of others; raising `cancel` cuts that short.
    pub(crate) fn close(self, cancel: &Cancel) {
        if let Place::Embedded(daemon) = self.place {
            daemon.finish(cancel);
        }
    }
}

/// Notices whether anything but progress was shown.
struct Watched {
    inner: SharedSink,
    is_silent: AtomicBool,
}

impl Sink for Watched {
    fn event(&self, event: Event) -> Result<(), Gone> {
        if !matches!(event, Event::Progress(_)) {
            self.is_silent.store(false, Relaxed);
        }
        self.inner.event(event)
    }
}
