//! What is asked while many sources owe more than comes.

use super::*;

const LEN: u32 = 64 << 10;

/// Sources that share a line, on which a packet of each comes every tenth of a second.
struct Line {
    scheduler: Scheduler,
    now: Instant,
    wanted: u32,
    /// What each source owes, the first of it first, and how much of that has come.
    owed: BTreeMap<Source, VecDeque<(AskId, ChunkRef, u32)>>,
}

impl Line {
    fn new(sources: usize) -> Self {
        Self {
            scheduler: alike(1, sources, 12_500),
            now: Instant::ZERO,
            wanted: 0,
            owed: BTreeMap::new(),
        }
    }

    fn want(&mut self, class: Class) {
        let want = Want {
            chunk: chunk(self.wanted, LEN),
            place: None,
            class,
            release: release(),
            patience: ms(600_000),
            unreached: Unreached::Wait,
        };
        self.scheduler.on_want(self.now, WantKey(self.wanted.into()), want);
        self.wanted += 1;
    }

    /// Carries out what the scheduler wants. The classes of what it asks.
    fn poll(&mut self) -> Vec<Class> {
        let mut asked = Vec::new();
        while let Some(action) = self.scheduler.poll(self.now) {
            match action {
                Action::Ask {
                    ask,
                    source,
                    chunk,
                    class,
                    ..
                } => {
                    self.owed.entry(source).or_default().push_back((ask, chunk, 0));
                    asked.push(class);
                }
                Action::Cancel { ask, source } => {
                    self.owed.entry(source).or_default().retain(|(owed, ..)| *owed != ask);
                }
                _ => {}
            }
        }
        asked
    }

    /// A packet of each source comes.
    fn packets(&mut self, bytes: impl Fn(&Source) -> u32) {
        self.now = self.now + ms(100);
        for (source, owed) in &mut self.owed {
            let bytes = bytes(source);
            let Some((ask, chunk, came)) = owed.front_mut() else {
                continue;
            };
            self.scheduler.on_progress(self.now, *ask, bytes);
            *came += bytes;
            if *came >= LEN {
                self.scheduler.on_arrived(self.now, *ask);
                self.scheduler.on_verified(self.now, chunk.id);
                owed.pop_front();
            }
        }
    }

    fn owed(&self) -> usize {
        self.owed.values().map(VecDeque::len).sum()
    }
}

#[test]
fn many_sources_on_a_slow_line_are_asked_for_what_comes_and_for_what_somebody_waits_for() {
    let mut line = Line::new(20);
    (0..1000).for_each(|_| line.want(Class::Bulk));
    line.poll();
    assert_eq!(line.owed(), 20, "nobody knows yet how slow all are together");
    for _ in 0..600 {
        line.packets(|_| 1250);
        line.poll();
    }
    // 250 kB/s, of which eight chunks come within two seconds.
    assert!((8..=9).contains(&line.owed()), "{}", line.owed());
    line.want(Class::Deadline);
    assert_eq!(line.poll(), [Class::Deadline]);
    // As soon as the line is fast.
    for _ in 0..40 {
        line.packets(|_| LEN);
        line.poll();
    }
    assert!(line.owed() >= 20, "{}", line.owed());
}

#[test]
fn who_is_quick_has_something_to_do_though_many_slow_ones_owe_more_than_comes() {
    let mut line = Line::new(61);
    (0..1000).for_each(|_| line.want(Class::Bulk));
    let quick = source(60);
    let mut asked = 0;
    for _ in 0..200 {
        line.poll();
        asked += usize::from(line.owed.get(&quick).is_some_and(|owed| !owed.is_empty()));
        line.packets(|source| if *source == quick { LEN } else { 300 });
    }
    // What all owe together would take five seconds.
    assert!(asked > 190, "it had something to do {asked} times of 200");
}
