//! The checks of `ares doctor`. Each looks at one thing and says what it found.

use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ares_ring::probe::Status;

use super::Finding;
use crate::admin::client::Client;
use crate::config::Config;
use crate::render::Bytes;

/// Socket buffers that a path of 1 Gbit/s and 50 ms can fill, in bytes.
const SOCKET_BYTES_WANTED: u64 = 4 << 20;

/// Open files that a node with many peers, a deep tree and a busy mount can need.
const FILES_WANTED: u64 = 4096;

/// Free space below which a store fills soon, in bytes.
const FREE_BYTES_WANTED: u64 = 1 << 30;

/// A clock before this is not set: 2025-01-01.
const CLOCK_MIN_S: u64 = 1_735_689_600;

/// Every check, in the order of the report.
pub(super) fn all(config: &Config) -> Vec<Finding> {
    let mut findings = kernel();
    findings.push(files());
    findings.extend(socket_buffers());
    findings.extend([fuse_device(), fuse_helper(), state(&config.state)]);
    findings.extend(port(config));
    findings.push(clock());
    findings
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The probe of the ring crate is the authority: it tries what the data path needs.
fn kernel() -> Vec<Finding> {
    let probe = ares_ring::probe();
    let mut findings = vec![Finding::ok("kernel", format!("Linux {}", probe.kernel))];
    findings.extend(probe.findings.into_iter().map(|finding| {
        let what = finding.feature.to_string();
        match finding.status {
            Status::Found => Finding::ok(what, "there"),
            Status::Degraded { remedy } => Finding::warn(what, "missing or low", remedy),
            Status::Missing { remedy } => Finding::fail(what, "missing", remedy),
        }
    }));
    findings
}

fn files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.maximum {
        Some(n) if n < FILES_WANTED => Finding::warn(
            "nofile",
            format!("{n} open files at most"),
            format!("raise the hard limit to {FILES_WANTED} or more: ulimit -Hn, or LimitNOFILE= in the unit"),
        ),
        Some(n) => Finding::ok("nofile", format!("{n} open files at most")),
        None => Finding::ok("nofile", "unlimited"),
    }
}

fn socket_buffers() -> Vec<Finding> {
    let check = |what: &'static str, path: &str, sysctl: &str| {
        let Some(bytes) = read(path).and_then(|text| text.parse::<u64>().ok()) else {
            return Finding::warn(what, format!("{path} cannot be read"), "look at it as root");
        };
        match bytes < SOCKET_BYTES_WANTED {
            true => Finding::warn(
                what,
                format!("{} at most", Bytes(bytes)),
                format!("packets are dropped in bursts; as root: sysctl -w {sysctl}={SOCKET_BYTES_WANTED}"),
            ),
            false => Finding::ok(what, format!("{} at most", Bytes(bytes))),
        }
    };
    vec![
        check("rmem_max", "/proc/sys/net/core/rmem_max", "net.core.rmem_max"),
        check("wmem_max", "/proc/sys/net/core/wmem_max", "net.core.wmem_max"),
    ]
}

fn fuse_device() -> Finding {
    let device = Path::new("/dev/fuse");
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(device);
    match opened {
        Ok(_) => Finding::ok("fuse", "/dev/fuse can be opened"),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Finding::fail(
            "fuse",
            "/dev/fuse does not exist",
            "modprobe fuse; in a container: --device /dev/fuse. `ares get` works without it",
        ),
        Err(e) => {
            let mode = std::fs::metadata(device).map_or(0, |m| m.mode() & 0o777);
            Finding::fail(
                "fuse",
                format!("/dev/fuse (mode {mode:03o}): {}", crate::error::plain(&e)),
                "as root: chmod 666 /dev/fuse. `ares get` works without it",
            )
        }
    }
}

fn fuse_helper() -> Finding {
    let found = find_program("fusermount3");
    let is_root = rustix::process::geteuid().is_root();
    match found {
        Some(path) => match std::fs::metadata(&path).map(|m| m.permissions().mode() & 0o4000 != 0) {
            Ok(true) => Finding::ok("fusermount", path.display().to_string()),
            _ if is_root => Finding::ok("fusermount", format!("{} (not needed by root)", path.display())),
            _ => Finding::fail(
                "fusermount",
                format!("{} is not set-uid root", path.display()),
                "reinstall fuse3, or mount as root",
            ),
        },
        None if is_root => Finding::ok("fusermount", "not there, and not needed by root"),
        None => Finding::fail(
            "fusermount",
            "fusermount3 is not installed",
            "apt install fuse3, dnf install fuse3, or mount as root",
        ),
    }
}

/// The file of a program that would be run by name.
pub(in crate::cmd) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/bin".into(), "/usr/sbin".into()])
        .collect();
    dirs.into_iter().map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn state(dir: &Path) -> Finding {
    let Some(existing) = dir.ancestors().find(|d| d.is_dir()) else {
        return Finding::fail(
            "state",
            format!("{}: nothing above it exists", dir.display()),
            "name another with --state",
        );
    };
    if let Err(e) = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        let why = crate::error::plain(&e.into());
        return Finding::fail(
            "state",
            format!("{}: {why}", existing.display()),
            "run as its owner, or name another with --state",
        );
    }
    match rustix::fs::statvfs(existing) {
        Ok(fs) => {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize);
            let found = format!("{} with {} free", dir.display(), Bytes(free));
            match free < FREE_BYTES_WANTED {
                true => Finding::warn("state", found, "free some space, or name another with --state"),
                false => Finding::ok("state", found),
            }
        }
        Err(e) => Finding::warn("state", format!("{}: {e}", dir.display()), "look at the disk"),
    }
}

fn port(config: &Config) -> Vec<Finding> {
    if Client::connect(&config.state).is_ok_and(|client| client.is_some()) {
        return vec![Finding::ok("port", "a daemon runs on this state directory and has it")];
    }
    let check = |addr: &std::net::SocketAddr| match UdpSocket::bind(addr) {
        Ok(_) => Finding::ok("port", format!("{addr}/udp is free")),
        // Where IPv6 sockets take IPv4 too, the wildcard of one blocks that of the other: only we hold it then.
        Err(e) => Finding::fail(
            "port",
            format!("{addr}/udp: {}", crate::error::plain(&e)),
            "stop what has it (`ss -ulpn`), or listen elsewhere: `ares serve --listen IP:PORT`, or `listen` in the config file",
        ),
    };
    config.listen.iter().map(check).collect()
}

fn clock() -> Finding {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    match now_s < CLOCK_MIN_S {
        true => Finding::warn(
            "clock",
            "the clock is years behind",
            "set it: file times and logs are wrong, transfers are not",
        ),
        false => Finding::ok("clock", "set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::doctor::Verdict;

    #[test]
    fn a_state_directory_is_judged_by_what_is_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("not/yet/there");
        assert_ne!(state(&below).verdict, Verdict::Fail);
        assert!(!below.exists(), "doctor changes nothing");
    }

    #[test]
    fn a_failure_has_a_remedy() {
        let config = crate::config::resolve(&crate::lowargs::GlobalArgs::default(), &|name| {
            (name == "HOME").then(|| "/nowhere".into())
        });
        for finding in all(&config.unwrap()) {
            assert!(finding.verdict == Verdict::Ok || !finding.remedy.is_empty(), "{finding:?}");
        }
    }
}
