//! `ares mount-helper`: one conversation with a daemon that may not mount itself, on standard input, as systemd starts it
//! (`systemd/ares-mount.socket`). What may be asked is for `fs` to say.

use std::os::fd::AsFd as _;

use crate::error::{Failure, Kind};

pub(super) fn run() -> Result<(), Failure> {
    let asked = ares_fs::help_to_mount(std::io::stdin().as_fd());
    asked.map_err(|e| {
        let why = format!("nobody asks on standard input: {e}");
        Failure::new(Kind::Usage, why).help("systemd starts this by ares-mount.socket; people use `ares mount`")
    })
}
