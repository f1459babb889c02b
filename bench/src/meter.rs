//! One command measured: wall time, processor time and peak memory of both sides, and what the machine did meanwhile.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ares_tests::procfs::{self, Cpu};
use ares_tests::scratch::quiet;
use ares_tests::{Node, Outcome, Running};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Longest run that is still a measurement.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Pause between two looks at the memory of a process. Its own high-water mark is read, so only the last look can miss something.
const LOOK: Duration = Duration::from_millis(20);

/// What one run took.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// From the start of the command to its end, seconds.
    pub seconds: f64,
    /// Processor time of the command.
    pub client: Cpu,
    /// Processor time of the server's processes meanwhile.
    pub server: Cpu,
    /// Largest resident memory of the command, bytes.
    pub client_peak: u64,
    /// Largest resident memory of the server's processes meanwhile, bytes, summed over them.
    pub server_peak: u64,
    /// Largest resident memory of the command in each quarter of its run, bytes.
    pub client_memory: [u64; 4],
    /// The same of the server's processes, summed over them.
    pub server_memory: [u64; 4],
    /// Bytes that left the server's network namespace meanwhile; on loopback those of the client and of other programs, too.
    pub sent_bytes: u64,
    /// Processor time of the whole machine, softirqs and other programs included, seconds.
    pub machine_s: f64,
    /// Share of the machine's time that the hypervisor took, percent.
    pub steal_percent: f64,
    /// Load average at the end.
    pub load: f64,
}

/// The processes of a server: itself and its children.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    pids.extend(procfs::children(pid));
    pids
}

fn cpu_of(pids: &[u32]) -> Cpu {
    let parts = pids.iter().filter_map(|p| procfs::cpu(*p));
    parts.fold(Cpu::default(), |sum, c| Cpu {
        user_s: sum.user_s + c.user_s,
        sys_s: sum.sys_s + c.sys_s,
    })
}

/// Runs `command` on `node` to its end while the processes `servers` serve it: what it took, and what it said.
///
/// # Panics
/// Where it fails: a failed run is no figure.
pub(crate) fn measure(node: &Node, command: Command, servers: &[u32]) -> (Sample, Outcome) {
    servers.iter().for_each(|pid| procfs::reset_peak(*pid));
    let sent = || servers.first().and_then(|pid| procfs::sent_bytes(*pid)).unwrap_or(0);
    let (server_before, machine_before, sent_before) = (cpu_of(servers), procfs::machine(), sent());
    let running = node.start(command);
    let (client_peak, memory) = watch(&running, servers);
    let outcome = running.wait(PATIENCE).expect_ok();
    let (server_after, machine_after) = (cpu_of(servers), procfs::machine());
    let all = machine_after.all_s - machine_before.all_s;
    let sample = Sample {
        seconds: outcome.took.as_secs_f64(),
        client: outcome.cpu,
        server: server_after.since(server_before),
        client_peak,
        server_peak: servers.iter().filter_map(|p| procfs::peak_rss_bytes(*p)).sum(),
        client_memory: quarters(&memory, |look| look.client),
        server_memory: quarters(&memory, |look| look.server),
        sent_bytes: sent() - sent_before,
        machine_s: machine_after.busy_s - machine_before.busy_s,
        steal_percent: if all > 0.0 {
            100.0 * (machine_after.steal_s - machine_before.steal_s) / all
        } else {
            0.0
        },
        load: procfs::load(),
    };
    (sample, outcome)
}

/// Resident memory at one moment, bytes.
struct Look {
    client: u64,
    server: u64,
}

/// Follows a process to its end: its largest resident memory, and how that of both sides went.
fn watch(running: &Running, servers: &[u32]) -> (u64, Vec<Look>) {
    let mut peak = 0;
    let mut course = Vec::new();
    while !running.ended_within(LOOK) {
        peak = procfs::peak_rss_bytes(running.pid()).unwrap_or(0).max(peak);
        course.extend(procfs::rss_bytes(running.pid()).map(|client| Look {
            client,
            server: servers.iter().filter_map(|pid| procfs::rss_bytes(*pid)).sum(),
        }));
    }
    (peak, course)
}

