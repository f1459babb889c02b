//! Mounts a release and keeps it for as long as was asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ares_core::link::Link;
use ares_core::manifest::EntryKind;
use ares_fs::{Access, Ended, Mount, MountOptions};

use crate::admin::proto::{Audience, Event, Force, Outcome, Passthrough, Raw, SharedSink, Stay, Transport};
use crate::cancel::Cancel;
use crate::daemon::{NodeSource, Role, Shared};
use crate::error::{Failure, Kind};
use crate::mounts::{MountEntry, Mounted};
use crate::tree;

/// How often a mount that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A mount as it was asked for.
pub(super) struct Ask {
    pub(super) link: Link,
    pub(super) dir: PathBuf,
    pub(super) stay: Stay,
    pub(super) audience: Audience,
    pub(super) passthrough: Passthrough,
    pub(super) transport: Transport,
    pub(super) patience: Duration,
    pub(super) name: Option<String>,
}

pub(super) fn run(daemon: &Shared, ask: Ask, sink: &SharedSink, cancel: &Cancel) -> Result<Outcome, Failure> {
    if ask.stay == Stay::Detached && matches!(daemon.role, Role::Passing | Role::Discarding) {
        let pid = std::process::id();
        return Err(Failure::new(
            Kind::Disk,
            format!(
                "{} is in use by process {pid}, which will end soon",
                daemon.config.state.display()
            ),
        )
        .help("try again when it has ended, or name another --state"));
    }
    let release = ask.link.release.to_string();
    let mount = Arc::new(start(daemon, &ask, cancel)?);
    let dir = mount.dir().to_owned();
    let entry = MountEntry {
        release: release.clone(),
        name: ask.name.unwrap_or(ask.link.name),
        mount: Arc::clone(&mount) as Arc<dyn Mounted>,
    };
    daemon.mounts.add(dir.clone(), entry);
    let said = sink.event(Event::Mounted {
        dir: Raw::from(dir.as_path()),
        release: release.clone(),
    });
    let done = Outcome::Mounted {
        release,
        dir: Raw::from(dir.as_path()),
        stay: ask.stay,
    };
    if ask.stay == Stay::Detached {
        return Ok(done);
    }
    let result = match said {
        Ok(()) => attend(&mount, cancel),
        Err(_gone) => Err(Failure::interrupted()),
    };
    daemon.mounts.take(&dir);
    match (result, mount.ended()) {
        (result, Some(_)) => result.map(|()| done),
        // Interrupted while it is mounted: it goes with the command.
        (result, None) => {
            mount.unmount()?;
            result.map(|()| done)
        }
    }
}

fn start(daemon: &Shared, ask: &Ask, cancel: &Cancel) -> Result<Mount, Failure> {
    daemon.hint(&ask.link);
    let chunks = daemon.chunks(ask.link.release, cancel);
    let found = tree::find(&chunks, ask.link.release, &ask.link.inside)?;
    daemon.adopt(&ask.link, &found.root)?;
    let name = found.name.as_ref().map(ToString::to_string);
    let root = match (&found.kind, found.as_root()) {
        (EntryKind::Dir(_) | EntryKind::File(_), Some(root)) => root.encode(),
        (kind, _) => {
            let target = if let EntryKind::Symlink(target) = kind {
                tree::show(target)
            } else {
                String::new()
            };
            return Err(
                Failure::new(Kind::NotFound, "a symlink cannot be mounted").help(format!("it leads to {target}: mount that"))
            );
        }
    };
    let options = MountOptions {
        name: ask.name.clone().or(name).unwrap_or_else(|| ask.link.name.clone()),
        source: daemon.mount_source(),
        access: match ask.audience {
            Audience::Owner => Access::Mounter,
            Audience::Everyone => Access::Everyone,
        },
        passthrough: match ask.passthrough {
            Passthrough::Auto => ares_fs::Passthrough::WherePays,
            Passthrough::Always => ares_fs::Passthrough::Always,
            Passthrough::Never => ares_fs::Passthrough::Never,
        },
        transport: match ask.transport {
            Transport::Dev => ares_fs::Transport::Device,
            Transport::Uring => ares_fs::Transport::Ring,
            Transport::Fuser => ares_fs::Transport::Fuser,
        },
        patience: ask.patience,
        figures: Arc::clone(&daemon.fuse),
        ..MountOptions::default()
    };
    let source = Arc::new(NodeSource::new(daemon.handle.clone(), ask.link.release));
    Ok(Mount::start(&root, source, &ask.dir, &options)?)
}

/// Waits until it is unmounted, or nobody wants it any more.
fn attend(mount: &Mount, cancel: &Cancel) -> Result<(), Failure> {
    loop {
        match mount.ended() {
            Some(Ended::Unmounted | Ended::Detached) => return Ok(()),
            Some(Ended::Lost(why)) => {
                return Err(Failure::new(
                    Kind::Mount,
                    format!("the mount at {} broke off: {why}", mount.dir().display()),
                ));
            }
            None if cancel.wait(LOOK) => return Err(Failure::interrupted()),
            None => {}
        }
    }
}

impl Mounted for Mount {
    fn end(&self) {
        if let Err(e) = self.unmount() {
            tracing::error!("{e}");
        }
    }

    fn take_away(&self, force: Force) -> Result<(), Failure> {
        let dir: &Path = self.dir();
        match force {
            Force::IfIdle => crate::unmount::unmount(dir, Force::IfIdle)?,
            Force::Lazy => drop(self.unmount()?),
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ended().is_some()
    }

    fn longest_wait(&self) -> Duration {
        Mount::longest_wait(self)
    }
}
