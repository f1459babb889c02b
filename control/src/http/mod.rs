//! The HTTP listener of a daemon, on a thread with a runtime of its own: takes connections, reads requests, sends answers. Bounds what
//! clients can cost, in connections, memory and time; knows nothing of what is answered: `site` does.

mod gateway;
mod listing;
mod patient;
mod range;
mod site;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use self::patient::{Pace, Patient};
pub(crate) use self::site::Site;
use crate::cancel::Cancel;
use crate::error::{Failure, Kind};

/// Connections at a time; further ones are told so and closed.
const CONNECTIONS_MAX: usize = 64;

/// How long a client may take for the head of a request, and rest between two.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// A client that takes no more than this of what waits for it, about 1 KiB a second, is as good as gone.
const PACE_MIN: Pace = Pace {
    bytes: 32 << 10,
    within: Duration::from_secs(30),
};

/// Bytes of a request's head, and of what else is buffered for a connection.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Header fields of a request.
const HEADERS_MAX: usize = 64;

/// Pause after the kernel gave no connection: it is out of descriptors or memory.
const REST: Duration = Duration::from_millis(100);

/// How long answers under way may take to end when the daemon stops.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Over `CONNECTIONS_MAX`: the kernel takes so little at once.
const CROWDED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Text for people.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers a GET or HEAD; blocking, on a thread of its own. The flag goes up when the client is gone, and when it has all of the answer.
pub(crate) type Handler = Arc<dyn Fn(&Parts, &Cancel) -> Result<Response<Reply>, Failure> + Send + Sync>;

/// A running listener; stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Listens at `address`, any port where it names 0.
    pub(crate) fn start(address: SocketAddr, handler: Handler) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| {
            let kind = match e.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::AddrInUse | std::io::ErrorKind::AddrNotAvailable => {
                    Kind::Network
                }
                _ => Kind::Failed,
            };
            Failure::new(kind, format!("answering HTTP on {address}: {}", crate::error::plain(&e)))
                .help("name another address with --http, or in the config file under [http]")
        };
        let listener = StdListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Each either answers or makes a body, and waits for none of the others: what finds no thread yet has one soon.
            .max_blocking_threads(CONNECTIONS_MAX)
            .thread_name("http-answer")
            .build()
            .map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let serve = move || {
            runtime.block_on(accept(listener, handler, stopped));
            runtime.shutdown_timeout(GOODBYE_MAX);
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(serve).map_err(failed)?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections and ends those there are.
    pub(crate) fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; the rest of the shutdown goes on.
            drop(thread.join());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Takes the pieces of a body; `Err` when nobody does any more.
pub(crate) type Give<'a> = &'a mut dyn FnMut(Bytes) -> Result<(), Failure>;

/// Makes a body, on a thread of its own, as fast as the client takes it.
pub(crate) type Make = Box<dyn FnOnce(Give<'_>) -> Result<(), Failure> + Send>;

/// The body of an answer.
pub(crate) enum Reply {
    /// Nothing.
    Empty,
    /// All of it.
    Whole(Bytes),
    /// Piece by piece.
    Made(Make),
}

impl Reply {
    /// Text for people, or for a program that reads text.
    pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response<Self> {
        let mut response = Response::new(Self::Whole(Bytes::from(text.into())));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, TEXT);
        response
    }
}

/// A body on its way to a client. Dropped, whoever makes it hears that nobody wants it.
struct Sent {
    pieces: Pieces,
    _abandon: Abandon,
}

enum Pieces {
    /// `None` once it is taken.
    Whole(Option<Bytes>),
    /// Where they end with a failure, the connection does, so that the client knows.
    Coming {
        first: Option<Bytes>,
        rest: mpsc::Receiver<Result<Bytes, Failure>>,
    },
}

impl Body for Sent {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let piece = match &mut self.get_mut().pieces {
            Pieces::Whole(bytes) => bytes.take().map(Ok),
            Pieces::Coming { first, rest } => match first.take() {
                Some(first) => Some(Ok(first)),
                None => ready!(rest.poll_recv(cx)),
            },
        };
        let framed = |piece: Result<Bytes, Failure>| match piece {
            Ok(bytes) => Ok(Frame::data(bytes)),
            Err(failure) => {
                tracing::warn!("an answer over HTTP is cut off: {}", failure.message);
                Err(std::io::Error::other(failure.message))
            }
        };
        Poll::Ready(piece.map(framed))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.pieces, Pieces::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.pieces {
            Pieces::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Pieces::Coming { .. } => SizeHint::default(),
        }
    }
}

