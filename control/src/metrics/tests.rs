//! Pages, read back by a reader of their own that takes nothing that is not exactly right.

use std::collections::{BTreeMap, BTreeSet};

use ares_core::histogram::Histogram;
use ares_node::figures::Traffic;

use super::*;

/// A page as a strict reader of the format takes it: type by family, value by series.
struct Parsed {
    kinds: BTreeMap<String, String>,
    series: BTreeMap<String, f64>,
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Names and values.
type Labels = Vec<(String, String)>;

/// `name="value",..`, values escaped. What follows the closing brace.
fn labels(mut text: &str) -> Result<(Labels, &str), String> {
    let mut found = Vec::new();
    loop {
        let (name, rest) = text.split_once("=\"").ok_or("no label")?;
        if !is_name(name) {
            return Err(format!("label {name:?}"));
        }
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        let end = loop {
            match chars.next().ok_or("an open quote")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('\\' | '"'))) => value.push(c),
                    other => return Err(format!("escaped {other:?}")),
                },
                (_, c) => value.push(c),
            }
        };
        found.push((name.to_owned(), value));
        text = &rest[end + 1..];
        match text.split_at_checked(1) {
            Some((",", rest)) => text = rest,
            Some(("}", rest)) => return Ok((found, rest)),
            _ => return Err(format!("after a label: {text:?}")),
        }
    }
}

fn parse(page: &str) -> Result<Parsed, String> {
    let mut parsed = Parsed {
        kinds: BTreeMap::new(),
        series: BTreeMap::new(),
    };
    let mut helped: Option<&str> = None;
    let mut family = String::new();
    if !page.ends_with('\n') {
        return Err("the last line is open".to_owned());
    }
    for line in page.lines() {
        let wrong = |what: &str| Err(format!("{what}: {line:?}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            match rest.split_once(' ') {
                Some((name, help)) if is_name(name) && !help.is_empty() && helped.is_none() => helped = Some(name),
                _ => return wrong("help"),
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else {
                return wrong("type");
            };
            if helped.take() != Some(name) || !["counter", "gauge", "histogram"].contains(&kind) {
                return wrong("type");
            }
            family = name.to_owned();
            if parsed.kinds.insert(family.clone(), kind.to_owned()).is_some() {
                return wrong("twice");
            }
        } else {
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => labels(rest)?,
                None => (Vec::new(), rest),
            };
            let Some(value) = value.strip_prefix(' ').and_then(|v| v.parse::<f64>().ok()) else {
                return wrong("value");
            };
            let suffix = name.strip_prefix(&family[..]);
            let of_family = match parsed.kinds.get(&family).map(String::as_str) {
                Some("histogram") => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
                Some(_) => suffix == Some(""),
                None => false,
            };
            let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
            if !of_family || helped.is_some() || names.len() < labels.len() {
                return wrong("sample");
            }
            let series = labels
                .iter()
                .fold(name.to_owned(), |series, (name, value)| format!("{series} {name}={value}"));
            if parsed.series.insert(series, value).is_some() {
                return wrong("series twice");
            }
        }
    }
    Ok(parsed)
}

/// Figures each of which is another number.
fn figures() -> Figures {
    let mut next = 0;
    let mut n = || {
        next += 1;
        next
    };
    let mut figures = Figures {
        uptime: Duration::from_millis(1500),
        fetched_bytes: [n(), n(), n()],
        reused_bytes: n(),
        failed_wants: [n(), n(), n(), n(), n(), n()],
        paths: [3, 2, 1],
        peers: 1000,
        ..Figures::default()
    };
    figures.counters.served_bytes = u64::MAX;
    figures.tally.hedges = 7;
    figures.tally.first_bytes.observe(Duration::from_millis(30));
    figures.path_events.lost[Loss::Silent as usize] = 4;
    // What an interface may be called is for the operator to say.
    for name in ["eth0", "a\"b\\c\nd", "other"] {
        let traffic = Traffic {
            rx_bytes: n(),
            tx_bytes: n(),
        };
        figures.interfaces.insert(name.to_owned(), traffic);
    }
    figures
}

fn rendered(figures: &Figures) -> String {
    let fuse = ares_fs::Figures::default();
    let around = Around {
        store: Totals::default(),
        quota_bytes: 1 << 30,
        disk: Some([1 << 40, 1 << 41]),
        mounts: 2,
        longest_wait: Duration::from_millis(250),
        fuse: &fuse,
        pins: vec![Stage::ALL[0]; 3],
        refused_commands: 1,
    };
    let mut page = Page::default();
    process::write(&mut page, figures.uptime);
    render(&mut page, figures, &around);
    page.into_text()
}

