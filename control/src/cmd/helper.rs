//! `mount.ares`, by which mount(8) and /etc/fstab mount: this program under that name. Turns what mount(8) says into an `ares mount --detach`, and
//! its end into the exit codes of mount(8).
//!
//! ```text
//! mount.ares SOURCE DIR [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTION,..]
//! ```

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// What the program is called then.
const NAME: &str = "mount.ares";

/// Where the nodes of such mounts keep their state, one for each mount point, unless `state=` names another.
const STATES: &str = "/var/lib/ares-mount";

/// How mount(8) wants to be told that it was called wrongly, and that the mount failed.
pub(super) const MISCALLED: u8 = 1;
pub(super) const FAILED: u8 = 32;

/// Options that are for mount(8), systemd or the kernel, or are so in any case.
const IGNORED: [&str; 24] = [
    "defaults",
    "ro",
    "rw",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "async",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
];

/// Options that are flags of `ares` or `ares mount`.
const SWITCHES: [(&str, &str); 6] = [
    ("no_profile", "--no-profile"),
    ("allow_other", "--allow-other"),
    ("offline", "--offline"),
    ("no_mdns", "--no-mdns"),
    ("dht", "--dht"),
    ("verbose", "-v"),
];

/// The same with a value.
const VALUES: [(&str, &str); 15] = [
    ("profile", "--profile"),
    ("state", "--state"),
    ("config", "--config"),
    ("seed", "--seed"),
    ("lane", "--lane"),
    ("no_lane", "--no-lane"),
    ("http", "--http"),
    ("uid", "--uid"),
    ("gid", "--gid"),
    ("umask", "--umask"),
    ("fmode", "--fmode"),
    ("dmode", "--dmode"),
    ("patience", "--patience"),
    ("passthrough", "--passthrough"),
    ("transport", "--transport"),
];

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// This command.
    Run(Vec<OsString>),
    /// Nothing: mount(8) only tries (`-f`).
    Nothing,
}

/// Whether it was called so.
pub(super) fn is_called(program: Option<&OsStr>) -> bool {
    program.and_then(|program| Path::new(program).file_name()) == Some(OsStr::new(NAME))
}

