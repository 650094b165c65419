//! Files, places in them, and which macro a piece of text came from.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// A stretch of a file: bytes `lo..hi`. Text that came out of a macro has the place of its
/// `$name`, and says which expansion it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) file: usize,
    pub(crate) lo: usize,
    pub(crate) hi: usize,
    pub(crate) expansion: Option<usize>,
}

impl Span {
    /// From the start of `self` to the end of `other`, if both are in one file.
    pub(crate) fn to(self, other: Self) -> Self {
        if self.file == other.file && other.hi > self.hi {
            Self {
                hi: other.hi,
                ..self
            }
        } else {
            self
        }
    }
}

/// A file, as it was read.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    pub(crate) name: String,
    pub(crate) text: Arc<str>,
    line_starts: Vec<usize>,
}

/// One use of a macro.
#[derive(Clone, Debug)]
pub(crate) struct Expansion {
    pub(crate) name: String,
    pub(crate) value: Arc<str>,
    /// Where the value was defined; nothing for `-D`.
    pub(crate) defined: Option<Span>,
    /// Where it was used.
    pub(crate) at: Span,
}

/// A place for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name, as it was given; `stdin` for `-`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// All files of one load, and every use of a macro in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    files: Vec<SourceFile>,
    expansions: Vec<Expansion>,
    /// The files of `load anchor`: what is read while they are open is theirs.
    of_loads: BTreeSet<usize>,
    loading: bool,
}

impl Sources {
    /// Adds a file. Bytes that are not UTF-8 become U+FFFD, which no rule may contain.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> usize {
        let text: Arc<str> = String::from_utf8_lossy(bytes).into();
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        self.files.push(SourceFile {
            name: name.to_owned(),
            text,
            line_starts,
        });
        let index = self.files.len() - 1;
        if self.loading {
            self.of_loads.insert(index);
        }
        index
    }

    pub(crate) fn add_expansion(&mut self, expansion: Expansion) -> usize {
        self.expansions.push(expansion);
        self.expansions.len() - 1
    }

    /// Says whether files that come are those of `load anchor`; gives what was said before.
    pub(crate) const fn set_loading(&mut self, loading: bool) -> bool {
        std::mem::replace(&mut self.loading, loading)
    }

    pub(crate) fn is_of_load(&self, index: usize) -> bool {
        self.of_loads.contains(&index)
    }

    pub(crate) fn file(&self, index: usize) -> Option<&SourceFile> {
        self.files.get(index)
    }

    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn expansion(&self, span: Span) -> Option<&Expansion> {
        self.expansions.get(span.expansion?)
    }

    /// Every use of a macro, in the order of reading.
    pub(crate) fn expansions(&self) -> &[Expansion] {
        &self.expansions
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        self.file(span.file)
            .and_then(|file| file.text.get(span.lo..span.hi))
            .unwrap_or_default()
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        let Some(file) = self.file(span.file) else {
            return Place {
                file: String::new(),
                line: 1,
                column: 1,
            };
        };
        let line = file.line_starts.partition_point(|&start| start <= span.lo);
        let start = line
            .checked_sub(1)
            .and_then(|index| file.line_starts.get(index))
            .copied()
            .unwrap_or_default();
        let before = file.text.get(start..span.lo).unwrap_or_default();
        Place {
            file: file.name.clone(),
            line,
            column: before.chars().count() + 1,
        }
    }
}
