//! A reader and one or two servers in namespaces of their own, with two slow links between them that can be cut, lifted and spoilt while
//! they carry. All of it goes with the `TwoPaths`, also when a test panics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::lab::{Lab, Node, ip, skip};
use crate::relay::{Relay, Shape, State, Tally, Toward};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// 10.0.1.0/24, fd00:0:0:1::/64, device `path-a`.
    A,
    /// 10.0.2.0/24, fd00:0:0:2::/64, device `path-b`.
    B,
}

/// Both.
pub const PATHS: [Path; 2] = [Path::A, Path::B];

/// Where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server to the reader: the bytes.
    ToReader,
    /// From the reader to the server: what is asked and acknowledged.
    ToServer,
    /// Either.
    Both,
}

impl Direction {
    fn ends(self) -> &'static [Toward] {
        match self {
            Self::ToReader => &[READER],
            Self::ToServer => &[SERVER],
            Self::Both => &[READER, SERVER],
        }
    }
}

/// Ends of the links, as they are joined.
const READER: Toward = Toward::First;
const SERVER: Toward = Toward::Second;

/// How many machines serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// One, that both paths lead to.
    One,
    /// Two: path A leads to the first, path B to the second.
    Two,
}

/// The machines and the links. Fields are dropped in order: links before the namespaces that their ends are in.
#[derive(Debug)]
pub struct TwoPaths {
    links: [Relay; 2],
    lab: Lab,
    servers: Servers,
}

impl Path {
    /// Its device, on either side.
    pub fn device(self) -> &'static str {
        match self {
            Self::A => "path-a",
            Self::B => "path-b",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The reader's address on it.
    pub fn reader(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, self as u8 + 1, 1)
    }

    /// The server's address on it.
    pub fn server(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, self as u8 + 1, 2)
    }

    /// The same network and end, IPv6.
    fn v6(self, end: Toward) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, self as u16 + 1, 0, 0, 0, end as u16 + 1)
    }
}

impl TwoPaths {
    /// A reader and servers, joined by links of these shapes (A, B), the same in both directions. `None`, with the reason printed, where
    /// the kernel refuses namespaces or tun devices.
    pub fn new(test: &str, servers: Servers, shapes: [Shape; 2]) -> Option<Self> {
        let machines = [Path::A.reader(), Path::A.server(), Path::B.server()];
        let lab = Lab::apart(
            test,
            match servers {
                Servers::One => &machines[..2],
                Servers::Two => &machines,
            },
        )?;
        let join = |path: Path| join(lab.node(0), server_of(&lab, servers, path), path, shapes[path as usize]);
        match (join(Path::A), join(Path::B)) {
            (Ok(a), Ok(b)) => Some(Self {
                links: [a, b],
                lab,
                servers,
            }),
            (Err(reason), _) | (_, Err(reason)) => {
                skip(test, &format!("no links between namespaces: {reason}"));
                None
            }
        }
    }

    /// The lab, for its directories.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Who reads.
    pub fn reader(&self) -> &Node {
        self.lab.node(0)
    }

    /// Who serves at the other end of a path.
    pub fn server(&self, path: Path) -> &Node {
        server_of(&self.lab, self.servers, path)
    }

    /// Stops a path in a direction without a word to anybody. What is under way is lost.
    pub fn cut(&self, path: Path, direction: Direction) {
        self.set_state(path, direction, State::Cut);
    }

    /// Cuts a path and lifts the cut in turns of this length, both ways, the cut first.
    pub fn flap(&self, path: Path, every: Duration) {
        self.set_state(path, Direction::Both, State::Flapping { every });
    }

    /// Pulls the reader's cable: nothing gets through, and the reader's kernel knows.
    ///
    /// # Panics
    /// Where `ip` refuses.
    pub fn unplug(&self, path: Path) {
        self.cut(path, Direction::Both);
        self.set_carrier(path, "off");
    }

    /// Ends what `cut`, `flap` and `unplug` began.
    ///
    /// # Panics
    /// Where `ip` refuses.
    pub fn heal(&self, path: Path) {
        self.set_state(path, Direction::Both, State::Whole);
        self.set_carrier(path, "on");
    }

    /// Changes the share of packets that a path loses in either direction.
    pub fn set_loss(&self, path: Path, percent: f64) {
        for toward in Direction::Both.ends() {
            self.links[path as usize].set_loss(*toward, percent);
        }
    }

    /// What a path has carried to the reader and to the server.
    pub fn tallies(&self, path: Path) -> [Tally; 2] {
        [READER, SERVER].map(|toward| self.links[path as usize].tally(toward))
    }

    fn set_state(&self, path: Path, direction: Direction, state: State) {
        for toward in direction.ends() {
            self.links[path as usize].set_state(*toward, state);
        }
    }

    fn set_carrier(&self, path: Path, word: &str) {
        let at = ["-n", self.reader().namespace(), "link", "set", path.device(), "carrier", word];
        ip(&at).unwrap_or_else(|e| panic!("{e}"));
    }
}

fn server_of(lab: &Lab, servers: Servers, path: Path) -> &Node {
    match (servers, path) {
        (Servers::Two, Path::B) => lab.node(2),
        _ => lab.node(1),
    }
}

/// Joins two machines and gives both ends their addresses.
fn join(reader: &Node, server: &Node, path: Path, shape: Shape) -> Result<Relay, String> {
    let shapes = [
        shape,
        Shape {
            seed: shape.seed + 1,
            ..shape
        },
    ];
    let link = Relay::join([reader.namespace(), server.namespace()], path.device(), shapes).map_err(|e| e.to_string())?;
    let addresses = [(reader, path.reader(), READER), (server, path.server(), SERVER)];
    for (node, v4, end) in addresses {
        // No link-local address: the kernel would look for routers on a link that is to be idle.
        ip(&["-n", node.namespace(), "link", "set", path.device(), "addrgenmode", "none"])?;
        for address in [format!("{v4}/24"), format!("{}/64", IpAddr::from(path.v6(end)))] {
            ip(&["-n", node.namespace(), "addr", "add", &address, "dev", path.device(), "nodad"])?;
        }
        ip(&["-n", node.namespace(), "link", "set", path.device(), "up"])?;
    }
    Ok(link)
}
