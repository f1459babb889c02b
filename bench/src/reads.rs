//! Reading what is held, through the mount and from a copy of the same file on the same disk, turn by turn: how much a mount costs once
//! everything is there. With `--files` a tree of files of one size instead, opened and read one by one, which is where being told of opens
//! costs. Each way of mounting is a column.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ares_tests::mount::Mounted;
use ares_tests::rng::Rng;
use ares_tests::{Daemon, Lab, Node, tree};
use rustix::fs::Advice;
use serde_json::json;

use crate::error::{BenchError, Result, io};
use crate::report::{Report, parse_size, say};
use crate::stats::{Spread, cell, table};

/// `reads`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of the file, or of each of several.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// Files. More than one are opened and read whole, one after the other.
    #[arg(long, default_value_t = 1)]
    files: usize,
    /// Runs.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Ways to mount, as `ares mount --passthrough` names them.
    #[arg(long, default_value = "auto,never", value_delimiter = ',')]
    ways: Vec<String>,
    /// Transports of each of them, as `ares mount --transport` names them.
    #[arg(long, default_value = "dev", value_delimiter = ',')]
    transports: Vec<String>,
    /// Append one JSON line per run to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Reads of 4 KiB at random places of a file that the page cache has, and of one that it has not.
const RANDOM_WARM: u64 = 200_000;
const RANDOM_COLD: u64 = 3_000;
const PAGE: usize = 4096;
/// How often a file is read before it counts as warm. The second read of pages is the one in which the kernel marks them as used, and takes a quarter longer
/// than all that follow.
const WARMING: usize = 3;
/// How often it is read to be measured then.
const TIMES: u32 = 8;
/// Who reads a file by mapping it: prints how long it took, in seconds. Mapping in Rust is unsafe.
const MAPPED: &str = "import mmap, sys, time
f = open(sys.argv[1], 'rb')
start = time.monotonic()
m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
m.madvise(mmap.MADV_SEQUENTIAL)
for at in range(0, len(m), 1 << 20): m[at:at + (1 << 20)]
print(time.monotonic() - start)";

/// Measured of one file.
const OF_A_FILE: [Measure; 6] = [
    Measure("sequential, cold, MB/s", Cache::Cold, sequential),
    Measure("sequential, warm, MB/s", Cache::Warm, again_and_again),
    Measure("mapped, cold, MB/s", Cache::Cold, mapped),
    Measure("mapped, warm, MB/s", Cache::Warm, mapped),
    Measure("random 4 KiB, cold, /s", Cache::Cold, |dir, args| {
        random(dir, args, RANDOM_COLD)
    }),
    Measure("random 4 KiB, warm, /s", Cache::Warm, |dir, args| {
        random(dir, args, RANDOM_WARM)
    }),
];
/// Measured of several.
const OF_FILES: [Measure; 2] = [
    Measure("files read, cold, /s", Cache::Cold, each),
    Measure("files read, warm, /s", Cache::Warm, each),
];

/// What a measurement finds in the page cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cache {
    /// Nothing.
    Cold,
    /// Everything, as it has been read several times.
    Warm,
}

