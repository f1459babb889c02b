//! The asking side of the admin socket: sends one request, hands events on, returns the end. Blocking, on the command's own thread.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::codec::{Decoder, encode_request};
use super::proto::{Outcome, Reply, Request, Sink};
use super::socket;
use crate::cancel::Cancel;
use crate::error::{Failure, Kind};

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
    pub(crate) fn run(&mut self, request: &Request, sink: &dyn Sink, cancel: &Cancel) -> Result<Outcome, Failure> {
        let broken = |e: &std::io::Error| {
            if cancel.is_cancelled() {
                return Failure::interrupted();
            }
            Failure::new(Kind::Interrupted, format!("the daemon went away: {}", crate::error::plain(e)))
                .help("look at its log, and run the command again")
        };
        let closer = self.stream.try_clone().map_err(|e| broken(&e))?;
        // A connection that is closed already cannot be closed: nothing is lost.
        cancel.on_cancel(move || drop(closer.shutdown(Shutdown::Both)));
        // A daemon that does not even take a request of a few hundred bytes is stuck.
        self.stream
            .set_write_timeout(Some(Duration::from_secs(30)))
            .map_err(|e| broken(&e))?;
        self.stream.write_all(&encode_request(request)).map_err(|e| broken(&e))?;
        let mut bytes = vec![0; 256 << 10];
        loop {
            while let Some(reply) = self.decoder.reply()? {
                match reply {
                    Reply::Done { ok } => return Ok(ok),
                    Reply::Failed { error } => return Err(error),
                    Reply::Event(event) => {
                        if sink.event(event).is_err() {
                            return Err(Failure::interrupted());
                        }
                    }
                }
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    let end = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                    return Err(broken(&end));
                }
                Ok(n) => self.decoder.on_bytes(&bytes[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(&e)),
            }
        }
    }
}
