//! The mounts that a daemon makes again when it starts: a file of the state directory that says what is to be mounted where. Decides no mount.
//!
//! ```text
//! mounts.json: {"version":1,"mounts":[{"dir":"/mnt/x","link":{..},"how":{..},"names":[]}, ..]}
//! ```
//! It is replaced whole, so that a power cut leaves the old one or the new one.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ares_fs::Agreed;
use serde::{Deserialize, Serialize};

use crate::admin::proto::{MountHow, Raw, WireLink};
use crate::error::Failure;
use crate::mounts::Mounted;

const NAME: &str = "mounts.json";
const VERSION: u32 = 1;

/// A mount that is to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Absolute and without links.
    pub(crate) dir: Raw,
    /// What it shows; `None` where it is a directory of names.
    pub(crate) link: Option<WireLink>,
    pub(crate) how: MountHow,
    /// What it shows then.
    #[serde(default)]
    pub(crate) names: Vec<Named>,
    /// What had a name and may be open still, where somebody can go on with the mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) former: Vec<Named>,
    /// What was agreed on with the kernel, where somebody can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agreed: Option<Agreed>,
}

/// A release under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: Raw,
    pub(crate) link: WireLink,
    /// The mount's number for it.
    #[serde(default)]
    pub(crate) slot: u64,
}

impl Kept {
    /// One that nobody has made yet.
    pub(crate) fn new(dir: Raw, link: Option<WireLink>, how: MountHow) -> Self {
        Self {
            dir,
            link,
            how,
            names: Vec::new(),
            former: Vec::new(),
            agreed: None,
        }
    }

    /// What the descriptor of its connection is called, where somebody can go on with it.
    pub(crate) fn descriptor(&self) -> Option<String> {
        self.agreed.as_ref().map(descriptor)
    }

    /// It shows that under a name from now on. What had the name may be open still.
    pub(crate) fn on_shown(&mut self, named: Named) {
        self.on_hidden(&named.name);
        self.names.push(named);
    }

    /// What had a name before and is not open any more need not be shown again.
    pub(crate) fn forget_former(&mut self, mount: &dyn Mounted) {
        if !self.former.is_empty() {
            let slots = mount.slots();
            self.former.retain(|former| slots.contains(&former.slot));
        }
    }

    /// It shows nothing under that name from now on.
    pub(crate) fn on_hidden(&mut self, name: &Raw) {
        self.former.extend(self.names.extract_if(.., |other| other.name == *name));
    }
}

/// What the descriptor of a connection is called.
pub(crate) fn descriptor(agreed: &Agreed) -> String {
    format!("mount-{}", agreed.minor)
}

/// Where they are written down.
pub(crate) struct KeptFile(PathBuf);

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    mounts: Vec<Kept>,
}

impl KeptFile {
    /// That of this state directory, which the caller has locked.
    pub(crate) fn of(state: &Path) -> Self {
        Self(state.join(NAME))
    }

    /// What it says; nothing where there is none.
    pub(crate) fn read(&self) -> Result<Vec<Kept>, Failure> {
        let bytes = match std::fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Failure::io("reading", &self.0, &e)),
        };
        let invalid = |why: String| Failure::io("reading", &self.0, &io::Error::new(io::ErrorKind::InvalidData, why));
        let written: Written = serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
        match written.version {
            VERSION => Ok(written.mounts),
            other => Err(invalid(format!("its version is {other}, not {VERSION}"))),
        }
    }

    /// From now on it does not name `dir`. For when no daemon runs, which else writes it.
    pub(crate) fn forget(&self, dir: &Path) -> Result<(), Failure> {
        let mut mounts = self.read()?;
        let count = mounts.len();
        mounts.retain(|kept| kept.dir.to_path() != dir);
        if mounts.len() == count { Ok(()) } else { self.write(mounts) }
    }

    /// From now on it says this, also after a power cut.
    pub(crate) fn write(&self, mounts: Vec<Kept>) -> Result<(), Failure> {
        let version = VERSION;
        let bytes = serde_json::to_vec(&Written { version, mounts }).expect("strings and numbers");
        let fresh = self.0.with_extension("json.new");
        let replace = || {
            // Links are all it takes to read releases.
            let mut options = File::options();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            std::fs::rename(&fresh, &self.0)?;
            File::open(self.0.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        replace().map_err(|e| Failure::io("writing", &self.0, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written today must be read for ever.
    const WRITTEN: &str = r#"{"version":1,"mounts":[{"dir":"/mnt/a","link":{"link":"ares:x","inside":{"hex":"ff"}},"how":{"audience":"owner",
        "passthrough":"auto","transport":"dev","patience_ms":30000,"name":null}}]}"#;

    #[test]
    fn what_is_written_is_read_again_and_nonsense_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = KeptFile::of(dir.path());
        assert_eq!(file.read(), Ok(Vec::new()));
        let path = dir.path().join(NAME);
        std::fs::write(&path, WRITTEN).expect("writable");
        let kept = file.read().expect("well-formed");
        assert_eq!(
            (
                kept[0].dir.lossy(),
                kept[0].link.as_ref().map(|link| link.inside.0.as_slice())
            ),
            ("/mnt/a".to_owned(), Some(&b"\xff"[..]))
        );
        let again = vec![
            kept[0].clone(),
            Kept {
                dir: Raw(b"/\xfe".to_vec()),
                ..kept[0].clone()
            },
        ];
        file.write(again.clone()).expect("writable");
        assert_eq!(file.read(), Ok(again.clone()));
        file.forget(Path::new("/mnt/other")).expect("nothing to do");
        file.forget(Path::new("/mnt/a")).expect("writable");
        assert_eq!(file.read(), Ok(again[1..].to_vec()));
        for nonsense in ["", "{", "[]", r#"{"version":1}"#, r#"{"version":2,"mounts":[]}"#] {
            std::fs::write(&path, nonsense).expect("writable");
            let failure = file.read().expect_err(nonsense);
            assert!(failure.message.contains(NAME), "{failure}");
        }
    }
}
