//! Edits of files: by lines, and only where the lines are still those that were read.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Lines of one file that become others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// The file.
    pub file: String,
    /// The line before which it begins, from 1; one more than there are lines appends.
    pub line: u32,
    /// Lines that go, as they were read.
    pub old: Vec<String>,
    /// Lines that come in their place.
    pub new: Vec<String>,
}

/// What mends a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// What it does, one sentence.
    pub summary: String,
    /// The edits, in any order.
    pub edits: Vec<Edit>,
    /// What to run afterwards, so that the program reads its file again.
    pub then: Option<String>,
}

/// Why an edit was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FixError {
    /// The line is no longer what it was when the file was read.
    Changed {
        /// Line, from 1.
        line: u32,
    },
    /// Two edits want the same line.
    Overlap {
        /// Line, from 1.
        line: u32,
    },
}

impl fmt::Display for FixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { line } => write!(f, "line {line} has changed since it was read"),
            Self::Overlap { line } => {
                write!(f, "two fixes change line {line}; run again for the second")
            }
        }
    }
}

impl std::error::Error for FixError {}

impl Fix {
    /// The edits by file.
    #[must_use]
    pub fn by_file(&self) -> BTreeMap<&str, Vec<&Edit>> {
        let mut files = BTreeMap::<&str, Vec<&Edit>>::new();
        for edit in &self.edits {
            files.entry(&edit.file).or_default().push(edit);
        }
        files
    }
}

/// `text` with `edits` of its file.
///
/// # Errors
/// When a line is not what it was, or two edits want the same one; `text` is then left alone.
pub fn apply(text: &str, edits: &[&Edit]) -> Result<String, FixError> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut edits: Vec<&Edit> = edits.to_vec();
    edits.sort_by_key(|edit| edit.order());
    let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut result = String::with_capacity(text.len());
    let mut next = 0;
    for edit in edits {
        let first = (edit.line as usize).saturating_sub(1);
        if first < next {
            return Err(FixError::Overlap { line: edit.line });
        }
        let kept = lines.get(next..first);
        let gone = lines.get(first..first + edit.old.len());
        // A last line may end in a carriage return alone.
        let bare = |line: &str| line.trim_end_matches(['\r', '\n']).to_owned();
        let same = |gone: &[&str]| {
            let old = edit.old.iter().map(|line| bare(line));
            gone.iter().map(|line| bare(line)).eq(old)
        };
        let (Some(kept), true) = (kept, gone.is_some_and(same)) else {
            return Err(FixError::Changed { line: edit.line });
        };
        result.extend(kept.iter().copied());
        if !result.is_empty() && !result.ends_with('\n') {
            result.push_str(ending);
        }
        for line in &edit.new {
            result.push_str(line);
            result.push_str(ending);
        }
        next = first + edit.old.len();
    }
    result.extend(lines.iter().skip(next).copied());
    Ok(result)
}

impl Edit {
    /// By line; what is put before a line comes before what becomes of it.
    pub(crate) fn order(&self) -> (u32, usize) {
        (self.line, self.old.len())
    }

    /// Edits of one file that can be made together, in their order; and how many want a line that
    /// an earlier one changes, and have to wait.
    #[must_use]
    pub fn compatible<'a>(edits: &[&'a Self]) -> (Vec<&'a Self>, usize) {
        let mut sorted = edits.to_vec();
        sorted.sort_by_key(|edit| edit.order());
        let mut end = 0;
        let mut kept = sorted.clone();
        kept.retain(|edit| {
            let first = edit.line as usize;
            let fits = first >= end;
            if fits {
                end = first + edit.old.len();
            }
            fits
        });
        let waiting = sorted.len() - kept.len();
        (kept, waiting)
    }

    /// Appends `lines` to a file of `text`.
    #[must_use]
    pub fn append(file: &str, text: &str, lines: Vec<String>) -> Self {
        let count = text.split_inclusive('\n').count();
        Self {
            file: file.to_owned(),
            line: u32::try_from(count + 1).unwrap_or(u32::MAX),
            old: Vec::new(),
            new: lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(line: u32, old: &[&str], new: &[&str]) -> Edit {
        let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
        Edit {
            file: "f".into(),
            line,
            old: owned(old),
            new: owned(new),
        }
    }

    #[test]
    fn lines_are_replaced_inserted_and_appended() {
        let text = "one\ntwo\nthree";
        let replace = edit(2, &["two"], &["2", "2b"]);
        let insert = edit(1, &[], &["zero"]);
        let append = Edit::append("f", text, vec!["four".into()]);
        assert_eq!(
            apply(text, &[&append, &replace, &insert]).unwrap(),
            "zero\none\n2\n2b\nthree\nfour\n"
        );
        assert_eq!(
            apply("", &[&Edit::append("f", "", vec!["a".into()])]).unwrap(),
            "a\n"
        );
    }

    #[test]
    fn line_endings_of_the_file_are_kept() {
        let text = "one\r\ntwo\r\n";
        assert_eq!(
            apply(text, &[&edit(2, &["two"], &["2"])]).unwrap(),
            "one\r\n2\r\n"
        );
    }

    #[test]
    fn of_edits_that_want_one_line_the_first_is_made_and_insertions_agree_with_it() {
        let (first, second) = (edit(2, &["two"], &["2"]), edit(2, &["two"], &["II"]));
        let insertion = edit(2, &[], &["1b"]);
        let (kept, waiting) = Edit::compatible(&[&first, &second, &insertion]);
        assert_eq!((kept.as_slice(), waiting), (&[&insertion, &first][..], 1));
        assert_eq!(
            apply("one\ntwo\n", &[&first, &insertion]).unwrap(),
            "one\n1b\n2\n"
        );
    }

    #[test]
    fn a_last_line_that_ends_in_a_carriage_return_alone_is_found() {
        assert_eq!(
            apply("a\nb\r", &[&edit(2, &["b\r"], &["c"])]).unwrap(),
            "a\nc\n"
        );
    }

    #[test]
    fn a_file_that_has_changed_is_left_alone() {
        let changed = apply("one\nTWO\n", &[&edit(2, &["two"], &["2"])]);
        assert_eq!(changed, Err(FixError::Changed { line: 2 }));
        let short = apply("one\n", &[&edit(7, &[], &["2"])]);
        assert_eq!(short, Err(FixError::Changed { line: 7 }));
        let (a, b) = (edit(1, &["one"], &["1"]), edit(1, &["one"], &["I"]));
        assert_eq!(
            apply("one\n", &[&a, &b]),
            Err(FixError::Overlap { line: 1 })
        );
    }
}
