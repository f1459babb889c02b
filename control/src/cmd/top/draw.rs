//! Draws the view of `ares top` on a screen, or as text where there is none.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Sparkline, Table, Widget};
use serde_json::Value;

use super::view::{View, number};
use crate::render::{Bytes, Seconds, count, short};

/// What a key does.
const KEYS: &str = "q ends";

/// Characters that leave the daemon's words on the screen harmless: nobody else's terminal is ours to steer.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// On a terminal.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    paint(frame.area(), frame.buffer_mut(), view);
}

/// The same as text, so many columns and lines at most.
pub(super) fn text(view: &View, (columns, lines): (u16, u16)) -> String {
    let area = Rect::new(0, 0, columns, lines);
    let mut buffer = Buffer::empty(area);
    paint(area, &mut buffer, view);
    let row = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let rows = (0..lines).map(|y| row(y).trim_end().to_owned());
    let shown: Vec<String> = rows.filter(|row| !row.is_empty() && row != KEYS).collect();
    shown.join("\n")
}

fn paint(area: Rect, buffer: &mut Buffer, view: &View) {
    let rows_of = |len: usize, max: u16| (len as u16 + 1).min(max.max(2));
    // What is short gets what it needs, and the rest is shared.
    let third = area.height.saturating_sub(9) / 3;
    let (peers, paths) = (view.peers(), view.paths());
    let [head, graphs, peer_area, path_area, releases, keys] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(4),
        Constraint::Length(rows_of(peers.len(), third)),
        Constraint::Length(rows_of(paths.len(), third)),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(area);
    Paragraph::new(heading(view)).render(head, buffer);
    let [came, went] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(1).areas(graphs);
    graph("in", view.came.iter().copied(), came, buffer);
    graph("out", view.went.iter().copied(), went, buffer);
    table(
        ["PEER", "RTT", "IN", "OUT", "FETCHED", "SERVED"],
        &[10, 11, 12, 12, 10, 10],
        peers.into_iter().map(peer_row),
        peer_area,
        buffer,
    );
    table(
        ["PATH", "REMOTE", "STATE", "RTT", "IN", "LOSS"],
        &[10, 26, 8, 11, 12, 7],
        paths.into_iter().map(path_row),
        path_area,
        buffer,
    );
    table(
        ["RELEASE", "NAME", "SIZE", "HELD", "FETCHED", "PEERS"],
        &[10, 28, 9, 10, 9, 9],
        view.list("releases").iter().rev().map(release_row),
        releases,
        buffer,
    );
    Line::styled(KEYS, Style::new().fg(Color::DarkGray)).render(keys, buffer);
}

fn heading(view: &View) -> Vec<Line<'static>> {
    let store = view.of("store");
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let alarm = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
    let first = Line::from(vec![
        Span::styled(format!("ares {}", plain(view.of("version").as_str().unwrap_or("?"))), bold),
        Span::raw(format!(
            "  peer {}  up {}  {}  {}",
            short(view.of("peer")),
            Seconds(view.of("uptime_s").as_f64().unwrap_or(0.0)),
            count(view.list("peers").len() as u64 + number(view.of("left_out"), "peers"), "peer"),
            count(view.list("mounts").len() as u64, "mount"),
        )),
    ]);
    let quota = store["quota_bytes"]
        .as_u64()
        .map_or(String::new(), |quota| format!(" of {}", Bytes(quota)));
    let second = format!(
        "store {}{quota}, {} in place, {} had to make room",
        Bytes(number(store, "quota_used_bytes")),
        Bytes(number(store, "in_place_bytes")),
        Bytes(number(store, "evicted_bytes")),
    );
    let wait = view.waits().into_iter().next();
    let third = match (&view.gone, store["intake_stopped"].as_str(), wait) {
        (Some(why), ..) => Line::styled(format!("the daemon does not answer: {}", plain(why)), alarm),
        (None, Some(why), _) => Line::styled(format!("INTAKE STOPPED: {}", plain(why)), alarm),
        (None, None, Some((mount, seconds))) => {
            let name = plain(mount["name"].as_str().unwrap_or("a mount"));
            Line::raw(format!("slowest read: one of {name} waits for {}", Seconds(seconds)))
        }
        (None, None, None) => Line::raw("no read waits"),
    };
    vec![first, Line::raw(second), third]
}

fn graph(name: &str, samples: impl DoubleEndedIterator<Item = u64> + Clone, area: Rect, buffer: &mut Buffer) {
    let [title, bars] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let now = samples.clone().next_back().unwrap_or(0);
    let most = samples.clone().max().unwrap_or(0);
    let words = format!("{name} {}/s, {}/s at most", Bytes(now), Bytes(most));
    Line::styled(words, Style::new().fg(Color::Cyan)).render(title, buffer);
    // The last ones, at the right.
    let width = usize::from(bars.width);
    let shown: Vec<u64> = samples.rev().take(width).collect();
    let padding = std::iter::repeat_n(0, width.saturating_sub(shown.len()));
    let data: Vec<u64> = padding.chain(shown.into_iter().rev()).collect();
    Sparkline::default()
        .data(data)
        .max(most.max(1))
        .style(Style::new().fg(Color::Cyan))
        .render(bars, buffer);
}

