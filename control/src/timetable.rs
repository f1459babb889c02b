//! Settings at times of the week, as the config file's `[[schedule]]` has them: what holds at a moment, when that changes next, and what has to be set
//! for it. Times are local, so a day that is an hour shorter or longer is as long as the clock on the wall says. Knows no clock and no knob.
//!
//! ```text
//! [[schedule]]                          while it holds:   set what it says, and remember what was
//! when = "mon-fri 08:00-18:00"          when it is over:  set what was
//! set = { "cap-up.*" = "2MiB" }         of two that hold for one key the later one counts
//! ```

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::{Span, Zoned};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u16 = 24 * 60;

/// One entry of the timetable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) when: When,
    /// Keys and values as `ares set` takes them.
    pub(crate) set: Vec<(String, String)>,
}

/// Hours of some days of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct When {
    /// From Monday on: whether it begins on that day.
    days: [bool; 7],
    /// Minutes of the day.
    from: u16,
    /// At most as large as `from`: on the next day.
    until: u16,
    text: String,
}

/// It is no time of the week.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no time of the week; write days, hours or both, such as \"mon-fri 08:00-18:00\", \"sat,sun\", \"22:00-06:00\"")]
pub(crate) struct BadWhen;

/// What holds for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) value: String,
    /// As it is written in the file.
    pub(crate) when: String,
}

/// What was set because of the timetable, and what to go back to.
#[derive(Debug, Default)]
pub(crate) struct Hand {
    held: BTreeMap<String, (Holding, String)>,
}

impl FromStr for When {
    type Err = BadWhen;

    fn from_str(text: &str) -> Result<Self, BadWhen> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (days, hours) = match words[..] {
            [days, hours] => (parse_days(days)?, parse_hours(hours)?),
            [word] if word.contains(':') => ([true; 7], parse_hours(word)?),
            [word] => (parse_days(word)?, (0, DAY_MINUTES)),
            _ => return Err(BadWhen),
        };
        Ok(Self {
            days,
            from: hours.0,
            until: hours.1,
            text: words.join(" "),
        })
    }
}

/// `mon-fri`, `sat,sun`, `fri-mon`.
fn parse_days(text: &str) -> Result<[bool; 7], BadWhen> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name).ok_or(BadWhen);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7;
        (first..=first + count).for_each(|day| days[day % 7] = true);
    }
    Ok(days)
}

/// `08:00-18:00`, `22:00-06:00`, `18:00-24:00`.
fn parse_hours(text: &str) -> Result<(u16, u16), BadWhen> {
    let minutes = |text: &str| {
        let (hour, minute) = text.split_once(':').filter(|(_, minute)| minute.len() == 2).ok_or(BadWhen)?;
        let number = |text: &str| text.parse::<u16>().map_err(|_| BadWhen);
        let (hour, minute) = (number(hour)?, number(minute)?);
        let minutes = hour.checked_mul(60).and_then(|of_hours| of_hours.checked_add(minute));
        minutes.filter(|all| *all <= DAY_MINUTES && minute < 60).ok_or(BadWhen)
    };
    let (from, until) = text.split_once('-').ok_or(BadWhen)?;
    let (from, until) = (minutes(from)?, minutes(until)?);
    let is_some = from < DAY_MINUTES && from != until;
    is_some.then_some((from, until)).ok_or(BadWhen)
}

impl When {
    /// Whether it holds at this moment of local time.
    fn holds(&self, at: DateTime) -> bool {
        let minute = at.hour() as u16 * 60 + at.minute() as u16;
        let today = at.weekday().to_monday_zero_offset() as usize;
        if self.is_overnight() {
            let yesterday = (today + 6) % 7;
            (self.days[today] && minute >= self.from) || (self.days[yesterday] && minute < self.until)
        } else {
            self.days[today] && (self.from..self.until).contains(&minute)
        }
    }

    fn is_overnight(&self) -> bool {
        self.until <= self.from
    }

    /// Where it begins on this day, and where that ends.
    fn bounds(&self, day: Date) -> Option<[DateTime; 2]> {
        let at = |minutes: u16| day.at(0, 0, 0, 0).checked_add(Span::new().minutes(minutes)).ok();
        let until = self.until + if self.is_overnight() { DAY_MINUTES } else { 0 };
        Some([at(self.from)?, at(until)?])
    }
}

