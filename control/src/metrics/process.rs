//! What the kernel counts of this process, under the names that Prometheus' own clients give it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::text::Kind::{Counter, Gauge};
use super::text::Page;

/// Writes the process's families. `uptime`: of the node, which starts with the process.
pub(super) fn write(page: &mut Page, uptime: Duration) {
    // Where /proc is hidden, what it would tell is left out.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    if let Some(kib) = field("VmRSS:") {
        let help = "Memory that is in RAM, in bytes.";
        page.one(Gauge, "process_resident_memory_bytes", help, kib << 10);
    }
    if let Some(threads) = field("Threads:") {
        page.one(Gauge, "process_threads", "Threads.", threads);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.one(Gauge, "process_open_fds", "Open file descriptors.", open.count());
    }
    // No limit is shown as none.
    if let Some(most) = getrlimit(Resource::Nofile).current {
        page.one(Gauge, "process_max_fds", "Most file descriptors that may be open.", most);
    }
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    page.one(
        Counter,
        "process_cpu_seconds_total",
        "Processor time of all threads, in seconds.",
        cpu,
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started = now.saturating_sub(uptime).as_secs_f64();
    let help = "When the daemon started, in seconds since 1970.";
    page.one(Gauge, "process_start_time_seconds", help, started);
}
