//! The read-only view of a release as a FUSE filesystem. A machine turns requests into replies or fetches; `mount` alone does I/O.
//!
//! ```text
//! kernel ── mount::{device, fallback} (transports) ── mount::session ──> machine ──> view (what is where in the manifest), lookahead (what comes next), cache
//!                 │               └── Fetch ──> Source::chunk ──> store or swarm (control joins them)
//!                 ├── opens (who has what open) ──> Source::backing ──> the kernel reads a whole file itself
//!                 └── mount::{place, attach}: where, how, and how it ends
//! ```

mod cache;
mod eio;
mod errno;
mod figures;
mod inode;
mod lookahead;
mod machine;
mod mount;
mod opens;
mod options;
mod read;
mod recorder;
mod request;
mod shelf;
mod shown;
mod source;
#[cfg(test)]
mod testing;
mod view;

pub use eio::{Eio, LastEio};
pub use figures::{Figures, Op};
pub use mount::{
    Agreed, Ended, FSTYPE, Left, Lending, Mount, MountError, OpenFile, ShowError, Showing, Slot, UnmountError, Unmounted,
    help_to_mount, stale, unmount_by_helper,
};
pub use options::{Access, Cover, Descriptors, MountOptions, Passthrough, Permissions, Prefetch, Transport, Tuned};
pub use source::{Backing, Fetching, Reply, Source};
