//! Figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    P0f,
    Weighbridge,
}

/// What is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// One line.
#[derive(Debug)]
struct Row {
    what: String,
    unit: &'static str,
    better: Better,
    samples: BTreeMap<Who, Vec<f64>>,
}

/// All lines, in the order in which they came first.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a sample to the line `what`.
    pub(crate) fn add(
        &mut self,
        what: &str,
        unit: &'static str,
        better: Better,
        who: Who,
        value: f64,
    ) {
        let at = self.0.iter().position(|row| row.what == what);
        let at = at.unwrap_or_else(|| {
            self.0.push(Row {
                what: what.to_owned(),
                unit,
                better,
                samples: BTreeMap::new(),
            });
            self.0.len() - 1
        });
        self.0[at].samples.entry(who).or_default().push(value);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = "| what | p0f | weighbridge | ratio |\n|---|---|---|---|\n".to_owned();
        for row in &self.0 {
            let figure = |who| match row.samples.get(&who) {
                Some(samples) => figure(samples, row.unit),
                None => "-".to_owned(),
            };
            let ratio = row
                .ratio()
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {ratio} |",
                row.what,
                figure(Who::P0f),
                figure(Who::Weighbridge)
            );
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            let side = |who| {
                row.samples.get(&who).map(|samples| {
                    let (low, middle, high) = summary(samples);
                    json!({"median": middle, "min": low, "max": high, "samples": samples})
                })
            };
            json!({
                "what": row.what,
                "unit": row.unit,
                "p0f": side(Who::P0f),
                "weighbridge": side(Who::Weighbridge),
                "times_better": row.ratio(),
            })
        };
        Value::Array(self.0.iter().map(row).collect())
    }
}

impl Row {
    /// How many times better ours is.
    fn ratio(&self) -> Option<f64> {
        let median = |who| self.samples.get(&who).map(|samples| summary(samples).1);
        let (theirs, ours) = (median(Who::P0f)?, median(Who::Weighbridge)?);
        let ratio = match self.better {
            Better::More => ours / theirs,
            Better::Less => theirs / ours,
        };
        ratio.is_finite().then_some(ratio)
    }
}

fn figure(samples: &[f64], unit: &str) -> String {
    let (low, middle, high) = summary(samples);
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

/// Least, median, greatest.
fn summary(samples: &[f64]) -> (f64, f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    (
        at(0),
        at(sorted.len() / 2),
        at(sorted.len().saturating_sub(1)),
    )
}

/// The value that `share` percent of `sorted` do not exceed.
pub(crate) fn percentile(sorted: &[f64], share: usize) -> f64 {
    let at = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
