//! Readers of a web server over TLS 1.3, a thread and a connection each: lighter than as many processes of curl, and counted as the
//! others are. They check the certificate and nothing of the bytes.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use ares_tests::reader::Over;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Idle, Tally};
use crate::peers::SERVER_NAME;
use crate::quinn_peer::provider;

/// Bytes taken from the connection at a time: what TLS hands out of a few records.
const READ_BYTES: usize = 64 << 10;

/// What to read, and from where.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// Address to dial.
    connect: SocketAddr,
    /// The file's name there.
    file: String,
    /// The one certificate to accept, PEM.
    #[arg(long)]
    cert: PathBuf,
    /// Bytes of the file: readers start at places spread over it.
    #[arg(long)]
    size: u64,
}

type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// Readers that ask nothing.
pub(super) struct Silent {
    file: String,
    streams: Vec<Stream>,
}

/// Connects all readers, then lets them read the file round and round, each from a place of its own.
pub(super) fn start(source: &Source, tally: &Arc<Tally>) -> Result<(), Over> {
    for (number, mut stream) in gather(source, tally.readers())?.into_iter().enumerate() {
        let (tally, file) = (tally.clone(), source.file.clone());
        let place = source.size / tally.readers() as u64 * number as u64;
        thread::spawn(move || {
            let received = |bytes| tally.add(number, bytes);
            let mut read_on = || -> Result<(), Over> {
                get(&mut stream, &file, place, received)?;
                loop {
                    get(&mut stream, &file, 0, received)?;
                }
            };
            if let Err(why) = read_on() {
                tally.fail(number, &why);
            }
        });
    }
    Ok(())
}

fn gather(source: &Source, count: usize) -> Result<Vec<Stream>, Over> {
    allow_files()?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&source.cert)?)?;
    let tls = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13])?;
    let config = Arc::new(tls.with_root_certificates(roots).with_no_client_auth());
    let dial = |_| -> Result<Stream, Over> {
        let mut tcp = TcpStream::connect(source.connect)?;
        let mut tls = ClientConnection::new(config.clone(), ServerName::try_from(SERVER_NAME)?)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(BufReader::with_capacity(READ_BYTES, StreamOwned::new(tls, tcp)))
    };
    (0..count).map(dial).collect()
}

/// A connection is an open file here: as many of those as the system lets this process have.
fn allow_files() -> Result<(), Over> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, all)?)
}

/// Asks for the file from a byte on and discards what comes.
fn get(stream: &mut Stream, file: &str, from: u64, received: impl Fn(u64)) -> Result<(), Over> {
    let ask = format!("GET /{file} HTTP/1.1\r\nHost: {SERVER_NAME}\r\nRange: bytes={from}-\r\n\r\n");
    stream.get_mut().write_all(ask.as_bytes())?;
    let mut left = body_bytes(stream)?;
    while left > 0 {
        let piece = stream.fill_buf()?.len().min(left as usize);
        if piece == 0 {
            return Err("the server ended its answer early".into());
        }
        stream.consume(piece);
        left -= piece as u64;
        received(piece as u64);
    }
    Ok(())
}

/// Reads an answer's head to its end; the length of the body.
fn body_bytes(stream: &mut Stream) -> Result<u64, Over> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 206 ") {
        return Err(format!("the server answered {line:?}").into());
    }
    let mut bytes = None;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((key, value)) if key.eq_ignore_ascii_case("content-length") => bytes = Some(value.parse()?),
            Some(_) => {}
            None => return bytes.ok_or_else(|| "an answer without a length".into()),
        }
    }
}

impl Silent {
    pub(super) fn gather(source: &Source, count: usize) -> Result<Self, Over> {
        let streams = gather(source, count)?;
        // From now on only looked at; `ask` makes its own wait again.
        streams
            .iter()
            .try_for_each(|stream| stream.get_ref().sock.set_nonblocking(true))?;
        Ok(Self {
            file: source.file.clone(),
            streams,
        })
    }
}

impl Idle for Silent {
    fn open(&self) -> usize {
        let is_open = |stream: &&Stream| match stream.get_ref().sock.peek(&mut [0]) {
            Ok(bytes) => bytes > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        self.streams.iter().filter(is_open).count()
    }

    fn ask(&mut self) -> Result<u64, Over> {
        let middle = self.streams.len() / 2;
        let stream = self.streams.get_mut(middle).ok_or("no readers")?;
        stream.get_ref().sock.set_nonblocking(false)?;
        let bytes = std::cell::Cell::new(0);
        get(stream, &self.file, 0, |more| bytes.set(bytes.get() + more))?;
        Ok(bytes.get())
    }
}
