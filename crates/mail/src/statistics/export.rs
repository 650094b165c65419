//! Rules for spam filters with scores learned from the site's own outcomes.
//!
//! A system gets a score only when it has had enough messages and its ratio is not the site's
//! own; the score is its evidence in points, bounded: the operating system alone shall never
//! decide.

use std::fmt::Write as _;

use super::{Report, Row};

/// Messages below which a system gets no score.
pub const LEAST_MESSAGES: u64 = 100;
/// Points for each unit of evidence: at `SpamAssassin`'s threshold of 5 points a message is spam
/// with high odds, about 7 in log-odds.
const POINTS_PER_EVIDENCE: f64 = 0.7;
/// A score is never larger, in points: less than a third of the usual threshold.
pub const CAP: f64 = 1.5;
/// A score below it is none.
const LEAST_SCORE: f64 = 0.1;

/// A system with its score.
struct Scored<'a> {
    row: &'a Row,
    symbol: String,
    score: f64,
}

fn scored(report: &Report) -> Vec<Scored<'_>> {
    let base = report.total.ratio();
    let score = |row: &Row| {
        let evidence = row.evidence?;
        let (low, high) = row.interval?;
        let sure = base.is_some_and(|base| base < low || base > high);
        if row.counts.decided() < LEAST_MESSAGES || !sure {
            return None;
        }
        let points = (evidence * POINTS_PER_EVIDENCE).clamp(-CAP, CAP);
        let points = (points * 10.0).round() / 10.0;
        (points.abs() >= LEAST_SCORE).then_some(points)
    };
    let rows = report.rows.iter();
    rows.filter_map(|row| {
        Some(Scored {
            row,
            symbol: symbol(&row.system),
            score: score(row)?,
        })
    })
    .collect()
}

/// `WB_OS_` and the name in capitals, with `_` for whatever a rule's name may not hold.
fn symbol(system: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    format!("WB_OS_{}", system.chars().map(word).collect::<String>())
}

/// A regular expression for texts that begin with `system` as a whole word.
fn pattern(system: &str) -> String {
    let mut pattern = "^".to_owned();
    for c in system.chars() {
        if !c.is_ascii_alphanumeric() && c != ' ' {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push_str("(?![A-Za-z0-9])");
    pattern
}

fn rests_on(row: &Row) -> String {
    let ratio = row.ratio.unwrap_or_default() * 100.0;
    let (low, high) = row.interval.unwrap_or_default();
    format!(
        "{ratio:.2}% of {} messages rejected ({:.2}% - {:.2}%)",
        row.counts.decided(),
        low * 100.0,
        high * 100.0
    )
}

fn preamble(report: &Report) -> String {
    format!(
        "# Written by `weighbridge report`: scores learned from {} messages of this site, of which\n\
         # {:.2}% were rejected. Systems with fewer than {LEAST_MESSAGES} messages, or whose ratio\n\
         # may be the site's own, have none. No score exceeds {CAP}: the operating system alone\n\
         # shall never decide.\n",
        report.total.decided(),
        report.total.ratio().unwrap_or_default() * 100.0
    )
}

/// A file for `SpamAssassin`'s configuration directory. Strip forged `X-OS-Fingerprint` headers
/// first.
#[must_use]
pub fn spamassassin(report: &Report) -> String {
    let mut text = preamble(report);
    for scored in scored(report) {
        let symbol = &scored.symbol;
        let _ = write!(
            text,
            "\n# {}: {}\n\
             header   {symbol}  X-OS-Fingerprint =~ /{}/\n\
             describe {symbol}  Sent from {}\n\
             score    {symbol}  {:.1}\n",
            scored.row.system,
            rests_on(scored.row),
            pattern(&scored.row.system),
            scored.row.system,
            scored.score
        );
    }
    text
}

/// Files for rspamd's `local.d`: patterns of its p0f module, and the weights of their symbols.
#[must_use]
pub fn rspamd(report: &Report) -> [(&'static str, String); 2] {
    let mut patterns = preamble(report);
    patterns.push_str("patterns {\n");
    let mut weights = preamble(report);
    weights.push_str("symbols {\n");
    for scored in scored(report) {
        let (symbol, system) = (&scored.symbol, &scored.row.system);
        let _ = writeln!(patterns, "  {symbol} = \"{}\";", quoted(&pattern(system)));
        let _ = writeln!(
            weights,
            "  # {}\n  \"{symbol}\" {{\n    weight = {:.1};\n    description = \"Sent from {}\";\n  }}",
            rests_on(scored.row),
            scored.score,
            quoted(system)
        );
    }
    patterns.push_str("}\n");
    weights.push_str("}\n");
    [("p0f.conf", patterns), ("p0f_group.conf", weights)]
}

/// Inside the quotes of a UCL string.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Grouping;
    use crate::statistics::tests::article;

    #[test]
    fn scores_are_learned_bounded_and_say_what_they_rest_on() {
        let text = spamassassin(&article().report(&Grouping::Family));
        assert!(text.contains(
            "# Linux: 19.33% of 3652 messages rejected (18.08% - 20.64%)\n\
             header   WB_OS_LINUX  X-OS-Fingerprint =~ /^Linux(?![A-Za-z0-9])/\n\
             describe WB_OS_LINUX  Sent from Linux\n\
             score    WB_OS_LINUX  -1.5\n"
        ));
        assert!(text.contains("score    WB_OS_AIX  1.5\n"), "{text}");
        assert!(!text.contains("WB_OS_CONTIKI"), "four messages are nothing");
        assert!(!text.contains("OS/400"), "nor are forty-four");
    }

    #[test]
    fn what_a_pattern_would_mistake_is_escaped() {
        assert_eq!(pattern("OS/400"), "^OS\\/400(?![A-Za-z0-9])");
        assert_eq!(pattern("HP-UX 11.x"), "^HP\\-UX 11\\.x(?![A-Za-z0-9])");
        assert_eq!(symbol("OS/400"), "WB_OS_OS_400");
    }

    #[test]
    fn rspamd_gets_patterns_and_weights() {
        let [(patterns_file, patterns), (weights_file, weights)] =
            rspamd(&article().report(&Grouping::Family));
        assert_eq!(
            (patterns_file, weights_file),
            ("p0f.conf", "p0f_group.conf")
        );
        assert!(patterns.contains("  WB_OS_LINUX = \"^Linux(?![A-Za-z0-9])\";\n"));
        assert!(weights.contains("  \"WB_OS_LINUX\" {\n    weight = -1.5;\n"));
    }
}
