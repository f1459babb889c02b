//! Samples a job's counters and tells them to its sink: the job itself only counts.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::admin::proto::{Event, Progress, Sink};
use crate::cancel::Cancel;

/// Time between samples.
const TICK: Duration = Duration::from_millis(100);

/// Runs `job` while another thread sends `sample` to `sink` every tick and once at the end. Where nobody listens any more, `cancel` is raised.
pub(super) fn sampled<T>(sink: &dyn Sink, cancel: &Cancel, sample: &(dyn Fn() -> Progress + Sync), job: impl FnOnce() -> T) -> T {
    let (done, is_done) = channel::<()>();
    std::thread::scope(|scope| {
        let tick = move || {
            loop {
                let is_over = is_done.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout);
                if sink.event(Event::Progress(sample())).is_err() {
                    cancel.cancel();
                    return;
                }
                if is_over {
                    return;
                }
            }
        };
        let ticker = std::thread::Builder::new().name("progress".into()).spawn_scoped(scope, tick);
        if let Err(e) = &ticker {
            tracing::warn!("no thread to tell progress: {e}");
        }
        let result = job();
        drop(done);
        result
    })
}
