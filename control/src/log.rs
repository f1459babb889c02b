//! Log lines: to stderr, above the progress bars, since stdout is for results. Which are written is decided by a filter that may be
//! changed while the program runs; what an administrator did is always written.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ares_core::knobs::{Knob, Setting};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::error::{Failure, Kind};
use crate::render::Terminal;

/// Target of the lines about what an administrator did.
pub(crate) const AUDIT: &str = "audit";

type Replace = Box<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync>;

/// The process's one log.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    replace: Replace,
    /// That of the finest lines that are written, as the knob `log-level`.
    level: Mutex<Setting>,
}

/// Begins to write what passes `filter`.
pub(crate) fn start(filter: &str, terminal: &Arc<Terminal>) -> Result<(), Failure> {
    let terminal = Arc::clone(terminal);
    let filter = parse(filter)?;
    let level = level_of(&filter);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(with_audit(filter))
        .with_writer(move || LogLines(Arc::clone(&terminal)))
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    subscriber.init();
    // A process starts its log once; were it twice, the first one would be the one that is written.
    drop(LOG.set(Log {
        replace: Box::new(move |filter| handle.reload(filter)),
        level: Mutex::new(level),
    }));
    Ok(())
}

/// What the knob `log-level` is at.
pub(crate) fn level() -> Setting {
    LOG.get().map_or(Setting::default_of(Knob::LogLevel), |log| {
        *log.level.lock().unwrap_or_else(PoisonError::into_inner)
    })
}

/// Writes from now on what is of that level or above, and nothing else but the audit. The level before.
pub(crate) fn set_level(level: Setting) -> Result<Setting, Failure> {
    let log = LOG
        .get()
        .ok_or_else(|| Failure::new(Kind::Failed, "this process has no log"))?;
    let mut known = log.level.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |e| Failure::new(Kind::Failed, format!("the log cannot be changed: {e}"));
    (log.replace)(with_audit(parse(&level.to_string())?)).map_err(failed)?;
    Ok(std::mem::replace(&mut *known, level))
}

fn level_of(filter: &EnvFilter) -> Setting {
    let finest = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    Setting::parse(Knob::LogLevel, &finest.to_string().to_lowercase()).unwrap_or(Setting::default_of(Knob::LogLevel))
}

fn parse(filter: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(filter).map_err(|e| {
        Failure::new(Kind::Usage, format!("log filter `{filter}`: {e}"))
            .help("write a level such as `info`, or `ares_node=debug`")
    })
}

fn with_audit(filter: EnvFilter) -> EnvFilter {
    match format!("{AUDIT}=info").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => unreachable!("a name and a level are a directive"),
    }
}

/// Where log lines go: each is written at once.
struct LogLines(Arc<Terminal>);

impl std::io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.above_bars(|| std::io::stderr().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_the_level_of_its_finest_lines() {
        let check = |filter: &str, level: Option<&str>| {
            let found = parse(filter).ok().map(|filter| level_of(&filter).to_string());
            assert_eq!(found.as_deref(), level, "{filter}");
        };
        for row in ["off", "error", "warn", "info", "debug", "trace"] {
            check(row, Some(row));
        }
        check("warn,ares_node=debug", Some("debug"));
        check("info,ares_node=off", Some("info"));
        check("ares_node=no-level", None);
    }
}
