//! One publisher, many readers who start at the same time, every machine with the same slow link: how long until the last one has the file,
//! against the least time that any swarm could take and against BitTorrent, and who sent how much. Programs take turns on the same machines.

mod bound;
mod program;
mod torrent;
mod tracker;
mod trial;

use std::path::PathBuf;

use ares_tests::procfs;
use serde_json::{Value, json};

use crate::error::{BenchError, Result};
use crate::interrupt::Interrupt;
use crate::report::{Report, say};
use crate::stats::{Spread, cell, cell_with_worst, mib, table};
use bound::{Rates, least_seconds};
pub(crate) use program::{Program, Publisher};
use trial::{Scene, Stay, Trial, memory_bytes};

/// `swarm`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Machines that read: what fits into the lab's network beside the others.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=250))]
    readers: u8,
    /// What every machine can send, and what it can receive, Mbit/s.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Sizes of the file, MiB.
    #[arg(long, value_delimiter = ',', default_values_t = [64], value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    mib: Vec<u64>,
    /// Trials of each program and size.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    trials: u64,
    /// Which programs.
    #[arg(long, value_delimiter = ',', default_values = ["ares", "aria2"])]
    peers: Vec<Program>,
    /// Kill the publisher once it has sent 1.1 copies of the file, or one and nobody asks it for more: everybody must still get it.
    #[arg(long)]
    with_publisher_leaving: bool,
    /// Append one JSON line per trial to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// All trials of one program with one size.
struct Series {
    program: Program,
    bytes: u64,
    bound_s: f64,
    trials: Vec<Trial>,
}

impl Args {
    fn stay(&self) -> Stay {
        if self.with_publisher_leaving {
            Stay::Leaves
        } else {
            Stay::Stays
        }
    }

    /// The programs that are installed; an error if none is.
    fn programs(&self) -> Result<Vec<Program>> {
        let mut found = Vec::new();
        let mut missing = None;
        for program in &self.peers {
            match program.find() {
                Ok(()) => found.push(*program),
                Err(e) => {
                    say(&format!("without {}: {e}", program.name()));
                    missing = Some(e);
                }
            }
        }
        match missing {
            Some(e) if found.is_empty() => Err(e),
            _ => Ok(found),
        }
    }

    fn bound_s(&self, bytes: u64) -> f64 {
        let each = Rates::both_ways(self.rate);
        least_seconds(bytes, each, &vec![each; usize::from(self.readers)])
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let programs = args.programs()?;
    let largest = args.mib.iter().max().map_or(0, |mib| mib << 20);
    let (wanted, available) = (memory_bytes(usize::from(args.readers), largest), procfs::available_bytes());
    if wanted > available {
        return Err(BenchError::NoMemory {
            wanted_mib: wanted >> 20,
            available_mib: available >> 20,
        });
    }
    let mut report = Report::open(args.json.as_deref())?;
    let scene = interrupt.unless(Scene::new(args.readers, args.rate, largest))?;
    let mut all = Vec::new();
    for mib in &args.mib {
        all.extend(in_turns(args, &programs, &scene, mib << 20, &mut report, &interrupt)?);
    }
    println!(
        "\n{} readers, {} Mbit/s each way, {}median (worst)",
        args.readers,
        args.rate,
        if args.with_publisher_leaving {
            "the publisher leaves, "
        } else {
            ""
        }
    );
    print!("{}", show(&all));
    Ok(())
}

/// A trial of each program, then the next of each.
fn in_turns(
    args: &Args,
    programs: &[Program],
    scene: &Scene,
    bytes: u64,
    report: &mut Report,
    interrupt: &Interrupt,
) -> Result<Vec<Series>> {
    let release = scene.release(bytes)?;
    let series = |program: &Program| Series {
        program: *program,
        bytes,
        bound_s: args.bound_s(bytes),
        trials: Vec::new(),
    };
    let mut all: Vec<Series> = programs.iter().map(series).collect();
    for run in 1..=args.trials {
        for series in &mut all {
            let trial = interrupt.unless(scene.run(series.program, &release, args.stay(), interrupt))?;
            let last = trial.last().map_or("not all got it".to_owned(), |last| {
                format!("the last one after {last:.1} s, {:.2} of the bound", last / series.bound_s)
            });
            say(&format!(
                "{}, {:.0} MiB, trial {run} of {}: {last}",
                series.program.name(),
                mib(bytes),
                args.trials
            ));
            for (reader, why) in trial.failed() {
                say(&format!("reader {reader} has no file: {why}"));
            }
            if args.with_publisher_leaving && trial.left_after.is_none() {
                say("all ended before the publisher had sent enough to leave");
            }
            report.row(&to_json(args, series, run, &trial));
            series.trials.push(trial);
        }
    }
    Ok(all)
}

fn to_json(args: &Args, series: &Series, run: u64, trial: &Trial) -> Value {
    let failed: Vec<Value> = trial.failed().map(|(i, why)| json!({ "reader": i, "why": why })).collect();
    json!({
        "row": "swarm", "program": series.program.name(), "readers": args.readers, "rate_mbit_per_s": args.rate, "bytes": series.bytes,
        "run": run, "publisher_leaves": args.with_publisher_leaving, "left_after_s": trial.left_after, "bound_s": series.bound_s,
        "last_s": trial.last(), "last_of_bound": trial.last().map(|last| last / series.bound_s),
        "median_s": Spread::of(trial.seconds()).map(|s| s.median),
        "seconds_each": trial.readers.iter().map(|reader| reader.as_ref().ok()).collect::<Vec<_>>(),
        "publisher_copies": trial.publisher_copies, "readers_sent_bytes": trial.readers_sent_bytes, "failed": failed,
        "load": procfs::load(),
    })
}

fn show(all: &[Series]) -> String {
    let head = [
        "program",
        "MiB",
        "trials",
        "bound s",
        "last reader s",
        "median reader s",
        "last / bound",
        "publisher sent copies",
        "readers sent copies",
        "publisher left s",
        "readers without it",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for series in all {
        let each = |f: &dyn Fn(&Trial) -> Option<f64>| cell_with_worst(series.trials.iter().filter_map(f), 2, |s| s.max);
        let in_order = |f: fn(&Trial) -> Option<f64>| cell(series.trials.iter().filter_map(f), 1);
        rows.push(vec![
            series.program.name().to_owned(),
            format!("{:.0}", mib(series.bytes)),
            series.trials.len().to_string(),
            format!("{:.2}", series.bound_s),
            each(&Trial::last),
            each(&|t| Spread::of(t.seconds()).map(|s| s.median)),
            each(&|t| t.last().map(|last| last / series.bound_s)),
            each(&|t| Some(t.publisher_copies)),
            each(&|t| Some(t.readers_sent_bytes as f64 / series.bytes as f64)),
            in_order(|t| t.left_after),
            series.trials.iter().map(|t| t.failed().count()).sum::<usize>().to_string(),
        ]);
    }
    table(&rows)
}
