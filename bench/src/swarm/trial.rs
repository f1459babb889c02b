//! One trial: who publishes, who reads, and when each had all of it. The machines and their links stay from one trial to the next, what
//! programs keep does not.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ares_tests::{Lab, Node, tree};

use super::program::{Program, Publisher, Reader, Standby};
use crate::error::{BenchError, Result, io};
use crate::interrupt::Interrupt;
use crate::sink::{Sink, hash_of, used_bytes};

/// Pause between two looks at the readers.
const LOOK: Duration = Duration::from_millis(5);

/// When nothing has arrived anywhere for so long, nothing will. More than `ares get` waits for bytes before it gives up.
const STALLED: Duration = Duration::from_secs(40);

/// Bytes that must have come to be an arrival: a journal's page is none.
const GROWTH_BYTES: u64 = 64 << 10;

/// Copies of the file that a publisher who leaves has sent by then: so many, or one where it has sent next to nothing since, as nobody asks it any more.
const COPIES_UNTIL_LEAVING: f64 = 1.1;
const UNASKED: Duration = Duration::from_millis(50);
const UNASKED_BYTES: u64 = 64 << 10;

/// Room for journals, metadata and control files, bytes.
const ROOM_BYTES: u64 = 256 << 20;

const FILE: &str = "file.bin";

/// Machines on a switch: the publisher, the readers, and one where peers of `aria2c` meet. Fields are dropped in order.
pub(super) struct Scene {
    memory: Sink,
    lab: Lab,
    readers: usize,
}

/// A file to spread.
pub(super) struct Release {
    path: PathBuf,
    pub(super) bytes: u64,
    hash: blake3::Hash,
}

/// Whether the publisher stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// To the end.
    Stays,
    /// It is killed after little more than a copy.
    Leaves,
}

/// What came of it.
pub(super) struct Trial {
    /// By reader: seconds until it had the file, or why it has not.
    pub(super) readers: Vec<std::result::Result<f64, String>>,
    /// What the publisher sent, in copies of the file, headers included.
    pub(super) publisher_copies: f64,
    /// What all readers sent, together, acknowledgements included.
    pub(super) readers_sent_bytes: u64,
    /// When the publisher was killed, seconds.
    pub(super) left_after: Option<f64>,
}

impl Trial {
    /// Seconds of those that got it.
    pub(super) fn seconds(&self) -> Vec<f64> {
        self.readers
            .iter()
            .filter_map(|reader| reader.as_ref().ok().copied())
            .collect()
    }

    /// Seconds until the last one had it, if all got it.
    pub(super) fn last(&self) -> Option<f64> {
        let seconds = self.seconds();
        (seconds.len() == self.readers.len()).then(|| seconds.into_iter().fold(0.0, f64::max))
    }

    /// Readers without the file, and why.
    pub(super) fn failed(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.readers.iter().enumerate();
        numbered.filter_map(|(i, reader)| reader.as_ref().err().map(|why| (i, why.as_str())))
    }
}

/// Memory that a trial takes: a store and the file beside it on each reader, and the source.
pub(super) fn memory_bytes(readers: usize, file_bytes: u64) -> u64 {
    (2 * readers as u64 + 1) * file_bytes + ROOM_BYTES
}

impl Scene {
    /// Joins the machines, all but the last one with a limit both ways, and mounts room for files of that size.
    pub(super) fn new(readers: u8, mbit_per_s: u32, file_bytes_max: u64) -> Result<Self> {
        let lab = Lab::new("bench-swarm", readers + 2).ok_or(BenchError::NoLab)?;
        let readers = usize::from(readers);
        (0..=readers).for_each(|i| lab.node(i).limit_both_ways(mbit_per_s));
        let memory = Sink::mount(lab.path().join("memory"), memory_bytes(readers, file_bytes_max))?;
        Ok(Self { memory, lab, readers })
    }

    fn publisher(&self) -> &Node {
        self.lab.node(0)
    }

    fn readers(&self) -> impl Iterator<Item = &Node> {
        (1..=self.readers).map(|i| self.lab.node(i))
    }

    fn meeting(&self) -> &Node {
        self.lab.node(self.readers + 1)
    }

