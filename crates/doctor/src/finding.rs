//! What a check comes to.

use serde::Serialize;

use crate::files::Place;
use crate::fix::Fix;
use crate::limits::MAX_QUOTED_CHARS;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing has to be done, and the exit status does not count it.
    Note,
    /// Works, but not as meant, or not for long.
    Warning,
    /// Does not work.
    Error,
}

impl Severity {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Where it can be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// A file, or who said it.
    pub file: String,
    /// Line, from 1; none when the file has no lines.
    pub line: Option<u32>,
    /// What stands there, shortened.
    pub text: String,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name: `apache/wildcard-listener`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, one sentence.
    pub message: String,
    /// Where it can be seen.
    pub evidence: Vec<Evidence>,
    /// Why it is wrong, and what comes of it.
    pub why: String,
    /// What to do, the best first; each is complete by itself.
    pub advice: Vec<String>,
    /// The edit that does it, where an edit does.
    pub fix: Option<Fix>,
    /// How this is known.
    pub verified: String,
}

impl Finding {
    /// A finding without evidence, advice and fix so far.
    #[must_use]
    pub fn new(id: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            id,
            severity,
            message: message.into(),
            evidence: Vec::new(),
            why: String::new(),
            advice: Vec::new(),
            fix: None,
            verified: String::new(),
        }
    }

    /// With its reason.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// With one more thing to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    /// With one more place where it can be seen.
    #[must_use]
    pub fn at(mut self, place: &Place, text: &str) -> Self {
        self.evidence.push(Evidence {
            file: place.file.clone(),
            line: (place.line > 0).then_some(place.line),
            text: shorten(text),
        });
        self
    }

    /// With what somebody said.
    #[must_use]
    pub fn said(mut self, who: impl Into<String>, text: &str) -> Self {
        self.evidence.push(Evidence {
            file: who.into(),
            line: None,
            text: shorten(text),
        });
        self
    }

    /// With how it is known.
    #[must_use]
    pub fn verified(mut self, how: impl Into<String>) -> Self {
        self.verified = how.into();
        self
    }

    /// With the edit that mends it.
    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }
}

/// What one check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "result")]
pub enum State {
    /// Nothing wrong; what was seen.
    Clean(String),
    /// Faults, and notes.
    Findings(Vec<Finding>),
    /// It could not be checked; why.
    Unchecked(String),
    /// There is nothing of the kind here; what was looked for.
    Absent(String),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name: `kerberos/clock`.
    pub check: &'static str,
    /// What it came to.
    #[serde(flatten)]
    pub state: State,
}

impl Step {
    /// Nothing wrong.
    #[must_use]
    pub fn clean(check: &'static str, seen: impl Into<String>) -> Self {
        let state = State::Clean(seen.into());
        Self { check, state }
    }

    /// Could not be checked.
    #[must_use]
    pub fn unchecked(check: &'static str, why: impl Into<String>) -> Self {
        let state = State::Unchecked(why.into());
        Self { check, state }
    }

    /// Nothing of the kind is here.
    #[must_use]
    pub fn absent(check: &'static str, what: impl Into<String>) -> Self {
        let state = State::Absent(what.into());
        Self { check, state }
    }

    /// `findings`, or clean with what was `seen` when there are none.
    #[must_use]
    pub fn of(check: &'static str, findings: Vec<Finding>, seen: impl Into<String>) -> Self {
        let state = if findings.is_empty() {
            State::Clean(seen.into())
        } else {
            State::Findings(findings)
        };
        Self { check, state }
    }

    /// Whether it found a fault (a note is none).
    #[must_use]
    pub fn is_faulty(&self) -> bool {
        self.findings()
            .iter()
            .any(|finding| finding.severity > Severity::Note)
    }

    /// What it found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        match &self.state {
            State::Findings(findings) => findings,
            State::Clean(_) | State::Unchecked(_) | State::Absent(_) => &[],
        }
    }
}

/// All checks of one run, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks.
    pub steps: Vec<Step>,
}

impl Report {
    /// Everything that was found.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.steps.iter().flat_map(Step::findings)
    }

    /// Exit status: 1 when a fault was found, else 2 when something could not be checked, else 0.
    /// What is not here counts as not checked when it was `asked_for` by name.
    #[must_use]
    pub fn status(&self, asked_for: bool) -> u8 {
        let unchecked = |step: &Step| match step.state {
            State::Unchecked(_) => true,
            State::Absent(_) => asked_for,
            State::Clean(_) | State::Findings(_) => false,
        };
        if self.steps.iter().any(Step::is_faulty) {
            1
        } else if self.steps.iter().any(unchecked) {
            2
        } else {
            0
        }
    }
}

/// `text` on one line, without control characters and not longer than is worth quoting.
pub(crate) fn shorten(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text
        .trim()
        .chars()
        .take(MAX_QUOTED_CHARS)
        .map(clean)
        .collect();
    if text.trim().chars().nth(MAX_QUOTED_CHARS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(severity: Severity) -> Step {
        Step::of(
            "a/b",
            vec![Finding::new("a/b/c", severity, "something")],
            "",
        )
    }

    #[test]
    fn the_status_is_one_for_faults_two_for_what_was_not_checked_and_notes_do_not_count() {
        let report = |steps: &[Step]| Report {
            steps: steps.to_vec(),
        };
        let unchecked = Step::unchecked("a/d", "no network");
        let absent = Step::absent("a/e", "no Apache");
        assert_eq!(report(&[]).status(true), 0);
        assert_eq!(report(&[step(Severity::Note)]).status(true), 0);
        assert_eq!(
            report(&[step(Severity::Warning), unchecked.clone()]).status(true),
            1
        );
        assert_eq!(report(&[step(Severity::Note), unchecked]).status(false), 2);
        assert_eq!(report(std::slice::from_ref(&absent)).status(false), 0);
        assert_eq!(report(&[absent]).status(true), 2);
    }

    #[test]
    fn what_is_quoted_has_one_line_and_an_end() {
        assert_eq!(shorten(" a\tb\u{1b}[31m "), "a b [31m");
        assert_eq!(shorten(&"x".repeat(500)).chars().count(), 201);
    }
}