/// Raises the flag when dropped.
struct Abandon(Cancel);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn accept(listener: StdListener, handler: Handler, mut stopped: watch::Receiver<bool>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => return tracing::error!("the HTTP socket cannot be waited for: {e}"),
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((stream, from)) => match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => drop(tokio::spawn(converse(stream, from, Arc::clone(&handler), permit))),
                // What is not taken at once is not worth waiting for.
                Err(_) => drop(stream.try_write(CROWDED)),
            },
            Err(e) => {
                tracing::warn!("an HTTP client could not connect: {e}");
                // Instead of spinning, as the kernel says the same again at once.
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// One client, request by request.
async fn converse(stream: TcpStream, from: SocketAddr, handler: Handler, _permit: OwnedSemaphorePermit) {
    // Answers are written whole or in large pieces, so there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(answer(request, handler).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, PACE_MIN)), answer)
        .await;
    if let Err(e) = served {
        tracing::debug!(%from, "an HTTP connection ended: {e}");
    }
}

async fn answer(request: Request<Incoming>, handler: Handler) -> Response<Sent> {
    let cancel = Cancel::new();
    let abandon = Abandon(cancel.clone());
    let begun = match reply(request, handler, cancel).await {
        Ok(response) => begin(response).await,
        Err(failure) => Err(failure),
    };
    let mut response = begun.unwrap_or_else(|failure| refusal(&failure));
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.map(|pieces| Sent {
        pieces,
        _abandon: abandon,
    })
}

async fn reply(request: Request<Incoming>, handler: Handler, cancel: Cancel) -> Result<Response<Reply>, Failure> {
    // A body is not read: no request here has one.
    let (parts, _) = request.into_parts();
    if parts.method != Method::GET && parts.method != Method::HEAD {
        let mut refused = Reply::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    let answered = tokio::task::spawn_blocking(move || handler(&parts, &cancel)).await;
    // Its panic is in the log.
    answered.unwrap_or_else(|_| Err(died()))
}

/// Waits for the first piece of the body, so that what cannot be had at all is told by a status.
async fn begin(response: Response<Reply>) -> Result<Response<Pieces>, Failure> {
    let (head, reply) = response.into_parts();
    let pieces = match reply {
        Reply::Empty => Pieces::Whole(None),
        Reply::Whole(bytes) => Pieces::Whole(Some(bytes)),
        Reply::Made(make) => {
            let (pieces, mut rest) = mpsc::channel(1);
            tokio::task::spawn_blocking(move || {
                let mut give = |bytes| pieces.blocking_send(Ok(bytes)).map_err(|_| Failure::interrupted());
                if let Err(failure) = make(&mut give) {
                    // Nobody there to hear it: the client has gone, and that is why it ended.
                    drop(pieces.blocking_send(Err(failure)));
                }
            });
            let first = Some(rest.recv().await.unwrap_or_else(|| Err(died()))?);
            Pieces::Coming { first, rest }
        }
    };
    Ok(Response::from_parts(head, pieces))
}

fn died() -> Failure {
    Failure::new(Kind::Failed, "the answer's thread died in the daemon")
}

/// Why there is no answer, as a status and a line.
fn refusal(failure: &Failure) -> Response<Pieces> {
    let status = match failure.kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Network => StatusCode::GATEWAY_TIMEOUT,
        Kind::Content => StatusCode::BAD_GATEWAY,
        Kind::Interrupted | Kind::Disk => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Failed | Kind::Usage | Kind::Mount | Kind::InputChanged => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let text = Bytes::from(format!("{}\n", failure.message));
    let mut response = Response::new(Pieces::Whole(Some(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

#[cfg(test)]
mod tests;
