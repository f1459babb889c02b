//! SIGINT and SIGTERM: the first asks for a clean end, the second ends at once. SIGUSR2 asks a daemon to make room for the next. Decides nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::cancel::Cancel;
use crate::error::{Failure, Kind};

/// Raises `cancel` on the first signal; ends the process with the code of an interruption on the second.
pub(crate) fn watch(cancel: &Cancel) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new(Kind::Failed, format!("cannot watch for signals: {e}"));
    let mut watched = vec![SIGINT, SIGTERM];
    // SIGHUP too: a closed terminal must not leave mounts behind. But who started us with nohup wants us to go on.
    if !is_ignored(SIGHUP, &std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        watched.push(SIGHUP);
    }
    let mut signals = Signals::new(watched).map_err(failed)?;
    let cancel = cancel.clone();
    let wait = move || {
        let mut seen = signals.forever();
        if seen.next().is_some() {
            tracing::info!("signal received: ending; a second one ends at once");
            cancel.cancel();
        }
        if seen.next().is_some() {
            std::process::exit(i32::from(Kind::Interrupted.exit_code()));
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map_err(failed)?;
    Ok(())
}

/// Whether the process was asked to make room for the next of its kind.
pub(crate) struct Leave(Arc<AtomicBool>);

impl Leave {
    /// So far.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Raises `cancel` on SIGUSR2, too.
pub(crate) fn watch_leave(cancel: &Cancel) -> Result<Leave, Failure> {
    let failed = |e: std::io::Error| Failure::new(Kind::Failed, format!("cannot watch for signals: {e}"));
    let mut signals = Signals::new([SIGUSR2]).map_err(failed)?;
    let asked = Arc::new(AtomicBool::new(false));
    let (leave, cancel) = (Leave(Arc::clone(&asked)), cancel.clone());
    let wait = move || {
        if signals.forever().next().is_some() {
            tracing::info!("SIGUSR2 received: making room for the next daemon");
            asked.store(true, Relaxed);
            cancel.cancel();
        }
    };
    std::thread::Builder::new()
        .name("signals-leave".into())
        .spawn(wait)
        .map_err(failed)?;
    Ok(leave)
}

/// Whether a signal was ignored when this process began, by the `SigIgn` mask of its status (proc_pid_status(5)).
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_stays_ignored() {
        let check = |mask: &str, expect: bool| {
            let status = format!("Name:\tares\nSigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\nSigCgt:\tffffffffffffffff\n");
            assert_eq!(is_ignored(SIGHUP, &status), expect, "{mask}");
        };
        check("0000000000001001", true);
        check("0000000000001000", false);
        check("nonsense", false);
        assert!(!is_ignored(SIGHUP, ""));
    }
}