/// The largest of each quarter; zero where there is none.
fn quarters(course: &[Look], of: impl Fn(&Look) -> u64) -> [u64; 4] {
    [0, 1, 2, 3].map(|n| {
        let part = course.len() * n / 4..course.len() * (n + 1) / 4;
        course[part].iter().map(&of).max().unwrap_or(0)
    })
}

impl Sample {
    /// Millions of bytes a second.
    pub(crate) fn mb_per_s(&self, bytes: u64) -> f64 {
        bytes as f64 / 1e6 / self.seconds
    }

    /// As one JSON object; `head` says what was measured.
    pub(crate) fn to_json(&self, mut head: Value, bytes: u64) -> Value {
        let cpu = |c: Cpu| json!({ "user_s": c.user_s, "sys_s": c.sys_s, "s_per_gb": c.total_s() / (bytes as f64 / 1e9) });
        let figures = json!({
            "bytes": bytes,
            "seconds": self.seconds,
            "mb_per_s": self.mb_per_s(bytes),
            "client_cpu": cpu(self.client),
            "server_cpu": cpu(self.server),
            "client_peak_rss": self.client_peak,
            "server_peak_rss": self.server_peak,
            "client_rss_by_quarter": self.client_memory,
            "server_rss_by_quarter": self.server_memory,
            "sent_bytes": self.sent_bytes,
            "machine_cpu_s": self.machine_s,
            "steal_percent": self.steal_percent,
            "load": self.load,
        });
        if let (Some(head), Value::Object(figures)) = (head.as_object_mut(), figures) {
            head.extend(figures);
        }
        head
    }
}

/// System calls of both sides of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    /// By the command.
    pub client: u64,
    /// By the server's processes meanwhile.
    pub server: u64,
}

/// Counts system calls in a run of its own, since counting costs: with perf's tracepoint, else with strace. `None` without either, and
/// without a server.
pub(crate) fn count_calls(node: &Node, command: &Command, servers: &[u32]) -> Option<Calls> {
    let counter = Counter::find().filter(|_| !servers.is_empty())?;
    let (ours, theirs) = (node.dir().join("calls.client"), node.dir().join("calls.server"));
    let attached = node.start(counter.attach(servers, &theirs));
    // The counter says nothing once it is attached; it has to open its output first.
    ares_tests::wait::within(Duration::from_secs(5), || theirs.exists().then_some(()))?;
    node.start(counter.wrap(command, &ours)).wait(PATIENCE).expect_ok();
    attached.signal(Signal::INT);
    attached.wait(PATIENCE);
    Some(Calls {
        client: counter.read(&ours)?,
        server: counter.read(&theirs)?,
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Counter {
    Perf,
    Strace,
}

impl Counter {
    fn find() -> Option<Self> {
        if quiet(Command::new("perf").args(["stat", "-e", PERF_EVENT, "true"])) {
            Some(Self::Perf)
        } else if quiet(Command::new("strace").args(["-c", "-f", "true"])) {
            Some(Self::Strace)
        } else {
            None
        }
    }

    fn attach(self, pids: &[u32], output: &Path) -> Command {
        let list: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut command = self.into_file(output);
        command.arg("-p").arg(list.join(","));
        command
    }

    fn wrap(self, command: &Command, output: &Path) -> Command {
        let mut wrapped = self.into_file(output);
        wrapped.arg("--").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        wrapped
    }

    fn into_file(self, output: &Path) -> Command {
        let mut command;
        match self {
            Self::Perf => {
                command = Command::new("perf");
                command.args(["stat", "-x", ",", "-e", PERF_EVENT]);
            }
            Self::Strace => {
                command = Command::new("strace");
                command.args(["-c", "-f"]);
            }
        }
        command.arg("-o").arg(output);
        command
    }

    fn read(self, output: &Path) -> Option<u64> {
        let text = std::fs::read_to_string(output).ok()?;
        match self {
            Self::Perf => text.lines().find(|l| l.contains(PERF_EVENT))?.split(',').next()?.parse().ok(),
            // `100.00    0.001859          64        29         1 total`
            Self::Strace => text
                .lines()
                .find(|l| l.ends_with(" total"))?
                .split_ascii_whitespace()
                .nth(3)?
                .parse()
                .ok(),
        }
    }
}

const PERF_EVENT: &str = "raw_syscalls:sys_enter";
