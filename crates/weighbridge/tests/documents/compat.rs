//! The table of behaviours in docs/compat.md is complete and true: no row is blank, no case stands
//! twice, and whatever is said to be done names tests that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::root;

const SECTION: &str = "## Behaviours, one by one";
/// The table of counters, with the same columns.
const COUNTERS: &str = "## What pfctl counts";
/// What a row may say first.
const VERDICTS: [&str; 3] = ["done", "deviates", "does not apply"];

/// A row of the table: what PF's suites ask, what is said of it here, and what proves it.
struct Row {
    file: String,
    cases: Vec<String>,
    verdict: String,
    evidence: String,
}

impl Row {
    fn of(file: &str, line: &str) -> Self {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [behaviour, verdict, evidence] = cells.as_slice() else {
            panic!("{file}: three columns: {line}");
        };
        // The names come first, then what they mean.
        let (names, _) = behaviour.split_once(':').unwrap_or((behaviour, ""));
        Self {
            file: file.to_owned(),
            cases: names
                .split(", ")
                .map(|name| name.trim().to_owned())
                .collect(),
            verdict: (*verdict).to_owned(),
            evidence: (*evidence).to_owned(),
        }
    }

    /// What stands between backquotes in the last column.
    fn quoted(&self) -> impl Iterator<Item = &str> {
        self.evidence.split('`').skip(1).step_by(2)
    }

    fn tests(&self) -> impl Iterator<Item = &str> {
        self.quoted().filter(|name| name.contains("::"))
    }

    fn golden(&self) -> impl Iterator<Item = &str> {
        let is_input = |name: &&str| Path::new(name).extension().is_some_and(|it| it == "in");
        self.quoted().filter(is_input)
    }
}

/// What stands under a heading, up to the next of its rank.
fn section(title: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs/compat.md")).expect("the table");
    let (_, rest) = text.split_once(title).expect("the section");
    let (section, _) = rest.split_once("\n## ").unwrap_or((rest, ""));
    section.to_owned()
}

/// The rows of a section, each with the heading above it.
fn rows_of(title: &str) -> Vec<Row> {
    let mut file = title.to_owned();
    let mut rows = Vec::new();
    for line in section(title).lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            heading.clone_into(&mut file);
        }
        let heads = ["| ---", "| behaviour |", "| counter |"];
        if line.starts_with('|') && !heads.iter().any(|head| line.starts_with(head)) {
            rows.push(Row::of(&file, line));
        }
    }
    rows
}

fn rows() -> Vec<Row> {
    let behaviours = rows_of(SECTION);
    let counters = rows_of(COUNTERS);
    assert!(behaviours.len() > 200, "{} rows", behaviours.len());
    assert!(counters.len() > 20, "{} rows", counters.len());
    behaviours.into_iter().chain(counters).collect()
}

fn headings() -> Vec<String> {
    let section = section(SECTION);
    let headings = section.lines().filter_map(|line| line.strip_prefix("### "));
    headings.map(str::to_owned).collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// The functions marked as tests in a file.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]").skip(1).filter_map(|rest| {
        let (_, rest) = rest.split_once("fn ")?;
        rest.split(['(', '<']).next()
    })
}

/// Where each test of the workspace is: module paths by function name.
fn all_tests() -> BTreeMap<String, Vec<Vec<String>>> {
    let mut files = Vec::new();
    for crate_directory in ["crates", "fuzz"] {
        sources(&root().join(crate_directory), &mut files);
    }
    let mut tests = BTreeMap::<String, Vec<Vec<String>>>::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let mut modules: Vec<String> = file
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().replace('-', "_"))
            .collect();
        if text.contains("mod tests {") {
            modules.push("tests".to_owned());
        }
        for name in tests_in(&text) {
            tests
                .entry(name.to_owned())
                .or_default()
                .push(modules.clone());
        }
    }
    tests
}

/// Whether `wanted` stands in `path` in its order: `limiters` and `pf_engine::limiters` both do in
/// `crates/pf_engine/tests/scenarios/limiters`.
fn leads_to(wanted: &[&str], path: &[String]) -> bool {
    let mut rest = path.iter();
    let in_order = wanted.iter().all(|part| rest.any(|it| it == part));
    let ends_there = path
        .iter()
        .rev()
        .take(2)
        .any(|it| Some(&it.as_str()) == wanted.last());
    in_order && ends_there
}

#[test]
fn no_row_is_blank_and_each_says_what_became_of_it() {
    for row in rows() {
        let name = format!("{}: {}", row.file, row.cases.join(", "));
        assert!(row.cases.iter().all(|case| !case.is_empty()), "{name}");
        let known = VERDICTS
            .iter()
            .any(|verdict| row.verdict.starts_with(verdict));
        assert!(known, "{name}: {:?}", row.verdict);
        assert!(!row.evidence.is_empty(), "{name} has no test or reason");
    }
}

#[test]
fn whatever_is_done_names_a_test() {
    for row in rows().iter().filter(|row| row.verdict.starts_with("done")) {
        let proved = row.tests().next().is_some() || row.golden().next().is_some();
        assert!(proved, "{}: {:?} names no test", row.file, row.cases);
    }
}

#[test]
fn every_test_and_golden_file_that_is_named_is_there() {
    let tests = all_tests();
    let golden = root().join("crates/pf-conf/tests");
    let directories = ["golden", "golden-openbsd", "errors"];
    for row in rows() {
        for name in row.tests() {
            let mut path: Vec<&str> = name.split("::").collect();
            let function = path.pop().unwrap_or_default();
            let places = tests.get(function).map(Vec::as_slice).unwrap_or_default();
            let found = places.iter().any(|place| leads_to(&path, place));
            assert!(found, "{}: no test {name}, but {places:?}", row.file);
        }
        for name in row.golden() {
            let found = directories
                .iter()
                .any(|it| golden.join(it).join(name).exists());
            assert!(found, "{}: no golden file {name}", row.file);
        }
    }
}

#[test]
fn no_file_and_no_case_stands_twice() {
    let mut seen = BTreeSet::new();
    for heading in headings() {
        assert!(seen.insert(heading.clone()), "{heading} stands twice");
    }
    let mut seen = BTreeSet::new();
    for row in rows() {
        for case in row.cases {
            let key = (row.file.clone(), case);
            assert!(seen.insert(key.clone()), "{key:?} stands twice");
        }
    }
}

#[test]
fn the_table_of_contents_has_every_file_once() {
    let section = section(SECTION);
    let (contents, _) = section.split_once("### ").expect("a file");
    for heading in headings() {
        let link = format!("[{heading}]");
        assert_eq!(contents.matches(&link).count(), 1, "{link} in the contents");
    }
}
