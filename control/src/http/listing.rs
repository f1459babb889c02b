//! A directory of a release as a page: a line for each entry, made while it is sent, so that a million entries take no memory.

use ares_core::manifest::{DirRef, Entry, EntryKind};
use bytes::Bytes;

use super::Give;
use crate::error::Failure;
use crate::render::Bytes as Size;
use crate::tree::{self, Chunks};

/// Bytes of a page that are sent together.
const PIECE_BYTES: usize = 32 << 10;

/// Writes the page of `dir`, which people know by this title.
pub(super) fn write(chunks: &dyn Chunks, dir: DirRef, title: &str, give: Give<'_>) -> Result<(), Failure> {
    let title = text(title.as_bytes());
    let mut page = format!("<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<table>\n");
    tree::entries(chunks, dir, &mut |entry| {
        page.push_str(&line(&entry));
        if page.len() < PIECE_BYTES {
            return Ok(());
        }
        give(Bytes::from(std::mem::take(&mut page)))
    })?;
    page.push_str("</table>\n");
    give(Bytes::from(page))
}

fn line(entry: &Entry) -> String {
    let name = entry.name.as_bytes();
    let (shown, link) = (text(name), link(name));
    match &entry.kind {
        EntryKind::Dir(_) => format!("<tr><td><a href=\"./{link}/\">{shown}/</a><td>\n"),
        EntryKind::File(file) => format!("<tr><td><a href=\"./{link}\">{shown}</a><td>{}\n", Size(file.bytes)),
        EntryKind::Symlink(to) => format!("<tr><td>{shown} &rarr; {}<td>\n", text(to)),
    }
}

/// Bytes as text of a page.
fn text(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            // It would do something to the page, or to a terminal.
            c if c.is_control() => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

/// A name as a segment of a path: RFC 3986 section 2.3 says what may stand for itself.
fn link(name: &[u8]) -> String {
    let mut link = String::new();
    for byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => link.push(char::from(*byte)),
            _ => link.push_str(&format!("%{byte:02X}")),
        }
    }
    link
}
