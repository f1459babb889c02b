//! The admin protocol as bytes: JSON lines of bounded length; after a data line, that many raw bytes. Does no I/O.

use ares_core::profile::PROFILE_BYTES_MAX;
use bytes::{Buf as _, Bytes, BytesMut};

use super::proto::{Envelope, Event, Reply, Request, VERSION};
use crate::error::{Failure, Kind};

/// Longest line of a request, in bytes. The longest honest one names two 4 KiB paths in hex, a link and an access profile.
pub(crate) const REQUEST_BYTES_MAX: usize = 256 << 10;

// One in hexadecimal, beside paths and links.
const _: () = assert!(2 * PROFILE_BYTES_MAX + (64 << 10) < REQUEST_BYTES_MAX);

/// Longest line of a reply, in bytes. The longest honest one is a status, whose lists `jobs::status` bounds.
pub(crate) const REPLY_BYTES_MAX: usize = 1 << 20;

/// Most raw bytes behind one data line.
pub(crate) const DATA_BYTES_MAX: usize = 1 << 20;

/// What is not the protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    /// No newline in sight.
    #[error("a line is longer than {max_bytes} bytes")]
    LongLine { max_bytes: usize },
    /// Not JSON, or JSON that says nothing we know.
    #[error("a line is not of this protocol: {why}")]
    Malformed { why: String },
    /// More data than a line may announce.
    #[error("{bytes} bytes of data are announced; at most {DATA_BYTES_MAX} are allowed")]
    LongData { bytes: u64 },
    /// From another version.
    #[error(
        "the request has protocol version {got}, this daemon speaks {VERSION}: use the `ares` that the daemon was started from"
    )]
    Version { got: u64 },
    /// It ended inside a line.
    #[error("the connection ended inside a line")]
    Cut,
}

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Self {
        Failure::new(Kind::Failed, error.to_string()).context("admin socket")
    }
}

/// Collects bytes and gives out what they say.
#[derive(Default)]
pub(crate) struct Decoder {
    buf: BytesMut,
    /// How much of `buf` is known to hold no newline.
    scanned: usize,
    /// Raw bytes that the last line announced and that have not all come.
    data_due: Option<usize>,
}

impl Decoder {
    /// Takes bytes from the socket.
    pub(crate) fn on_bytes(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Whether the other side may end here.
    pub(crate) fn on_end(&self) -> Result<(), CodecError> {
        let between_lines = self.buf.is_empty() && self.data_due.is_none();
        if between_lines { Ok(()) } else { Err(CodecError::Cut) }
    }

    /// The next line without its newline, if it is all there. Empty lines are skipped.
    fn line(&mut self, max_bytes: usize) -> Result<Option<Bytes>, CodecError> {
        loop {
            match self.buf[self.scanned..]
                .iter()
                .position(|b| *b == b'\n')
                .map(|n| n + self.scanned)
            {
                Some(at) if at > max_bytes => return Err(CodecError::LongLine { max_bytes }),
                Some(at) => {
                    self.scanned = 0;
                    let line = self.buf.split_to(at).freeze();
                    self.buf.advance(1);
                    if !line.trim_ascii().is_empty() {
                        return Ok(Some(line));
                    }
                }
                None if self.buf.len() > max_bytes => return Err(CodecError::LongLine { max_bytes }),
                None => {
                    self.scanned = self.buf.len();
                    return Ok(None);
                }
            }
        }
    }

    /// The next request.
    pub(crate) fn request(&mut self) -> Result<Option<Request>, CodecError> {
        let Some(line) = self.line(REQUEST_BYTES_MAX)? else {
            return Ok(None);
        };
        // The version is looked at first: another version's request need not parse.
        let value: serde_json::Value = serde_json::from_slice(&line).map_err(malformed)?;
        match value.get("v").and_then(serde_json::Value::as_u64) {
            Some(v) if v == u64::from(VERSION) => {}
            Some(got) => return Err(CodecError::Version { got }),
            None => {
                return Err(CodecError::Malformed {
                    why: "it has no version `v`".to_owned(),
                });
            }
        }
        serde_json::from_value::<Envelope>(value)
            .map(|e| Some(e.request))
            .map_err(malformed)
    }

    /// The next reply. A data event is given out only when its bytes are there too.
    pub(crate) fn reply(&mut self) -> Result<Option<Reply>, CodecError> {
        if self.data_due.is_none() {
            let Some(line) = self.line(REPLY_BYTES_MAX)? else {
                return Ok(None);
            };
            let reply: Reply = serde_json::from_slice(&line).map_err(malformed)?;
            if !matches!(reply, Reply::Event(Event::Data { .. })) {
                return Ok(Some(reply));
            }
            let value: serde_json::Value = serde_json::from_slice(&line).map_err(malformed)?;
            let bytes = value.get("bytes").and_then(serde_json::Value::as_u64).unwrap_or(0);
            match usize::try_from(bytes).ok().filter(|n| *n <= DATA_BYTES_MAX) {
                Some(due) => self.data_due = Some(due),
                None => return Err(CodecError::LongData { bytes }),
            }
        }
        match self.data_due {
            Some(due) if self.buf.len() >= due => {
                self.data_due = None;
                let data = self.buf.split_to(due).freeze();
                Ok(Some(Reply::Event(Event::Data { data })))
            }
            _ => Ok(None),
        }
    }
}

fn malformed(error: serde_json::Error) -> CodecError {
    CodecError::Malformed { why: error.to_string() }
}

/// A request as a line.
pub(crate) fn encode_request(request: &Request) -> Vec<u8> {
    line(&Envelope {
        v: VERSION,
        request: request.clone(),
    })
}

/// A reply as a line, and the raw bytes that follow it.
pub(crate) fn encode_reply(reply: &Reply) -> (Vec<u8>, Bytes) {
    let data = match reply {
        Reply::Event(Event::Data { data }) => data.clone(),
        _ => Bytes::new(),
    };
    (line(reply), data)
}

fn line(value: &impl serde::Serialize) -> Vec<u8> {
    // Our own types have string keys and no failing serializers; an empty line would be skipped by the other side.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
