//! What whoever reads over plain HTTP gets from an edge that holds a file whole, against nginx with the same file: both warm, on loopback,
//! with curl, which drops it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ares_tests::http::address;
use ares_tests::{Daemon, Lab, tree, wait};
use rustix::process::Signal;
use serde_json::json;

use crate::error::{Result, io};
use crate::meter::{self, Sample};
use crate::peers::{Scheme, serve_nginx};
use crate::report::{Report, parse_size, say};
use crate::stats::{Spread, cell, mib, table};

/// `gateway`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of the file.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// Runs of each.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Append one JSON line per run to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

const PATIENCE: Duration = Duration::from_secs(300);

const CONFIG: &str = "[http]\nlisten = \"127.0.0.1:0\"\ngateway = true\n";

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let lab = Lab::on_loopback("bench-gateway", 2);
    let (publisher, edge) = (lab.node(0), lab.node(1).with_config("gateway", CONFIG));
    let files = publisher.dir().join("files");
    std::fs::create_dir(&files).map_err(io("cannot make", &files))?;
    let file = files.join("big");
    tree::big_file(&file, args.size, 5);
    let nginx = serve_nginx(publisher, &files, 1, Scheme::Http)?;
    let serving = Daemon::serve(publisher);
    let published = serving.publish(&file);
    let reading = Daemon::serve(&edge);
    reading.tell(&["pin", &published.link]);
    wait::until(PATIENCE, "the edge to hold all of it", || {
        let pins = reading.tell(&["pin"]);
        (pins["pins"][0]["state"] == "whole").then_some(())
    });
    let at = address(&edge).expect("it runs");
    let sources = [
        ("ares serve", format!("http://{at}/r/{}", published.release), reading.pid()),
        ("nginx", format!("http://{}/big", publisher.listen()), nginx.pid()),
    ];
    for (_, url, _) in &sources {
        let copy = edge.dir().join("copy");
        let mut curl = edge.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--output"])
            .arg(&copy)
            .arg(url);
        edge.run(curl).expect_ok();
        let read = |path: &Path| std::fs::read(path).map_err(io("cannot read", path));
        assert!(read(&copy)? == read(&file)?, "other bytes came");
        std::fs::remove_file(&copy).map_err(io("cannot remove", &copy))?;
    }
    let mut samples = [Vec::new(), Vec::new()];
    for run in 1..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        for ((name, url, pid), samples) in sources.iter().zip(&mut samples) {
            let mut curl = edge.command("curl");
            curl.args(["--silent", "--show-error", "--fail", "--output", "/dev/null", url]);
            let (sample, _) = meter::measure(&edge, curl, &meter::family(*pid));
            report.row(&sample.to_json(json!({ "row": "gateway", "peer": name, "run": run }), args.size));
            samples.push(sample);
        }
    }
    nginx.signal(Signal::TERM);
    nginx.ended_within(PATIENCE);
    println!(
        "\n{} bytes over HTTP on loopback, warm, median of {} (min-max)",
        args.size, args.runs
    );
    print!("{}", show(&[("ares serve", &samples[0]), ("nginx", &samples[1])], args.size));
    Ok(())
}

fn show(rows: &[(&str, &[Sample])], bytes: u64) -> String {
    let gb = bytes as f64 / 1e9;
    let head = [
        "server",
        "MB/s",
        "server CPU s/GB",
        "curl CPU s/GB",
        "server RSS MiB",
        "steal %",
        "load",
    ];
    let mut text = vec![head.map(str::to_owned).to_vec()];
    for (name, samples) in rows {
        text.push(vec![
            (*name).to_owned(),
            cell(samples.iter().map(|s| s.mb_per_s(bytes)), 0),
            cell(samples.iter().map(|s| s.server.total_s() / gb), 2),
            cell(samples.iter().map(|s| s.client.total_s() / gb), 2),
            cell(samples.iter().map(|s| mib(s.server_peak)), 0),
            cell(samples.iter().map(|s| s.steal_percent), 0),
            cell(samples.iter().map(|s| s.load), 1),
        ]);
    }
    let median = |at: usize| Spread::of(rows[at].1.iter().map(|s| s.mb_per_s(bytes))).map_or(0.0, |s| s.median);
    table(&text) + &format!("ares / nginx = {:.2}\n", median(0) / median(1))
}
