//! How long `/metrics` takes, and how large it is, with many peers connected: while nobody reads, and while one reads as fast as it can.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ares_tests::http::{address, get, metrics};
use ares_tests::{Lab, procfs, tree, wait};
use serde_json::json;

use crate::error::{BenchError, Result};
use crate::peers::{Peer, Readers};
use crate::report::{Report, parse_size, say};
use crate::stats::{Spread, table};

/// `scrape`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Peers that are connected.
    #[arg(long, default_value_t = 1000)]
    peers: usize,
    /// How long is scraped, seconds, each of both.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Bytes of the file that is read.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// Append one JSON line for each of both to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

const MTU: u16 = 1500;

/// Addresses of the peers' machine: one takes an eighth of the connections that `ares serve` lets in.
const ADDRESSES: u8 = 8;

/// Between two scrapes. Figures are gathered anew when they are older than 100 ms, so each is.
const PAUSE: Duration = Duration::from_millis(110);

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let lab = Lab::pair("bench-scrape", MTU).ok_or(BenchError::NoLab)?;
    let from: Vec<_> = (0..ADDRESSES).map(|i| lab.node(1).add_address(100 + i)).collect();
    let (node, client) = (
        lab.node(0).with_config("http", "[http]\nlisten = \"127.0.0.1:0\"\n"),
        lab.node(1),
    );
    let file = lab.dir("files").join("file.bin");
    tree::big_file(&file, args.size, 5);
    let server = Peer::Ares.serve(&node, &file, MTU, args.peers)?;
    let at = address(&node).expect("it runs");
    let readers = |count, seconds, window, idle| {
        let readers = Readers {
            count,
            seconds,
            window,
            idle,
        };
        server.readers(client, &file, &from, &readers)
    };

    say(&format!("{} peers connect", args.peers));
    let silent = client.start(readers(args.peers, 2 * PATIENCE.as_secs() + 2 * args.seconds, 1, true)?);
    let connected = || metrics(&node, at)["ares_peers_connected"];
    wait::until(PATIENCE, "all peers", || {
        assert!(silent.is_running(), "they ended by themselves:\n{}", silent.stderr());
        (connected() >= args.peers as f64).then_some(())
    });

    let mut rows = vec![["load", "MB/s", "scrapes", "ms", "bytes at most"].map(str::to_owned).to_vec()];
    for load in ["nobody reads", "one reads"] {
        say(load);
        let mut command = client.command("sleep");
        command.arg(args.seconds.to_string());
        if load == "one reads" {
            command = readers(1, args.seconds, 4 << 20, false)?;
        }
        let running = client.start(command);
        let (mut took_ms, mut bytes) = (Vec::new(), 0);
        while !running.ended_within(PAUSE) {
            let begun = Instant::now();
            let page = get(&node, at, "/metrics");
            took_ms.push(begun.elapsed().as_secs_f64() * 1e3);
            assert_eq!(page.status, 200, "{page:?}");
            bytes = bytes.max(page.body.len());
        }
        let outcome = running.wait(PATIENCE).expect_ok();
        let mb_per_s = match load {
            "one reads" => {
                let said = outcome.json();
                said["bytes_each"][0].as_f64().unwrap_or(f64::NAN) / 1e6 / said["seconds"].as_f64().unwrap_or(f64::NAN)
            }
            _ => 0.0,
        };
        let spread = Spread::of(took_ms.iter().copied()).expect("some scrapes");
        report.row(&json!({
            "row": "scrape", "load": load, "peers": args.peers, "mb_per_s": mb_per_s, "scrapes": took_ms.len(), "ms_median": spread.median,
            "ms_max": spread.max, "bytes": bytes, "load_average": procfs::load(),
        }));
        let scrapes = took_ms.len().to_string();
        rows.push(vec![
            load.to_owned(),
            format!("{mb_per_s:.0}"),
            scrapes,
            spread.show(1),
            bytes.to_string(),
        ]);
    }
    let left = connected();
    if left < args.peers as f64 {
        return Err(BenchError::WrongResult {
            peer: "ares",
            what: format!("{left} of {} peers stayed", args.peers),
        });
    }
    println!("\n{} peers connected, load {:.1}", args.peers, procfs::load());
    print!("{}", table(&rows));
    Ok(())
}
