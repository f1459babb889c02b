//! What /proc says about processes: who lives, what they cost, how much memory they took.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// Processor time of a process, all its threads (the dead ones too) included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    /// In user mode, seconds.
    pub user_s: f64,
    /// In the kernel, seconds.
    pub sys_s: f64,
}

impl Cpu {
    /// User and kernel time together, seconds.
    pub fn total_s(self) -> f64 {
        self.user_s + self.sys_s
    }

    /// What was spent since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user_s: self.user_s - earlier.user_s,
            sys_s: self.sys_s - earlier.sys_s,
        }
    }
}

/// Fields of /proc/PID/stat after the command name, which may itself hold blanks and parentheses (proc_pid_stat(5)).
/// The first one is field 3, the state.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &text[text.rfind(')')? + 2..];
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

fn field<T: std::str::FromStr>(fields: &[String], number: usize) -> Option<T> {
    fields.get(number - 3)?.parse().ok()
}

/// When the process started, in clock ticks since boot: together with the pid it names one process for ever.
pub fn start_ticks(pid: u32) -> Option<u64> {
    field(&stat_fields(pid)?, 22)
}

/// Processor time of a living process or of a zombie not yet reaped; resolution one clock tick (10 ms).
pub fn cpu(pid: u32) -> Option<Cpu> {
    let fields = stat_fields(pid)?;
    let tick = clock_ticks_per_second() as f64;
    let seconds = |number| Some(field::<u64>(&fields, number)? as f64 / tick);
    Some(Cpu {
        user_s: seconds(14)?,
        sys_s: seconds(15)?,
    })
}

/// A `kB` line of /proc/PID/status, in bytes.
fn status_bytes(pid: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|l| l.starts_with(key))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// Resident memory now, bytes.
pub fn rss_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// Largest resident memory so far (since `reset_peak`), bytes.
pub fn peak_rss_bytes(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmHWM:")
}

/// Starts the peak of `peak_rss_bytes` anew (proc_pid_clear_refs(5), value 5). Where the kernel refuses, the peak stays as it was.
pub fn reset_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// Bytes that have left by any interface of the network namespace that a process is in, headers included.
pub fn sent_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    Some(sent_by_each(&text).map(|(_, bytes)| bytes).sum())
}

/// The same by one interface, of the network namespace that this thread is in.
pub(crate) fn sent_by(device: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").ok()?;
    sent_by_each(&text).find(|(name, _)| *name == device).map(|(_, bytes)| bytes)
}

/// The lines of /proc/PID/net/dev, `  eth0: ` and 16 numbers, of which the ninth counts what was sent (netdevice(7)).
fn sent_by_each(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        Some((name.trim(), numbers.split_ascii_whitespace().nth(8)?.parse().ok()?))
    })
}

/// All processes of the machine that may be seen.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

/// Child processes of `pid`, not their children.
pub fn children(pid: u32) -> Vec<u32> {
    pids()
        .into_iter()
        .filter(|p| stat_fields(*p).and_then(|f| field(&f, 4)) == Some(pid))
        .collect()
}

/// The value of an environment variable a process was started with.
pub fn environment(pid: u32, key: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{key}=");
    let value = bytes.split(|b| *b == 0).find_map(|var| var.strip_prefix(prefix.as_bytes()))?;
    String::from_utf8(value.to_vec()).ok()
}

/// Whether the process is between exec and its program's start: it has memory, and `environment` finds nothing yet. Whoever
/// started it is told before that (measured: of 3,000 just started under load 2,484 were still there).
pub fn is_starting(pid: u32) -> bool {
    let is_empty = fs::read(format!("/proc/{pid}/environ")).is_ok_and(|bytes| bytes.is_empty());
    // Fields 23 and 51, vsize and env_end: a kernel thread has no memory, and who has no environment has an end of it.
    let has_memory_alone = |fields: Vec<String>| field::<u64>(&fields, 23) > Some(0) && field::<u64>(&fields, 51) == Some(0);
    is_empty && stat_fields(pid).is_some_and(has_memory_alone)
}

/// Processor time of the whole machine since boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// Not idle, seconds over all processors.
    pub busy_s: f64,
    /// Taken by the hypervisor for others, seconds over all processors.
    pub steal_s: f64,
    /// Everything, seconds over all processors.
    pub all_s: f64,
}

/// Reads /proc/stat (proc_stat(5)); zeros where it cannot be read.
pub fn machine() -> Machine {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let tick = clock_ticks_per_second() as f64;
    let first = text.lines().next().unwrap_or_default();
    let fields: Vec<f64> = first
        .split_ascii_whitespace()
        .skip(1)
        .take(8)
        .map(|f| f.parse().unwrap_or(0.0) / tick)
        .collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal] = fields[..] else {
        return Machine::default();
    };
    let busy_s = user + nice + system + irq + softirq;
    Machine {
        busy_s,
        steal_s: steal,
        all_s: busy_s + idle + iowait + steal,
    }
}

/// Memory that programs can have without swapping, bytes (proc_meminfo(5)); 0 where it cannot be read.
pub fn available_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Load average over the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace()
        .next()
        .and_then(|f| f.parse().ok())
        .unwrap_or(0.0)
}

/// Uptime of the machine.
pub fn uptime() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    Duration::from_secs_f64(
        text.split_ascii_whitespace()
            .next()
            .and_then(|f| f.parse().ok())
            .unwrap_or(0.0),
    )
}
