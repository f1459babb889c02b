//! SIGINT and SIGTERM: the first asks for a clean end, the second ends at once. Decides nothing else.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cancel::Cancel;
use crate::error::{Failure, Kind};

/// Raises `cancel` on the first signal; ends the process with the code of an interruption on the second.
pub(crate) fn watch(cancel: &Cancel) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new(Kind::Failed, format!("cannot watch for signals: {e}"));
    // SIGHUP too: a closed terminal must not leave mounts behind.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
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
