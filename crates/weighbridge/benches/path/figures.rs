//! Figures, and what they are to one another.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::boxes::Variant;

/// What is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

#[derive(Debug)]
struct Row {
    what: String,
    unit: &'static str,
    better: Better,
    samples: BTreeMap<Variant, Vec<f64>>,
}

/// All lines, in the order in which they came first.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Row>);

/// Least, median and greatest.
fn summary(samples: &[f64]) -> (f64, f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (
        at(0),
        at(sorted.len() / 2),
        at(sorted.len().saturating_sub(1)),
    )
}

impl Figures {
    pub(crate) fn add(
        &mut self,
        what: &str,
        unit: &'static str,
        better: Better,
        who: Variant,
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
        let mut text = "| what |".to_owned();
        for who in Variant::ALL {
            let _ = write!(text, " {} |", who.name());
        }
        text.push_str(" on to bridge | on to nftables |\n|---|---|---|---|---|---|---|\n");
        for row in &self.0 {
            let _ = write!(text, "| {}, {} |", row.what, row.unit);
            for who in Variant::ALL {
                let _ = write!(text, " {} |", row.figure(who));
            }
            let ratio = |to| row.ratio(to).map_or("-".to_owned(), |r| format!("{r:.2}"));
            let (bridge, rules) = (ratio(Variant::Bridge), ratio(Variant::Nftables));
            let _ = writeln!(text, " {bridge} | {rules} |");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            let side = |who| {
                let samples = row.samples.get(&who)?;
                let (low, middle, high) = summary(samples);
                Some(json!({"median": middle, "min": low, "max": high, "samples": samples}))
            };
            let sides = Variant::ALL.map(|who| (who.name(), side(who)));
            json!({
                "what": row.what,
                "unit": row.unit,
                "figures": BTreeMap::from(sides),
                "on_to_bridge": row.ratio(Variant::Bridge),
                "on_to_nftables": row.ratio(Variant::Nftables),
            })
        };
        Value::Array(self.0.iter().map(row).collect())
    }
}

impl Row {
    /// How many times better the flow cache is.
    fn ratio(&self, than: Variant) -> Option<f64> {
        let median = |who| self.samples.get(&who).map(|samples| summary(samples).1);
        let (ours, theirs) = (median(Variant::Cache)?, median(than)?);
        let ratio = match self.better {
            Better::More => ours / theirs,
            Better::Less => theirs / ours,
        };
        ratio.is_finite().then_some(ratio)
    }

    fn figure(&self, who: Variant) -> String {
        let Some(samples) = self.samples.get(&who) else {
            return "-".to_owned();
        };
        let (low, middle, high) = summary(samples);
        let digits = usize::from(middle < 100.0);
        format!("{middle:.digits$} ({low:.digits$} - {high:.digits$})")
    }
}
