//! Mounts a release and keeps it for as long as was asked.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ares_core::knobs::Knob;
use ares_core::link::Link;
use ares_core::manifest::{EntryKind, Root};
use ares_core::profile::Profile;
use ares_fs::stale::{self, Cleaned};
use ares_fs::{Access, Agreed, Descriptors, Ended, LastEio, Left, Mount, MountOptions, Permissions, Showing, Tuned};

use super::{profile, read_link, set, show};
use crate::admin::proto::{
    Audience, Event, Force, MountHow, Outcome, Overwrite, Passthrough, Prefetch, Raw, Reach, SharedSink, Stay, Transport,
};
use crate::cancel::Cancel;
use crate::daemon::{Role, Shared};
use crate::error::{Failure, Kind};
use crate::kept::{Kept, Named};
use crate::mounts::{MountEntry, Mounted, Next, Showable};
use crate::notify::Manager;
use crate::tree;

/// How often a mount that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn run(daemon: &Arc<Shared>, ask: Kept, stay: Stay, sink: &SharedSink, cancel: &Cancel) -> Result<Outcome, Failure> {
    if stay == Stay::Detached && matches!(daemon.role, Role::Passing | Role::Discarding) {
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
    let (mount, mut entry) = start(daemon, &ask, None, Reach::Swarm, cancel)?;
    let dir = mount.dir().to_owned();
    let release = entry.release.clone();
    let is_kept = stay == Stay::Detached && daemon.mounts.are_kept();
    entry.kept = entry.kept.filter(|_| is_kept).map(|kept| Kept {
        dir: Raw::from(dir.as_path()),
        ..kept
    });
    daemon.mounts.add(dir.clone(), entry);
    set::tune_mounts(daemon);
    let said = sink.event(Event::Mounted {
        dir: Raw::from(dir.as_path()),
        release: release.clone(),
    });
    let done = Outcome::Mounted {
        release,
        dir: Raw::from(dir.as_path()),
        stay,
    };
    if stay == Stay::Detached {
        watch(daemon, &mount);
        return Ok(done);
    }
    let result = match said {
        Ok(()) => attend(&mount, cancel),
        Err(_gone) => Err(Failure::interrupted()),
    };
    let this: Arc<dyn Mounted> = mount.clone();
    daemon.mounts.on_ended(&dir, &this, false);
    match (result, mount.ended()) {
        (result, Some(_)) => result.map(|()| done),
        // Interrupted while it is mounted: it goes with the command.
        (result, None) => {
            mount.unmount()?;
            result.map(|()| done)
        }
    }
}

/// Makes a mount that is to be there, or goes on with it by its connection.
pub(crate) fn again(daemon: &Arc<Shared>, next: &Next, cancel: &Cancel) -> Result<(), Failure> {
    let kept = &next.kept;
    let left = match (&next.connection, &kept.agreed) {
        (Some(connection), Some(agreed)) => Some(Left {
            connection: connection
                .try_clone()
                .map_err(|e| Failure::new(Kind::Failed, e.to_string()))?,
            agreed: agreed.clone(),
        }),
        _ => None,
    };
    let (mount, entry) = start(daemon, kept, left, next.within, cancel)?;
    if daemon.mounts.on_made(mount.dir(), entry) {
        set::tune_mounts(daemon);
        watch(daemon, &mount);
    }
    Ok(())
}

/// Waits for the end of a mount that no command waits for.
fn watch(daemon: &Arc<Shared>, mount: &Arc<Mount>) {
    let (daemon, mount) = (Arc::clone(daemon), Arc::clone(mount));
    let wait = move || {
        if mount.wait() == Ended::Left {
            return;
        }
        // Who breaks the connection off (/sys/fs/fuse/connections) leaves it mounted and dead.
        let is_lost = matches!(stale::clean(mount.dir()), Ok(Cleaned::Detached(_)));
        let dir = mount.dir().to_owned();
        let mount: Arc<dyn Mounted> = mount;
        daemon.mounts.on_ended(&dir, &mount, is_lost);
    };
    if let Err(e) = std::thread::Builder::new().name("ares-watch".into()).spawn(wait) {
        tracing::error!("no thread to watch a mount: {e}; is the process limit (ulimit -u) too low?");
    }
}