/// What holds at a moment of local time, by key.
pub(crate) fn holding(rows: &[Row], at: DateTime) -> BTreeMap<String, Holding> {
    let rows = rows.iter().filter(|row| row.when.holds(at));
    let settings = rows.flat_map(|row| row.set.iter().map(move |(key, value)| (key, value, &row.when)));
    settings
        .map(|(key, value, when)| {
            let (value, when) = (value.clone(), when.text.clone());
            (key.clone(), Holding { value, when })
        })
        .collect()
}

/// When something else holds than now; `None` where nothing ever changes.
pub(crate) fn next_change(rows: &[Row], now: &Zoned) -> Option<Zoned> {
    // A week, and what began the day before it.
    let days = (-1..=8).filter_map(|days| now.date().checked_add(Span::new().days(days)).ok());
    let bounds = days.flat_map(|day| rows.iter().filter_map(move |row| row.when.bounds(day)).flatten());
    let mut bounds: Vec<Zoned> = bounds
        .filter_map(|bound| bound.to_zoned(now.time_zone().clone()).ok())
        .filter(|bound| bound > now)
        .collect();
    bounds.sort();
    let here = holding(rows, now.datetime());
    bounds.into_iter().find(|bound| holding(rows, bound.datetime()) != here)
}

impl Hand {
    /// Has `set` set what differs from what holds now; it gives what was before. What it refuses is tried again the next time, and told.
    pub(crate) fn turn<E>(
        &mut self,
        holding: &BTreeMap<String, Holding>,
        mut set: impl FnMut(&str, &str) -> Result<String, E>,
    ) -> Vec<(String, E)> {
        let mut refused = Vec::new();
        let over: Vec<String> = self.held.keys().filter(|key| !holding.contains_key(*key)).cloned().collect();
        for key in over {
            match self.held.get(&key).map(|(_, base)| set(&key, base)) {
                Some(Err(error)) => refused.push((key, error)),
                _ => drop(self.held.remove(&key)),
            }
        }
        for (key, new) in holding {
            if self.held.get(key).is_some_and(|(now, _)| now.value == new.value) {
                continue;
            }
            match set(key, &new.value) {
                Ok(old) => {
                    let base = self.held.remove(key).map_or(old, |(_, base)| base);
                    self.held.insert(key.clone(), (new.clone(), base));
                }
                Err(error) => refused.push((key.clone(), error)),
            }
        }
        refused
    }

    /// What was set for a key, and why; `None` where the timetable has no say now.
    pub(crate) fn of(&self, key: &str) -> Option<&Holding> {
        self.held.get(key).map(|(holding, _)| holding)
    }

