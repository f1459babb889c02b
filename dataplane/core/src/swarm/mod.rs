//! Who is asked for what, and when.

mod want;

pub use want::{BlobPlace, Class, FetchError, Want};
