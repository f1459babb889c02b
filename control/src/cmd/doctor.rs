//! `ares doctor`: looks at this machine, or at why a release is slow, and says what is in the way, with a remedy each. Changes nothing. Checks are
//! in `doctor/`.

mod checks;
mod slow;

pub(super) use checks::find_program;

use serde_json::{Value, json};

use super::{Context, release_named};
use crate::error::{Failure, Kind};
use crate::lowargs::DoctorArgs;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// Works, but slower or with less.
    Warn,
    /// The main job does not work.
    Fail,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
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

/// The report on this machine, for others.
pub(super) fn checks(context: &Context) -> Value {
    to_json(&checks::all(&context.config))
}

fn to_json(findings: &[Finding]) -> Value {
    let line =
        |f: &Finding| json!({"check": f.what, "verdict": f.verdict.word().to_lowercase(), "found": f.found, "remedy": f.remedy});
    findings.iter().map(line).collect()
}

pub(super) fn run(context: &Context, args: DoctorArgs) -> Result<(), Failure> {
    let findings = match args.release {
        None => checks::all(&context.config),
        Some(typed) => slow::why(context, release_named(&typed)?)?,
    };
    let mut text = String::new();
    for finding in &findings {
        text.push_str(&format!(
            "{:>5}  {}: {}\n",
            finding.verdict.word(),
            finding.what,
            finding.found
        ));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("       help: {}\n", finding.remedy));
        }
    }
    context.print(&text, &json!({"checks": to_json(&findings)}))?;
    match findings.iter().filter(|f| f.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        failed => {
            Err(Failure::new(Kind::Failed, format!("{failed} of {} checks failed", findings.len())).help("see the lines above"))
        }
    }
}
