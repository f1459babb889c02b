//! A terminal for progress bars where stderr is none but bars were asked for: each redraw is a line of its own.

use std::io;

use indicatif::TermLike;

/// Writes lines to stderr and ignores the cursor.
#[derive(Debug)]
pub(super) struct PlainTerm;

impl TermLike for PlainTerm {
    fn width(&self) -> u16 {
        100
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        let text = text.trim_end();
        if text.is_empty() {
            Ok(())
        } else {
            io::Write::write_all(&mut io::stderr(), format!("{text}\n").as_bytes())
        }
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