/// One row: name, what it finds, and who measures a directory.
#[derive(Clone, Copy)]
struct Measure(&'static str, Cache, fn(&Path, &Args) -> Result<f64>);

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::open(args.json.as_deref())?;
    let lab = Lab::pair("bench-reads", 1500).ok_or(BenchError::NoLab)?;
    let (publisher, reader) = (lab.node(0), lab.node(1));
    let release = publisher.dir().join("release");
    fs::create_dir(&release).map_err(io("cannot make", &release))?;
    for n in 0..args.files {
        tree::big_file(&release.join(name(n)), args.size, n as u64);
    }
    let server = Daemon::serve(publisher);
    let link = server.publish(&release).link;
    let copy = reader.dir().join("copy");
    fs::create_dir(&copy).map_err(io("cannot make", &copy))?;
    for n in 0..args.files {
        fs::copy(release.join(name(n)), copy.join(name(n))).map_err(io("cannot copy to", &copy))?;
    }
    // What each way mounts, and the disk itself as the last column.
    let ways = ways(args);
    let mounts = ways
        .iter()
        .map(|way| mount(reader, &link, way, args))
        .collect::<Result<Vec<_>>>()?;
    let dirs: Vec<PathBuf> = mounts.iter().map(|mounted| mounted.dir().to_owned()).chain([copy]).collect();
    let measures: &[Measure] = if args.files == 1 { &OF_A_FILE } else { &OF_FILES };
    let mut figures = vec![vec![Vec::new(); dirs.len()]; measures.len()];
    for run in 1..=args.runs {
        say(&format!("run {run} of {}", args.runs));
        for (Measure(what, cache, measure), row) in measures.iter().zip(&mut figures) {
            for (column, dir) in dirs.iter().enumerate() {
                match cache {
                    Cache::Cold => drop_caches(dir, reader.dir(), args)?,
                    Cache::Warm => (0..WARMING).try_for_each(|_| each(dir, args).map(drop))?,
                }
                let figure = measure(dir, args)?;
                row[column].push(figure);
                let way = ways.get(column).map_or_else(|| "disk".to_owned(), Way::name);
                report.row(&json!({"row": "reads", "run": run, "bytes": args.size, "files": args.files, "what": what, "way": way, "figure": figure}));
            }
        }
    }
    for mounted in mounts {
        mounted.end_by(rustix::process::Signal::TERM).expect_ok();
    }
    println!(
        "\n{} x {} bytes, held, store and copy on one disk, median of {} (min-max)",
        args.files, args.size, args.runs
    );
    let ways = ways.iter().flat_map(|way| [way.name(), "/ disk".to_owned()]);
    let mut rows = vec![
        ["".to_owned()]
            .into_iter()
            .chain(ways)
            .chain(["disk".to_owned()])
            .collect::<Vec<_>>(),
    ];
    for (Measure(what, ..), row) in measures.iter().zip(figures) {
        let median = |figures: &[f64]| Spread::of(figures.iter().copied()).map_or(f64::NAN, |spread| spread.median);
        let (disk, ways) = row.split_last().expect("the disk");
        let cells = ways.iter().flat_map(|figures| {
            let ratio = format!("{:.2}", median(figures) / median(disk));
            [cell(figures.iter().copied(), 0), ratio]
        });
        rows.push(
            [(*what).to_owned()]
                .into_iter()
                .chain(cells)
                .chain([cell(disk.iter().copied(), 0)])
                .collect(),
        );
    }
    print!("{}", table(&rows));
    Ok(())
}

/// How one mount is mounted.
struct Way {
    passthrough: String,
    transport: String,
}

impl Way {
    fn name(&self) -> String {
        format!("passthrough {}, {}", self.passthrough, self.transport)
    }

    fn state(&self, home: &Path) -> PathBuf {
        home.join(format!("state-{}-{}", self.passthrough, self.transport))
    }
}

fn ways(args: &Args) -> Vec<Way> {
    let of = |passthrough: &String| {
        let passthrough = passthrough.clone();
        args.transports.iter().map(move |transport| Way {
            passthrough: passthrough.clone(),
            transport: transport.clone(),
        })
    };
    args.ways.iter().flat_map(of).collect()
}

/// A mount with a store of its own that holds everything.
fn mount(reader: &Node, link: &str, way: &Way, args: &Args) -> Result<Mounted> {
    let node = reader.with_state(way.state(reader.dir()));
    let Way { passthrough, transport } = way;
    let dir = reader.dir().join(format!("mounted-{passthrough}-{transport}"));
    fs::create_dir(&dir).map_err(io("cannot make", &dir))?;
    let how = [format!("--passthrough={passthrough}"), format!("--transport={transport}")];
    let mounted = Mounted::with(&node, link, &dir, &how.each_ref().map(String::as_str));
    each(&dir, args)?;
    Ok(mounted)
}

