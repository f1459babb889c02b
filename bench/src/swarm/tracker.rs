//! The tracker by which BitTorrent's peers find each other (BEP 3, compact answers of BEP 23), on a machine of its own: it knows one torrent
//! and answers one request after another. IPv4 alone, as the lab is.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ares_tests::Node;
use rustix::net::{Shutdown, shutdown};

use super::torrent::Value;
use crate::error::{BenchError, Result};
use crate::report::say;

const PORT: u16 = 6969;

/// When peers shall ask again, seconds.
const INTERVAL_S: u64 = 1;

/// How long a peer may take for its request: others wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longest request, bytes.
const REQUEST_BYTES_MAX: u64 = 8 << 10;

type Peers = Arc<Mutex<BTreeSet<SocketAddrV4>>>;

/// A tracker that listens. Its thread ends when it is dropped.
pub(super) struct Tracker {
    heard: Arc<TcpListener>,
    address: SocketAddrV4,
    peers: Peers,
    thread: Option<JoinHandle<()>>,
}

impl Tracker {
    /// Listens on a machine.
    pub(super) fn start(node: &Node) -> Result<Self> {
        let IpAddr::V4(ip) = node.ip() else {
            unreachable!("machines of a lab have IPv4 addresses")
        };
        let address = SocketAddrV4::new(ip, PORT);
        let heard = node.inside(|| TcpListener::bind(address)).map_err(BenchError::Tracker)?;
        let heard = Arc::new(heard);
        let peers = Peers::default();
        let (listener, known) = (heard.clone(), peers.clone());
        let thread = std::thread::spawn(move || serve(&listener, &known));
        Ok(Self {
            heard,
            address,
            peers,
            thread: Some(thread),
        })
    }

    /// Where peers announce themselves.
    pub(super) fn url(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    /// Whether somebody has.
    pub(super) fn knows_any(&self) -> bool {
        !lock(&self.peers).is_empty()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // Wakes the thread that accepts: it gets an error from now on.
        let _ = shutdown(&self.heard, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(peers: &Mutex<BTreeSet<SocketAddrV4>>) -> std::sync::MutexGuard<'_, BTreeSet<SocketAddrV4>> {
    peers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: &TcpListener, peers: &Peers) {
    while let Ok((peer, from)) = listener.accept() {
        let IpAddr::V4(from) = from.ip() else { continue };
        if let Err(e) = answer_one(peer, from, peers) {
            say(&format!("the tracker could not answer {from}: {e}"));
        }
    }
}

fn answer_one(mut peer: TcpStream, from: Ipv4Addr, peers: &Peers) -> io::Result<()> {
    peer.set_read_timeout(Some(PATIENCE))?;
    peer.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(peer.try_clone()?.take(REQUEST_BYTES_MAX));
    let mut request = String::new();
    lines.read_line(&mut request)?;
    // Headers are read so that closing does not reset the connection, and mean nothing.
    let mut header = String::from("unread");
    while !header.trim_end().is_empty() {
        header.clear();
        lines.read_line(&mut header)?;
    }
    let body = match Announce::parse(&request, from) {
        Some(announce) => announce.apply(&mut lock(peers)),
        None => Value::dictionary([("failure reason", Value::text("this is no announce"))]),
    }
    .encode();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    peer.write_all(&[head.into_bytes(), body].concat())
}

/// What a peer says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announce {
    /// It takes part, at this address.
    Here(SocketAddrV4),
    /// No longer.
    Gone(SocketAddrV4),
}

impl Announce {
    /// Reads `GET /announce?port=6881&.. HTTP/1.1`; the address is the one that the request came from.
    fn parse(request_line: &str, from: Ipv4Addr) -> Option<Self> {
        let target = request_line.strip_prefix("GET ")?.split(' ').next()?;
        let query = target.strip_prefix("/announce?")?;
        let value_of = |key: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(k, _)| *k == key)
        };
        let (_, port) = value_of("port")?;
        let address = SocketAddrV4::new(from, port.parse().ok().filter(|port| *port > 0)?);
        Some(match value_of("event") {
            Some((_, "stopped")) => Self::Gone(address),
            _ => Self::Here(address),
        })
    }

    /// Takes note of it; what the peer is told: all others.
    fn apply(self, peers: &mut BTreeSet<SocketAddrV4>) -> Value {
        let asker = match self {
            Self::Here(address) => {
                peers.insert(address);
                address
            }
            Self::Gone(address) => {
                peers.remove(&address);
                address
            }
        };
        let others = peers.iter().filter(|peer| **peer != asker).flat_map(|peer| compact(*peer));
        Value::dictionary([
            ("interval", Value::Integer(INTERVAL_S)),
            ("peers", Value::Bytes(others.collect())),
        ])
    }
}

/// Address and port in network order (BEP 23).
fn compact(peer: SocketAddrV4) -> [u8; 6] {
    let ([a, b, c, d], [high, low]) = (peer.ip().octets(), peer.port().to_be_bytes());
    [a, b, c, d, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, last), port)
    }

    #[test]
    fn an_announce_names_a_port_and_perhaps_an_event() {
        for (line, expect) in [
            (
                "GET /announce?info_hash=%9e%3d&peer_id=A2&port=6881&left=0&event=started HTTP/1.1\r\n",
                Some(Announce::Here(at(7, 6881))),
            ),
            (
                "GET /announce?port=1&event=completed HTTP/1.1",
                Some(Announce::Here(at(7, 1))),
            ),
            (
                "GET /announce?event=stopped&port=6881 HTTP/1.1",
                Some(Announce::Gone(at(7, 6881))),
            ),
            ("GET /announce?port=6881", Some(Announce::Here(at(7, 6881)))),
            ("GET /announce?port=0 HTTP/1.1", None),
            ("GET /announce?port=65536 HTTP/1.1", None),
            ("GET /announce?support=6881 HTTP/1.1", None),
            ("GET /announce HTTP/1.1", None),
            ("GET /scrape?port=6881 HTTP/1.1", None),
            ("POST /announce?port=6881 HTTP/1.1", None),
            ("", None),
        ] {
            assert_eq!(Announce::parse(line, Ipv4Addr::new(10, 77, 0, 7)), expect, "{line:?}");
        }
    }

    #[test]
    fn a_peer_is_told_of_all_others() {
        let mut peers = BTreeSet::new();
        let told = |announce: Announce, peers: &mut BTreeSet<SocketAddrV4>| announce.apply(peers).encode();
        assert_eq!(told(Announce::Here(at(1, 6881)), &mut peers), b"d8:intervali1e5:peers0:e");
        let of_the_first = b"d8:intervali1e5:peers6:\x0a\x4d\0\x01\x1a\xe1e";
        assert_eq!(told(Announce::Here(at(2, 258)), &mut peers), of_the_first);
        assert_eq!(told(Announce::Here(at(2, 258)), &mut peers), of_the_first);
        let of_the_second = b"d8:intervali1e5:peers6:\x0a\x4d\0\x02\x01\x02e";
        assert_eq!(told(Announce::Here(at(1, 6881)), &mut peers), of_the_second);
        told(Announce::Gone(at(2, 258)), &mut peers);
        assert_eq!(told(Announce::Here(at(1, 6881)), &mut peers), b"d8:intervali1e5:peers0:e");
    }
}
