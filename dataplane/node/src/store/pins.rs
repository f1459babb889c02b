//! Releases that are to be kept whole whatever else has to go: by a command, which the journal remembers, or by the config file, which
//! says so anew at every start. Whoever takes bytes out of the store asks here first. Fetches nothing.

use std::collections::BTreeMap;

use ares_core::chunk::ReleaseId;
use ares_core::store::Record;

use super::{Store, StoreError, locked};

/// Releases that commands may pin. Each costs its link in memory, some hundred bytes.
pub const PINS_MAX: usize = 4096;

/// Longest link of a pin, in bytes: it fits a record of the journal.
const LINK_BYTES_MAX: usize = 32 << 10;

/// A release that is to be kept whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Which.
    pub release: ReleaseId,
    /// Where it may be had, as its link says.
    pub link: String,
    /// Who said so.
    pub by: PinnedBy,
}

/// Who pinned a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinnedBy {
    /// A command. It lasts until another one takes it back.
    Command,
    /// The config file. It lasts as long as it stands there.
    Config,
}

impl Store {
    /// Pins these as long as the store is open, beside those that commands have pinned.
    pub fn pin_configured(&self, links: BTreeMap<ReleaseId, String>) {
        *locked(&self.shared.configured_pins) = links;
    }

    /// Pins a release, and returns when that is on stable storage. False if commands have pinned `PINS_MAX` others: then nothing has
    /// changed. One that is pinned already gets the new link.
    ///
    /// # Panics
    /// Where the link is empty or longer than any.
    pub fn pin(&self, release: ReleaseId, link: &str) -> Result<bool, StoreError> {
        assert!((1..=LINK_BYTES_MAX).contains(&link.len()), "a link of {} bytes", link.len());
        self.shared.journal.check_trust()?;
        {
            let mut index = self.shared.index_mut();
            let known = index.pins().get(&release);
            if known.is_none() && index.pins().len() >= PINS_MAX {
                return Ok(false);
            }
            if known.is_none_or(|known| known != link) {
                let link = link.to_owned();
                self.shared.record(&mut index, &Record::Pin { release, link });
            }
        }
        self.flush().map(|()| true)
    }

    /// Takes a pin of a command back, and returns when that is on stable storage. False if there was none.
    pub fn unpin(&self, release: ReleaseId) -> Result<bool, StoreError> {
        self.shared.journal.check_trust()?;
        {
            let mut index = self.shared.index_mut();
            if !index.pins().contains_key(&release) {
                return Ok(false);
            }
            let link = String::new();
            self.shared.record(&mut index, &Record::Pin { release, link });
        }
        self.flush().map(|()| true)
    }

    /// All pins, each release once; where both have pinned it, the config file counts.
    pub fn pins(&self) -> Vec<Pin> {
        let pin = |(release, link): (&ReleaseId, &String), by| Pin {
            release: *release,
            link: link.clone(),
            by,
        };
        let configured = locked(&self.shared.configured_pins);
        let index = self.shared.index();
        let commanded = index.pins().iter().filter(|(release, _)| !configured.contains_key(release));
        let commanded = commanded.map(|entry| pin(entry, PinnedBy::Command));
        commanded
            .chain(configured.iter().map(|entry| pin(entry, PinnedBy::Config)))
            .collect()
    }

    /// Whether the release is to be kept whole.
    pub fn is_pinned(&self, release: ReleaseId) -> bool {
        let is_configured = locked(&self.shared.configured_pins).contains_key(&release);
        is_configured || self.shared.index().pins().contains_key(&release)
    }

    /// Whether any release is.
    pub fn has_pins(&self) -> bool {
        !locked(&self.shared.configured_pins).is_empty() || !self.shared.index().pins().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use ares_core::chunk::ChunkId;

    use super::*;

    fn release(n: usize) -> ReleaseId {
        ReleaseId(ChunkId::of(&n.to_le_bytes()))
    }

    #[test]
    fn a_pin_lasts_until_it_is_taken_back_and_one_of_the_config_as_long_as_the_store_is_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || Store::open(dir.path()).expect("a store");
        let pinned = |store: &Store| -> Vec<(ReleaseId, String, PinnedBy)> {
            let pins = store.pins().into_iter();
            pins.map(|pin| (pin.release, pin.link, pin.by)).collect()
        };
        let [one, two] = [1, 2].map(release);
        let store = open();
        assert!(store.pin(one, "ares:one").expect("a good disk"));
        assert!(store.pin(one, "ares:new").expect("a good disk"), "again is no error");
        store.pin_configured(BTreeMap::from([(one, "ares:file".to_owned()), (two, "ares:two".to_owned())]));
        let by_file = |link: &str, release| (release, link.to_owned(), PinnedBy::Config);
        let mut expect = vec![by_file("ares:file", one), by_file("ares:two", two)];
        expect.sort_by_key(|(release, ..)| *release);
        assert_eq!(pinned(&store), expect);
        assert!(store.is_pinned(one) && store.is_pinned(two) && !store.is_pinned(release(3)) && store.has_pins());
        drop(store);

        let store = open();
        assert_eq!(pinned(&store), [(one, "ares:new".to_owned(), PinnedBy::Command)]);
        assert!(store.unpin(one).expect("a good disk"));
        assert!(!store.unpin(one).expect("a good disk"), "there is none any more");
        drop(store);
        assert_eq!(pinned(&open()), []);
    }

    #[test]
    fn no_more_are_pinned_than_are_remembered() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        {
            let mut index = store.shared.index_mut();
            for n in 0..PINS_MAX {
                let pin = Record::Pin {
                    release: release(n),
                    link: "ares:a".to_owned(),
                };
                store.shared.record(&mut index, &pin);
            }
        }
        assert!(!store.pin(release(PINS_MAX), "ares:b").expect("a good disk"));
        assert!(store.pin(release(0), "ares:b").expect("a good disk"), "it is pinned already");
        assert!(store.unpin(release(1)).expect("a good disk"));
        assert!(store.pin(release(PINS_MAX), "ares:b").expect("a good disk"), "there is room");
    }
}
