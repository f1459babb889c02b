//! What is asked of the directory of names, and what it is told.

use std::sync::Arc;

use ares_core::manifest::Name;
use ares_core::profile::Profile;

use super::{Call, Shared, dots, wall_clock};
use crate::Source;
use crate::errno::Failure;
use crate::inode::ROOT;
use crate::machine::Machine;
use crate::mount::answer::{Answer, Page, To};
use crate::mount::wire::{Ask, Line};
use crate::shown::{NameLine, Refusal};

impl Shared {
    /// What is asked of the directory of names.
    pub(super) fn serve_names(&self, ask: Ask<'_>, to: To) {
        match ask {
            Ask::Lookup { name: b"." | b"..", .. } => {
                let attr = self.lock().shown.names_attr();
                to.send(self.owner, &Answer::Entry(attr));
            }
            Ask::Lookup { name, .. } => {
                let found = self.lock().shown.lookup(name);
                to.send(self.owner, &found.map_or(Answer::Failed(Failure::Absent), Answer::Entry));
            }
            Ask::List { offset, room, plus, .. } => {
                let lines = self.lock().shown.list(offset);
                self.list_names(to.page(room, plus), offset, &lines, plus);
            }
            Ask::Xattr { .. } => to.send(self.owner, &Answer::Failed(Failure::NoAttribute)),
            _ => to.send(self.owner, &Answer::Failed(Failure::IsDirectory)),
        }
    }

    fn list_names(&self, mut page: Page, offset: u64, lines: &[NameLine], plus: bool) {
        if !dots(ROOT, ROOT, offset).all(|line| page.add(&line, self.owner)) {
            return page.send();
        }
        let add = |line: &&NameLine| {
            let NameLine { next, attr, name, .. } = line;
            let (next, attr) = (*next, *attr);
            page.add(&Line { next, attr, name }, self.owner)
        };
        let count = lines.iter().take_while(add).count();
        if plus {
            // Before the kernel can know of them, and so forget them.
            self.lock().shown.on_listed(&lines[..count]);
        }
        page.send();
    }

    /// Shows a release under a name, in place of another only if `replaces`.
    pub(in super::super) fn show(
        &self,
        name: &Name,
        machine: Machine<Call>,
        source: Arc<dyn Source>,
        replaces: bool,
    ) -> Result<u64, Refusal> {
        let slot = self.lock().shown.show(wall_clock(), name, machine, source, replaces)?;
        // It may have something to fetch ahead.
        self.inbox().look = true;
        self.wake.notify_one();
        Ok(slot)
    }

    /// What was read of a release so far.
    pub(in super::super) fn recorded(&self, name: Option<&[u8]>) -> Option<Profile> {
        self.lock().shown.recorded(name).cloned()
    }

    /// Shows a name no more.
    pub(in super::super) fn hide(&self, name: &[u8]) -> bool {
        self.lock().shown.hide(wall_clock(), name)
    }
}