#[test]
fn a_strict_reader_takes_the_page_and_finds_what_was_put_in() {
    let figures = figures();
    let page = rendered(&figures);
    let parsed = parse(&page).expect("it is well formed");
    let check = |series: &str, value: f64| {
        let found = parsed.series.get(series);
        assert_eq!(found, Some(&value), "{series}");
    };
    check("ares_uptime_seconds", 1.5);
    check("ares_chunk_verified_bytes_total class=deadline", 1.0);
    check("ares_chunk_verified_bytes_total class=heal", 3.0);
    check("ares_wants_failed_total cause=shutdown", figures.failed_wants[5] as f64);
    check("ares_paths state=suspect", 2.0);
    check("ares_paths_lost_total cause=silent", 4.0);
    check("ares_hedges_total", 7.0);
    check("ares_pins state=waiting", 3.0);
    check("ares_fuse_oldest_request_seconds", 0.25);
    check("ares_store_filesystem_free_bytes", (1_u64 << 40) as f64);
    let odd = "a\"b\\c\nd";
    check(
        &format!("ares_udp_received_bytes_total interface={odd}"),
        figures.interfaces[odd].rx_bytes as f64,
    );
    check("ares_path_switch_first_byte_seconds_bucket le=0.025", 0.0);
    check("ares_path_switch_first_byte_seconds_bucket le=0.05", 1.0);
    check("ares_path_switch_first_byte_seconds_bucket le=+Inf", 1.0);
    check("ares_path_switch_first_byte_seconds_sum", 0.03);
    for (name, kind) in &parsed.kinds {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
    }
    assert!(parsed.series["process_resident_memory_bytes"] > 0.0 && parsed.series["process_threads"] >= 1.0);
    assert!(parsed.series["process_open_fds"] <= parsed.series["process_max_fds"]);
}

/// Whatever there is of interfaces is bounded where it is counted; nothing else has a label that an environment chooses.
#[test]
fn a_page_is_small() {
    let mut figures = figures();
    figures.interfaces = (0..16).map(|n| (format!("interface-{n:05}"), Traffic::default())).collect();
    let page = rendered(&figures);
    assert!(page.len() < 24 << 10, "{} bytes", page.len());
}

#[test]
fn buckets_add_up() {
    let mut histogram = Histogram::default();
    for ms in [1, 30, 30, 700, 60_000] {
        histogram.observe(Duration::from_millis(ms));
    }
    let mut page = Page::default();
    page.histogram("x_seconds", "Durations.", &histogram);
    page.histograms(
        "y_seconds",
        "Durations.",
        "of",
        [("a", histogram), ("b", Histogram::default())],
    );
    let parsed = parse(&page.into_text()).expect("it is well formed");
    let buckets: Vec<(f64, f64)> = parsed
        .series
        .iter()
        .filter_map(|(series, count)| Some((series.strip_prefix("x_seconds_bucket le=")?, *count)))
        .map(|(bound, count)| (bound.replace("+Inf", "inf").parse().expect("a bound"), count))
        .collect();
    let at = |bound: f64| buckets.iter().find(|(at, _)| *at == bound).expect("a bucket").1;
    assert_eq!(
        [at(0.001), at(0.05), at(1.0), at(30.0), at(f64::INFINITY)],
        [1.0, 3.0, 4.0, 4.0, 5.0]
    );
    let of = |series: &str| parsed.series[series];
    assert_eq!(
        [of("x_seconds_count"), of("y_seconds_count of=a"), of("y_seconds_count of=b")],
        [5.0, 5.0, 0.0]
    );
    assert_eq!(
        [of("y_seconds_bucket of=a le=0.05"), of("y_seconds_bucket of=b le=+Inf")],
        [3.0, 0.0]
    );
}

/// The dashboard that comes with the units asks for nothing that is not there.
#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../../systemd/grafana.json")).expect("JSON");
    let parsed = parse(&rendered(&figures())).expect("it is well formed");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let mut asked = BTreeSet::new();
    for target in targets {
        let expression = target["expr"].as_str().expect("an expression");
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        asked.extend(words.filter(|word| word.starts_with("ares_") || word.starts_with("process_")));
    }
    assert!(asked.len() > 15, "{asked:?}");
    for name in asked {
        let family = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(parsed.kinds.contains_key(family), "{name}");
    }
}

/// A reader that takes everything would prove nothing.
#[test]
fn the_reader_is_strict() {
    for bad in [
        "a 1\n",
        "# HELP a b\na 1\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a \n# TYPE a gauge\na 1\n",
        "# HELP a b\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"1} 1\n",
        "# HELP a b\n# TYPE a gauge\na{x=\"\\t\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na{X=\"1\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na one\n",
        "# HELP a b\n# TYPE a gauge\nb 1\n",
        "# HELP a b\n# TYPE a histogram\na 1\n",
        "# HELP a b\n# TYPE a gauge\na 1\n# HELP a b\n# TYPE a gauge\na{x=\"1\"} 1\n",
        "# HELP a b\n# TYPE a gauge\na 1",
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
    assert!(parse("# HELP a b\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 1\n").is_ok());
}
