//! The answering side of the admin socket, on a thread with a `tokio-uring` runtime of its own: takes requests, runs each on a
//! thread, sends what it says. Bounds connections, lines and idle time; knows nothing of what a request does.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ares_core::admission::Refusals;
use ares_core::time::Instant;
use tokio::sync::{mpsc, watch};
use tokio_uring::net::UnixStream;

use super::codec::{CodecError, Decoder, encode_reply};
use super::proto::{Event, Gone, Outcome, Reply, Request, SharedSink, Sink};
use super::socket::{self, Caller};
use crate::cancel::Cancel;
use crate::error::{Failure, Kind};

/// Connections at a time; further ones are told so and closed.
const CONNECTIONS_MAX: usize = 64;

/// A connection without a request for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A client that takes no bytes for so long is gone.
const WRITE_MAX: Duration = Duration::from_secs(60);

/// Replies that wait for a slow client before its job is held up.
const REPLIES_QUEUED: usize = 64;

/// How long connections may take to say goodbye when the daemon stops.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Carries a request out; blocking, on a thread of its own.
pub(crate) type Handler = Arc<dyn Fn(Request, Caller, SharedSink, &Cancel) -> Result<Outcome, Failure> + Send + Sync>;

/// A running server; stops when dropped.
pub(crate) struct Server {
    stop: watch::Sender<bool>,
    path: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Listens in `state`, whose store lock the caller holds. `strangers`: where users are counted that may command nothing.
    pub(crate) fn start(state: &Path, handler: Handler, strangers: Arc<Refusals>) -> Result<Self, Failure> {
        let listener = socket::listen(state)?;
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let serve = move || match tokio_uring::Runtime::new(&tokio_uring::builder()) {
            Ok(runtime) => {
                drop(ready.send(Ok(())));
                runtime.block_on(accept(listener, handler, &strangers, stopped));
            }
            Err(e) => drop(ready.send(Err(e))),
        };
        let no_ring = |e: std::io::Error| {
            Failure::new(
                Kind::Failed,
                format!("starting the admin server: {}", crate::error::plain(&e)),
            )
            .help("`ares doctor` says what io_uring needs on this machine")
        };
        let thread = std::thread::Builder::new()
            .name("admin".into())
            .spawn(serve)
            .map_err(no_ring)?;
        let dead = || Failure::new(Kind::Failed, "the admin server's thread died at its start");
        is_ready.recv().map_err(|_| dead())?.map_err(no_ring)?;
        Ok(Self {
            stop,
            path: socket::path(state),
            thread: Some(thread),
        })
    }

    /// Takes no more requests, cancels the running ones and waits until their ends are said.
    pub(crate) fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; the rest of the shutdown goes on.
            drop(thread.join());
            // One that stays is recognised as dead by the next daemon.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(
    listener: std::os::unix::net::UnixListener,
    handler: Handler,
    strangers: &Refusals,
    mut stopped: watch::Receiver<bool>,
) {
    let start = std::time::Instant::now();
    // tokio's listener waits for connections, as it can also say who they are from; their bytes go through the ring.
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => return tracing::error!("the admin socket cannot be waited for: {e}"),
    };
    // Every connection holds a clone of the sender, so its count is theirs and its end is the end of the last.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.and_then(|(stream, _)| blocking(stream)),
            _ = stopped.wait_for(|s| *s) => break,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(e) => {
                // Out of descriptors or memory: try again a little later instead of spinning.
                tracing::warn!("a command could not connect: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let caller = match socket::check_peer(&stream) {
            Ok(_) if alive.strong_count() > CONNECTIONS_MAX => Err(Failure::new(
                Kind::Failed,
                format!("the daemon serves {CONNECTIONS_MAX} commands already"),
            )
            .help("try again later")),
            Ok(caller) => Ok(caller),
            Err(refusal) => {
                if strangers.on_refused(Instant::ZERO + start.elapsed()) {
                    let why = &refusal.message;
                    tracing::warn!("a command was refused: {why}; {}", Refusals::UNSAID);
                }
                Err(refusal)
            }
        };
        let (handler, stopped, alive) = (Arc::clone(&handler), stopped.clone(), alive.clone());
        tokio_uring::spawn(async move {
            let stream = Rc::new(UnixStream::from_std(stream));
            match caller {
                Err(error) => {
                    let _ = send(&stream, &Reply::Failed { error }).await;
                }
                Ok(caller) => converse(&stream, caller, &handler, stopped).await,
            }
            // Wakes our own reader; closing happens when it lets go of its reference.
            drop(stream.shutdown(std::net::Shutdown::Both));
            drop(alive);
        });
    }
    drop(alive);
    if tokio::time::timeout(GOODBYE_MAX, all_gone.recv()).await.is_err() {
        tracing::warn!(
            "some commands did not end within {} s of the daemon's stop",
            GOODBYE_MAX.as_secs()
        );
    }
}

