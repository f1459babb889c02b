//! What a reader of a mount waits for: the first byte after `ares mount`, and a whole file read cold, against `ares get` of the same.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ares_tests::mount::Mounted;
use ares_tests::procfs::{self, Cpu};
use ares_tests::scratch::{mount_tmpfs, quiet};
use ares_tests::{Daemon, Lab, daemon, tree, wait};
use serde_json::json;

use crate::error::{BenchError, Result, io};
use crate::reads::read_whole;
use crate::report::{Report, parse_size, say};
use crate::stats::{Spread, cell, table};

/// `mount`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of the file.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// Runs.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// MTU of the cable, bytes.
    #[arg(long, default_value_t = 1500)]
    mtu: u16,
    /// Where the stores lie: the disk writes what comes meanwhile, a tmpfs does not.
    #[arg(long, value_enum, default_value = "disk")]
    dest: Dest,
    /// How the mount speaks with the kernel, as `ares mount --transport` names it.
    #[arg(long, default_value = "dev")]
    transport: String,
    /// Append one JSON line per run to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dest {
    /// A tmpfs made for it.
    Tmpfs,
    /// The filesystem of the temporary directory.
    Disk,
}

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let lab = Lab::pair("bench-mount", args.mtu).ok_or(BenchError::NoLab)?;
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    tree::source(&release, 200, 3);
    tree::big_file(&release.join("big"), args.size, 4);
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    let dir = reader.dir().join("mounted");
    std::fs::create_dir(&dir).map_err(io("cannot make", &dir))?;
    let rate = |took: Duration| args.size as f64 / 1e6 / took.as_secs_f64();
    let sink = reader.dir().join("sink");
    std::fs::create_dir(&sink).map_err(io("cannot make", &sink))?;
    if args.dest == Dest::Tmpfs && !mount_tmpfs(&sink, &format!("size={}", 2 * args.size + (1 << 30))) {
        return Err(BenchError::NoLab);
    }
    let per_gb = |cpu: Cpu| cpu.total_s() / (args.size as f64 / 1e9);
    let cpu_of = |pid: u32| procfs::cpu(pid).unwrap_or_default();
    let (mut first, mut cold, mut warm, mut got) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut costs: [Vec<f64>; 5] = Default::default();
    for run in 1..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        let fresh = |what: &str| reader.with_state(sink.join(format!("state-{what}-{run}")));
        let node = fresh("mount");
        let first_ms = time_to_first_byte(&node, &link, &dir)?.as_secs_f64() * 1e3;
        // Again with nothing held, so that the read is cold from its first byte.
        let node = fresh("read");
        let mounted = Mounted::with(&node, &link, &dir, &["--transport", &args.transport]);
        settle(&sink);
        let before = [server.pid(), mounted.pid(), std::process::id()].map(cpu_of);
        let cold_mb = rate(read_all(&dir.join("big"), args.size)?);
        let after = [server.pid(), mounted.pid(), std::process::id()].map(cpu_of);
        let warm_mb = rate(read_all(&dir.join("big"), args.size)?);
        let memory = procfs::peak_rss_bytes(mounted.pid()).unwrap_or(0);
        mounted.end_by(rustix::process::Signal::TERM).expect_ok();
        let node = fresh("get");
        let dest = sink.join("got");
        settle(&sink);
        let served = cpu_of(server.pid());
        let get = node.run(daemon::get(&node, &format!("{link}/big"), &dest)).expect_ok();
        let get_mb = rate(get.took);
        let [by_server, by_mount, by_reader] = [0, 1, 2].map(|of| per_gb(after[of].since(before[of])));
        let [get_by_server, get_by_client] = [cpu_of(server.pid()).since(served), get.cpu].map(per_gb);
        let spent = [by_server, by_mount, by_reader, get_by_server, get_by_client];
        costs.iter_mut().zip(spent).for_each(|(all, one)| all.push(one));
        report.row(&json!({
            "row": "mount", "run": run, "bytes": args.size, "mtu": args.mtu, "first_byte_ms": first_ms,
            "cold_mb_per_s": cold_mb, "warm_mb_per_s": warm_mb, "get_mb_per_s": get_mb, "mount_peak_rss": memory,
            "cold_cpu_s_per_gb": { "server": by_server, "mount": by_mount, "reader": by_reader },
            "get_cpu_s_per_gb": { "server": get_by_server, "client": get_by_client },
        }));
        first.push(first_ms);
        cold.push(cold_mb);
        warm.push(warm_mb);
        got.push(get_mb);
        for leftover in [
            dest,
            fresh("mount").state().to_owned(),
            fresh("read").state().to_owned(),
            fresh("get").state().to_owned(),
        ] {
            let removed = if leftover.is_dir() {
                std::fs::remove_dir_all(&leftover)
            } else {
                std::fs::remove_file(&leftover)
            };
            removed.map_err(io("cannot remove", &leftover))?;
        }
    }
    let medians = [&cold, &got].map(|v| Spread::of(v.iter().copied()).map_or(0.0, |s| s.median));
    println!(
        "\n{} bytes over veth {}, stores on {:?}, {}, median of {} (min-max)",
        args.size, args.mtu, args.dest, args.transport, args.runs
    );
    let rows = [
        ["first byte, ms", "cold read MB/s", "warm read MB/s", "get MB/s", "cold / get"]
            .map(str::to_owned)
            .to_vec(),
        vec![
            cell(first, 1),
            cell(cold, 0),
            cell(warm, 0),
            cell(got, 0),
            format!("{:.2}", medians[0] / medians[1]),
        ],
    ];
    print!("{}", table(&rows));
    let titles = ["server", "mount", "reader", "server of get", "get"].map(|of| format!("{of}, CPU s/GB"));
    print!("{}", table(&[titles.to_vec(), costs.map(|all| cell(all, 2)).to_vec()]));
    Ok(())
}

/// Lets the disk come to rest, so that what one run wrote costs the next nothing.
fn settle(sink: &Path) {
    quiet(Command::new("sync").arg("--file-system").arg(sink));
}

/// From the start of `ares mount` to the first byte of a file in it; the directory is free again afterwards.
fn time_to_first_byte(node: &ares_tests::Node, link: &str, dir: &Path) -> Result<Duration> {
    let start = Instant::now();
    let mut command = node.ares(["mount", link]);
    command.arg(dir);
    let running = node.start(command);
    let wanted = dir.join("part-000/module-00/file-00000.rs");
    let byte = wait::closely(PATIENCE, || {
        assert!(running.is_running(), "`ares mount` ended by itself:\n{}", running.stderr());
        File::open(&wanted).ok()?.read(&mut [0]).ok()
    });
    let took = start.elapsed();
    running.signal(rustix::process::Signal::TERM);
    running.wait(PATIENCE).expect_ok();
    byte.map(|_| took).ok_or(BenchError::WrongResult {
        peer: "ares",
        what: "no first byte through the mount".to_owned(),
    })
}

fn read_all(path: &Path, bytes: u64) -> Result<Duration> {
    let start = Instant::now();
    read_whole(path, bytes)?;
    Ok(start.elapsed())
}
