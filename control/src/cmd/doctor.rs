//! `ares doctor`: looks at this machine and says what is in the way, with a remedy each. Changes nothing. Checks are in `doctor/`.

mod checks;

pub(super) use checks::find_program;

use serde_json::json;

use super::Context;
use crate::error::{Failure, Kind};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// Works, but slower or with less.
    Warn,
    /// The main job does not work.
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    what: String,
    verdict: Verdict,
    /// What was found, with its value.
    found: String,
    /// What to do; empty where there is nothing to do.
    remedy: String,
}

impl Finding {
    fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: String::new(),
        }
    }

    fn warn(what: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            verdict: Verdict::Warn,
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    fn fail(what: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(what, found, remedy)
        }
    }
}

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let findings = checks::all(&context.config);
    let word = |verdict| match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let mut text = String::new();
    for finding in &findings {
        text.push_str(&format!(
            "{:>5}  {}: {}\n",
            word(finding.verdict),
            finding.what,
            finding.found
        ));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("       help: {}\n", finding.remedy));
        }
    }
    let lines: Vec<_> = findings
        .iter()
        .map(|f| json!({"check": f.what, "verdict": word(f.verdict).to_lowercase(), "found": f.found, "remedy": f.remedy}))
        .collect();
    context.print(&text, &json!({"checks": lines}))?;
    match findings.iter().filter(|f| f.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        failed => {
            Err(Failure::new(Kind::Failed, format!("{failed} of {} checks failed", findings.len())).help("see the lines above"))
        }
    }
}
