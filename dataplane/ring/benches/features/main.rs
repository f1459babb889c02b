//! What each io_uring feature buys on the UDP path: the same bytes from one thread to another over the loopback, with one thing changed at a
//! time against how [`ares_ring::Ring`] does it. `cargo bench -p ares-ring --bench features [-- --mib 2048 --rounds 5]`
//!
//! The variants take turns, a round of each, so that what else the machine does meets all. No datagram is lost: the sender keeps at most a
//! window ahead of the receiver, by a counter in memory, whose futex calls are not counted.

mod message;
mod plain;
mod uring;
mod window;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ares_ring::socket::Offload;
use ares_ring::{SocketOptions, UdpSocket};

use window::Window;

/// QUIC's payload of a packet on Ethernet.
const SEGMENT_BYTES: usize = 1_452;

/// Datagrams of one send with GSO: as many as fit 64 KiB.
const SEGMENTS: usize = 44;

/// Sends that may wait for the kernel.
const DEPTH: usize = 16;

/// What the kernel may charge for a window of datagrams without GRO is a few times their size.
const SOCKET_BYTES: u32 = 16 << 20;

/// How long a run may take beside its bytes, and the least that moves in a second.
const PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST_BYTES_PER_S: u64 = 50_000_000;

/// How bytes get from one socket to the other.
#[derive(Clone, Copy)]
struct Way {
    calls: Calls,
    task_work: TaskWork,
    receive: Receive,
    send: Transmit,
    gso: Offload,
    gro: Offload,
    socket: Handle,
    ring: Handle,
}

/// By what the kernel is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    Ring,
    /// sendmsg(2) and recvmsg(2).
    System,
}

/// When the kernel does what a completion needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TaskWork {
    /// In `io_uring_enter`: SINGLE_ISSUER and DEFER_TASKRUN.
    Deferred,
    /// Whenever the thread enters or leaves the kernel.
    AtOnce,
    /// A kernel thread polls the submission queue.
    Polled,
}

/// How a receive is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Receive {
    /// Once, for all datagrams, into a ring of provided buffers.
    Multishot,
    /// Once for each burst, into a ring of provided buffers.
    Provided,
    /// Once for each burst, into a buffer of the message itself.
    Own,
}

/// How a send is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transmit {
    /// SENDMSG.
    Copied,
    /// SENDMSG_ZC.
    ZeroCopy,
}

/// How a socket or the ring itself is named to the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handle {
    Registered,
    Descriptor,
}

/// What [`ares_ring::Ring`] does.
const DEFAULT: Way = Way {
    calls: Calls::Ring,
    task_work: TaskWork::Deferred,
    receive: Receive::Multishot,
    send: Transmit::Copied,
    gso: Offload::On,
    gro: Offload::On,
    socket: Handle::Registered,
    ring: Handle::Registered,
};

#[rustfmt::skip]
static WAYS: [(&str, Way); 11] = [
    ("default", DEFAULT),
    ("without DEFER_TASKRUN", Way { task_work: TaskWork::AtOnce, ..DEFAULT }),
    ("SQPOLL", Way { task_work: TaskWork::Polled, ..DEFAULT }),
    ("one shot recvmsg", Way { receive: Receive::Provided, ..DEFAULT }),
    ("one shot, own buffers", Way { receive: Receive::Own, ..DEFAULT }),
    ("plain socket descriptor", Way { socket: Handle::Descriptor, ..DEFAULT }),
    ("plain ring descriptor", Way { ring: Handle::Descriptor, ..DEFAULT }),
    ("SENDMSG_ZC", Way { send: Transmit::ZeroCopy, ..DEFAULT }),
    ("without GRO", Way { gro: Offload::Off, ..DEFAULT }),
    ("without GSO", Way { gso: Offload::Off, ..DEFAULT }),
    ("sendmsg, recvmsg", Way { calls: Calls::System, ..DEFAULT }),
];

impl Way {
    /// Payload of one send.
    fn burst_bytes(&self) -> usize {
        match self.gso {
            Offload::On => SEGMENT_BYTES * SEGMENTS,
            Offload::Off => SEGMENT_BYTES,
        }
    }
}

/// What one side did.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// System calls, those that wait included.
    calls: u64,
    /// SENDMSG_ZC: notifications, and how many of them said that the kernel copied after all.
    notified: u64,
    copied: u64,
}

/// One run of one way.
struct Run {
    wall_ns_per_kib: f64,
    cpu_ns_per_kib: f64,
    sender: Side,
    receiver: Side,
}

struct Options {
    bytes: u64,
    rounds: usize,
}

