//! Machines to test on: network namespaces with an address each, joined by a switch, with links that can be slowed and cut.
//! They vanish with the `Lab`, also when a test panics; what a killed test left is swept by the next one (see `scratch`).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::procfs;
use crate::run::{Outcome, PATIENCE, Running};
use crate::scratch::{OWNER_VARIABLE, Scratch, say};

/// Where the skipped tests are listed for `tests/run`, one `name: reason` a line.
const SKIPS_VARIABLE: &str = "ARES_TEST_SKIPS";

/// The binary under test, where it is not beside the tests.
const BINARY_VARIABLE: &str = "ARES_BIN";

/// UDP port of every `ares serve` of a lab: each node has an address of its own.
pub const PORT: u16 = 7411;

/// Some machines for one test. Fields are dropped in order: processes and files first (with the scratch), then the namespaces.
#[derive(Debug)]
pub struct Lab {
    nodes: Vec<Node>,
    scratch: Scratch,
    _namespaces: Vec<Namespace>,
}

/// One machine: a network namespace (or this host), an address and a directory.
#[derive(Clone, Debug)]
pub struct Node {
    place: Place,
    ip: IpAddr,
    dir: PathBuf,
    state: PathBuf,
    owner: String,
    user: Option<u32>,
    config: Option<PathBuf>,
    finds_others: bool,
}

#[derive(Clone, Debug)]
enum Place {
    /// In a namespace; without a cable it is `paths` that joins it to others.
    Namespace { name: String, cable: Option<Cable> },
    /// In the namespace of the test itself.
    Host,
}

/// The other end of `eth0`: an interface in the namespace before.
#[derive(Clone, Debug)]
struct Cable {
    before: String,
    port: String,
}

/// A network namespace by name, as `ip netns` keeps them. Deleted when dropped, with the cables in it.
#[derive(Debug)]
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        crate::scratch::quiet(Command::new("ip").args(["netns", "del", &self.0]));
    }
}

impl Lab {
    /// `count` machines on one switch, MTU 1500. `None`, with the reason printed, where the kernel refuses network namespaces.
    pub fn new(test: &str, count: u8) -> Option<Self> {
        Self::joined(test, |scratch| build_switched(scratch, count))
    }

    /// Two machines on one cable with this MTU, bytes, and nothing between them. `None` as for `new`.
    pub fn pair(test: &str, mtu: u16) -> Option<Self> {
        Self::joined(test, |scratch| build_pair(scratch, mtu))
    }

    /// Two machines on two cables, `eth0` and `eth1` of both. Their addresses are those of `Node::ips`. `None` as for `new`.
    pub fn two_cables(test: &str) -> Option<Self> {
        Self::joined(test, |scratch| build_pair(scratch, 1500).and_then(add_cable))
    }

    /// Machines with these addresses and nothing but a loopback, for `paths` to join. `None` as for `new`.
    pub(crate) fn apart(test: &str, addresses: &[Ipv4Addr]) -> Option<Self> {
        Self::joined(test, |scratch| build_apart(scratch, addresses))
    }

    fn joined(test: &str, build: impl FnOnce(&Scratch) -> Result<(Vec<Node>, Vec<Namespace>), String>) -> Option<Self> {
        let scratch = Scratch::new(test);
        match build(&scratch) {
            Ok((nodes, namespaces)) => Some(Self {
                nodes,
                scratch,
                _namespaces: namespaces,
            }),
            Err(reason) => {
                skip(test, &format!("no network namespaces: {reason}"));
                None
            }
        }
    }

    /// `count` machines that are this host under loopback addresses of their own; for what needs no cable. Never refused.
    pub fn on_loopback(test: &str, count: u8) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let scratch = Scratch::new(test);
        let pid = std::process::id();
        let nodes = (0..count).map(|i| {
            // 127/8 is all ours: two bytes of the pid keep test processes apart, the last one the nodes of a process.
            let last = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
            let ip = Ipv4Addr::new(127, 64 | (pid >> 8) as u8 & 63, pid as u8, last);
            Node::new(&scratch, i, Place::Host, ip)
        });
        Self {
            nodes: nodes.collect(),
            scratch,
            _namespaces: Vec::new(),
        }
    }

    /// Machine `i`.
    pub fn node(&self, i: usize) -> &Node {
        &self.nodes[i]
    }

    /// A directory all machines see.
    pub fn dir(&self, name: &str) -> PathBuf {
        self.scratch.dir(name)
    }

    /// The root of everything the lab keeps on disk.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }
}

