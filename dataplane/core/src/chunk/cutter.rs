//! Where a file's bytes are cut into chunks.

/// A way of cutting: recorded in a release's root, because other cuts give other chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutterId(pub u8);

impl CutterId {
    /// What this program cuts with: see this file's head. Readers take any.
    pub const CURRENT: Self = Self(1);
}

/// How finely a file is cut; follows from its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeClass {
    /// Below 256 MiB: average 64 KiB, at most 256 KiB.
    Small,
    /// Below 16 GiB: average 256 KiB, at most 1 MiB.
    Medium,
    /// From 16 GiB: average 512 KiB, at most 1 MiB.
    Large,
}

impl SizeClass {
    /// The class of a file of `bytes` bytes.
    pub const fn of(bytes: u64) -> Self {
        if bytes < 256 << 20 {
            Self::Small
        } else if bytes < 16 << 30 {
            Self::Medium
        } else {
            Self::Large
        }
    }
}

/// Cuts one file. Windows of it go in, boundaries come out; the same boundaries whatever the windows.
pub struct Cutter {}

impl Cutter {
    /// For a file of this class.
    pub fn new(_class: SizeClass) -> Self {
        unimplemented!()
    }
    /// Looks at the bytes that follow those seen so far and returns how many of them end the current chunk, or `None` if it goes on
    /// past them. After a boundary, call again with the rest of the window.
    pub fn next(&mut self, _window: &[u8]) -> Option<usize> {
        unimplemented!()
    }
}
