//! Entry names: bytes that can be one component of a file name and nothing else.

use std::fmt;

use bytes::Bytes;

use crate::limits::NAME_BYTES_MAX;

/// The name of a directory entry: 1 to 255 bytes, any but `/` and NUL, not `.` or `..`. Need not be UTF-8. Ordered by bytes.
/// Names of a parsed node share its memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Bytes);

/// Why bytes are no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("an entry has an empty name")]
    Empty,
    /// Longer than Linux takes.
    #[error("an entry's name has {bytes} bytes; at most {NAME_BYTES_MAX} are allowed")]
    Long {
        /// Its length.
        bytes: usize,
    },
    /// It would name something outside its directory.
    #[error("an entry is named \"{name}\": it would lead out of its directory")]
    Escapes {
        /// The name, escaped.
        name: String,
    },
}

impl Name {
    /// Takes bytes as a name if they can be one.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, NameError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameError::Long { bytes: bytes.len() });
        }
        if &bytes[..] == b"." || &bytes[..] == b".." || bytes.iter().any(|b| matches!(b, b'/' | 0)) {
            return Err(NameError::Escapes {
                name: bytes.escape_ascii().to_string(),
            });
        }
        Ok(Self(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    /// As text, with bytes that are not UTF-8 replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component_and_stays_in_its_directory() {
        let check = |bytes: &[u8], expect: Result<(), NameError>| {
            assert_eq!(Name::new(bytes.to_vec()).map(|_| ()), expect, "{}", bytes.escape_ascii());
        };
        let escapes = |name: &str| Err(NameError::Escapes { name: name.to_owned() });
        check(b"a", Ok(()));
        check(b"...", Ok(()));
        check(b" ", Ok(()));
        check(b"\xff\xfe", Ok(()));
        check(&[b'x'; 255], Ok(()));
        check(&[b'x'; 256], Err(NameError::Long { bytes: 256 }));
        check(b"", Err(NameError::Empty));
        check(b".", escapes("."));
        check(b"..", escapes(".."));
        check(b"/", escapes("/"));
        check(b"/etc", escapes("/etc"));
        check(b"a/b", escapes("a/b"));
        check(b"a\0", escapes("a\\x00"));
    }
}