/// Says that a test did not judge anything, and why: on stderr, past the test runner's capture, and in the list for `tests/run`.
pub fn skip(test: &str, reason: &str) {
    say(&format!("SKIPPED {test}: {reason}"));
    let Some(list) = std::env::var_os(SKIPS_VARIABLE) else {
        return;
    };
    use std::io::Write;
    let list = std::fs::OpenOptions::new().append(true).create(true).open(list);
    let _ = list.and_then(|mut f| writeln!(f, "{test}: {reason}"));
}

/// A namespace of this scratch with its loopback up; the error is what `ip` said.
fn namespace(scratch: &Scratch, role: &str) -> Result<Namespace, String> {
    let name = format!("{}-{role}", scratch.name());
    ip(&["netns", "add", &name])?;
    let namespace = Namespace(name);
    ip(&["-n", &namespace.0, "link", "set", "lo", "up"])?;
    Ok(namespace)
}

/// Gives `eth0` of a namespace its address and lifts it.
fn address(namespace: &Namespace, i: u8) -> Result<Ipv4Addr, String> {
    let address = Ipv4Addr::new(10, 77, 0, i + 1);
    ip(&["-n", &namespace.0, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
    ip(&["-n", &namespace.0, "link", "set", "eth0", "up"])?;
    Ok(address)
}

/// Makes a switch, the machines and their cables.
fn build_switched(scratch: &Scratch, count: u8) -> Result<(Vec<Node>, Vec<Namespace>), String> {
    let switch = namespace(scratch, "switch")?;
    ip(&["-n", &switch.0, "link", "add", "br0", "type", "bridge"])?;
    ip(&["-n", &switch.0, "link", "set", "br0", "up"])?;
    let mut nodes = Vec::new();
    let mut namespaces = Vec::new();
    for i in 0..count {
        let own = namespace(scratch, &format!("n{i}"))?;
        let port = format!("p{i}");
        ip(&[
            "-n", &switch.0, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &own.0,
        ])?;
        ip(&["-n", &switch.0, "link", "set", &port, "master", "br0", "up"])?;
        let address = address(&own, i)?;
        let place = Place::Namespace {
            name: own.0.clone(),
            cable: Some(Cable {
                before: switch.0.clone(),
                port,
            }),
        };
        nodes.push(Node::new(scratch, i, place, address));
        namespaces.push(own);
    }
    namespaces.push(switch);
    Ok((nodes, namespaces))
}

/// Makes two machines and the cable between them.
fn build_pair(scratch: &Scratch, mtu: u16) -> Result<(Vec<Node>, Vec<Namespace>), String> {
    let ends = [namespace(scratch, "n0")?, namespace(scratch, "n1")?];
    let mtu = mtu.to_string();
    let peer = ["peer", "name", "eth0", "mtu", &mtu, "netns", &ends[1].0];
    ip(&[
        ["-n", &ends[0].0, "link", "add", "eth0", "mtu", &mtu, "type", "veth"].as_slice(),
        &peer,
    ]
    .concat())?;
    let mut nodes = Vec::new();
    for (i, (own, other)) in [(0, 1), (1, 0)].into_iter().enumerate() {
        let address = address(&ends[own], i as u8)?;
        let place = Place::Namespace {
            name: ends[own].0.clone(),
            cable: Some(Cable {
                before: ends[other].0.clone(),
                port: "eth0".to_owned(),
            }),
        };
        nodes.push(Node::new(scratch, i as u8, place, address));
    }
    Ok((nodes, ends.into()))
}

/// Joins two machines on a cable by another one, and gives both IPv6.
fn add_cable((nodes, ends): (Vec<Node>, Vec<Namespace>)) -> Result<(Vec<Node>, Vec<Namespace>), String> {
    let peer = ["peer", "name", "eth1", "netns", &ends[1].0];
    ip(&[["-n", &ends[0].0, "link", "add", "eth1", "type", "veth"].as_slice(), &peer].concat())?;
    for (node, end) in nodes.iter().zip(&ends) {
        for (cable, device) in ["eth0", "eth1"].into_iter().enumerate() {
            for address in node.ips(cable).into_iter().filter(|address| *address != node.ip) {
                let bits = if address.is_ipv4() { 24 } else { 64 };
                // Nobody else is there who could have it: usable at once.
                ip(&[
                    "-n",
                    &end.0,
                    "addr",
                    "add",
                    &format!("{address}/{bits}"),
                    "dev",
                    device,
                    "nodad",
                ])?;
            }
            ip(&["-n", &end.0, "link", "set", device, "up"])?;
        }
    }
    Ok((nodes, ends))
}

/// Makes machines that nothing joins.
fn build_apart(scratch: &Scratch, addresses: &[Ipv4Addr]) -> Result<(Vec<Node>, Vec<Namespace>), String> {
    let mut nodes = Vec::new();
    let mut namespaces = Vec::new();
    for (i, address) in (0..).zip(addresses) {
        let own = namespace(scratch, &format!("n{i}"))?;
        let place = Place::Namespace {
            name: own.0.clone(),
            cable: None,
        };
        nodes.push(Node::new(scratch, i, place, *address));
        namespaces.push(own);
    }
    Ok((nodes, namespaces))
}

/// Calls `make` on a thread in a named network namespace: sockets and devices stay where they were made.
pub(crate) fn inside<T: Send>(namespace: &str, make: impl FnOnce() -> T + Send) -> io::Result<T> {
    let home = File::open(format!("/run/netns/{namespace}"))?;
    let there = || {
        move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(make())
    };
    thread::scope(|scope| {
        scope
            .spawn(there)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `ip`; the error is what it said.
pub(crate) fn ip(args: &[&str]) -> Result<(), String> {
    tool("ip", args).map(drop)
}

/// Limits what leaves by a device. Burst: one GSO packet; latency: a shallow queue, so that the sender feels the limit soon.
fn limit(namespace: &str, device: &str, mbit_per_s: u32) {
    let rate = format!("{mbit_per_s}mbit");
    let shape = [
        "qdisc", "replace", "dev", device, "root", "tbf", "rate", &rate, "burst", "128kb", "latency", "20ms",
    ];
    tool("tc", &[["-n", namespace].as_slice(), &shape].concat()).unwrap_or_else(|e| panic!("{e}"));
}

/// Ends what `limit` began.
fn unlimit(namespace: &str, device: &str) {
    tool("tc", &["-n", namespace, "qdisc", "del", "dev", device, "root"]).unwrap_or_else(|e| panic!("{e}"));
}

/// What the program said on stdout; the error is what it said on stderr.
fn tool(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "`{program} {}`: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

impl Node {
    fn new(scratch: &Scratch, i: u8, place: Place, ip: Ipv4Addr) -> Self {
        let dir = scratch.dir(&format!("node{i}"));
        let state = dir.join("state");
        Self {
            place,
            ip: ip.into(),
            dir,
            state,
            owner: scratch.name().to_owned(),
            user: None,
            config: None,
            finds_others: false,
        }
    }

    /// Its network namespace.
    pub(crate) fn namespace(&self) -> &str {
        match &self.place {
            Place::Namespace { name, .. } => name,
            Place::Host => panic!("a loopback lab has no network of its own"),
        }
    }

    fn cable(&self) -> &Cable {
        match &self.place {
            Place::Namespace { cable: Some(cable), .. } => cable,
            _ => panic!("this machine has no cable"),
        }
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Its addresses on a cable of `Lab::two_cables`, IPv4 and IPv6: 10.77.0.N and fd77::N on cable 0, 10.78.0.N and fd78::N on cable 1.
    ///
    /// # Panics
    /// On loopback.
    pub fn ips(&self, cable: usize) -> [IpAddr; 2] {
        let IpAddr::V4(first) = self.ip else {
            panic!("a machine's first address is IPv4")
        };
        let (net, last) = (77 + cable as u8, first.octets()[3]);
        let v6 = [0xfd77 + cable as u16, 0, 0, 0, 0, 0, 0, u16::from(last)];
        [[10, net, 0, last].into(), v6.into()]
    }

    /// The same machine under another of its addresses.
    pub fn at(&self, ip: IpAddr) -> Self {
        Self { ip, ..self.clone() }
    }

    /// Where its daemon listens.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.ip, PORT)
    }

    /// Calls `make` in this machine's network: sockets stay in the one they were made in.
    ///
    /// # Panics
    /// Where the kernel refuses.
    pub fn inside<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        if matches!(self.place, Place::Host) {
            return make();
        }
        inside(self.namespace(), make).unwrap_or_else(|e| panic!("cannot enter {}: {e}", self.namespace()))
    }

    /// A directory of its own.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its state directory; `ares` makes it.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The same machine with another state directory.
    pub fn with_state(&self, state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            ..self.clone()
        }
    }

    /// The same machine with another patience: how long `ares` waits for bytes before it gives up (30 s unless said). For tests in which
    /// giving up is what is judged.
    ///
    /// # Panics
    /// Where the disk refuses.
    pub fn with_patience(&self, seconds: u32) -> Self {
        self.with_config(
            &format!("patience-{seconds}"),
            &format!("[mount]\npatience = \"{seconds}s\"\n"),
        )
    }

    /// The same machine with a config file of this name and text, instead of any other.
    ///
    /// # Panics
    /// Where the disk refuses.
    pub fn with_config(&self, name: &str, text: &str) -> Self {
        let config = self.dir.join(format!("{name}.toml"));
        std::fs::write(&config, text).expect("a scratch directory can be written");
        Self {
            config: Some(config),
            ..self.clone()
        }
    }

    /// The same machine, on whose network nodes find each other; else they know of nobody but whom they are told of, so that what a test
    /// sees is what it has set up.
    pub fn with_mdns(&self) -> Self {
        Self {
            finds_others: true,
            ..self.clone()
        }
    }

    /// The same machine, used by this user (no groups but the one of the same number).
    pub fn as_user(&self, uid: u32) -> Self {
        Self {
            user: Some(uid),
            ..self.clone()
        }
    }

    /// `program` on this machine.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        if let Place::Namespace { name, .. } = &self.place {
            // Not `ip netns exec`: that would also leave the mount namespace, and mounts made there would be invisible here.
            words.extend(["nsenter".into(), format!("--net=/run/netns/{name}").into(), "--".into()]);
        }
        if let Some(uid) = self.user {
            words.extend([
                "setpriv".into(),
                format!("--reuid={uid}").into(),
                format!("--regid={uid}").into(),
            ]);
            words.extend(["--clear-groups".into(), "--".into()]);
        }
        words.push(program.as_ref().to_owned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env(OWNER_VARIABLE, &self.owner)
            .env("LC_ALL", "C")
            .env_remove("ARES_STATE");
        match &self.config {
            Some(config) => command.env("ARES_CONFIG", config),
            None => command.env_remove("ARES_CONFIG"),
        };
        command
    }

    /// `ares --state S ARGS..` on this machine.
    pub fn ares<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = self.command(binary());
        command.arg("--state").arg(&self.state);
        if !self.finds_others {
            command.arg("--no-mdns");
        }
        command.args(args);
        command
    }

    /// Starts a command; its output lies in the node's directory.
    pub fn start(&self, command: Command) -> Running {
        Running::start(command, &self.dir)
    }

    /// Runs a command to its end.
    pub fn run(&self, command: Command) -> Outcome {
        self.start(command).wait(PATIENCE)
    }

    /// Gives this machine one more address of its network: 10.77.0.`last`.
    ///
    /// # Panics
    /// Where `ip` refuses, or the lab has no network of its own.
    pub fn add_address(&self, last: u8) -> IpAddr {
        let name = self.namespace();
        let address = Ipv4Addr::new(10, 77, 0, last);
        ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"]).unwrap_or_else(|e| panic!("{e}"));
        address.into()
    }

    /// Limits what arrives at this machine, megabits per second.
    ///
    /// # Panics
    /// Where `tc` refuses.
    pub fn limit_arrivals(&self, mbit_per_s: u32) {
        let Cable { before, port } = self.cable();
        limit(before, port, mbit_per_s);
    }

    /// Limits what arrives at this machine and what leaves it by `eth0`, megabits per second each.
    ///
    /// # Panics
    /// Where `tc` refuses.
    pub fn limit_both_ways(&self, mbit_per_s: u32) {
        self.limit_arrivals(mbit_per_s);
        self.limit_departures(&["eth0"], mbit_per_s);
    }

    /// Bytes that have left this machine by `eth0`, headers included. What a limit holds back has not left.
    ///
    /// # Panics
    /// Where the kernel refuses, or the lab has no network of its own.
    pub fn sent_bytes(&self) -> u64 {
        self.inside(|| procfs::sent_by("eth0"))
            .unwrap_or_else(|| panic!("no eth0 in {}", self.namespace()))
    }

    /// Limits what leaves this machine by each of these interfaces, megabits per second.
    ///
    /// # Panics
    /// Where `tc` refuses.
    pub fn limit_departures(&self, interfaces: &[&str], mbit_per_s: u32) {
        for interface in interfaces {
            limit(self.namespace(), interface, mbit_per_s);
        }
    }

    /// Lets traffic leave at full speed again, over what cables are left.
    pub fn lift_departures(&self) {
        for device in ["eth0", "eth1"] {
            unlimit(self.namespace(), device);
        }
    }

    /// Lets traffic arrive at full speed again.
    pub fn lift_limit(&self) {
        let Cable { before, port } = self.cable();
        unlimit(before, port);
    }

    /// Drops everything that arrives here over that interface and says nothing: the silent failure of a network.
    ///
    /// # Panics
    /// Where `iptables` refuses.
    pub fn cut(&self, interface: &str) {
        self.iptables(&["-A", "INPUT", "-i", interface, "-j", "DROP"]);
    }

    /// Ends what `cut` began.
    pub fn mend(&self, interface: &str) {
        self.iptables(&["-D", "INPUT", "-i", interface, "-j", "DROP"]);
    }

    /// Drops everything that comes from that machine.
    ///
    /// # Panics
    /// Where `iptables` refuses.
    pub fn part_from(&self, other: &Self) {
        self.iptables(&["-A", "INPUT", "-s", &other.ip().to_string(), "-j", "DROP"]);
    }

    /// Ends what `part_from` began.
    pub fn rejoin(&self, other: &Self) {
        self.iptables(&["-D", "INPUT", "-s", &other.ip().to_string(), "-j", "DROP"]);
    }

    /// Drops what arrives here for any UDP port but the one its daemon was told to listen on: a common firewall.
    ///
    /// # Panics
    /// Where `iptables` refuses.
    pub fn close_other_ports(&self) {
        let open = PORT.to_string();
        self.iptables(&["-A", "INPUT", "-i", "eth0", "-p", "udp", "!", "--dport", &open, "-j", "DROP"]);
    }

    /// Packets that were dropped here because of `cut` or `close_other_ports`.
    ///
    /// # Panics
    /// Where `iptables` refuses.
    pub fn packets_dropped(&self) -> u64 {
        let rules = self.iptables(&["-L", "INPUT", "-v", "-x", "-n"]);
        let dropped = |rule: &str| match rule.split_whitespace().collect::<Vec<_>>()[..] {
            [packets, _, "DROP", ..] => packets.parse::<u64>().ok(),
            _ => None,
        };
        rules.lines().filter_map(dropped).sum::<u64>()
    }

    /// What `iptables` said.
    fn iptables(&self, args: &[&str]) -> String {
        let net = format!("--net=/run/netns/{}", self.namespace());
        let command = [&[net.as_str(), "iptables", "-w"], args].concat();
        tool("nsenter", &command).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Takes `eth0` down or up. The other end of its cable has no carrier meanwhile.
    ///
    /// # Panics
    /// Where `ip` refuses.
    pub fn set_link(&self, state: LinkState) {
        let word = if state == LinkState::Up { "up" } else { "down" };
        self.ip_tool(&["link", "set", "eth0", word]);
    }

    /// Takes an address of `eth0` away.
    ///
    /// # Panics
    /// Where `ip` refuses.
    pub fn remove_address(&self, address: IpAddr) {
        let bits = if address.is_ipv4() { 24 } else { 64 };
        self.ip_tool(&["addr", "del", &format!("{address}/{bits}"), "dev", "eth0"]);
    }

    /// Runs many commands of `ip` at once, one a line.
    ///
    /// # Panics
    /// Where it refuses one.
    pub fn ip_batch(&self, commands: &str) {
        let file = self.dir.join("ip-batch");
        std::fs::write(&file, commands).expect("a scratch directory can be written");
        self.ip_tool(&["-batch", &file.to_string_lossy()]);
    }

    fn ip_tool(&self, args: &[&str]) {
        let Place::Namespace { name, .. } = &self.place else {
            panic!("a loopback lab has no cables")
        };
        ip(&[["-n", name].as_slice(), args].concat()).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// A cable in its socket or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Plugged in.
    Up,
    /// Pulled.
    Down,
}

/// Whether this process may become user `uid` (user_namespaces(7): root of a user namespace may only become users it maps).
pub fn may_become(uid: u32) -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let maps = map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(uid)))
    });
    maps && rustix::process::geteuid().is_root()
}

/// The binary under test: `$ARES_BIN`, else the one cargo built beside these tests.
///
/// # Panics
/// Where there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        return path.into();
    }
    let tests = std::env::current_exe().expect("a program knows its own file");
    let beside = tests
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("ares"))
        .find(|path| path.is_file());
    beside.unwrap_or_else(|| {
        panic!(
            "no `ares` beside {}: build it first (cargo build -p ares), or set {BINARY_VARIABLE}",
            tests.display()
        )
    })
}