/// `within`: how far what is to be shown may be looked for, beyond what the mount itself allows.
fn start(
    daemon: &Shared,
    ask: &Kept,
    left: Option<Left>,
    within: Reach,
    cancel: &Cancel,
) -> Result<(Arc<Mount>, MountEntry), Failure> {
    let how = &ask.how;
    let options = options(daemon, how)?;
    let dir = ask.dir.to_path();
    if within == Reach::Store {
        // A name that cannot be shown is left out, which only somebody decides who has looked everywhere.
        for named in ask.names.iter().chain(&ask.former) {
            find(daemon, &read_link(&named.link)?, how.reach, within, cancel)?;
        }
    }
    let (mount, release, name) = match &ask.link {
        Some(link) => {
            let link = read_link(link)?;
            let (root, name) = find(daemon, &link, how.reach, within, cancel)?;
            let options = MountOptions {
                name: how.name.clone().unwrap_or(name),
                ..options
            };
            let source = daemon.source(how.reach, link.release, &root);
            let root = root.encode();
            let mount = match left {
                Some(left) => Mount::resume(left, Showing::One { root, source }, &dir, &options)?,
                None => Mount::start(&root, source, &dir, &options)?,
            };
            (mount, Some(link.release.to_string()), link.name)
        }
        None => match left {
            Some(left) => return go_on_with_names(daemon, ask, left, &options, cancel),
            None => (Mount::start_empty(&dir, &options)?, None, "releases".to_owned()),
        },
    };
    let mount = Arc::new(mount);
    let mut entry = MountEntry {
        release,
        name: how.name.clone().unwrap_or(name),
        reach: how.reach,
        names: BTreeMap::new(),
        mount: Arc::clone(&mount) as Arc<dyn Mounted>,
        has_own_patience: how.patience_ms.is_some(),
        kept: None,
    };
    let mut kept = Kept {
        agreed: ask.agreed.clone(),
        ..Kept::new(ask.dir.clone(), ask.link.clone(), how.clone())
    };
    for named in &ask.names {
        // One that cannot be shown now does not keep the others from it, and is tried again by the next daemon.
        let ready = show::Ready::new(daemon, named, how.reach, cancel);
        let slot = ready.and_then(|ready| ready.show(&mut entry, &named.name, Overwrite::Refuse));
        let slot = slot.unwrap_or_else(|failure| {
            tracing::warn!("{} is not shown in {}: {failure}", named.name.lossy(), dir.display());
            0
        });
        kept.names.push(Named { slot, ..named.clone() });
    }
    entry.kept = Some(kept);
    Ok((mount, entry))
}

/// Goes on with a directory of names.
fn go_on_with_names(
    daemon: &Shared,
    ask: &Kept,
    left: Left,
    options: &MountOptions,
    cancel: &Cancel,
) -> Result<(Arc<Mount>, MountEntry), Failure> {
    let dir = ask.dir.to_path();
    let (mut slots, mut names, mut anew) = (Vec::new(), BTreeMap::new(), Vec::new());
    let named = ask.names.iter().map(|named| (named, Some(&named.name)));
    for (named, name) in named.chain(ask.former.iter().map(|named| (named, None))) {
        match show::Ready::new(daemon, named, ask.how.reach, cancel) {
            // The kernel never knew it.
            Ok(ready) if named.slot == 0 => anew.extend(name.map(|name| (name, ready))),
            Ok(ready) => {
                let (slot, release) = ready.again(named.slot, name);
                slots.push(slot);
                names.extend(name.map(|name| (name.0.clone(), release)));
            }
            // Whoever has it open gets ESTALE, and the others go on.
            Err(failure) => tracing::warn!("{} is not shown in {}: {failure}", named.name.lossy(), dir.display()),
        }
    }
    let mount = Arc::new(Mount::resume(left, Showing::Many(slots), &dir, options)?);
    let mut entry = MountEntry {
        release: None,
        name: ask.how.name.clone().unwrap_or_else(|| "releases".to_owned()),
        reach: ask.how.reach,
        names,
        mount: Arc::clone(&mount) as Arc<dyn Mounted>,
        has_own_patience: ask.how.patience_ms.is_some(),
        kept: None,
    };
    let mut kept = ask.clone();
    for (name, ready) in anew {
        let slot = ready.show(&mut entry, name, Overwrite::Refuse)?;
        kept.names
            .iter_mut()
            .filter(|named| named.name == *name)
            .for_each(|named| named.slot = slot);
    }
    entry.kept = Some(kept);
    Ok((mount, entry))
}