/// Reads the arguments behind the program's name.
pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Asked, String> {
    let (mut operands, mut options, mut is_fake, mut is_sloppy, mut is_verbose) = (Vec::new(), Vec::new(), false, false, false);
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            [b'-', letters @ ..] if !letters.is_empty() => {
                for letter in letters {
                    match letter {
                        b'f' => is_fake = true,
                        b's' => is_sloppy = true,
                        b'v' => is_verbose = true,
                        b'n' => {}
                        b'o' => {
                            let list = args.next().ok_or("-o wants options")?.into_vec();
                            options.extend(list.split(|b| *b == b',').map(<[u8]>::to_vec));
                        }
                        b't' | b'N' => drop(args.next().ok_or("-t and -N want a value")?),
                        _ => return Err(format!("unknown flag {}", arg.display())),
                    }
                }
            }
            _ => operands.push(arg),
        }
    }
    let [link, dir] = <[OsString; 2]>::try_from(operands).map_err(|_| "wanted: a link and a directory".to_owned())?;
    let mut command: Vec<OsString> = vec!["mount".into(), "--detach".into()];
    let mut has_state = false;
    for option in options.iter().filter(|option| !option.is_empty()) {
        let (key, value) = match option.iter().position(|b| *b == b'=') {
            Some(at) => (&option[..at], Some(&option[at + 1..])),
            None => (&option[..], None),
        };
        let named = |table: &[(&str, &'static str)]| table.iter().find(|(name, _)| name.as_bytes() == key).map(|(_, flag)| *flag);
        has_state |= key == b"state";
        match (named(&SWITCHES), named(&VALUES), value) {
            (Some(flag), _, None) => command.push(flag.into()),
            (_, Some(flag), Some(value)) => command.push(OsString::from_vec([flag.as_bytes(), b"=", value].concat())),
            (None, None, _) if is_ignored(key) || is_sloppy => {}
            _ => {
                return Err(format!(
                    "unknown option {:?}, or one without its value",
                    String::from_utf8_lossy(option)
                ));
            }
        }
    }
    if is_verbose {
        command.push("-v".into());
    }
    if !has_state {
        command.push(OsString::from_vec(
            [&b"--state="[..], state_of(&dir).as_os_str().as_bytes()].concat(),
        ));
    }
    // In fstab the directory of names has no link.
    if link == "none" {
        command.extend(["--root".into(), dir]);
    } else {
        command.extend(["--".into(), link, dir]);
    }
    Ok(if is_fake { Asked::Nothing } else { Asked::Run(command) })
}

fn is_ignored(key: &[u8]) -> bool {
    let is_for_others = key.starts_with(b"x-") || key.starts_with(b"X-") || key == b"comment";
    is_for_others || IGNORED.iter().any(|ignored| ignored.as_bytes() == key)
}

/// A state directory for the mount at `dir`, named after it as systemd names its units.
fn state_of(dir: &OsStr) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    let mut name = Vec::new();
    for &byte in dir.as_os_str().as_bytes().trim_ascii_start() {
        match byte {
            b'/' if name.is_empty() => {}
            b'/' => name.push(b'-'),
            b'-' | b'\\' => name.extend(format!("\\x{byte:02x}").bytes()),
            _ => name.push(byte),
        }
    }
    Path::new(STATES).join(OsString::from_vec(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(line: &str) -> Result<String, String> {
        match parse(line.split(' ').map(OsString::from))? {
            Asked::Nothing => Ok("nothing".to_owned()),
            Asked::Run(command) => Ok(command.join(OsStr::new(" ")).into_string().expect("text")),
        }
    }

    #[test]
    fn what_mount_says_becomes_our_own_command() {
        let check = |line: &str, expect: &str| assert_eq!(ran(line).as_deref(), Ok(expect), "{line}");
        let own = "--state=/var/lib/ares-mount/mnt-a";
        check("ares:x /mnt/a -o rw", &format!("mount --detach {own} -- ares:x /mnt/a"));
        check("ares:x /mnt/a", &format!("mount --detach {own} -- ares:x /mnt/a"));
        check(
            "ares:x /mnt/a -o ro,allow_other,uid=7,umask=022,state=/s,_netdev,x-systemd.automount,nofail",
            "mount --detach --allow-other --uid=7 --umask=022 --state=/s -- ares:x /mnt/a",
        );
        check(
            "none /mnt/a-b -nv -t ares -o offline",
            "mount --detach --offline -v --state=/var/lib/ares-mount/mnt-a\\x2db --root /mnt/a-b",
        );
        check(
            "ares:x /mnt/a -s -o colour=red",
            &format!("mount --detach {own} -- ares:x /mnt/a"),
        );
        check("ares:x /mnt/a -f", "nothing");
        check(
            "ares:x / -o seed=a@1:2,seed=b@3:4",
            "mount --detach --seed=a@1:2 --seed=b@3:4 --state=/var/lib/ares-mount/ -- ares:x /",
        );
    }

    #[test]
    fn what_nobody_can_mean_is_refused() {
        for line in [
            "ares:x",
            "ares:x /a /b",
            "ares:x /a -o colour=red",
            "ares:x /a -o uid",
            "ares:x /a -o offline=yes",
            "ares:x /a -o",
            "ares:x /a -z",
            "ares:x /a -f -o colour",
        ] {
            assert!(ran(line).is_err(), "{line}");
        }
        assert!(is_called(Some(OsStr::new("/sbin/mount.ares"))) && is_called(Some(OsStr::new("mount.ares"))));
        assert!(!is_called(Some(OsStr::new("/usr/bin/ares"))) && !is_called(None));
    }
}
