//! Has set what the config file's timetable says, when it is time. What and when is for `timetable` to say, how for `jobs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Zoned;
use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::daemon::{Role, Shared};
use crate::jobs;
use crate::timetable::{Hand, Row, holding, next_change};

/// How often the clock is looked at, at least: it may be set, and the machine may have slept.
const LOOK: Duration = Duration::from_secs(30);

/// The timetable of a daemon, and what was set because of it.
pub(crate) struct Times(Mutex<State>);

struct State {
    rows: Vec<Row>,
    hand: Hand,
}

/// The thread of a daemon that obeys it.
pub(crate) struct Timekeeper {
    stop: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Times {
    /// Nothing of it is set yet.
    pub(crate) fn new(rows: Vec<Row>) -> Self {
        let hand = Hand::default();
        Self(Mutex::new(State { rows, hand }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic between two settings leaves each as it is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what holds now, and what is over to what it was. How long that stays so, half a minute at most.
    fn turn(&self, daemon: &Shared) -> Duration {
        let State { rows, hand } = &mut *self.state();
        let now = Zoned::now();
        let refused = hand.turn(&holding(rows, now.datetime()), |key, value| {
            jobs::set_by_time(daemon, key, value)
        });
        for (key, failure) in refused {
            tracing::warn!("{key} is not set as its schedule says: {failure}");
        }
        let next = next_change(rows, &now).and_then(|next| Duration::try_from(now.duration_until(&next)).ok());
        next.map_or(LOOK, |next| next.min(LOOK))
    }

    /// What was set because of the timetable is what it was before, and from now on these rows count.
    pub(crate) fn replace(&self, daemon: &Shared, rows: Vec<Row>) {
        self.state().rows.clear();
        self.turn(daemon);
        self.state().rows = rows;
        self.turn(daemon);
    }

    /// By which entry a key has the value that it has now.
    pub(crate) fn of(&self, key: &str) -> Option<String> {
        self.state().hand.of(key).map(|holding| holding.when.clone())
    }

    /// What is set because of it, and when that changes next, for `status`.
    pub(crate) fn shown(&self) -> Value {
        let State { rows, hand } = &*self.state();
        let now = Zoned::now();
        let set = hand
            .all()
            .map(|(key, holding)| json!({"key": key, "value": holding.value, "when": holding.when}));
        let next = next_change(rows, &now).map(|next| next.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
        json!({"entries": rows.len(), "set": set.collect::<Vec<_>>(), "next_change": next})
    }
}

impl Timekeeper {
    /// For a daemon that stays. What holds now is set when this returns.
    pub(crate) fn start(daemon: &Arc<Shared>) -> Self {
        let stop = Cancel::new();
        if matches!(daemon.role, Role::Passing | Role::Discarding) {
            return Self { stop, thread: None };
        }
        let (daemon, cancel) = (Arc::clone(daemon), stop.clone());
        let mut sleep = daemon.times.turn(&daemon);
        let keep = move || {
            while !cancel.wait(sleep) {
                sleep = daemon.times.turn(&daemon);
            }
        };
        let spawned = std::thread::Builder::new().name("ares-times".to_owned()).spawn(keep);
        let thread = spawned
            .inspect_err(|e| tracing::error!("no thread for the schedules: {e}; is the process limit (ulimit -u) too low?"))
            .ok();
        Self { stop, thread }
    }

    /// Ends it. What is set stays so.
    pub(crate) fn stop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the schedules had panicked");
        }
    }
}
