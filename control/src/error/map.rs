//! From the errors of the other crates to what the user is told: each variant's guilty decides the kind, and with it the exit code.

use ares_core::link::LinkError;
use ares_core::manifest::ManifestError;
use ares_core::swarm::FetchError;
use ares_fs::{MountError, ShowError, UnmountError};
use ares_node::StartError;
use ares_node::download::DownloadError;
use ares_node::identity::IdentityError;
use ares_node::import::ImportError;
use ares_node::store::{ReadError, StateError, StoreError};

use super::{Failure, Kind};

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Failure::told(Kind::Usage, &error.to_string())
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        let is_newer = matches!(error, ManifestError::Newer { .. });
        let failure = Failure::told(Kind::Content, &error.to_string());
        if is_newer {
            failure
        } else {
            failure.help("its publisher must publish it anew")
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let text = error.to_string();
        match error {
            FetchError::Deadline { .. } | FetchError::Unreached { .. } | FetchError::Lacked { .. } => Failure::new(Kind::Network, text).help(
                "is a peer of the link running (`ares serve`) and reachable from here (firewall, UDP port)? `ares status` shows peers",
            ),
            FetchError::Store { .. } => Failure::told(Kind::Disk, &text),
            FetchError::Cancelled => Failure::interrupted(),
            FetchError::Shutdown => Failure::new(Kind::Interrupted, text),
        }
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        match error {
            DownloadError::Fetch(error) => error.into(),
            DownloadError::Manifest { error, .. } => error.into(),
            DownloadError::Mismatch(_) => Failure::told(Kind::Content, &error.to_string()),
            DownloadError::Read(error) => error.into(),
            DownloadError::Store(error) => error.into(),
            DownloadError::Cancelled => Failure::interrupted(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Misplaced { .. } => Kind::Content,
            StoreError::Changed(_) => Kind::InputChanged,
            _ => Kind::Disk,
        };
        Failure::told(kind, &error.to_string())
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let text = error.to_string();
        let kind = match error {
            ImportError::Store(error) => return error.into(),
            ImportError::Cancelled => return Failure::interrupted(),
            ImportError::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
            ImportError::Unreadable { .. } => Kind::Disk,
            ImportError::Changed { .. } => Kind::InputChanged,
            _ => Kind::Usage,
        };
        Failure::told(kind, &text)
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Failure::told(Kind::Disk, &error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::NotHeld(_) => Kind::Network,
            ReadError::Bad { .. } | ReadError::Short { .. } => Kind::Content,
            ReadError::Changed { .. } => Kind::InputChanged,
            _ => Kind::Disk,
        };
        Failure::told(kind, &error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match error {
            StartError::Store(error) => error.into(),
            StartError::Identity(IdentityError::State(error)) => error.into(),
            StartError::Identity(_) => Failure::told(Kind::Disk, &text),
            StartError::Socket(_) => Failure::new(Kind::Network, text)
                .help("`ares serve --listen IP:PORT`, or `listen` in the config file, chooses another address"),
            StartError::Ring(_) | StartError::Tls(_) | StartError::Thread(_) => {
                Failure::told(Kind::Failed, &text).help("`ares doctor` looks at this machine")
            }
        }
    }
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        match error {
            MountError::Release(error) => error.into(),
            error => Failure::told(Kind::Mount, &error.to_string()),
        }
    }
}

impl From<ShowError> for Failure {
    fn from(error: ShowError) -> Self {
        let text = error.to_string();
        match error {
            ShowError::Release(error) => error.into(),
            ShowError::Taken { .. } => {
                Failure::new(Kind::Mount, text).help("give it to this release with --replace, or take it away first")
            }
            ShowError::NoNames { .. } => Failure::new(Kind::Mount, text).help("`ares mount --root DIR` makes a mount that has"),
            ShowError::BadName { .. } => Failure::new(Kind::Usage, text),
            ShowError::Full { .. } | ShowError::TooLarge => Failure::told(Kind::Mount, &text),
        }
    }
}

impl From<UnmountError> for Failure {
    fn from(error: UnmountError) -> Self {
        Failure::told(Kind::Mount, &error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guilty_decides_the_exit_code() {
        let check = |failure: Failure, kind: Kind, help: Option<&str>| {
            assert_eq!((failure.kind, failure.help.as_deref()), (kind, help), "{}", failure.message);
        };
        let link: Result<ares_core::link::Link, LinkError> = "https://example.org".parse();
        check(link.unwrap_err().into(), Kind::Usage, None);
        let locked = StoreError::Locked {
            path: "/s".into(),
            holder: Some(7),
        };
        check(
            locked.into(),
            Kind::Disk,
            Some("stop it, talk to it instead, or name another directory with --state"),
        );
        check(MountError::NoHelper.into(), Kind::Mount, None);
        check(FetchError::Cancelled.into(), Kind::Interrupted, None);
        check(
            StoreError::Changed("/x".into()).into(),
            Kind::InputChanged,
            Some("publish it again when nobody writes to it"),
        );
    }
}
