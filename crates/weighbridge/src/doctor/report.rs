//! Findings, for people and for programs.

use std::fmt::Write;

use ::doctor::{Evidence, Finding, Report, State, Step};
use serde_json::json;

use crate::tools::Complaint;

/// Width to which text is wrapped, in characters.
const WIDTH: usize = 92;

/// The report for people: findings, what could not be checked, and with `all` everything else.
pub(super) fn text(report: &Report, all: bool) -> String {
    let mut text = String::new();
    for step in &report.steps {
        match &step.state {
            State::Findings(findings) => {
                for finding in findings {
                    put(&mut text, finding);
                }
            }
            State::Unchecked(reason) => line(&mut text, "not checked", step, reason),
            State::Clean(seen) if all => line(&mut text, "ok", step, seen),
            State::Absent(what) if all => line(&mut text, "not here", step, what),
            State::Clean(_) | State::Absent(_) => {}
        }
    }
    text
}

fn line(text: &mut String, what: &str, step: &Step, detail: &str) {
    let _ = writeln!(text, "{}: {what}: {detail}", step.check);
}

fn put(text: &mut String, finding: &Finding) {
    let _ = writeln!(
        text,
        "{}: {}: {}",
        finding.severity.as_str(),
        finding.id,
        finding.message
    );
    for evidence in &finding.evidence {
        let _ = writeln!(text, "    {}", place(evidence));
    }
    wrapped(text, "why: ", &finding.why);
    for (number, advice) in (1..).zip(&finding.advice) {
        let label = if finding.advice.len() == 1 {
            "do:  ".to_owned()
        } else {
            format!("do {number}: ")
        };
        wrapped(text, &label, advice);
    }
    if let Some(fix) = &finding.fix {
        wrapped(text, "fix: ", &format!("--fix does it: {}", fix.summary));
    }
    wrapped(text, "how: ", &finding.verified);
    text.push('\n');
}

fn place(evidence: &Evidence) -> String {
    let mut place = evidence.file.clone();
    if let Some(line) = evidence.line {
        let _ = write!(place, ":{line}");
    }
    if !evidence.text.is_empty() {
        let _ = write!(place, ": {}", evidence.text);
    }
    place
}

/// Text under a label, in lines of [`WIDTH`].
fn wrapped(text: &mut String, label: &str, content: &str) {
    if content.is_empty() {
        return;
    }
    let indent = " ".repeat(2 + label.chars().count());
    let mut line = format!("  {label}");
    let mut empty = true;
    for word in content.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line.clone_from(&indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    text.push_str(&line);
    text.push('\n');
}

/// The report for programs.
pub(super) fn json(report: &Report, status: u8) -> Result<String, Complaint> {
    let value =
        serde_json::to_value(report).map_err(|error| Complaint::Message(error.to_string()))?;
    Ok(format!(
        "{:#}\n",
        json!({"status": status, "checks": value["steps"]})
    ))
}
