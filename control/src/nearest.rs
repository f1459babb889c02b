//! The known name that was most likely meant by a mistyped one. Decides only how alike names are.

/// How alike two names must be, of 1, before one is taken for the other.
const ALIKE_MIN: f64 = 0.8;

/// The known name closest in spelling, if one is close; of dotted names the last part alone counts as well.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &'_ str| name.rsplit('.').next().map_or(0, |part| name.len() - part.len());
    let score = |known: &str| {
        let whole = strsim::jaro_winkler(name, known);
        let tail = strsim::jaro_winkler(&name[last(name)..], &known[last(known)..]);
        (whole.max(tail), whole)
    };
    // Of those that are as close by their last parts it is the closest as a whole.
    let best = known
        .into_iter()
        .map(|known| (score(known), known))
        .max_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    best.filter(|((score, _), _)| *score > ALIKE_MIN).map(|(_, known)| known)
}
