//! A report as text, CSV, JSON and SVG.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Counts, Report, Row};

/// Heading of the first column, as in the article.
const SYSTEM: &str = "Operating System";
/// Width of the bars of a chart, in pixels.
const BAR_WIDTH: f64 = 360.0;
/// Height of a line of a chart, in pixels.
const LINE_HEIGHT: usize = 22;
/// Width of the names beside the bars, in pixels.
const NAME_WIDTH: usize = 200;
/// Width of the figures behind the bars, in pixels.
const FIGURE_WIDTH: usize = 220;

/// The article's table, with the interval and the evidence beside each ratio.
#[must_use]
pub fn table(report: &Report) -> String {
    let names = report.rows.iter().map(|row| row.system.len());
    let width = names.chain([SYSTEM.len()]).max().unwrap_or_default();
    let mut text = format!(
        "{SYSTEM:<width$} | Accepted | Rejected |   Ratio | 95% interval      | Evidence\n\
         {:-<width$}-|----------|----------|---------|-------------------|---------\n",
        ""
    );
    for row in &report.rows {
        let _ = writeln!(
            text,
            "{:<width$} | {:>8} | {:>8} | {:>7} | {:>17} | {:>8}",
            row.system,
            row.counts.accepted,
            row.counts.rejected,
            percent(row.ratio),
            interval(row),
            row.evidence
                .map_or_else(|| "-".to_owned(), |evidence| format!("{evidence:+.2}")),
        );
    }
    text.push_str(&footer(report.total));
    text
}

fn footer(total: Counts) -> String {
    let ratio = percent(total.ratio());
    format!(
        "\n{} messages, {ratio} rejected; {} more were deferred. Ratio: rejected of accepted and \
         rejected.\nEvidence: log-odds against that base rate; 0 says nothing, +0.7 doubles the \
         odds of a rejection.\n",
        total.decided(),
        total.deferred
    )
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2}%", share * 100.0))
}

fn interval(row: &Row) -> String {
    match row.interval {
        Some((low, high)) => format!("{:.2}% - {:.2}%", low * 100.0, high * 100.0),
        None => "-".to_owned(),
    }
}

/// Comma-separated values (RFC 4180) with a heading; shares from 0 to 1.
#[must_use]
pub fn csv(report: &Report) -> String {
    let mut text = "system,accepted,rejected,deferred,ratio,low,high,evidence\r\n".to_owned();
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6}"));
    for row in &report.rows {
        let _ = write!(
            text,
            "{},{},{},{},{},{},{},{}\r\n",
            field(&row.system),
            row.counts.accepted,
            row.counts.rejected,
            row.counts.deferred,
            number(row.ratio),
            number(row.interval.map(|(low, _)| low)),
            number(row.interval.map(|(_, high)| high)),
            number(row.evidence),
        );
    }
    text
}

/// A field in quotes where it needs them. One that a spreadsheet would take for a formula gets an
/// apostrophe.
fn field(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// One object: `rows` and `total`.
#[must_use]
pub fn json(report: &Report) -> Value {
    let counts = |counts: Counts| {
        json!({
            "accepted": counts.accepted,
            "rejected": counts.rejected,
            "deferred": counts.deferred,
            "ratio": counts.ratio(),
        })
    };
    let row = |row: &Row| {
        json!({
            "system": row.system,
            "accepted": row.counts.accepted,
            "rejected": row.counts.rejected,
            "deferred": row.counts.deferred,
            "ratio": row.ratio,
            "low": row.interval.map(|(low, _)| low),
            "high": row.interval.map(|(_, high)| high),
            "evidence": row.evidence,
        })
    };
    json!({
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
        "total": counts(report.total),
    })
}

/// A bar chart of the ratios with their intervals, for pages and tickets. Texts are escaped.
#[must_use]
pub fn svg(report: &Report) -> String {
    let height = LINE_HEIGHT * (report.rows.len() + 2);
    let bars = "360";
    let width = NAME_WIDTH + 360 + FIGURE_WIDTH;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\" role=\"img\">\n\
         <title>Rejected messages by operating system</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{NAME_WIDTH}\" y=\"16\">rejected, with 95% interval (full width {bars} px is \
         100%)</text>\n"
    );
    for (at, row) in report.rows.iter().enumerate() {
        line(&mut text, row, LINE_HEIGHT * (at + 1));
    }
    text.push_str("</svg>\n");
    text
}

fn line(text: &mut String, row: &Row, top: usize) {
    let name = escaped(&row.system);
    let (middle, base) = (top + LINE_HEIGHT / 2, top + LINE_HEIGHT - 6);
    let ratio = row.ratio.unwrap_or_default();
    let (low, high) = row.interval.unwrap_or_default();
    let left = 200.0;
    let _ = write!(
        text,
        "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{name}</text>\n\
         <rect x=\"{NAME_WIDTH}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"#b5433a\"/>\n\
         <line x1=\"{:.1}\" y1=\"{middle}\" x2=\"{:.1}\" y2=\"{middle}\" stroke=\"black\"/>\n\
         <text x=\"{}\" y=\"{base}\">{} of {}</text>\n",
        NAME_WIDTH - 8,
        top + 3,
        ratio * BAR_WIDTH,
        LINE_HEIGHT - 6,
        left + low * BAR_WIDTH,
        left + high * BAR_WIDTH,
        NAME_WIDTH + 370,
        percent(row.ratio),
        row.counts.decided(),
    );
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::{ARTICLE, article, counts, system};
    use crate::statistics::{Grouping, Tally};

    #[test]
    fn the_table_has_the_articles_columns() {
        let text = table(&article().report(&Grouping::Family));
        let mut lines = text.lines();
        let heading = lines.next().expect("a heading");
        let columns: Vec<_> = heading.split('|').map(str::trim).take(4).collect();
        assert_eq!(
            columns,
            ["Operating System", "Accepted", "Rejected", "Ratio"]
        );
        for (name, accepted, rejected, ratio) in ARTICLE {
            let line = text
                .lines()
                .find(|line| {
                    line.split('|')
                        .next()
                        .is_some_and(|cell| cell.trim() == name)
                })
                .expect("a line");
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            assert_eq!(
                cells[1..4],
                [accepted.to_string(), rejected.to_string(), ratio.into()]
            );
        }
    }

    #[test]
    fn one_line_whole() {
        let mut tally = Tally::default();
        tally.add(system("AIX", ""), counts(2716, 100_601));
        tally.add(system("Linux", ""), counts(2946, 706));
        let text = table(&tally.report(&Grouping::Family));
        let line = text.lines().nth(2).expect("a line");
        assert_eq!(
            line,
            "AIX              |     2716 |   100601 |  97.37% |   97.27% - 97.47% |    +0.73"
        );
    }

    #[test]
    fn hostile_names_are_harmless_everywhere() {
        let mut tally = Tally::default();
        tally.add(system("=cmd|'<script>,", ""), counts(1, 1));
        let report = tally.report(&Grouping::Family);
        assert!(csv(&report).contains("\"'=cmd?'?script?,\",1,1,0,0.500000,"));
        assert!(svg(&report).contains("=cmd?'?script?,</text>"));
        assert_eq!(json(&report)["rows"][0]["system"], "=cmd?'?script?,");
    }

    #[test]
    fn nothing_reported_is_an_empty_table() {
        let report = Tally::default().report(&Grouping::Family);
        assert!(table(&report).contains("\n0 messages, - rejected"));
        assert_eq!(csv(&report).lines().count(), 1);
        assert_eq!(json(&report)["total"]["ratio"], Value::Null);
    }
}
