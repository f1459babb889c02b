//! Reads /proc/self/mountinfo (proc_pid_mountinfo(5)): what is mounted where, without touching what may be dead or hang.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountLine {
    /// `major:minor` of its device: for FUSE the minor names the connection in /sys/fs/fuse/connections.
    pub(crate) device: (u32, u32),
    /// Where it is.
    pub(crate) dir: PathBuf,
    /// Filesystem type, with the subtype of FUSE behind a dot.
    pub(crate) fstype: String,
    /// What the mounter calls its source.
    pub(crate) source: String,
}

/// All mounts of this process's namespace in order; a later one on the same directory covers an earlier one.
pub(crate) fn read() -> Vec<MountLine> {
    std::fs::read("/proc/self/mountinfo")
        .map(|bytes| parse(&bytes))
        .unwrap_or_default()
}

/// The mount seen at `dir`, if something is mounted on that very directory.
pub(crate) fn at(dir: &Path) -> Option<MountLine> {
    read().into_iter().rfind(|line| line.dir == dir)
}

/// Lines that are not understood are left out: newer kernels may say more.
fn parse(bytes: &[u8]) -> Vec<MountLine> {
    bytes.split(|&b| b == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /dir opts [tags..] - fstype source superopts`
fn parse_line(line: &[u8]) -> Option<MountLine> {
    let mut fields = line.split(|&b| b == b' ');
    let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
    let dir = unescape(fields.nth(1)?);
    fields.find(|field| field == b"-")?;
    Some(MountLine {
        device: (major.parse().ok()?, minor.parse().ok()?),
        dir: OsString::from_vec(dir).into(),
        fstype: String::from_utf8_lossy(fields.next()?).into_owned(),
        source: String::from_utf8_lossy(&unescape(fields.next()?)).into_owned(),
    })
}

/// Undoes the kernel's `\ooo` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|digits| first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)))
            .map(|digits| digits.iter().fold(0_u32, |value, d| value * 8 + u32::from(d - b'0')));
        match octal.and_then(|value| u8::try_from(value).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_are_read_as_the_kernel_writes_them() {
        let check = |line: &str, expect: Option<((u32, u32), &str, &str, &str)>| {
            let got = parse_line(line.as_bytes());
            let want = expect.map(|(device, dir, fstype, source)| MountLine {
                device,
                dir: dir.into(),
                fstype: fstype.into(),
                source: source.into(),
            });
            assert_eq!(got, want, "{line}");
        };
        check(
            "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
            Some(((98, 0), "/mnt2", "ext3", "/dev/root")),
        );
        check(
            "36 35 0:52 / /a\\040b ro - fuse.ares ares ro",
            Some(((0, 52), "/a b", "fuse.ares", "ares")),
        );
        check(
            "36 35 0:52 / /a\\134040 ro a:1 b:2 - tmpfs none rw",
            Some(((0, 52), "/a\\040", "tmpfs", "none")),
        );
        check("36 35 0:52 / /a\\9 ro - fuse x rw", Some(((0, 52), "/a\\9", "fuse", "x")));
        check("36 35 0:52 / /a ro", None);
        check("", None);
        check("36 35 none / /a ro - x y z", None);
    }

    #[test]
    fn the_later_mount_covers_the_earlier() {
        let lines = parse(b"1 1 0:1 / /a ro - x one rw\n2 1 0:2 / /b ro - x two rw\n3 1 0:3 / /a ro - x three rw\n");
        let top = lines.into_iter().rfind(|line| line.dir == Path::new("/a"));
        assert_eq!(top.map(|line| line.source), Some("three".to_owned()));
    }
}
