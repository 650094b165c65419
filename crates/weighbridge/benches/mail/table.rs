//! Figures.

use std::fmt::Write as _;

use serde_json::{Value, json};

pub(crate) use super::samples::Better;
use super::samples::{Row, Rows};

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    P0f,
    Weighbridge,
}

/// The figures of both.
pub(crate) type Table = Rows<Who>;

pub(crate) fn markdown(table: &Table) -> String {
    let mut text = "| what | p0f | weighbridge | ratio |\n|---|---|---|---|\n".to_owned();
    for row in &table.0 {
        let ratio = ratio(row).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {ratio} |",
            row.what,
            figure(row, Who::P0f),
            figure(row, Who::Weighbridge)
        );
    }
    text
}

pub(crate) fn json(table: &Table) -> Value {
    let row = |row: &Row<Who>| {
        json!({
            "what": row.what,
            "unit": row.unit,
            "p0f": row.json(Who::P0f),
            "weighbridge": row.json(Who::Weighbridge),
            "times_better": ratio(row),
        })
    };
    Value::Array(table.0.iter().map(row).collect())
}

/// How many times better ours is.
fn ratio(row: &Row<Who>) -> Option<f64> {
    row.ratio(Who::Weighbridge, Who::P0f)
}

fn figure(row: &Row<Who>, who: Who) -> String {
    let Some((low, middle, high)) = row.summary(who) else {
        return "-".to_owned();
    };
    let unit = row.unit;
    format!(
        "{} {unit} ({} - {})",
        short(middle),
        short(low),
        short(high)
    )
}

/// Three significant digits are more than there is to trust.
fn short(value: f64) -> String {
    if value >= 100.0 {
        grouped(&format!("{value:.0}"))
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The value that `share` percent of `sorted` do not exceed.
pub(crate) fn percentile(sorted: &[f64], share: usize) -> f64 {
    let at = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
