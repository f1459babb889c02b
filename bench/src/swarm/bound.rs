//! The least time in which a swarm can have a file, whatever it does: all bytes flow like water, and nobody waits for a whole chunk.

/// What one machine can send and receive, bytes a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    /// Sends.
    pub up: f64,
    /// Receives.
    pub down: f64,
}

impl Rates {
    /// The same both ways.
    pub(super) fn both_ways(mbit_per_s: u32) -> Self {
        let rate = f64::from(mbit_per_s) * 125_000.0;
        Self { up: rate, down: rate }
    }
}

/// Seconds until the last reader has the file, at least: its bytes must leave the publisher once, reach the slowest reader, and be sent by
/// somebody once for each reader (Kumar, Ross, "Peer-Assisted File Distribution: The Minimum Distribution Time", 2006).
///
/// Headers and acknowledgements are not in it, so nothing on a real network attains it.
pub(super) fn least_seconds(file_bytes: u64, publisher: Rates, readers: &[Rates]) -> f64 {
    let file = file_bytes as f64;
    let slowest_down = readers.iter().map(|reader| reader.down).fold(f64::INFINITY, f64::min);
    let all_up = publisher.up + readers.iter().map(|reader| reader.up).sum::<f64>();
    let copies = readers.len() as f64;
    (file / publisher.up).max(file / slowest_down).max(copies * file / all_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_narrowest_of_three() {
        let reader = |up, down| Rates { up, down };
        for (publisher_up, readers, expect) in [
            // Alike: eight copies by nine machines take less than one copy by one.
            (10.0, vec![reader(10.0, 10.0); 8], 100.0),
            // The publisher is the narrow one.
            (2.0, vec![reader(10.0, 10.0); 8], 500.0),
            // One reader receives slowly.
            (10.0, vec![reader(10.0, 10.0), reader(10.0, 4.0)], 250.0),
            // Readers send nothing: the publisher sends every copy.
            (10.0, vec![reader(0.0, 10.0); 3], 300.0),
            (10.0, vec![reader(5.0, 100.0); 4], 4_000.0 / 30.0),
            (10.0, vec![], 100.0),
        ] {
            let publisher = Rates {
                up: publisher_up,
                down: 0.0,
            };
            assert_eq!(
                least_seconds(1_000, publisher, &readers),
                expect,
                "{publisher_up} {readers:?}"
            );
        }
    }

    #[test]
    fn rates_are_typed_in_megabits() {
        assert_eq!(Rates::both_ways(100).up, 12_500_000.0);
    }
}
