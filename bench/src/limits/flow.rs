//! One end of a link, as a process: sends or receives so many bytes and says what that took. Started by `limits`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use ares_tests::Node;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::udp;
use crate::error::{Result, io};
use crate::peers;

/// A receiver's first line, before its address.
const READY: &str = "ready ";

/// One write or read of a stream.
const BLOCK_BYTES: usize = 256 << 10;

/// `limits-flow`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which end.
    side: Side,
    /// Where the receiver listens (port 0: the kernel picks one and the receiver says which).
    address: SocketAddr,
    /// How many bytes.
    bytes: u64,
    /// UDP: bytes of a datagram. Without it TCP.
    segment: Option<u16>,
    /// UDP: datagrams of one send.
    #[arg(default_value_t = 1)]
    count: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Side {
    Send,
    Receive,
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    /// Through the dataplane's ring, `count` datagrams of `segment` bytes a send.
    Udp { segment: u16, count: u16 },
    /// One stream on std's sockets.
    Tcp,
}

/// So many bytes from one end to the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub transport: Transport,
    pub bytes: u64,
}

/// What one end says on its last line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Bytes of payload.
    pub bytes: u64,
    /// Wall time; the sender's ends when the receiver has everything.
    pub seconds: f64,
    /// Processor time of the process meanwhile.
    pub cpu_s: f64,
}

impl Flow {
    /// The process of one end.
    pub(crate) fn command(&self, node: &Node, side: Side, address: SocketAddr) -> Command {
        let mut command = node.command(peers::own_program());
        command.arg("limits-flow").arg(match side {
            Side::Send => "send",
            Side::Receive => "receive",
        });
        command.arg(address.to_string()).arg(self.bytes.to_string());
        if let Transport::Udp { segment, count } = self.transport {
            command.arg(segment.to_string()).arg(count.to_string());
        }
        command
    }
}

impl Figures {
    /// Reads the line that `run` prints.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            bytes: value["bytes"].as_u64()?,
            seconds: value["seconds"].as_f64()?,
            cpu_s: value["cpu_s"].as_f64()?,
        })
    }
}

/// Both clocks of a process.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu_s: f64,
}

impl Stopwatch {
    /// From now on.
    pub(crate) fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu_s: cpu_s(),
        }
    }

    /// Since then.
    pub(crate) fn stop(&self, bytes: u64) -> Figures {
        Figures {
            bytes,
            seconds: self.wall.elapsed().as_secs_f64(),
            cpu_s: cpu_s() - self.cpu_s,
        }
    }
}

fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Tells `limits` where the other end may send to. A port of its own for each process: the kernel closes a ring, and with it the socket, some
/// time after the process that had it.
pub(crate) fn say_ready(at: SocketAddr) {
    println!("{READY}{at}");
}

/// Where a receiver that has printed this listens; `None` before it does.
pub(crate) fn ready_at(stdout: &str) -> Option<SocketAddr> {
    let (line, _) = stdout.strip_prefix(READY)?.split_once('\n')?;
    line.parse().ok()
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let figures = match (args.side, args.segment) {
        (Side::Send, Some(segment)) => udp::send(args.address, args.bytes, segment, args.count)?,
        (Side::Receive, Some(segment)) => udp::receive(args.address, args.bytes, segment, args.count)?,
        (Side::Send, None) => send_stream(args.address, args.bytes).map_err(io("cannot send to", &shown(args.address)))?,
        (Side::Receive, None) => receive_stream(args.address).map_err(io("cannot receive at", &shown(args.address)))?,
    };
    println!(
        "{}",
        json!({ "bytes": figures.bytes, "seconds": figures.seconds, "cpu_s": figures.cpu_s })
    );
    Ok(())
}

fn shown(address: SocketAddr) -> PathBuf {
    address.to_string().into()
}

fn send_stream(to: SocketAddr, bytes: u64) -> std::io::Result<Figures> {
    let block = vec![1u8; BLOCK_BYTES];
    let mut stream = TcpStream::connect(to)?;
    let watch = Stopwatch::start();
    let mut left = bytes;
    while left > 0 {
        let now = left.min(BLOCK_BYTES as u64);
        stream.write_all(&block[..now as usize])?;
        left -= now;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // The other end closes when it has read everything.
    stream.read_exact(&mut [0]).or_else(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(e),
    })?;
    Ok(watch.stop(bytes))
}

fn receive_stream(at: SocketAddr) -> std::io::Result<Figures> {
    let listener = TcpListener::bind(at)?;
    say_ready(listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    let watch = Stopwatch::start();
    let mut block = vec![0u8; BLOCK_BYTES];
    let mut bytes = 0;
    loop {
        match stream.read(&mut block)? {
            0 => return Ok(watch.stop(bytes)),
            some => bytes += some as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_ready_once_its_line_is_whole() {
        for (stdout, expect) in [
            ("", None),
            ("ready 10.77.0", None),
            ("ready 10.77.0.2:41", None),
            ("ready 10.77.0.2:4123\n", Some("10.77.0.2:4123")),
            ("ready somewhere\n", None),
        ] {
            assert_eq!(ready_at(stdout).map(|a| a.to_string()).as_deref(), expect, "{stdout:?}");
        }
    }
}