    /// All that was set.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Holding)> {
        self.held.iter().map(|(key, (holding, _))| (key.as_str(), holding))
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn row(when: &str, set: &[(&str, &str)]) -> Row {
        Row {
            when: when.parse().expect(when),
            set: set
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    /// Central European time by its rule, whatever this machine has of time zones.
    fn berlin(text: &str) -> Zoned {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule");
        let local: DateTime = text.parse().expect(text);
        local.to_zoned(zone).expect("a time there")
    }

    #[test]
    fn a_time_of_the_week_holds_from_its_first_minute_to_before_its_last() {
        let check = |when: &str, yes: &[&str], no: &[&str]| {
            let when: When = when.parse().expect(when);
            let holds = |at: &&str| when.holds(at.parse().expect("a time"));
            for at in yes {
                assert!(holds(at), "{} at {at}", when.text);
            }
            for at in no {
                assert!(!holds(at), "{} at {at}", when.text);
            }
        };
        // 2026-11-27 is a Friday.
        check(
            "mon-fri 08:00-18:00",
            &["2026-11-27T08:00:00", "2026-11-27T17:59:59"],
            &["2026-11-27T07:59:59", "2026-11-27T18:00:00", "2026-11-28T12:00:00"],
        );
        check(
            "fri 22:00-06:00",
            &["2026-11-27T22:00:00", "2026-11-28T05:59:00"],
            &["2026-11-27T05:00:00", "2026-11-28T06:00:00", "2026-11-28T22:30:00"],
        );
        check(
            "sat,sun",
            &["2026-11-28T00:00:00", "2026-11-29T23:59:59"],
            &["2026-11-30T00:00:00"],
        );
        check(
            "fri-mon 18:00-24:00",
            &["2026-11-30T23:59:00"],
            &["2026-12-01T00:00:00", "2026-12-01T19:00:00"],
        );
        check("00:00-12:00", &["2026-12-01T11:59:00"], &["2026-12-01T12:00:00"]);
        for bad in [
            "",
            "noon",
            "mon-",
            "mon 8-18",
            "mon 08:00",
            "08:00-08:00",
            "24:00-01:00",
            "08:60-09:00",
            "mon 08:00-18:00 x",
            "Mon",
            "25:00-26:00",
        ] {
            assert_eq!(bad.parse::<When>(), Err(BadWhen), "{bad:?}");
        }
    }

    #[test]
    fn the_next_change_is_where_something_else_holds_also_when_the_clocks_are_changed() {
        let rows = [
            row("mon-fri 08:00-18:00", &[("a", "1")]),
            row("sun 01:00-03:30", &[("a", "2")]),
        ];
        let check = |now: &str, expect: &str| {
            let next = next_change(&rows, &berlin(now)).expect("a change");
            assert_eq!(next.datetime().to_string(), expect, "after {now}");
        };
        check("2026-11-27T07:00:00", "2026-11-27T08:00:00");
        check("2026-11-27T08:00:00", "2026-11-27T18:00:00");
        check("2026-11-27T18:00:00", "2026-11-29T01:00:00");
        check("2026-11-29T02:00:00", "2026-11-29T03:30:00");
        // 29 March: there is no time from 02:00 to 03:00. 25 October: those are there twice.
        let spring = berlin("2026-03-29T01:00:00");
        let end = next_change(&rows, &spring).expect("a change");
        assert_eq!(
            (end.datetime().to_string(), spring.duration_until(&end).as_mins()),
            ("2026-03-29T03:30:00".to_owned(), 90)
        );
        let autumn = berlin("2026-10-25T01:00:00");
        let end = next_change(&rows, &autumn).expect("a change");
        assert_eq!(autumn.duration_until(&end).as_mins(), 210);
        assert_eq!(next_change(&[], &spring), None);
        assert_eq!(
            next_change(&[row("mon-sun", &[("a", "1")])], &spring),
            None,
            "it always holds"
        );
    }

    #[test]
    fn what_is_over_goes_back_to_what_was_and_the_later_of_two_counts() {
        let rows = [
            row("mon-fri 08:00-18:00", &[("up", "2"), ("down", "3")]),
            row("mon-fri 12:00-13:00", &[("up", "9")]),
        ];
        let mut settings = BTreeMap::from([("up".to_owned(), "none".to_owned()), ("down".to_owned(), "7".to_owned())]);
        let mut hand = Hand::default();
        let mut at = |time: &str, settings: &mut BTreeMap<String, String>| {
            let now = format!("2026-11-27T{time}:00").parse().expect("a time");
            let refused = hand.turn(&holding(&rows, now), |key, value| {
                settings.insert(key.to_owned(), value.to_owned()).ok_or(())
            });
            assert_eq!(refused, []);
            let show = |key: &str| settings.get(key).cloned().unwrap_or_default();
            (show("up"), show("down"))
        };
        let pair = |up: &str, down: &str| (up.to_owned(), down.to_owned());
        assert_eq!(at("07:59", &mut settings), pair("none", "7"));
        assert_eq!(at("08:00", &mut settings), pair("2", "3"));
        assert_eq!(at("12:00", &mut settings), pair("9", "3"));
        // Somebody sets it by hand, and it is left alone until something else holds.
        settings.insert("up".to_owned(), "5".to_owned());
        assert_eq!(at("12:30", &mut settings), pair("5", "3"));
        assert_eq!(at("13:00", &mut settings), pair("2", "3"));
        // The clock jumps past all of it, and back into it.
        assert_eq!(at("23:00", &mut settings), pair("none", "7"));
        assert_eq!(at("12:10", &mut settings), pair("9", "3"));
        assert_eq!(at("18:00", &mut settings), pair("none", "7"));
    }

    #[test]
    fn what_is_refused_is_tried_again() {
        let rows = [row("mon-sun", &[("a", "1")])];
        let now = "2026-11-27T12:00:00".parse().expect("a time");
        let mut hand = Hand::default();
        let refused = hand.turn(&holding(&rows, now), |_, _| Err("full"));
        assert_eq!(refused, [("a".to_owned(), "full")]);
        assert!(hand.of("a").is_none());
        assert_eq!(hand.turn(&holding(&rows, now), |_, _| Ok::<_, ()>("0".to_owned())), []);
        assert_eq!(hand.of("a").map(|holding| holding.when.as_str()), Some("mon-sun"));
        assert_eq!(hand.all().count(), 1);
    }
}
