//! Which part of a representation a request asks for, and whether it has it already: RFC 9110 sections 13 and 14. Knows no file.

use std::ops::Range;

use hyper::header::{AsHeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use hyper::{HeaderMap, Method};

/// What a GET is to be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it: 200.
    Whole,
    /// These bytes, at least one: 206.
    Part(Range<u64>),
    /// It has none of the bytes asked for: 416.
    Beyond,
    /// The client has it: 304.
    Known,
    /// The client wants another one: 412.
    Other,
}

/// Judges the header fields of a GET or a HEAD for what has this strong entity tag (quotes included) and so many bytes.
///
/// Of several ranges none is given: what they would cost is for the server to choose (RFC 9110 section 14.2), and who asks for them takes all.
pub(super) fn asked(method: &Method, headers: &HeaderMap, tag: &str, bytes: u64) -> Asked {
    let is_strong = |known: &str| known == "*" || known == tag;
    if headers.contains_key(IF_MATCH) && !tags(headers, IF_MATCH).any(is_strong) {
        return Asked::Other;
    }
    if tags(headers, IF_NONE_MATCH).any(|known| is_strong(known.strip_prefix("W/").unwrap_or(known))) {
        return Asked::Known;
    }
    // A date is none that we ever gave.
    let is_other = text(headers, IF_RANGE).is_some_and(|known| known.trim() != tag);
    match text(headers, RANGE) {
        // Ranges are for GET alone (RFC 9110 section 14.2).
        Some(range) if method == Method::GET && !is_other && headers.get_all(RANGE).iter().count() == 1 => part(range, bytes),
        _ => Asked::Whole,
    }
}

/// What all fields of that name list together (RFC 9110 section 5.3).
fn tags(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(name).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// A field that is no text is as good as none.
fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// One range of bytes. What cannot be understood is ignored.
fn part(range: &str, bytes: u64) -> Asked {
    let spec = range
        .split_once('=')
        .filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, spec)| spec.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let (first, last) = (first.trim_end(), last.trim_start());
    let found = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        (Some(first), None) if last.is_empty() => first..bytes,
        // The end of nothing is there, and cannot be told as a part.
        (None, Some(1..)) if first.is_empty() && bytes == 0 => return Asked::Whole,
        (None, Some(count)) if first.is_empty() => bytes.saturating_sub(count)..bytes,
        _ => return Asked::Whole,
    };
    if found.is_empty() { Asked::Beyond } else { Asked::Part(found) }
}

/// Digits alone; more than any file has is as much as any file has.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    const TAG: &str = "\"abc\"";

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).expect("a value");
        fields.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    #[test]
    fn one_range_is_a_part_and_what_is_none_is_ignored() {
        let check = |range: &str, bytes: u64, expect: Asked| {
            assert_eq!(
                asked(&Method::GET, &headers(&[(RANGE, range)]), TAG, bytes),
                expect,
                "{range} of {bytes}"
            );
        };
        check("bytes=0-0", 10, Asked::Part(0..1));
        check("bytes=2-5", 10, Asked::Part(2..6));
        check("Bytes = 2 - 5 ", 10, Asked::Part(2..6));
        check("bytes=2-", 10, Asked::Part(2..10));
        check("bytes=-3", 10, Asked::Part(7..10));
        check("bytes=-30", 10, Asked::Part(0..10));
        check("bytes=9-100", 10, Asked::Part(9..10));
        check("bytes=0-99999999999999999999999", 10, Asked::Part(0..10));
        check("bytes=10-", 10, Asked::Beyond);
        check("bytes=10-20", 10, Asked::Beyond);
        check("bytes=99999999999999999999999-", 10, Asked::Beyond);
        check("bytes=-0", 10, Asked::Beyond);
        check("bytes=0-", 0, Asked::Beyond);
        check("bytes=-1", 0, Asked::Whole);
        for ignored in [
            "bytes=5-2",
            "bytes=-",
            "bytes=",
            "bytes",
            "bytes=a-b",
            "bytes=1-2,4-5",
            "bytes=0-1,",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=1--2",
        ] {
            check(ignored, 10, Asked::Whole);
        }
        assert_eq!(
            asked(&Method::GET, &headers(&[(RANGE, "bytes=0-1"), (RANGE, "bytes=0-1")]), TAG, 10),
            Asked::Whole
        );
        assert_eq!(asked(&Method::GET, &HeaderMap::new(), TAG, 10), Asked::Whole);
        let part = headers(&[(RANGE, "bytes=2-5")]);
        assert_eq!(asked(&Method::HEAD, &part, TAG, 10), Asked::Whole, "a HEAD has none");
    }

    #[test]
    fn conditions_are_judged_before_the_range() {
        let check = |fields: &[(HeaderName, &str)], expect: Asked| {
            let fields: Vec<(HeaderName, &str)> = fields.iter().cloned().chain([(RANGE, "bytes=1-1")]).collect();
            assert_eq!(asked(&Method::GET, &headers(&fields), TAG, 10), expect, "{fields:?}");
        };
        let part = || Asked::Part(1..2);
        check(&[(IF_RANGE, TAG)], part());
        check(&[(IF_RANGE, "\"other\"")], Asked::Whole);
        check(&[(IF_RANGE, "W/\"abc\"")], Asked::Whole);
        check(&[(IF_RANGE, "Sat, 29 Oct 1994 19:43:31 GMT")], Asked::Whole);
        check(&[(IF_NONE_MATCH, TAG)], Asked::Known);
        check(&[(IF_NONE_MATCH, "\"x\", W/\"abc\"")], Asked::Known);
        check(&[(IF_NONE_MATCH, "*")], Asked::Known);
        check(&[(IF_NONE_MATCH, "\"x\"")], part());
        check(&[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, TAG)], Asked::Known);
        check(&[(IF_MATCH, "\"x\", \"abc\"")], part());
        check(&[(IF_MATCH, "\"x\""), (IF_MATCH, TAG)], part());
        check(&[(IF_MATCH, "*")], part());
        check(&[(IF_MATCH, "W/\"abc\"")], Asked::Other);
        check(&[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, TAG)], Asked::Other);
    }
}
