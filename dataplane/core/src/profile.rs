//! An access profile: which parts of a release somebody read first, so that the next reader need not wait for them. A mount records one, a
//! publisher may attach one to a directory as an extended attribute, and mounts fetch ahead what it names.
//!
//! ```text
//! # a comment
//! 0-65536 bin/app                 bytes of a file, from and up to, and its path below the directory
//! 1048576- lib/model.bin          up to its end
//! ```
//! It is text, so that people can read and write it, and names paths, so that one recorded of a release serves the next. It is advice: what
//! it names and is not there is passed over.

use std::ops::Range;

/// The extended attribute that a directory's profile is kept in.
pub const PROFILE_XATTR: &[u8] = b"user.ares.profile";
/// Longest profile, in bytes: it is a part of the root's manifest node, which whoever mounts waits for.
pub const PROFILE_BYTES_MAX: usize = 48 << 10;

const _: () = assert!(PROFILE_BYTES_MAX + PROFILE_XATTR.len() < crate::limits::XATTRS_BYTES_MAX);

/// Parts of files in the order in which they are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    parts: Vec<Part>,
    /// Length of its text, comments left out.
    text_bytes: usize,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Names joined by `/`, without a line feed.
    pub path: Vec<u8>,
    /// Which bytes; `u64::MAX` is its end, wherever that is.
    pub bytes: Range<u64>,
}

/// Why a text is no profile. The guilty is who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// It has a line that is none.
    #[error("line {line} is no `FROM-TO PATH`, such as `0-65536 bin/app` or `0- bin/app`")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// It is too long.
    #[error(
        "it has {bytes} bytes, and a profile has {} at most: leave the last lines out",
        PROFILE_BYTES_MAX
    )]
    Long {
        /// How long it is.
        bytes: usize,
    },
}

impl Profile {
    /// Reads a text.
    pub fn parse(text: &[u8]) -> Result<Self, ProfileError> {
        let mut profile = Self::default();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let part = Part::parse(line).ok_or(ProfileError::Line { line: at + 1 })?;
            profile.text_bytes += part.text().len();
            profile.parts.push(part);
        }
        match profile.text_bytes {
            bytes if bytes > PROFILE_BYTES_MAX => Err(ProfileError::Long { bytes }),
            _ => Ok(profile),
        }
    }

    /// Its text, without the comments that it may have been read from.
    pub fn text(&self) -> Vec<u8> {
        self.parts.iter().flat_map(Part::text).collect()
    }

    /// Its parts in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Adds a part and says where it is; `None` where there is no more room, or where its path cannot be written.
    pub fn push(&mut self, part: Part) -> Option<usize> {
        // Whatever becomes of its end later.
        let text_bytes = self.text_bytes + part.path.len() + DIGITS_MAX;
        if text_bytes > PROFILE_BYTES_MAX || part.path.contains(&b'\n') {
            return None;
        }
        self.text_bytes = text_bytes;
        self.parts.push(part);
        Some(self.parts.len() - 1)
    }

    /// A part that was added reaches up to there.
    pub fn extend(&mut self, at: usize, end: u64) {
        if let Some(part) = self.parts.get_mut(at) {
            part.bytes.end = end;
        }
    }
}

/// What a line has besides its path at most: two numbers, a hyphen, a space and a line feed.
const DIGITS_MAX: usize = 20 + 1 + 20 + 1 + 1;

impl Part {
    fn parse(line: &[u8]) -> Option<Self> {
        let space = line.iter().position(|byte| *byte == b' ')?;
        let (range, path) = (std::str::from_utf8(&line[..space]).ok()?, &line[space + 1..]);
        let (from, to) = range.split_once('-')?;
        let start = from.parse().ok()?;
        let end = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
        (start <= end && !path.is_empty()).then(|| Self {
            path: path.to_vec(),
            bytes: start..end,
        })
    }

    fn text(&self) -> Vec<u8> {
        let Range { start, end } = self.bytes;
        let end = if end == u64::MAX { String::new() } else { end.to_string() };
        [format!("{start}-{end} ").as_bytes(), &self.path, b"\n"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_was_written_and_no_other_is() {
        let text = b"0-65536 bin/app\n1048576- lib/a model.bin\n7-7 \xff/-\n";
        let profile = Profile::parse(text).expect("a profile");
        assert_eq!(profile.text(), text);
        assert_eq!(profile.parts()[1].bytes, 1 << 20..u64::MAX);
        assert_eq!(
            Profile::parse(b"# first\n\n0-1 a\n").map(|profile| profile.parts().len()),
            Ok(1)
        );
        assert_eq!(Profile::parse(b""), Ok(Profile::default()));
        for (text, line) in [
            ("0-1 a\nb", 2),
            ("0-1", 1),
            ("0-1 ", 1),
            ("1-0 a", 1),
            ("-1 a", 1),
            ("0-18446744073709551616 a", 1),
        ] {
            assert_eq!(Profile::parse(text.as_bytes()), Err(ProfileError::Line { line }), "{text}");
        }
        let long = b"0-1 abcdefgh\n".repeat(PROFILE_BYTES_MAX / 13 + 1);
        assert!(matches!(Profile::parse(&long), Err(ProfileError::Long { .. })));
    }

    #[test]
    fn what_is_recorded_can_be_read_however_much_it_was() {
        let mut profile = Profile::default();
        let part = |n: u64| Part {
            path: format!("some/directory/file-{n}").into_bytes(),
            bytes: 0..n,
        };
        let kept = (0..).take_while(|n| {
            let at = profile.push(part(*n));
            at.into_iter().for_each(|at| profile.extend(at, u64::MAX - 1));
            at.is_some()
        });
        assert!(kept.count() > 500);
        assert_eq!(
            Profile::parse(&profile.text()).map(|read| read.parts),
            Ok(profile.parts.clone())
        );
        let odd = Part {
            path: b"a\nb".to_vec(),
            bytes: 0..1,
        };
        assert_eq!(Profile::default().push(odd), None);
    }
}
