//! The baseline with two paths: one file over one MPTCP connection of the kernel, as a program without any care for paths would send it.
//! Two processes, and the addresses that the kernel is told to use besides the one that was dialed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use ares_tests::Node;
use ares_tests::paths::{Path, TwoPaths};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, listen, socket};

use crate::error::{BenchError, Result, io as failed};
use crate::peers::own_program;

/// TCP port of the sender.
const PORT: u16 = 7500;

/// Bytes of one read or write.
const BLOCK_BYTES: usize = 64 << 10;

/// What the sender prints once it listens.
pub(super) const READY: &str = "ready";

/// Sends a file to whoever connects, until killed.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Address to bind.
    listen: SocketAddr,
    /// The file.
    file: PathBuf,
}

/// Receives it.
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// Address to connect to.
    connect: SocketAddr,
    /// Where it lands.
    dest: PathBuf,
}

pub(crate) fn serve(args: &Serve) -> Result<()> {
    let heard = listener(args.listen)?;
    println!("{READY}");
    for reader in heard.incoming() {
        let reader = reader.map_err(BenchError::Mptcp)?;
        let file = File::open(&args.file).map_err(failed("cannot read", &args.file))?;
        thread::spawn(move || {
            if let Err(e) = copy(file, reader) {
                eprintln!("bench: a receiver is gone: {e}");
            }
        });
    }
    Ok(())
}

pub(crate) fn get(args: &Get) -> Result<()> {
    let file = File::create(&args.dest).map_err(failed("cannot write", &args.dest))?;
    let sender = connected(args.connect)?;
    copy(sender, file).map_err(BenchError::Mptcp)
}

/// Block after block: what was received is written before more is read.
fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match from.read(&mut block)? {
            0 => return to.flush(),
            len => to.write_all(&block[..len])?,
        }
    }
}

fn listener(address: SocketAddr) -> Result<TcpListener> {
    let socket = new_socket()?;
    // Connections of the sender before may still be closing.
    let made = set_socket_reuseaddr(&socket, true)
        .and_then(|()| bind(&socket, &address))
        .and_then(|()| listen(&socket, 16));
    made.map_err(|e| BenchError::Mptcp(e.into()))?;
    Ok(socket.into())
}

fn connected(address: SocketAddr) -> Result<TcpStream> {
    let socket = new_socket()?;
    connect(&socket, &address).map_err(|e| BenchError::Mptcp(e.into()))?;
    Ok(socket.into())
}

fn new_socket() -> Result<OwnedFd> {
    socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP)).map_err(|e| BenchError::NoMptcp(e.into()))
}

/// The sender of `file` on the machine at the end of path A, listening on all its addresses.
pub(super) fn sender(node: &Node, file: &std::path::Path) -> Command {
    let mut command = node.command(own_program());
    command.arg("mptcp-serve").arg(format!("0.0.0.0:{PORT}")).arg(file);
    command
}

/// The receiver, which knows one address.
pub(super) fn receiver(node: &Node, dest: &std::path::Path) -> Command {
    let mut command = node.command(own_program());
    command
        .arg("mptcp-get")
        .arg(SocketAddr::from((Path::A.server(), PORT)).to_string())
        .arg(dest);
    command
}

/// Lets the kernels use both paths: the server announces its second address, the reader joins from its own there.
pub(super) fn use_both_paths(lab: &TwoPaths) -> Result<()> {
    let (reader, server) = (lab.reader(), lab.server(Path::A));
    let announced = Path::B.server().to_string();
    for (node, words) in [
        (reader, &["limits", "set", "subflows", "2", "add_addr_accepted", "2"][..]),
        (server, &["limits", "set", "subflows", "2"]),
        (server, &["endpoint", "add", &announced, "dev", Path::B.device(), "signal"]),
    ] {
        let mut command = node.command("ip");
        command.arg("mptcp").args(words);
        let outcome = node.run(command);
        if !outcome.status.success() {
            return Err(BenchError::WrongResult {
                peer: "mptcp",
                what: format!("the kernel refuses `{}`: {}", outcome.line, outcome.stderr.trim()),
            });
        }
    }
    Ok(())
}

/// The settings of the kernel in the reader's namespace, a name and a value a line.
pub(super) fn settings(node: &Node) -> String {
    let mut command = node.command("sysctl");
    command.args(["net.mptcp", "net.ipv4.tcp_congestion_control"]);
    node.run(command).text()
}
