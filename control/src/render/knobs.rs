//! `ares set` for people: a line a knob, in columns.

use ares_core::knobs::show_number;

use crate::admin::proto::{KnobState, KnobValue};

/// A value as it may be typed again.
pub(crate) fn knob_value(value: &KnobValue, unit: Option<&str>) -> String {
    match value {
        KnobValue::Number(number) => show_number(*number, unit),
        KnobValue::Word(word) => word.clone(),
    }
}

/// The knobs as a table.
pub(crate) fn knobs(knobs: &[KnobState]) -> String {
    let head = ["KEY", "VALUE", "DEFAULT", "UNIT", "MAY BE", "EFFECT"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(knobs.iter().map(row)).collect();
    let widths: [usize; 5] = std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line = |row: &[String; 6]| {
        let [cells @ .., last] = row;
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        format!("{}{last}", padded.collect::<String>())
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn row(knob: &KnobState) -> [String; 6] {
    let unit = knob.unit.as_deref();
    let may_be = match (knob.range, &knob.choices) {
        (Some([min, max]), _) => format!("{}..{}", show_number(min, unit), show_number(max, unit)),
        (None, Some(choices)) => choices.join(" "),
        (None, None) => String::new(),
    };
    let (value, default) = (knob_value(&knob.value, unit), knob_value(&knob.default, unit));
    let effect = match &knob.schedule {
        Some(when) => format!("{} (now by schedule: {when})", knob.effect),
        None => knob.effect.clone(),
    };
    [
        knob.key.clone(),
        value,
        default,
        unit.unwrap_or("-").to_owned(),
        may_be,
        effect,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_is_left_out() {
        let bytes = KnobState {
            key: "window".to_owned(),
            value: KnobValue::Number(100_000),
            default: KnobValue::Number(64 << 20),
            unit: Some("bytes".to_owned()),
            range: Some([1 << 10, 1 << 30]),
            choices: None,
            effect: "it is wider".to_owned(),
            schedule: None,
        };
        let word = KnobState {
            key: "a-long-name-of-a-knob".to_owned(),
            value: KnobValue::Word("on".to_owned()),
            default: KnobValue::Word("off".to_owned()),
            unit: None,
            range: None,
            choices: Some(vec!["on".to_owned(), "off".to_owned()]),
            effect: "it is on".to_owned(),
            schedule: Some("sat,sun".to_owned()),
        };
        let text = knobs(&[bytes, word]);
        let lines: Vec<&str> = text.lines().collect();
        let [head, first, second] = lines[..] else { panic!("{text}") };
        let at = head.find("EFFECT").expect("a column");
        assert_eq!(
            (&first[at..], &second[at..]),
            ("it is wider", "it is on (now by schedule: sat,sun)"),
            "{text}"
        );
        assert!(first.contains("100000  64MiB    bytes  1KiB..1GiB"), "{text}");
        assert!(second.contains("on      off      -      on off"), "{text}");
    }
}
