//! Real input: a big tree published once, fetched by a second machine, mounted on a third, and compared byte by byte by `diff`.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ares_tests::mount::Mounted;
use ares_tests::{Daemon, Lab, Node, compare, daemon};
use serde_json::json;

use crate::error::{BenchError, Result, io};
use crate::report::{Report, say};
use crate::stats::table;

/// `demo-tree`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tree; else what `rustc --print sysroot` says.
    path: Option<PathBuf>,
    /// Append JSON lines to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

const PATIENCE: Duration = Duration::from_secs(1800);

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let path = match &args.path {
        Some(path) => path.clone(),
        None => sysroot()?,
    };
    let lab = Lab::new("bench-tree", 3).ok_or(BenchError::NoLab)?;
    let [publisher, getter, mounter] = [0, 1, 2].map(|i| lab.node(i));
    let (files, bytes) = (compare::files_below(&path).len(), compare::tree_bytes(&path));
    println!("{}: {files} files, {bytes} bytes", path.display());
    let mut rows = vec![["step", "seconds", "MB/s"].map(str::to_owned).to_vec()];
    let mut step = |name: &str, took: Duration| {
        let seconds = took.as_secs_f64();
        rows.push(vec![
            name.to_owned(),
            format!("{seconds:.2}"),
            format!("{:.0}", bytes as f64 / 1e6 / seconds),
        ]);
        report.row(&json!({ "row": "demo-tree", "step": name, "seconds": seconds, "bytes": bytes, "files": files }));
    };

    let server = Daemon::serve(publisher);
    say("publish");
    let start = Instant::now();
    let published = server.publish(&path);
    step("publish", start.elapsed());
    say("publish on another machine");
    let start = Instant::now();
    let again = daemon::publish(&getter.with_state(getter.dir().join("publisher")), &path);
    step("publish elsewhere", start.elapsed());
    if again.release != published.release {
        return Err(BenchError::WrongResult {
            peer: "ares",
            what: "one tree gave two releases".to_owned(),
        });
    }
    say("get");
    let copy = getter.dir().join("copy");
    let get = getter
        .start(daemon::get(getter, &published.link, &copy))
        .wait(PATIENCE)
        .expect_ok();
    step("get", get.took);
    diff(getter, &path, &copy);
    say("mount and read all by diff");
    let dir = mounter.dir().join("mounted");
    std::fs::create_dir(&dir).map_err(io("cannot make", &dir))?;
    let mounted = Mounted::new(mounter, &published.link, &dir);
    step("diff -r through a cold mount", diff(mounter, &path, &dir));
    step("diff -r through a warm mount", diff(mounter, &path, &dir));
    compare::assert_same(&path, &copy);
    compare::assert_same(&path, &dir);
    for (name, pid) in [("serve", server.pid()), ("mount", mounted.pid())] {
        println!(
            "{name}: peak {} MiB resident",
            ares_tests::procfs::peak_rss_bytes(pid).unwrap_or(0) >> 20
        );
    }
    mounted.end_by(rustix::process::Signal::TERM).expect_ok();
    print!("{}", table(&rows));
    println!(
        "diff -r clean, modes, times, links and attributes the same; release {}",
        published.release
    );
    Ok(())
}

fn sysroot() -> Result<PathBuf> {
    let missing = || BenchError::NoTool {
        tool: "rustc",
        remedy: "https://rustup.rs, or name a tree",
    };
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .map_err(|_| missing())?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if path.is_dir() { Ok(path) } else { Err(missing()) }
}

fn diff(node: &Node, want: &std::path::Path, got: &std::path::Path) -> Duration {
    let mut diff = node.command("diff");
    diff.args(["-r", "--no-dereference"]).args([want, got]);
    node.start(diff).wait(PATIENCE).expect_ok().took
}
