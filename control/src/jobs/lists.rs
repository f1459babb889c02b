//! Lists of a reply cut to bounded bytes, so that it fits whatever there is: what is left out is counted.

use serde_json::{Map, Value};

/// A list by name and what is kept of it.
#[derive(Clone, Copy)]
pub(super) struct List {
    name: &'static str,
    keep: Keep,
    /// As JSON.
    bytes_max: usize,
}

/// Which end of a list matters more.
#[derive(Clone, Copy)]
pub(super) enum Keep {
    First,
    /// What came last is what somebody asks about.
    Last,
}

impl List {
    pub(super) const fn new(name: &'static str, keep: Keep, bytes_max: usize) -> Self {
        Self { name, keep, bytes_max }
    }

    /// What all of them may take.
    pub(super) const fn bytes_max_of(lists: &[Self]) -> usize {
        match lists {
            [] => 0,
            [first, rest @ ..] => first.bytes_max + Self::bytes_max_of(rest),
        }
    }
}

/// Cuts the lists to their bytes and says under `left_out` how many entries of each are missing.
pub(super) fn bound(object: &mut Map<String, Value>, lists: &[List]) {
    let mut left_out = Map::new();
    for list in lists {
        if let Some(Value::Array(entries)) = object.get_mut(list.name) {
            left_out.insert(list.name.into(), cut(entries, list).into());
        }
    }
    object.insert("left_out".into(), left_out.into());
}

/// Says how many it took away.
fn cut(entries: &mut Vec<Value>, list: &List) -> usize {
    let mut room = list.bytes_max;
    let mut fits = |entry: &Value| {
        // With the comma.
        let bytes = entry.to_string().len() + 1;
        room.checked_sub(bytes).map(|rest| room = rest).is_some()
    };
    let kept = match list.keep {
        Keep::First => entries.iter().take_while(|entry| fits(entry)).count(),
        Keep::Last => entries.iter().rev().take_while(|entry| fits(entry)).count(),
    };
    let gone = entries.len() - kept;
    match list.keep {
        Keep::First => entries.truncate(kept),
        Keep::Last => drop(entries.drain(..gone)),
    }
    gone
}