fn main() -> ExitCode {
    // `cargo test --all-targets` runs this program as well: then there is nothing to measure.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if !words.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    match options(&words).and_then(|options| measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("features: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(words: &[String]) -> Result<Options, String> {
    let mut options = Options {
        bytes: 2 << 30,
        rounds: 5,
    };
    let mut words = words.iter().filter(|word| *word != "--bench");
    while let Some(word) = words.next() {
        let number = words.next().and_then(|n| n.parse::<u32>().ok()).filter(|n| *n > 0);
        match (word.as_str(), number) {
            ("--mib", Some(mib)) => options.bytes = u64::from(mib) << 20,
            ("--rounds", Some(rounds)) => options.rounds = rounds as usize,
            _ => {
                return Err(format!(
                    "cannot read {word:?}: wanted are --mib N (to move in each run) and --rounds N, above 0"
                ));
            }
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<(), String> {
    let mut runs: Vec<Vec<Run>> = WAYS.iter().map(|_| Vec::new()).collect();
    for round in 1..=options.rounds {
        eprintln!("features: round {round} of {}", options.rounds);
        for ((name, way), runs) in WAYS.iter().zip(&mut runs) {
            runs.push(run(way, options.bytes).map_err(|e| format!("{name}: {e}"))?);
        }
    }
    println!(
        "{} MiB in datagrams of {SEGMENT_BYTES} bytes over the loopback, median of {} (min-max)",
        options.bytes >> 20,
        options.rounds
    );
    let row = |cells: [&str; 7]| {
        let [name, wall, cpu, times, sender, receiver, copied] = cells;
        println!(
            "{}",
            format!("{name:<26}{wall:<20}{cpu:<20}{times:<12}{sender:<14}{receiver:<14}{copied}").trim_end()
        );
    };
    row([
        "way",
        "ns/KiB",
        "CPU ns/KiB",
        "x default",
        "calls/MB tx",
        "calls/MB rx",
        "copied",
    ]);
    let default = spread(&runs[0], |run| run.wall_ns_per_kib)[1];
    for ((name, way), runs) in WAYS.iter().zip(&runs) {
        let show = |[min, median, max]: [f64; 3]| format!("{median:.0} ({min:.0}-{max:.0})");
        let wall = spread(runs, |run| run.wall_ns_per_kib);
        let megabytes = options.bytes as f64 / 1e6;
        let calls = |side: fn(&Run) -> Side| format!("{:.1}", spread(runs, |run| side(run).calls as f64 / megabytes)[1]);
        let share = |run: &Run| 100.0 * run.sender.copied as f64 / run.sender.notified.max(1) as f64;
        row([
            name,
            &show(wall),
            &show(spread(runs, |run| run.cpu_ns_per_kib)),
            &format!("{:.2}", wall[1] / default),
            &calls(|run| run.sender),
            &calls(|run| run.receiver),
            &match way.send {
                Transmit::Copied => String::new(),
                Transmit::ZeroCopy => format!("{:.0} %", spread(runs, share)[1]),
            },
        ]);
    }
    Ok(())
}

/// Smallest, middle (the upper one of two) and largest.
fn spread(runs: &[Run], value: impl Fn(&Run) -> f64) -> [f64; 3] {
    let mut values: Vec<f64> = runs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

/// Moves at least `bytes` one way, between two threads made for it.
fn run(way: &'static Way, bytes: u64) -> io::Result<Run> {
    let options = SocketOptions {
        receive_buffer_bytes: Some(SOCKET_BYTES),
        ..SocketOptions::default()
    };
    let bind = || UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &options).map_err(io::Error::other);
    let (source, sink) = (bind()?, bind()?);
    if way.gro == Offload::Off {
        message::turn_gro_off(&sink)?;
    }
    let granted = sink.granted().receive_buffer_bytes;
    if granted < SOCKET_BYTES {
        let remedy = format!("a socket gets {granted} of {SOCKET_BYTES} bytes: run as root, or raise net.core.rmem_max");
        return Err(io::Error::other(remedy));
    }
    let (to, window) = (sink.local_addr(), Arc::new(Window::new()));
    let total = bytes.div_ceil(way.burst_bytes() as u64) * way.burst_bytes() as u64;

    let (told, ends) = mpsc::channel();
    let (started, cpu) = (Instant::now(), message::process_cpu());
    let (tell, ahead) = (told.clone(), window.clone());
    thread::spawn(move || {
        let ended = match way.calls {
            Calls::Ring => uring::receive(way, &sink, total, &ahead),
            Calls::System => plain::receive(&sink, total, &ahead),
        };
        // Nobody listens when the other side has failed before.
        let _ = tell.send((End::Receiver, ended));
    });
    thread::spawn(move || {
        let ended = match way.calls {
            Calls::Ring => uring::send(way, &source, to, total, &window),
            Calls::System => plain::send(way, &source, to, total, &window),
        };
        let _ = told.send((End::Sender, ended));
    });
    let patience = PATIENCE + Duration::from_secs(total / SLOWEST_BYTES_PER_S);
    let mut sides = [Side::default(); 2];
    for _ in 0..2 {
        let lost = |_| io::Error::other("datagrams were lost: run it again with less load on the machine");
        let (end, side) = ends.recv_timeout(patience).map_err(lost)?;
        sides[end as usize] = side?;
    }
    let per_kib = |spent: Duration| spent.as_secs_f64() * 1e9 / (total as f64 / 1024.0);
    Ok(Run {
        wall_ns_per_kib: per_kib(started.elapsed()),
        cpu_ns_per_kib: per_kib(message::process_cpu() - cpu),
        sender: sides[End::Sender as usize],
        receiver: sides[End::Receiver as usize],
    })
}

/// Index of a side.
#[derive(Clone, Copy)]
enum End {
    Sender = 0,
    Receiver = 1,
}
