//! Who this node is: one Ed25519 key, made once and kept in the state directory. Never decides whom to trust.
//!
//! ```text
//! STATE/identity      PKCS#8 v1 (RFC 8410) DER of the private key, mode 0600; `openssl pkey -inform DER` reads it
//! ```
//! It is written aside, fsynced and then linked under its name: a crash leaves a whole identity or none, and two processes that
//! start at once end up with the same one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ares_core::peer::PeerId;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use crate::store::{StateError, prepare_state_dir};

/// File name inside the state directory.
const FILE: &str = "identity";
/// A PKCS#8 Ed25519 key has 48 (v1) or 83..=85 (v2, with public key) bytes; whatever is larger is something else.
const FILE_BYTES_MAX: u64 = 256;

/// The node's key pair.
#[derive(Clone)]
pub struct Identity {
    /// The private key, PKCS#8 DER, as rustls takes it.
    pub pkcs8: Vec<u8>,
    /// The public key, which is the node's name.
    pub peer: PeerId,
}

/// The private key stays out of logs.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The identity cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Its directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Others can read the private key, so it may no longer be only ours.
    #[error("identity {}: mode {mode:04o} lets other users read this node's private key; if nobody copied it, run: chmod 600 {}; else delete it, and the node gets a new identity", .path.display(), .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("identity {}: {bytes} bytes that are no Ed25519 private key in PKCS#8; restore it from a backup, or delete it, and the node gets a new identity", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The kernel's answer.
    #[error("identity {}: cannot {what}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The cryptography library has no entropy.
    #[error("no Ed25519 key can be made: the kernel's random number generator did not answer")]
    NoEntropy,
}

impl Identity {
    /// Reads the identity kept in `state`, or makes one (and the directory) where there is none.
    pub fn load_or_create(state: &Path) -> Result<Self, IdentityError> {
        prepare_state_dir(state)?;
        let path = state.join(FILE);
        match Self::load(&path) {
            Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(state, &path)?;
                Self::load(&path)
            }
            other => other,
        }
    }

    fn load(path: &Path) -> Result<Self, IdentityError> {
        let mut file = File::open(path).map_err(io_error(path, "open it"))?;
        let mode = file.metadata().map_err(io_error(path, "look at it"))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut pkcs8 = Vec::new();
        Read::take(&mut file, FILE_BYTES_MAX)
            .read_to_end(&mut pkcs8)
            .map_err(io_error(path, "read it"))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8);
        let peer = pair
            .ok()
            .and_then(|pair| <[u8; 32]>::try_from(pair.public_key().as_ref()).ok());
        match peer {
            Some(key) => Ok(Self {
                pkcs8,
                peer: PeerId::from_bytes(key),
            }),
            None => Err(IdentityError::Malformed {
                path: path.to_owned(),
                bytes: pkcs8.len(),
            }),
        }
    }
}

/// Makes a key and gives it its name; does nothing if another process was faster.
fn create(state: &Path, path: &Path) -> Result<(), IdentityError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| IdentityError::NoEntropy)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| IdentityError::NoEntropy)?;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let aside = state.join(format!(
        "{FILE}.{}.{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    let _ = fs::remove_file(&aside); // of a crashed process with our number
    let written = write_new(&aside, pkcs8.as_ref());
    let linked = written.and_then(|()| fs::hard_link(&aside, path));
    let _ = fs::remove_file(&aside);
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(io_error(path, "create it")(e)),
        _ => File::open(state)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error(path, "sync its directory")),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn io_error(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Io { path, what, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::testing::TempDir;

    #[test]
    fn an_identity_survives_and_is_private() {
        let dir = TempDir::new();
        let state = dir.path().join("deep/state");
        let made = Identity::load_or_create(&state).unwrap();
        let again = Identity::load_or_create(&state).unwrap();
        assert_eq!(made.peer, again.peer);
        assert_eq!(made.pkcs8, again.pkcs8);
        assert_eq!(fs::metadata(state.join(FILE)).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing left aside");
        let other = Identity::load_or_create(&dir.path().join("other")).unwrap();
        assert_ne!(made.peer, other.peer);
        assert!(!format!("{made:?}").contains("pkcs8"));
    }

    #[test]
    fn processes_that_start_at_once_agree() {
        let dir = TempDir::new();
        let peers: Vec<_> = std::thread::scope(|s| {
            let runs: Vec<_> = (0..8)
                .map(|_| s.spawn(|| Identity::load_or_create(dir.path()).unwrap().peer))
                .collect();
            runs.into_iter().map(|r| r.join().unwrap()).collect()
        });
        let kept = Identity::load_or_create(dir.path()).unwrap().peer;
        assert!(peers.iter().all(|p| *p == kept), "{peers:?}");
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_with_a_remedy() {
        type Spoil = fn(&Path);
        let rows: [(&str, Spoil, &str); 5] = [
            ("readable by others", |s| chmod(&s.join(FILE), 0o640), "chmod 600"),
            (
                "truncated",
                |s| fs::write(s.join(FILE), &fs::read(s.join(FILE)).unwrap()[..20]).unwrap(),
                "20 bytes that are no Ed25519",
            ),
            (
                "empty",
                |s| fs::write(s.join(FILE), b"").unwrap(),
                "0 bytes that are no Ed25519",
            ),
            (
                "foreign",
                |s| fs::write(s.join(FILE), vec![b'x'; 9000]).unwrap(),
                "no Ed25519 private key",
            ),
            ("world-writable directory", |s| chmod(s, 0o777), "chmod 700"),
        ];
        for (name, spoil, expect) in rows {
            let dir = TempDir::new();
            Identity::load_or_create(dir.path()).unwrap();
            spoil(dir.path());
            let error = Identity::load_or_create(dir.path()).unwrap_err().to_string();
            assert!(error.contains(expect), "{name}: {error}");
        }
        let dir = TempDir::new();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = Identity::load_or_create(&file).unwrap_err().to_string();
        assert!(error.contains("not a directory"), "{error}");
        let error = Identity::load_or_create(&file.join("below")).unwrap_err().to_string();
        assert!(error.contains("not a directory"), "{error}");
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}
