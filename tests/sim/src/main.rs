//! `ares-sim`: runs scenarios by name, prints a table, and one JSON object for each with `--json`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ares_core::swarm::GIVING_MIN;
use ares_sim::{Fault, Line, Report, Scenario, Temper, run};
use clap::Parser;

/// Faster than the C library's, of which every choice of a node makes use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulates swarms.
#[derive(Parser)]
struct Args {
    /// Which: bench, plain, mounts, mixed, flash, churn, liars, riders, lossy, killed, parted, zones, no-zones, in-order, no-spread, no-further, no-haves.
    #[arg(default_values_t = ["bench".to_owned()])]
    scenarios: Vec<String>,
    #[arg(long, default_value_t = 200)]
    readers: u32,
    #[arg(long, default_value_t = 300)]
    chunks: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The lines' rate both ways, in Mbit/s.
    #[arg(long, default_value_t = 100)]
    mbit: u64,
    /// Bytes that travel at once, in KiB.
    #[arg(long, default_value_t = 16)]
    piece_kib: u32,
    /// Connections that a node gives a chunk at a time, at least.
    #[arg(long, default_value_t = GIVING_MIN)]
    width: usize,
    /// Nodes that have loaded so much for others are busy, in MiB.
    #[arg(long)]
    busy_mib: Option<u64>,
    #[arg(long, default_value_t = 512)]
    chunk_kib: u32,
    /// Zones.
    #[arg(long, default_value_t = 2)]
    zones: u32,
    /// What leaves a zone, in Mbit/s: a tenth of a line where it is not given.
    #[arg(long)]
    zone_mbit: Option<u64>,
    /// Bytes that a reader wants at a time, in MiB.
    #[arg(long)]
    wanted_mib: Option<u64>,
    /// Bytes that those who read on want ahead, in MiB.
    #[arg(long, default_value_t = 32)]
    ahead_mib: u64,
    /// Prints what came in each tenth of the bound, too.
    #[arg(long)]
    pace: bool,
    /// Appends one JSON object a scenario to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn scenario(name: &str, args: &Args) -> Option<Scenario> {
    let plain = Scenario::plain(args.readers, args.chunks);
    let plain = Scenario {
        seed: args.seed,
        zones: args.zones,
        publisher: Line::mbit(args.mbit),
        lines: vec![Line::mbit(args.mbit)],
        piece_bytes: args.piece_kib << 10,
        chunk_bytes: args.chunk_kib << 10,
        width: args.width,
        busy_bytes: args.busy_mib.map_or(u64::MAX, |mib| mib << 20),
        wanted_bytes_max: args.wanted_mib.map_or(plain.wanted_bytes_max, |mib| mib << 20),
        ..plain
    };
    let between_zones = Some(args.zone_mbit.map_or(args.mbit * 12_500, |mbit| mbit * 125_000));
    let tempers = |tempers: &[(Temper, u32)]| tempers.to_vec();
    Some(match name {
        "bench" => Scenario {
            seed: args.seed,
            width: args.width,
            ..Scenario::bench()
        },
        "plain" => plain,
        "mixed" => Scenario {
            lines: vec![
                Line::mbit(100),
                Line::both(20, 100),
                Line::both(300, 300),
                Line::both(50, 200),
            ],
            latency: [Duration::from_millis(1), Duration::from_millis(40)],
            ..plain.named("mixed")
        },
        "flash" => Scenario {
            join_within: Duration::from_secs(10),
            ..plain.named("flash")
        },
        "mounts" => Scenario {
            reads_ahead: Some(args.ahead_mib << 20),
            ..plain.named("mounts")
        },
        "churn" => Scenario {
            churn_percent_per_minute: 20,
            ..plain.named("churn")
        },
        "liars" => Scenario {
            tempers: tempers(&[(Temper::WrongBytes, 4), (Temper::FalseHaves, 3), (Temper::Stalls, 3)]),
            ..plain.named("liars")
        },
        "riders" => Scenario {
            tempers: tempers(&[(Temper::FreeRider, 20)]),
            ..plain.named("riders")
        },
        "lossy" => Scenario {
            loss_ppm: 20_000,
            latency: [Duration::from_millis(1), Duration::from_millis(40)],
            ..plain.named("lossy")
        },
        "killed" => Scenario {
            publisher_leaves: true,
            ..plain.named("killed")
        },
        "parted" => Scenario {
            parted: Some([Duration::from_secs(3), Duration::from_secs(20)]),
            ..plain.named("parted")
        },
        "zones" => Scenario {
            between_zones,
            ..plain.named("zones")
        },
        "no-zones" => Scenario {
            between_zones,
            fault: Fault::NoZones,
            ..plain.named("no-zones")
        },
        "in-order" => Scenario {
            fault: Fault::InOrder,
            ..plain.named("in-order")
        },
        "no-spread" => Scenario {
            fault: Fault::NoSpread,
            ..plain.named("no-spread")
        },
        "no-further" => Scenario {
            fault: Fault::NoFurther,
            ..plain.named("no-further")
        },
        "no-haves" => Scenario {
            fault: Fault::NoHaves,
            ..plain.named("no-haves")
        },
        _ => return None,
    })
}

fn main() -> ExitCode {
    let args = Args::parse();
    println!("{}", Report::head());
    for name in &args.scenarios {
        let Some(scenario) = scenario(name, &args) else {
            eprintln!("ares-sim: there is no scenario {name:?}; see --help for those there are");
            return ExitCode::FAILURE;
        };
        let report = run(&scenario);
        println!("{}", report.row());
        if args.pace {
            let tenths: Vec<String> = report.pace.iter().map(|pace| format!("{pace:.2}")).collect();
            println!("pace by tenths of the bound: {}", tenths.join(" "));
        }
        if let Some(path) = &args.json
            && let Err(error) = append(path, &report)
        {
            eprintln!("ares-sim: {}: {error}; name a file that can be written", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn append(path: &PathBuf, report: &Report) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{}", serde_json::to_string(report)?)
}