/// The root of what a link names, and its name: looked for `within`, for what is read from as far as `reach` says later.
pub(super) fn find(
    daemon: &Shared,
    link: &Link,
    reach: Reach,
    within: Reach,
    cancel: &Cancel,
) -> Result<(Root, String), Failure> {
    if reach == Reach::Swarm {
        daemon.hint(link);
    }
    let within = if reach == Reach::Swarm { within } else { reach };
    let chunks = daemon.chunks_within(within, link.release, cancel);
    let found = tree::find(&chunks, link.release, &link.inside)?;
    daemon.adopt(link, &found.root)?;
    if let EntryKind::Symlink(target) = &found.kind {
        let help = format!("it leads to {}: mount that", tree::show(target));
        return Err(Failure::new(Kind::NotFound, "a symlink cannot be mounted").help(help));
    }
    let root = found.as_root().expect("what is no symlink has a root");
    Ok((root, found.name.map_or_else(|| link.name.clone(), |name| name.to_string())))
}

/// As fs has it, but for the name.
fn options(daemon: &Shared, how: &MountHow) -> Result<MountOptions, Failure> {
    Ok(MountOptions {
        source: daemon.mount_source(),
        access: match how.audience {
            Audience::Owner => Access::Mounter,
            Audience::Everyone => Access::Everyone,
        },
        permissions: Permissions {
            user: how.modes.uid,
            group: how.modes.gid,
            file_mode: how.modes.file,
            dir_mode: how.modes.dir,
            umask: how.modes.umask,
        },
        passthrough: match how.passthrough {
            Passthrough::Auto => ares_fs::Passthrough::WherePays,
            Passthrough::Always => ares_fs::Passthrough::Always,
            Passthrough::Never => ares_fs::Passthrough::Never,
        },
        transport: match how.transport {
            Transport::Dev => ares_fs::Transport::Device,
            Transport::Uring => ares_fs::Transport::Ring,
            Transport::Fuser => ares_fs::Transport::Fuser,
        },
        descriptors: match daemon.notify.manager() {
            Manager::Keeper => Descriptors::One,
            Manager::Plain | Manager::None => Descriptors::Each,
        },
        patience: how.patience_ms.map_or_else(|| daemon.patience(), Duration::from_millis),
        cache_bytes: daemon.handle.settings().bytes(Knob::MountCache),
        prefetch: match (&how.prefetch, how.reach) {
            // What is held is here, and nothing else can be had.
            (_, Reach::Store) | (Prefetch::Nothing, _) => ares_fs::Prefetch::Nothing,
            (Prefetch::OfRelease, _) => ares_fs::Prefetch::OfRelease,
            (Prefetch::This(text), _) => ares_fs::Prefetch::This(profile::read(text)?),
        },
        figures: Arc::clone(&daemon.fuse),
        ..MountOptions::default()
    })
}

/// Waits until it is unmounted, or nobody wants it any more.
fn attend(mount: &Mount, cancel: &Cancel) -> Result<(), Failure> {
    loop {
        match mount.ended() {
            Some(Ended::Unmounted | Ended::Detached | Ended::Left) => return Ok(()),
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

    fn recorded(&self, name: Option<&[u8]>) -> Option<Profile> {
        Mount::recorded(self, name)
    }

    fn last_eio(&self) -> Option<LastEio> {
        Mount::last_eio(self)
    }

    fn show(&self, name: &[u8], release: Showable, overwrite: Overwrite) -> Result<u64, Failure> {
        let Showable { root, file, source } = release;
        Ok(Mount::show(
            self,
            name,
            &root,
            &file,
            source,
            overwrite == Overwrite::Replace,
        )?)
    }

    fn tune(&self, tuned: Tuned) {
        Mount::tune(self, tuned);
    }

    fn hide(&self, name: &[u8]) -> bool {
        Mount::hide(self, name)
    }

    fn slots(&self) -> Vec<u64> {
        Mount::slots(self)
    }

    fn agreed(&self) -> Option<Agreed> {
        Mount::agreed(self)
    }

    fn connection(&self) -> Option<io::Result<OwnedFd>> {
        Mount::connection(self)
    }

    fn leave(&self) -> Option<Left> {
        Mount::leave(self)
    }
}
