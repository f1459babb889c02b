//! Ctrl-C as a question asked between the steps of a measurement, so that namespaces, mounts and processes go first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{BenchError, Result};

/// Whether somebody wants this program to end.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the signals that end a program are only remembered.
    pub(crate) fn watch() -> Result<Self> {
        let wanted = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, wanted.clone()).map_err(BenchError::Signals)?;
        }
        Ok(Self(wanted))
    }

    /// An error once one has come.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(BenchError::Interrupted);
        }
        Ok(())
    }

    /// Whoever presses Ctrl-C ends the processes this program has started as well: their failures are not what is to be told.
    pub(crate) fn unless<T>(&self, result: Result<T>) -> Result<T> {
        self.check()?;
        result
    }
}
