//! What may be written is taken and written back the same; what may not be meant is refused and the range named.

use super::*;
use crate::rng::Rng;

#[test]
fn every_row_can_be_found_shown_and_turned_to_its_ends() {
    for row in &ROWS {
        assert_eq!(Knob::named(row.key), Some(row.knob));
        assert_eq!(row.knob.row().key, row.key);
        let ends: Vec<String> = match row.domain {
            Domain::Bytes { min, max } => vec![min.to_string(), show_bytes(max)],
            Domain::Count { min, max } => vec![min.to_string(), max.to_string()],
            Domain::Time { min_ms, max_ms } => vec![format!("{min_ms}ms"), format!("{max_ms}ms")],
            Domain::Choice(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        };
        for text in ends {
            let setting = Setting::parse(row.knob, &text).expect("an end of the range");
            assert_eq!(Setting::parse(row.knob, &setting.to_string()), Ok(setting), "written back");
        }
        assert!(!row.effect.contains('\n') && row.effect.len() <= 90, "{}", row.key);
    }
    assert_eq!(Knob::named("nothing"), None);
}

#[test]
fn bytes_are_numbers_with_or_without_a_unit() {
    let check = |text: &str, bytes: Option<u64>| {
        let parsed = Setting::parse(Knob::SocketReceiveBuffer, text).ok().map(Setting::value);
        assert_eq!(parsed, bytes, "{text:?}");
    };
    check("65536", Some(65_536));
    check("64KiB", Some(65_536));
    check("3MiB", Some(3 << 20));
    check("512MiB", Some(512 << 20));
    check("100000", Some(100_000));
    check("65535", None);
    check("513MiB", None);
    check("1GiB", None);
    check("18446744073709551615GiB", None);
    check("99999999999999999999", None);
    for text in [
        "",
        " ",
        "MiB",
        "-1",
        "+65536",
        "64 KiB",
        "64kib",
        "64K",
        "1e6",
        "0x10000",
        "65536.0",
        "65536B",
        "６５５３６",
    ] {
        check(text, None);
    }
}

#[test]
fn times_have_a_unit_and_counts_have_none() {
    let check = |knob: Knob, text: &str, expect: Option<(u64, &str)>| {
        let parsed = Setting::parse(knob, text).ok().map(|it| (it.value(), it.to_string()));
        assert_eq!(parsed, expect.map(|(value, shown)| (value, shown.to_owned())), "{text:?}");
    };
    check(Knob::StallTimeout, "500ms", Some((500, "500ms")));
    check(Knob::StallTimeout, "60s", Some((60_000, "1m")));
    check(Knob::ReadPatience, "24h", Some((86_400_000, "24h")));
    check(Knob::ReadPatience, "1500ms", Some((1500, "1500ms")));
    check(Knob::Links, "16", Some((16, "16")));
    check(Knob::Connections, "1024", Some((1024, "1024")));
    for text in [
        "500",
        "9ms",
        "61s",
        "0.5s",
        "1 s",
        "s",
        "-1s",
        "5MiB",
        "18446744073709551615h",
        "",
    ] {
        check(Knob::StallTimeout, text, None);
    }
    for text in ["0", "17", "1KiB", "5s", "+1", ""] {
        check(Knob::Links, text, None);
    }
}

#[test]
fn a_refusal_names_knob_value_and_what_may_be_given() {
    let check = |knob: Knob, text: &str, expect: &str| {
        let error = Setting::parse(knob, text).expect_err(text);
        assert_eq!(error.to_string(), expect);
    };
    check(
        Knob::Congestion,
        "reno",
        "`congestion` cannot be \"reno\"; give one of cubic, newreno, bbr",
    );
    check(
        Knob::GetWindow,
        "1MiB\n",
        "`get-window` cannot be \"1MiB\\n\"; give 8MiB to 1GiB",
    );
    let long = Setting::parse(Knob::Congestion, &"x".repeat(1 << 20)).expect_err("no such word");
    assert!(long.to_string().len() < 120);
}

#[test]
fn settings_remember_each_knob_by_itself() {
    let mut settings = Settings::default();
    let bbr = Setting::parse(Knob::Congestion, "bbr").expect("a word");
    assert_eq!(settings.set(bbr), Setting::default_of(Knob::Congestion));
    assert_eq!(settings.set(bbr), bbr, "what it was before");
    assert_eq!(Congestion::of(settings.get(Knob::Congestion)), Congestion::Bbr);
    for row in &ROWS[1..] {
        assert_eq!(settings.get(row.knob), Setting::default_of(row.knob));
    }
    for kind in Congestion::ALL {
        let setting = Setting::parse(Knob::Congestion, kind.name()).expect("its own word");
        assert_eq!(Congestion::of(setting), kind);
    }
}

#[test]
fn random_text_is_refused_or_means_itself() {
    const ALPHABET: &[u8] = b"0123456789KMGiBmshcubinewro-+. \"\n";
    for seed in 0..5_000 {
        let mut rng = Rng::new(seed);
        let row = &ROWS[rng.below(ROWS.len())];
        let len = rng.below(10);
        let text: String = (0..len).map(|_| char::from(ALPHABET[rng.below(ALPHABET.len())])).collect();
        if let Ok(setting) = Setting::parse(row.knob, &text) {
            let again = Setting::parse(row.knob, &setting.to_string());
            assert_eq!(again, Ok(setting), "seed {seed}: {} = {text:?}", row.key);
        }
    }
}
