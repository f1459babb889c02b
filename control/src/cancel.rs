//! One word for "stop": set once, seen by every thread that works on a command. Decides nothing about how a job stops.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Hook = Box<dyn FnOnce() + Send>;

/// A flag that goes up once, with hooks for those that cannot poll it. Clones are the same flag.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    hooks: Vec<Hook>,
}

impl Cancel {
    /// A flag that is down.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panicking hook leaves the flag as it was: still right.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises the flag and runs the hooks; the second call does nothing.
    pub(crate) fn cancel(&self) {
        let hooks = {
            let mut state = self.state();
            state.cancelled = true;
            std::mem::take(&mut state.hooks)
        };
        self.0.changed.notify_all();
        hooks.into_iter().for_each(|hook| hook());
    }

    /// Whether the flag is up.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// Runs `hook` when the flag goes up; at once if it is up.
    pub(crate) fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        if !state.cancelled {
            state.hooks.push(Box::new(hook));
            return;
        }
        drop(state);
        hook();
    }

    /// A plain flag for those that poll one, which goes up with this one.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        let flag = Arc::<AtomicBool>::default();
        let raised = Arc::clone(&flag);
        self.on_cancel(move || raised.store(true, Relaxed));
        flag
    }

    /// Sleeps until the flag is up or `time` has passed; says whether it is up.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let state = self.state();
        let waited = self.0.changed.wait_timeout_while(state, time, |s| !s.cancelled);
        waited.unwrap_or_else(PoisonError::into_inner).0.cancelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn hooks_run_once_whether_before_or_after() {
        let count = Arc::new(AtomicU32::new(0));
        let cancel = Cancel::new();
        let bump = |count: &Arc<AtomicU32>| {
            let count = Arc::clone(count);
            move || {
                count.fetch_add(1, Ordering::SeqCst);
            }
        };
        cancel.on_cancel(bump(&count));
        assert!(!cancel.wait(Duration::from_millis(1)));
        cancel.cancel();
        cancel.cancel();
        cancel.on_cancel(bump(&count));
        assert!(cancel.clone().wait(Duration::from_secs(60)), "a raised flag does not wait");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}
