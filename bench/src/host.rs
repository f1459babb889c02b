//! The facts that a figure means nothing without: machine, kernel, versions, commit, and what else ran.

use std::process::Command;

use ares_tests::procfs;
use serde_json::{Value, json};

/// The first line a command prints on either stream; empty where it cannot be run.
fn said(program: &str, args: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(args).output() else {
        return String::new();
    };
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both)
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn line_of(path: &str, key: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default();
    line.split_once([':', '='])
        .map_or(line, |(_, value)| value)
        .trim()
        .trim_matches('"')
        .to_owned()
}

/// Everything about this host and this commit.
pub(crate) fn facts() -> Value {
    let dirty = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    json!({
        "row": "host",
        "cpu": line_of("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": line_of("/proc/meminfo", "MemTotal"),
        "kernel": said("uname", &["-sr"]),
        "system": line_of("/etc/os-release", "PRETTY_NAME"),
        "commit": said("git", &["rev-parse", "HEAD"]),
        "uncommitted_changes": dirty,
        "rustc": said("rustc", &["--version"]),
        "nginx": said("nginx", &["-v"]),
        "curl": said("curl", &["--version"]),
        "aria2": said("aria2c", &["--version"]),
        "tcp_congestion": line_of("/proc/sys/net/ipv4/tcp_congestion_control", ""),
        "rmem_max": line_of("/proc/sys/net/core/rmem_max", ""),
        "unix_time": std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        "load": procfs::load(),
    })
}

/// One line for people.
pub(crate) fn headline(facts: &Value) -> String {
    let text = |key: &str| facts[key].as_str().unwrap_or_default();
    let commit = text("commit").get(..12).unwrap_or("no commit");
    let changes = if facts["uncommitted_changes"] == true {
        " + changes"
    } else {
        ""
    };
    format!(
        "{} x {}, {}, {}, commit {commit}{changes}, load {}",
        facts["processors"],
        text("cpu"),
        text("memory"),
        text("kernel"),
        facts["load"]
    )
}
