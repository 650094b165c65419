//! Samples of several contestants, line by line, and what they are to one another.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// One line: what contestants `W` were measured in.
#[derive(Debug)]
pub(crate) struct Row<W> {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    samples: BTreeMap<W, Vec<f64>>,
}

/// All lines, in the order in which they came first.
#[derive(Debug)]
pub(crate) struct Rows<W>(pub(crate) Vec<Row<W>>);

impl<W> Default for Rows<W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<W: Copy + Ord> Rows<W> {
    /// Adds a sample to the line `what` of this unit.
    pub(crate) fn add(
        &mut self,
        what: &str,
        unit: &'static str,
        better: Better,
        who: W,
        value: f64,
    ) {
        let mut rows = self.0.iter();
        let at = rows.position(|row| row.what == what && row.unit == unit);
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
}

impl<W: Copy + Ord> Row<W> {
    /// Least, median and greatest of a contestant's, if there is any.
    pub(crate) fn summary(&self, who: W) -> Option<(f64, f64, f64)> {
        self.samples.get(&who).map(|samples| summary(samples))
    }

    /// How many times better `who` is `than` another.
    pub(crate) fn ratio(&self, who: W, than: W) -> Option<f64> {
        let ((_, ours, _), (_, theirs, _)) = (self.summary(who)?, self.summary(than)?);
        let ratio = match self.better {
            Better::More => ours / theirs,
            Better::Less => theirs / ours,
        };
        ratio.is_finite().then_some(ratio)
    }

    /// A contestant's samples and their summary; null without any.
    pub(crate) fn json(&self, who: W) -> Value {
        let (Some(samples), Some((low, middle, high))) =
            (self.samples.get(&who), self.summary(who))
        else {
            return Value::Null;
        };
        json!({"median": middle, "min": low, "max": high, "samples": samples})
    }
}

fn summary(samples: &[f64]) -> (f64, f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    let last = sorted.len().saturating_sub(1);
    // The same one twice where their number is odd.
    let middle = f64::midpoint(at(last / 2), at(sorted.len() / 2));
    (at(0), middle, at(last))
}
