//! Figures, and what they are to one another.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::boxes::Variant;
pub(crate) use super::samples::Better;
use super::samples::{Row, Rows};

/// The figures of all.
pub(crate) type Figures = Rows<Variant>;

pub(crate) fn markdown(figures: &Figures) -> String {
    let mut text = "| what |".to_owned();
    for who in Variant::ALL {
        let _ = write!(text, " {} |", who.name());
    }
    text.push_str(" on to bridge | on to nftables |\n|---|---|---|---|---|---|---|\n");
    for row in &figures.0 {
        let _ = write!(text, "| {}, {} |", row.what, row.unit);
        for who in Variant::ALL {
            let _ = write!(text, " {} |", figure(row, who));
        }
        let ratio = |to| ratio(row, to).map_or("-".to_owned(), |r| format!("{r:.2}"));
        let (bridge, rules) = (ratio(Variant::Bridge), ratio(Variant::Nftables));
        let _ = writeln!(text, " {bridge} | {rules} |");
    }
    text
}

pub(crate) fn json(figures: &Figures) -> Value {
    let row = |row: &Row<Variant>| {
        let sides = Variant::ALL.map(|who| (who.name(), row.json(who)));
        json!({
            "what": row.what,
            "unit": row.unit,
            "figures": BTreeMap::from(sides),
            "on_to_bridge": ratio(row, Variant::Bridge),
            "on_to_nftables": ratio(row, Variant::Nftables),
        })
    };
    Value::Array(figures.0.iter().map(row).collect())
}

/// How many times better the flow cache is.
fn ratio(row: &Row<Variant>, than: Variant) -> Option<f64> {
    row.ratio(Variant::Cache, than)
}

fn figure(row: &Row<Variant>, who: Variant) -> String {
    let Some((low, middle, high)) = row.summary(who) else {
        return "-".to_owned();
    };
    let digits = usize::from(middle < 100.0);
    format!("{middle:.digits$} ({low:.digits$} - {high:.digits$})")
}