/// A connection as the ring wants it: without O_NONBLOCK, which would make its reads return at once.
fn blocking(stream: tokio::net::UnixStream) -> std::io::Result<std::os::unix::net::UnixStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// One client: a request, its replies, the next request.
async fn converse(stream: &Rc<UnixStream>, caller: Caller, handler: &Handler, mut stopped: watch::Receiver<bool>) {
    let (requests_in, mut requests) = mpsc::channel(1);
    tokio_uring::spawn(read_requests(Rc::clone(stream), requests_in));
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(IDLE_MAX, requests.recv()) => next,
            _ = stopped.wait_for(|s| *s) => {
                let _ = send(stream, &stopping()).await;
                return;
            }
        };
        let sent = match next {
            Err(_idle) => return,
            Ok(None) => return,
            Ok(Some(Err(error))) => {
                let _ = send(stream, &Reply::Failed { error: error.into() }).await;
                return;
            }
            Ok(Some(Ok(request))) => {
                let job_handler = Arc::clone(handler);
                let job = move |sink: SharedSink, cancel: &Cancel| job_handler(request, caller, sink, cancel);
                run(stream, job, &mut requests, &mut stopped).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn read_requests(stream: Rc<UnixStream>, to: mpsc::Sender<Result<Request, CodecError>>) {
    let mut decoder = Decoder::default();
    let mut buf = vec![0; 16 << 10];
    loop {
        loop {
            let end = match decoder.request() {
                Ok(None) => break,
                Ok(Some(request)) => to.send(Ok(request)).await.is_err(),
                Err(error) => {
                    drop(to.send(Err(error)).await);
                    true
                }
            };
            if end {
                return;
            }
        }
        let (read, returned) = stream.read(buf).await;
        buf = returned;
        match read {
            Ok(n) if n > 0 => decoder.on_bytes(&buf[..n]),
            _ => break,
        }
    }
    if let Err(error) = decoder.on_end() {
        drop(to.send(Err(error)).await);
    }
}

/// Runs one request to its end. A client that leaves cancels it.
async fn run(
    stream: &UnixStream,
    job: impl FnOnce(SharedSink, &Cancel) -> Result<Outcome, Failure> + Send + 'static,
    requests: &mut mpsc::Receiver<Result<Request, CodecError>>,
    stopped: &mut watch::Receiver<bool>,
) -> Result<(), Gone> {
    let (to_client, mut replies) = mpsc::channel(REPLIES_QUEUED);
    let cancel = Cancel::new();
    let job_cancel = cancel.clone();
    let job = move || {
        let result = job(Arc::new(ChannelSink(to_client.clone())), &job_cancel);
        let last = match result {
            Ok(ok) => Reply::Done { ok },
            Err(error) => Reply::Failed { error },
        };
        // Nobody there to hear it: the client left, and that is why the job ended.
        drop(to_client.blocking_send(last));
    };
    if let Err(e) = std::thread::Builder::new().name("job".into()).spawn(job) {
        let error =
            Failure::new(Kind::Failed, format!("no thread for the command: {e}")).help("raise the limit on tasks (ulimit -u)");
        return send(stream, &Reply::Failed { error }).await;
    }
    let mut is_stopping = false;
    loop {
        let reply = tokio::select! {
            biased;
            reply = replies.recv() => reply,
            // One request at a time: a second one, like the end, means that nobody waits for this job any more.
            _ = requests.recv() => {
                cancel.cancel();
                return Err(Gone);
            }
            _ = stopped.wait_for(|s| *s), if !is_stopping => {
                is_stopping = true;
                cancel.cancel();
                continue;
            }
        };
        let reply = match reply {
            Some(Reply::Failed { error }) if error.message == TOO_LATE => stopping(),
            // Not `Stopping`, which invites to try again elsewhere: a daemon that restarts wants its state directory back.
            Some(Reply::Failed { error }) if is_stopping && error.kind == Kind::Interrupted => Reply::Failed {
                error: Failure::new(Kind::Interrupted, SHUTTING_DOWN).help("run the command again; what is held stays held"),
            },
            Some(reply) => reply,
            None => Reply::Failed {
                error: Failure::new(Kind::Failed, "the command's thread died in the daemon; its log says where"),
            },
        };
        let is_last = !matches!(reply, Reply::Event(_));
        if let Err(gone) = send(stream, &reply).await {
            cancel.cancel();
            return Err(gone);
        }
        match (is_last, is_stopping) {
            (true, true) => return Err(Gone),
            (true, false) => return Ok(()),
            (false, _) => {}
        }
    }
}

const SHUTTING_DOWN: &str = "the daemon is shutting down";

/// Of a request that came when the daemon let none in any more: the client is told to go elsewhere.
pub(crate) fn too_late() -> Failure {
    Failure::new(Kind::Interrupted, TOO_LATE)
}

const TOO_LATE: &str = "the daemon had ended its work";

/// To a client whose request was not begun.
fn stopping() -> Reply {
    Reply::Stopping {
        stopping: SHUTTING_DOWN.to_owned(),
    }
}

async fn send(stream: &UnixStream, reply: &Reply) -> Result<(), Gone> {
    let (line, data) = encode_reply(reply);
    let write = async {
        stream.write_all(line).await.0?;
        if data.is_empty() {
            Ok(())
        } else {
            stream.write_all(data).await.0
        }
    };
    match tokio::time::timeout(WRITE_MAX, write).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

/// Carries events from a job's threads to the client's task. Must not be called from inside a runtime: it blocks.
struct ChannelSink(mpsc::Sender<Reply>);

impl Sink for ChannelSink {
    fn event(&self, event: Event) -> Result<(), Gone> {
        if matches!(event, Event::Progress(_)) {
            return match self.0.try_send(Reply::Event(event)) {
                Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
                _ => Ok(()),
            };
        }
        self.0.blocking_send(Reply::Event(event)).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests;
