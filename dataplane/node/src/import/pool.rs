//! The stack of jobs that the publish workers share. The last pushed is taken first: depth first, so that few directories are open at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub(super) struct Pool<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
}

struct State<J> {
    stack: Vec<J>,
    /// Workers that hold a job and may push more.
    busy: usize,
    over: bool,
}

impl<J> Pool<J> {
    pub(super) fn new(first: J) -> Self {
        Self {
            state: Mutex::new(State {
                stack: vec![first],
                busy: 0,
                over: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// A worker that panicked left its own job half done, not the stack.
    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, jobs: impl IntoIterator<Item = J>) {
        let mut state = self.state();
        let before = state.stack.len();
        state.stack.extend(jobs);
        match state.stack.len() - before {
            0 => {}
            1 => self.changed.notify_one(),
            _ => self.changed.notify_all(),
        }
    }

    /// Does jobs until none is left and nobody can push another, or until `stop`.
    pub(super) fn work(&self, mut job: impl FnMut(J)) {
        loop {
            let mut state = self.state();
            let next = loop {
                if state.over {
                    return;
                }
                if let Some(next) = state.stack.pop() {
                    break next;
                }
                if state.busy == 0 {
                    state.over = true;
                    self.changed.notify_all();
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.busy += 1;
            drop(state);
            let done = Done(self);
            job(next);
            drop(done);
        }
    }

    /// Nobody takes another job.
    pub(super) fn stop(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }
}

/// Counts a worker as idle again, also when its job panics: the others then end, and the panic is seen where they are joined.
struct Done<'a, J>(&'a Pool<J>);

impl<J> Drop for Done<'_, J> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        state.over |= std::thread::panicking();
        if state.over || state.stack.is_empty() {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[test]
    fn every_job_is_done_once_by_whoever_is_free() {
        for threads in [1, 2, 7] {
            let pool = Pool::new(16_u32);
            let done = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        pool.work(|depth| {
                            done.fetch_add(1, Relaxed);
                            pool.push((0..2 * u32::from(depth > 0)).map(|_| depth - 1));
                        });
                    });
                }
            });
            assert_eq!(done.into_inner(), (1 << 17) - 1);
        }
    }

    #[test]
    fn nothing_is_begun_after_a_stop() {
        let pool = Pool::new(());
        let mut done = 0;
        pool.work(|()| {
            done += 1;
            pool.push([(), ()]);
            pool.stop();
        });
        assert_eq!(done, 1);
    }
}