fn name(n: usize) -> String {
    format!("file-{n:05}")
}

/// Takes what was read of the files in `dir`, and of the stores behind them, out of the page cache; of nothing else, so that no program has to
/// be read anew.
fn drop_caches(dir: &Path, home: &Path, args: &Args) -> Result<()> {
    rustix::fs::sync();
    let mut paths: Vec<PathBuf> = (0..args.files).map(|n| dir.join(name(n))).collect();
    for way in ways(args) {
        let blobs = way.state(home).join("data/blobs");
        for entry in fs::read_dir(&blobs).map_err(io("cannot list", &blobs))?.flatten() {
            let files = fs::read_dir(entry.path()).map_err(io("cannot list", &blobs))?;
            paths.extend(files.flatten().map(|file| file.path()));
        }
    }
    for path in paths {
        let file = File::open(&path).map_err(io("cannot open", &path))?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).map_err(|e| io("cannot drop the pages of", &path)(e.into()))?;
    }
    Ok(())
}

/// MB/s of reading the one file from its start to its end, 1 MiB at a time.
fn sequential(dir: &Path, args: &Args) -> Result<f64> {
    let start = Instant::now();
    read_whole(&dir.join(name(0)), args.size)?;
    Ok(args.size as f64 / 1e6 / start.elapsed().as_secs_f64())
}

/// The same several times over: what is warm is read in some 30 ms, of which a few may be somebody else's.
fn again_and_again(dir: &Path, args: &Args) -> Result<f64> {
    let start = Instant::now();
    (0..TIMES).try_for_each(|_| read_whole(&dir.join(name(0)), args.size))?;
    Ok(args.size as f64 * f64::from(TIMES) / 1e6 / start.elapsed().as_secs_f64())
}

/// Files read whole in a second.
fn each(dir: &Path, args: &Args) -> Result<f64> {
    let start = Instant::now();
    for n in 0..args.files {
        read_whole(&dir.join(name(n)), args.size)?;
    }
    Ok(args.files as f64 / start.elapsed().as_secs_f64())
}

/// Reads a file in order, which must be so long.
pub(crate) fn read_whole(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::open(path).map_err(io("cannot open", path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match file.read(&mut buffer).map_err(io("cannot read", path))? {
            0 => break,
            n => total += n as u64,
        }
    }
    let what = format!("{total} bytes of {} instead of {bytes}", path.display());
    if total == bytes {
        Ok(())
    } else {
        Err(BenchError::WrongResult { peer: "ares", what })
    }
}

/// MB/s of reading the one file in order, by mapping it.
fn mapped(dir: &Path, args: &Args) -> Result<f64> {
    let remedy = "apt-get install python3";
    let tool = "python3";
    let output = Command::new(tool).args(["-c", MAPPED]).arg(dir.join(name(0))).output();
    let output = output.map_err(|_| BenchError::NoTool { tool, remedy })?;
    let seconds: Option<f64> = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    let what = String::from_utf8_lossy(&output.stderr).into_owned();
    let seconds = seconds.ok_or(BenchError::WrongResult { peer: tool, what })?;
    Ok(args.size as f64 / 1e6 / seconds)
}

/// Reads of 4 KiB at random places in a second.
fn random(dir: &Path, args: &Args, count: u64) -> Result<f64> {
    let path = dir.join(name(0));
    let file = File::open(&path).map_err(io("cannot open", &path))?;
    let mut rng = Rng::new(count);
    let mut page = [0; PAGE];
    let start = Instant::now();
    for _ in 0..count {
        let at = rng.below(args.size / PAGE as u64) * PAGE as u64;
        file.read_exact_at(&mut page, at).map_err(io("cannot read", &path))?;
    }
    Ok(count as f64 / start.elapsed().max(Duration::from_nanos(1)).as_secs_f64())
}
