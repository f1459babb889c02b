//! What it means that peers say how busy they are with others.

use super::*;

const LEN: u32 = 256 << 10;

/// Two peers that are alike, and one reader that wants one chunk after the other.
struct Reader {
    scheduler: Scheduler,
    now: Instant,
    wanted: u32,
}

impl Reader {
    fn new(seed: u64, peers: usize) -> Self {
        Self {
            scheduler: alike(seed, peers, 10 * MB),
            now: Instant::ZERO,
            wanted: 0,
        }
    }

    fn on_load(&mut self, peer: usize, queued_mb: u64, peers: u64) {
        let load = Load {
            queued_bytes: queued_mb * MB,
            peers,
            bytes_per_s: 10 * MB,
        };
        self.scheduler.on_load(self.now, source(peer).peer, load);
    }

    /// Fetches so many chunks, which come at once. How many were asked of the first peer.
    fn fetch(&mut self, chunks: u32) -> u32 {
        (0..chunks).map(|_| u32::from(self.fetch_one() == source(0))).sum()
    }

    fn fetch_one(&mut self) -> Source {
        let want = Want {
            chunk: chunk(self.wanted, LEN),
            place: None,
            class: Class::Deadline,
            release: release(),
            patience: ms(60_000),
            unreached: Unreached::Wait,
        };
        self.scheduler.on_want(self.now, WantKey(self.wanted.into()), want);
        self.wanted += 1;
        let asked = std::iter::from_fn(|| self.scheduler.poll(self.now)).find_map(|action| match action {
            Action::Ask { ask, source, .. } => Some((ask, source)),
            _ => None,
        });
        let (ask, source) = asked.expect("somebody is there");
        self.scheduler.on_arrived(self.now, ask);
        self.scheduler.on_verified(self.now, want.chunk.id);
        while self.scheduler.poll(self.now).is_some() {}
        source
    }
}

#[test]
fn of_two_peers_the_less_busy_is_asked_until_what_it_said_has_faded() {
    for seed in 0..20 {
        let mut reader = Reader::new(seed, 2);
        let even = reader.fetch(100);
        assert!((30..70).contains(&even), "{even} of 100, seed {seed}");
        reader.on_load(0, 8, 2);
        assert_eq!(reader.fetch(100), 0, "seed {seed}");
        reader.now = reader.now + ms(400);
        assert_eq!(reader.fetch(100), 0, "seed {seed}");
        reader.now = reader.now + ms(1000);
        let even = reader.fetch(100);
        assert!((30..70).contains(&even), "{even} of 100 when it has faded, seed {seed}");
        reader.on_load(1, 8, 2);
        assert_eq!(reader.fetch(100), 100, "seed {seed}");
        reader.on_load(1, 0, 0);
        let even = reader.fetch(100);
        assert!((30..70).contains(&even), "{even} of 100 when it is free, seed {seed}");
    }
}

#[test]
fn who_is_alone_is_asked_however_busy() {
    let mut reader = Reader::new(1, 1);
    reader.on_load(0, u64::MAX >> 20, u64::MAX);
    assert_eq!(reader.fetch(10), 10);
}

#[test]
fn between_two_that_are_equally_busy_the_asks_do_not_swing() {
    for seed in 0..20 {
        let mut reader = Reader::new(seed, 2);
        let mut rng = Rng::new(seed);
        for round in 0..20 {
            // Each says something else each time, and neither at the same time.
            reader.on_load(round % 2, 8 + rng.below(2) as u64, 3);
            let first = reader.fetch(40);
            reader.now = reader.now + ms(50);
            assert!(
                round == 0 || (8..=32).contains(&first),
                "{first} of 40, round {round}, seed {seed}"
            );
        }
    }
}

#[test]
fn what_a_peer_said_goes_with_its_last_path() {
    let mut reader = Reader::new(1, 2);
    reader.on_load(0, 8, 2);
    reader.scheduler.on_source_down(reader.now, source(0), "cut".to_owned());
    reader.on_load(0, 8, 2);
    assert!(reader.scheduler.loads.is_empty());
}
