//! Two paths, two peers: how long nothing arrives when a path or a peer dies, what both paths give together, and what silence costs;
//! through `ares get` and `ares mount`, and the same over the kernel's MPTCP. Readers take turns on the same links.

mod looks;
mod mptcp;
mod reading;
mod scenario;
mod trial;

use std::path::PathBuf;
use std::time::Duration;

use ares_tests::procfs;
use serde_json::{Value, json};

use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::report::{Report, say};
use crate::stats::{cell_with_worst, table};
use reading::Reader;
use scenario::Scenario;
use trial::{Idle, Scene, Trial};

pub(crate) use mptcp::{Get as MptcpGet, Serve as MptcpServe, get as mptcp_get, serve as mptcp_serve};

/// `failover`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What happens.
    #[arg(long, value_delimiter = ',', default_values = [
        "cut-to-reader", "cut-to-server", "cut", "link-down", "kill", "stop", "heal", "flap", "rate", "rate-unequal", "alone", "loss", "idle",
    ])]
    scenarios: Vec<Scenario>,
    /// Round trips of both paths, milliseconds.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 40])]
    rtt_ms: Vec<u64>,
    /// Who reads.
    #[arg(long, value_delimiter = ',', default_values = ["get", "get-standby", "mount", "mptcp"])]
    readers: Vec<Reader>,
    /// Trials of each scenario by `ares`.
    #[arg(long, default_value_t = 20)]
    trials: u64,
    /// The same over MPTCP, which may stall for 40 s in each.
    #[arg(long, default_value_t = 5)]
    mptcp_trials: u64,
    /// Rate of each path, Mbit/s.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Length of the file, seconds at the rates of both paths together.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Length of the silence of `idle`, seconds.
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Of losses, of the file, and of when a path is struck; a trial's own is this plus its number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Append one JSON line per trial to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// All trials of one reader in one scenario.
struct Series {
    scenario: Scenario,
    /// As a cell shows it.
    rtt: String,
    reader: Reader,
    trials: Vec<Trial>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let mut report = Report::open(args.json.as_deref())?;
    println!("seed {}", args.seed);
    let mut series = Vec::new();
    let mut settings = None;
    for scenario in &args.scenarios {
        let rtts = if scenario.is_of_one_rtt() { &[0][..] } else { &args.rtt_ms };
        for rtt_ms in rtts {
            let shapes = scenario.shapes(args.rate, Duration::from_millis(*rtt_ms), args.seed);
            let rtt = if scenario.is_of_one_rtt() {
                "10, 40".to_owned()
            } else {
                rtt_ms.to_string()
            };
            let scene = interrupt.unless(Scene::new(*scenario, shapes, args.seconds, args.seed))?;
            if *scenario == Scenario::Idle {
                idle(args, &scene, &rtt, &mut report, &interrupt)?;
            } else {
                series.extend(in_turns(args, *scenario, &scene, &rtt, &mut report, &interrupt)?);
            }
            settings.get_or_insert_with(|| mptcp::settings(scene.lab().reader()));
        }
    }
    if args.readers.contains(&Reader::Mptcp) {
        let settings = settings.unwrap_or_default();
        report.row(&json!({ "row": "mptcp", "settings": settings }));
        print!("\nMPTCP with the kernel's defaults:\n{settings}");
    }
    if !series.is_empty() {
        println!("\n{} Mbit/s each path, gaps in ms, median (worst)", args.rate);
        print!("{}", show(&series));
    }
    Ok(())
}

/// A trial of each reader, then the next of each.
fn in_turns(
    args: &Args,
    scenario: Scenario,
    scene: &Scene,
    rtt: &str,
    report: &mut Report,
    interrupt: &Interrupt,
) -> Result<Vec<Series>> {
    let asked = args.readers.iter().filter(|reader| scenario.asks(**reader));
    let mut all: Vec<Series> = asked
        .map(|reader| Series {
            scenario,
            rtt: rtt.to_owned(),
            reader: *reader,
            trials: Vec::new(),
        })
        .collect();
    for run in 1..=args.trials.max(args.mptcp_trials) {
        for series in &mut all {
            let trials = if series.reader == Reader::Mptcp {
                args.mptcp_trials
            } else {
                args.trials
            };
            if run > trials {
                continue;
            }
            let seed = args.seed.wrapping_add(run);
            let trial = interrupt.unless(scene.run(series.reader, seed, interrupt))?;
            let fault = trial.fault.as_deref().unwrap_or("right bytes");
            say(&format!(
                "{}, RTT {rtt} ms, {}, {run} of {trials}: gap {:.0} ms, {fault}",
                scenario.name(),
                series.reader.name(),
                ms(trial.gap)
            ));
            report.row(&to_json(series, run, seed, &trial));
            series.trials.push(trial);
        }
    }
    Ok(all)
}

fn idle(args: &Args, scene: &Scene, rtt: &str, report: &mut Report, interrupt: &Interrupt) -> Result<()> {
    let silence = Duration::from_secs(args.idle_seconds);
    let Idle { bits_per_s, first_read } = interrupt.unless(scene.idle(silence, args.seed, interrupt))?;
    println!(
        "\na mount without readers for {} s, RTT {rtt} ms: {:.0} and {:.0} bit/s on the paths, then {:.1} ms for the first 64 KiB",
        args.idle_seconds,
        bits_per_s[0],
        bits_per_s[1],
        ms(first_read)
    );
    report.row(&json!({
        "row": "failover-idle", "rtt_ms": rtt, "seconds": args.idle_seconds, "bits_per_s": bits_per_s, "first_read_ms": ms(first_read),
        "load": procfs::load(),
    }));
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn to_json(series: &Series, run: u64, seed: u64, trial: &Trial) -> Value {
    json!({
        "row": "failover", "scenario": series.scenario.name(), "rtt_ms": series.rtt, "reader": series.reader.name(), "run": run,
        "seed": seed, "struck": trial.struck, "gap_before_ms": ms(trial.gap_before), "gap_ms": ms(trial.gap),
        "mb_per_s": trial.bytes_per_s.map(|rate| rate / 1e6), "of_bound": trial.of_bound, "received_of_file": trial.received,
        "back_after_ms": trial.back_after.map(ms), "fault": trial.fault, "load": procfs::load(),
    })
}

fn show(all: &[Series]) -> String {
    let head = [
        "what",
        "RTT ms",
        "reader",
        "trials",
        "gap before",
        "gap",
        "MB/s after",
        "of the bound",
        "received / file",
        "in use again ms",
        "failed",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for series in all {
        let trials = &series.trials;
        let worst_high =
            |f: &dyn Fn(&Trial) -> Option<f64>, digits| cell_with_worst(trials.iter().filter_map(f), digits, |s| s.max);
        let worst_low =
            |f: &dyn Fn(&Trial) -> Option<f64>, digits| cell_with_worst(trials.iter().filter_map(f), digits, |s| s.min);
        rows.push(vec![
            series.scenario.name().to_owned(),
            series.rtt.clone(),
            series.reader.name().to_owned(),
            trials.len().to_string(),
            worst_high(&|t| Some(ms(t.gap_before)), 0),
            worst_high(&|t| Some(ms(t.gap)), 0),
            worst_low(&|t| t.bytes_per_s.map(|rate| rate / 1e6), 1),
            worst_low(&|t| t.of_bound, 2),
            worst_high(&|t| t.fault.is_none().then_some(t.received), 2),
            worst_high(&|t| t.back_after.map(ms), 0),
            trials.iter().filter(|t| t.fault.is_some()).count().to_string(),
        ]);
    }
    table(&rows)
}