fn table<const N: usize>(
    head: [&'static str; N],
    widths: &[u16; N],
    rows: impl Iterator<Item = [String; N]>,
    area: Rect,
    buffer: &mut Buffer,
) {
    let rows = rows.take(usize::from(area.height)).map(Row::new);
    let head = Row::new(head).style(Style::new().add_modifier(Modifier::REVERSED));
    Widget::render(
        Table::new(rows, widths.map(Constraint::Length))
            .header(head)
            .column_spacing(1),
        area,
        buffer,
    );
}

fn peer_row(peer: &Value) -> [String; 6] {
    let paths = || peer["paths"].as_array().into_iter().flatten();
    let rtt = paths().filter_map(|path| path["rtt_ms"].as_f64()).min_by(f64::total_cmp);
    let sum = |key: &str| Bytes(paths().map(|path| number(path, key)).sum());
    [
        short(&peer["peer"]),
        rtt.map_or("-".to_owned(), |ms| format!("{ms:.2} ms")),
        format!("{}/s", sum("rx_bytes_per_s")),
        format!("{}/s", sum("tx_bytes_per_s")),
        Bytes(number(peer, "fetched_bytes")).to_string(),
        Bytes(number(peer, "served_bytes")).to_string(),
    ]
}

fn path_row((peer, path): (&Value, &Value)) -> [String; 6] {
    let word = |key: &str| plain(path[key].as_str().unwrap_or("-"));
    [
        short(&peer["peer"]),
        word("remote"),
        word("state"),
        path["rtt_ms"].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.2} ms")),
        format!("{}/s", Bytes(number(path, "rx_bytes_per_s"))),
        path["loss_percent"]
            .as_f64()
            .map_or("-".to_owned(), |loss| format!("{loss:.1} %")),
    ]
}

fn release_row(release: &Value) -> [String; 6] {
    let held = match (release["complete"].as_bool(), release["seen_bytes"].as_u64()) {
        (Some(true), _) => "all".to_owned(),
        (_, Some(bytes)) => Bytes(bytes).to_string(),
        (_, None) => "-".to_owned(),
    };
    let peers = number(release, "peers_complete") + number(release, "peers_partial");
    [
        short(&release["release"]),
        plain(release["name"].as_str().unwrap_or("")),
        Bytes(number(release, "bytes")).to_string(),
        held,
        Bytes(number(release, "fetched_bytes")).to_string(),
        peers.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(peers: usize) -> Value {
        let peer = |n: usize| {
            json!({"peer": format!("{n:064}"), "fetched_bytes": 1000 * n, "served_bytes": 7, "paths": [{
                "remote": "[2001:db8::1]:4227", "state": "up", "rtt_ms": 1.5, "loss_percent": 0.25,
                "rx_bytes_per_s": 1_000_000 * n, "tx_bytes_per_s": 10,
            }]})
        };
        json!({
            "version": "0.1.0", "peer": "ab".repeat(32), "uptime_s": 3700.0,
            "store": {"quota_used_bytes": 5_000_000, "quota_bytes": 9_000_000, "in_place_bytes": 0, "evicted_bytes": 12_000, "intake_stopped": null},
            "peers": (1..=peers).map(peer).collect::<Vec<_>>(),
            "releases": [{"release": "cd".repeat(32), "name": "a\u{1b}[2Jname", "bytes": 60_400_000, "complete": true}],
            "mounts": [{"name": "rel", "oldest_wait_s": 0.25}, {"name": "slow", "oldest_wait_s": 2.5}],
            "left_out": {"peers": 3},
        })
    }

    #[test]
    fn what_is_there_is_on_the_screen_in_80_columns_and_the_busiest_come_first() {
        let mut view = View::default();
        view.on_status(status(30));
        let text = text(&view, (80, 40));
        for expect in [
            "up 1 h 1 min",
            "33 peers",
            "store 5.00 MB of 9.00 MB",
            "12.0 kB had to make room",
            "slowest read: one of slow waits for 2.5 s",
            "in 465.0 MB/s",
            "a?[2Jname",
            "60.4 MB   all",
            "[2001:db8::1]:4227",
            "0.2 %",
        ] {
            assert!(text.contains(expect), "{expect} in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let first = text.lines().skip_while(|line| !line.starts_with("PEER")).nth(1);
        assert!(first.is_some_and(|line| line.contains("30.0 MB/s")), "{text}");
    }

    #[test]
    fn it_draws_something_whatever_the_size_and_whatever_is_missing() {
        let mut full = View::default();
        full.on_status(status(100));
        full.on_gone("the daemon stopped".to_owned());
        assert!(text(&full, (80, 24)).contains("does not answer: the daemon stopped"));
        for view in [&View::default(), &full] {
            for size in [(80, 24), (200, 60), (20, 5), (1, 1)] {
                text(view, size);
            }
        }
        let json = full.json();
        assert!(
            json["rx_bytes_per_s"] == 5_050_000_000_u64 && json["peers"].as_array().map(Vec::len) == Some(100),
            "{json}"
        );
    }
}
