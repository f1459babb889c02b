//! How fast a tree is published: `ares publish` of warm files against b3sum of the same files, in turn.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use ares_tests::scratch::quiet;
use ares_tests::{Lab, compare, tree};
use serde_json::json;

use crate::error::{Result, io};
use crate::meter::{self, Sample};
use crate::report::{Report, parse_size, say};
use crate::stats::{Spread, cell, mib, table};

/// `publish`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file or tree to publish; else an incompressible file of `--size` is made.
    path: Option<PathBuf>,
    /// Bytes of the file that is made.
    #[arg(long, default_value = "4GiB", value_parser = parse_size)]
    size: u64,
    /// Runs of each.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Append one JSON line per run to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// `b3`
#[derive(Debug, clap::Args)]
pub(crate) struct B3Args {
    /// A file that lists files, each ended by a NUL.
    list: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let lab = Lab::on_loopback("bench-publish", 1);
    let node = lab.node(0);
    let path = args.path.clone().unwrap_or_else(|| {
        let file = node.dir().join("file.bin");
        tree::big_file(&file, args.size, 2);
        file
    });
    let files = files_below(&path);
    let bytes: u64 = files.iter().filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum();
    let list = node.dir().join("list");
    write_list(&files, &list).map_err(io("cannot write", &list))?;

    let has_b3sum = quiet(Command::new("b3sum").arg("--version"));
    let hasher = if has_b3sum {
        "b3sum"
    } else {
        "b3sum's calls (install the real one: cargo install b3sum)"
    };
    let hash = || {
        if has_b3sum {
            let mut command = node.command("xargs");
            command.args(["-0", "-n", "10000", "-a"]).arg(&list).arg("b3sum");
            return command;
        }
        let mut command = node.command(std::env::current_exe().unwrap_or_else(|_| "bench".into()));
        command.arg("b3").arg(&list);
        command
    };
    // Warms the page cache for both.
    meter::measure(node, hash(), &[]);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 1..=args.runs {
        say(&format!("{} files, {bytes} bytes, run {run} of {}", files.len(), args.runs));
        let fresh = node.with_state(node.dir().join(format!("state-{run}")));
        let mut publish = fresh.ares(["publish"]);
        publish.arg(&path).arg("--json");
        for (name, command, samples) in [("ares publish", publish, &mut ours), (hasher, hash(), &mut theirs)] {
            let (sample, _) = meter::measure(node, command, &[]);
            report.row(&sample.to_json(
                json!({ "row": "publish", "peer": name, "files": files.len(), "run": run }),
                bytes,
            ));
            samples.push(sample);
        }
    }
    println!(
        "\n{} files, {bytes} bytes, warm, median of {} (min-max)",
        files.len(),
        args.runs
    );
    print!("{}", show(&[("ares publish", &ours), (hasher, &theirs)], bytes));
    Ok(())
}

fn show(rows: &[(&str, &[Sample])], bytes: u64) -> String {
    let gb = bytes as f64 / 1e9;
    let mut text = vec![
        ["what", "MB/s", "CPU s/GB", "RSS MiB", "steal %", "load"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (name, samples) in rows {
        text.push(vec![
            (*name).to_owned(),
            cell(samples.iter().map(|s| s.mb_per_s(bytes)), 0),
            cell(samples.iter().map(|s| s.client.total_s() / gb), 2),
            cell(samples.iter().map(|s| mib(s.client_peak)), 0),
            cell(samples.iter().map(|s| s.steal_percent), 0),
            cell(samples.iter().map(|s| s.load), 1),
        ]);
    }
    let medians: Vec<f64> = rows
        .iter()
        .filter_map(|(_, s)| Spread::of(s.iter().map(|s| s.mb_per_s(bytes))))
        .map(|s| s.median)
        .collect();
    let ratio = if let [ours, theirs] = medians[..] {
        format!("ares / b3sum = {:.2}\n", ours / theirs)
    } else {
        String::new()
    };
    table(&text) + &ratio
}

/// Regular files at or below `path`.
fn files_below(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        vec![path.to_owned()]
    } else {
        compare::files_below(path)
    }
}

fn write_list(files: &[PathBuf], list: &Path) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut out = std::io::BufWriter::new(File::create(list)?);
    for file in files {
        out.write_all(file.as_os_str().as_bytes())?;
        out.write_all(&[0])?;
    }
    out.flush()
}

/// What b3sum does by default: memory-maps each file and hashes it on all processors.
pub(crate) fn b3(args: &B3Args) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let list = std::fs::read(&args.list).map_err(io("cannot read", &args.list))?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for name in list.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let path = Path::new(std::ffi::OsStr::from_bytes(name));
        let mut hasher = blake3::Hasher::new();
        hasher.update_mmap_rayon(path).map_err(io("cannot read", path))?;
        writeln!(out, "{}  {}", hasher.finalize(), path.display()).map_err(io("cannot write", Path::new("stdout")))?;
    }
    Ok(())
}
