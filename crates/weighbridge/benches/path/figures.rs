//! Figures, and what they are to one another.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::contestants::Contestant;
use super::jobs::{Job, Scene};
pub(crate) use super::samples::Better;
use super::samples::{Row, Rows};

/// Lines whose order is not that in which they are measured.
const LINES: &[&str] = &[
    "UDP, 1 flow",
    "UDP, 10,000 flows",
    "1 rule",
    "100 rules",
    "10,000 rules",
];
const UNITS: &[&str] = &["kpps", "ns in all", "ns of the box", "% arrived"];

/// The figures of all, scene by scene.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    scenes: BTreeMap<Scene, Rows<Contestant>>,
    failed: BTreeMap<String, u64>,
}

impl Figures {
    pub(crate) fn add(
        &mut self,
        scene: Scene,
        what: &str,
        unit: &'static str,
        better: Better,
        who: Contestant,
        value: f64,
    ) {
        let rows = self.scenes.entry(scene).or_default();
        rows.add(what, unit, better, who, value);
    }

    /// Adds connections that came to nothing.
    pub(crate) fn failed(&mut self, job: Job, count: u64) {
        if count > 0 {
            *self.failed.entry(job.to_string()).or_default() += count;
        }
    }

    pub(crate) fn row(&self, scene: Scene, what: &str, unit: &str) -> Option<&Row<Contestant>> {
        let mut rows = self.scenes.get(&scene)?.0.iter();
        rows.find(|row| row.what == what && row.unit == unit)
    }

    pub(crate) fn scenes(&self) -> impl Iterator<Item = (Scene, &[Row<Contestant>])> {
        let scenes = self.scenes.iter();
        scenes.map(|(scene, rows)| (*scene, rows.0.as_slice()))
    }

    /// Brings the lines into one order, whatever was measured first.
    pub(crate) fn sort(&mut self) {
        let rank = |list: &[&str], text: &str| {
            let known = list.iter().position(|known| *known == text);
            known.unwrap_or(list.len())
        };
        for rows in self.scenes.values_mut() {
            rows.0
                .sort_by_key(|row| (rank(LINES, &row.what), rank(UNITS, row.unit)));
        }
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for (scene, rows) in self.scenes() {
            let _ = writeln!(text, "### {}\n\n{}", scene.title(), table(rows));
        }
        for (job, count) in &self.failed {
            let _ = writeln!(text, "Connections that failed: {count} ({job}).");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let rows = self
            .scenes()
            .flat_map(|(scene, rows)| rows.iter().map(move |row| row_json(scene, row)));
        json!({"rows": rows.collect::<Vec<_>>(), "failed_connections": self.failed})
    }
}

fn row_json(scene: Scene, row: &Row<Contestant>) -> Value {
    let sides = present(std::slice::from_ref(row));
    let sides: BTreeMap<_, _> = sides.map(|who| (who.name(), row.json(who))).collect();
    json!({"scene": scene.name(), "what": row.what, "unit": row.unit, "figures": sides})
}

/// Who has a figure in any of the lines.
pub(crate) fn present(rows: &[Row<Contestant>]) -> impl Iterator<Item = Contestant> {
    Contestant::ALL
        .into_iter()
        .filter(|who| rows.iter().any(|row| row.summary(*who).is_some()))
}

fn table(rows: &[Row<Contestant>]) -> String {
    let columns: Vec<_> = present(rows).collect();
    let mut text = "| what |".to_owned();
    for who in &columns {
        let _ = write!(text, " {} |", who.name());
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(columns.len()));
    for row in rows {
        let _ = write!(text, "| {}, {} |", row.what, row.unit);
        for who in &columns {
            let _ = write!(text, " {} |", figure(row, *who));
        }
        text.push('\n');
    }
    text
}

fn figure(row: &Row<Contestant>, who: Contestant) -> String {
    let Some((low, middle, high)) = row.summary(who) else {
        return "-".to_owned();
    };
    let digits = usize::from(middle.abs() < 100.0);
    format!("{middle:.digits$} ({low:.digits$} - {high:.digits$})")
}
