//! A stream that ends where its reader takes next to nothing any more: such a client would hold its connection, and what is buffered for it,
//! for as long as it likes.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// See the module. Reading is not bounded here.
pub(super) struct Patient<S> {
    stream: S,
    pace: Pace,
    /// Runs while something waits to be taken, and how much was taken meanwhile.
    until: Option<(Pin<Box<Sleep>>, usize)>,
}

/// The least that a reader takes while something waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) bytes: usize,
    pub(super) within: Duration,
}

impl<S: AsyncWrite + Unpin> Patient<S> {
    /// Writes to `stream` fail once it takes less than that.
    pub(super) fn new(stream: S, pace: Pace) -> Self {
        Self {
            stream,
            pace,
            until: None,
        }
    }

    /// After a write of `all` bytes was tried.
    fn on_write(&mut self, cx: &mut Context<'_>, all: usize, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.on_wait(cx).map(Err),
            Poll::Ready(Ok(some)) if *some < all => {
                self.until.iter_mut().for_each(|(_, taken)| *taken += some);
                written
            }
            Poll::Ready(_) => {
                self.until = None;
                written
            }
        }
    }

    fn on_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Pace { bytes, within } = self.pace;
        // Nobody sleeps here: it is polled beside the stream.
        let fresh = || (Box::pin(sleep(within)), 0);
        let (until, taken) = self.until.get_or_insert_with(fresh);
        while until.as_mut().poll(cx).is_ready() {
            if *taken < bytes {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            (*until, *taken) = fresh();
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.on_write(cx, buf.len(), written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.on_write(cx, bufs.iter().map(|buf| buf.len()).sum(), written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.on_wait(cx).map(Err),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => self.on_wait(cx).map(Err),
            shut => shut,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(test);
    }

    #[test]
    fn a_reader_that_takes_less_than_it_must_ends_it_and_one_that_takes_as_much_does_not() {
        const WITHIN: Duration = Duration::from_millis(600);
        run(async {
            let pace = |bytes| Pace { bytes, within: WITHIN };
            let (ours, _theirs) = duplex(10);
            let error = Patient::new(ours, pace(1)).write_all(&[0; 11]).await.expect_err("no room");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);

            for (least, is_enough) in [(1, true), (1000, false)] {
                let (ours, mut theirs) = duplex(1);
                let reader = async {
                    let mut taken = 0;
                    while theirs.read(&mut [0]).await.expect("a byte or the end") > 0 {
                        taken += 1;
                        // The pause is what is tried here: a reader that is slow in all, but never stops.
                        tokio::time::sleep(WITHIN / 10).await;
                    }
                    taken
                };
                let writer = async {
                    let mut ours = Patient::new(ours, pace(least));
                    ours.write_all(&[0; 25]).await
                };
                let (taken, written) = tokio::join!(reader, writer);
                assert_eq!((taken == 25, written.is_ok()), (is_enough, is_enough), "{taken} of {least}");
            }
        });
    }
}