    /// Makes the file, instead of any other.
    pub(super) fn release(&self, bytes: u64) -> Result<Release> {
        let dir = self.memory.path().join("source");
        std::fs::create_dir_all(&dir).map_err(io("cannot make", &dir))?;
        let path = dir.join(FILE);
        tree::big_file(&path, bytes, 1);
        let hash = hash_of(&path)?;
        Ok(Release { path, bytes, hash })
    }

    /// Lets one program spread the file.
    pub(super) fn run(&self, program: Program, release: &Release, stay: Stay, interrupt: &Interrupt) -> Result<Trial> {
        let dir = self.memory.path().join("trial");
        std::fs::create_dir(&dir).map_err(io("cannot make", &dir))?;
        let trial = self.run_in(&dir, program, release, stay, interrupt);
        std::fs::remove_dir_all(&dir).map_err(io("cannot remove", &dir))?;
        trial
    }

    fn run_in(&self, dir: &Path, program: Program, release: &Release, stay: Stay, interrupt: &Interrupt) -> Result<Trial> {
        let mut publisher = Publisher::start(program, self.publisher(), self.meeting(), &release.path, dir)?;
        let mut standing_by = Vec::new();
        for (i, node) in self.readers().enumerate() {
            interrupt.check()?;
            standing_by.push(Standby::start(program, node, &publisher, dir.join(format!("reader{i}")))?);
        }
        let sent_before = self.sent();
        let started = Instant::now();
        let readers = standing_by.into_iter().map(|reader| reader.read(&publisher, FILE));
        let readers: Vec<Reader> = readers.collect::<Result<_>>()?;
        let mut ended: Vec<Option<Duration>> = vec![None; readers.len()];
        let (mut had, mut grown) = (0, started);
        let mut left_after = None;
        let (mut sent_then, mut since) = (sent_before[0], started);
        while ended.contains(&None) {
            interrupt.check()?;
            for (reader, ended) in readers.iter().zip(&mut ended) {
                if ended.is_none() && reader.has_ended() {
                    *ended = Some(started.elapsed());
                }
            }
            let used = used_bytes(self.memory.path())?;
            if used >= had + GROWTH_BYTES {
                (had, grown) = (used, Instant::now());
            }
            if grown.elapsed() > STALLED {
                break;
            }
            if stay == Stay::Leaves && !publisher.has_left() {
                let sent = self.publisher().sent_bytes();
                if sent > sent_then + UNASKED_BYTES {
                    (sent_then, since) = (sent, Instant::now());
                }
                let copies = (sent - sent_before[0]) as f64 / release.bytes as f64;
                if copies >= COPIES_UNTIL_LEAVING || (copies >= 1.0 && since.elapsed() >= UNASKED) {
                    publisher.leave();
                    left_after = Some(started.elapsed().as_secs_f64());
                }
            }
            thread::sleep(LOOK);
        }
        let sent: Vec<u64> = self
            .sent()
            .iter()
            .zip(sent_before)
            .map(|(now, before)| now - before)
            .collect();
        let judged = readers
            .into_iter()
            .zip(ended)
            .map(|(reader, ended)| release.judge(reader, ended));
        Ok(Trial {
            readers: judged.collect::<Result<_>>()?,
            publisher_copies: sent[0] as f64 / release.bytes as f64,
            readers_sent_bytes: sent[1..].iter().sum(),
            left_after,
        })
    }

    /// Bytes sent so far by the publisher and each reader.
    fn sent(&self) -> Vec<u64> {
        (0..=self.readers).map(|i| self.lab.node(i).sent_bytes()).collect()
    }
}

impl Release {
    /// Compares what a reader has got; its time, or what was wrong.
    fn judge(&self, reader: Reader, ended: Option<Duration>) -> Result<std::result::Result<f64, String>> {
        let file = match reader.end() {
            Ok(file) => file,
            Err(why) => return Ok(Err(why)),
        };
        if hash_of(&file)? != self.hash {
            return Ok(Err("the file that arrived is another one".to_owned()));
        }
        Ok(ended
            .map(|time| time.as_secs_f64())
            .ok_or_else(|| "it came too late".to_owned()))
    }
}
