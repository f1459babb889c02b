//! The asking side of the admin socket: sends one request, hands events on, returns the end. Blocking, on the command's own thread.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::codec::{CodecError, Decoder, encode_request};
use super::proto::{Gone, Outcome, Reply, Request, Sink};
use super::socket;
use crate::cancel::Cancel;
use crate::error::{Failure, Kind};

/// A daemon that does not even take a request of a few hundred bytes for so long is stuck.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// A daemon answers for its state and turns knobs at once; one that does not hangs.
const PROMPT_MAX: Duration = Duration::from_secs(15);

/// Why a request has no outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It was carried out, and failed.
    #[error("{0}")]
    Failed(Failure),
    /// The daemon stops.
    #[error("the daemon is shutting down")]
    Stopping,
    /// The user, a signal, or nobody there to take what comes.
    #[error("interrupted")]
    Interrupted,
    /// The daemon died or was killed.
    #[error("the daemon went away: {}", crate::error::plain(.0))]
    Lost(#[from] std::io::Error),
    /// It is there and says nothing.
    #[error("the daemon does not answer within {} s", PROMPT_MAX.as_secs())]
    Silent,
    /// It speaks otherwise.
    #[error("admin socket: {0}")]
    Codec(#[from] CodecError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Failed(failure) => failure,
            Error::Stopping => Failure::new(Kind::Interrupted, text).help("run the command again; what is held stays held"),
            Error::Interrupted => Failure::interrupted(),
            Error::Lost(_) => Failure::new(Kind::Interrupted, text).help("look at its log, and run the command again"),
            Error::Silent => Failure::new(Kind::Network, text).help("look at its log, and restart it"),
            Error::Codec(_) => Failure::new(Kind::Failed, text).help("restart the daemon with this `ares`"),
        }
    }
}

/// A connection to a daemon.
pub(crate) struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Client {
    /// Connects to the daemon of `state`; `None` where none runs.
    pub(crate) fn connect(state: &Path) -> Result<Option<Self>, Failure> {
        let Some(stream) = socket::connect(state)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            stream,
            decoder: Decoder::default(),
        }))
    }

    /// Asks and waits for the end. Raising `cancel` closes the connection, which ends the job on the other side.
    pub(crate) fn run(&mut self, request: &Request, sink: &dyn Sink, cancel: &Cancel) -> Result<Outcome, Error> {
        let result = self.converse(request, sink, cancel);
        match result {
            Err(Error::Lost(_)) if cancel.is_cancelled() => Err(Error::Interrupted),
            other => other,
        }
    }

    fn converse(&mut self, request: &Request, sink: &dyn Sink, cancel: &Cancel) -> Result<Outcome, Error> {
        let closer = self.stream.try_clone()?;
        // A connection that is closed already cannot be closed: nothing is lost.
        cancel.on_cancel(move || drop(closer.shutdown(Shutdown::Both)));
        self.stream.set_write_timeout(Some(WRITE_MAX))?;
        // Everything else takes as long as it takes.
        let is_prompt = matches!(request, Request::Status | Request::Knobs { .. } | Request::Set { .. });
        self.stream.set_read_timeout(is_prompt.then_some(PROMPT_MAX))?;
        let asked = self.stream.write_all(&encode_request(request));
        // Who is refused is told so at once, and may not be heard any more by then.
        if let Err(e) = asked
            && e.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(e.into());
        }
        let mut bytes = vec![0; 256 << 10];
        loop {
            while let Some(reply) = self.decoder.reply()? {
                match reply {
                    Reply::Done { ok } => return Ok(ok),
                    Reply::Failed { error } => return Err(Error::Failed(error)),
                    Reply::Stopping { .. } => return Err(Error::Stopping),
                    Reply::Event(event) => sink.event(event).map_err(|Gone| Error::Interrupted)?,
                }
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                Ok(n) => self.decoder.on_bytes(&bytes[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Err(Error::Silent),
                Err(e) => return Err(e.into()),
            }
        }
    }
}
