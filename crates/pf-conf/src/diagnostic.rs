//! Errors with their places, for people and for programs.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::echo::EchoLine;
use crate::limits::MAX_QUOTED_CHARS;
use crate::source::{Place, Sources, Span};

/// pfctl's words behind what is wrong with one rule of a statement.
const SKIPPING: &str = "skipping rule due to errors";
/// Where nothing is left of the statement.
pub(crate) const NOTHING_LEFT: &str = "rule expands to no valid combination";

/// Kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// `PF001`: the text is not in the grammar.
    Syntax,
    /// `PF002`: `$name` without a definition.
    UndefinedMacro,
    /// `PF003`: in pf.conf(5), but this program has nothing for it.
    NotSupported,
    /// `PF004`: a name of a port, protocol, type, timeout, … that does not exist.
    UnknownName,
    /// `PF005`: a number outside of its range.
    BadNumber,
    /// `PF006`: what should be an address is none.
    BadAddress,
    /// `PF007`: options that exclude or require each other.
    Conflict,
    /// `PF008`: nothing is left of a rule once families are compared.
    NoCombination,
    /// `PF009`: more than the reader's limits allow.
    Limit,
    /// `PF010`: a file cannot be read.
    File,
}

impl Code {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "PF001",
            Self::UndefinedMacro => "PF002",
            Self::NotSupported => "PF003",
            Self::UnknownName => "PF004",
            Self::BadNumber => "PF005",
            Self::BadAddress => "PF006",
            Self::Conflict => "PF007",
            Self::NoCombination => "PF008",
            Self::Limit => "PF009",
            Self::File => "PF010",
        }
    }
}

/// One error.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// What is wrong; PF's own words where PF has some.
    pub message: String,
    /// What was found or expected at that place.
    pub detail: Option<String>,
    /// What may help.
    pub hint: Option<String>,
    pub(crate) span: Span,
    skipped: Skipped,
}

/// What pfctl says behind an error of a rule that a statement was multiplied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skipped {
    /// It is not about one of them.
    Nothing,
    /// The rule is left out.
    Rule,
    /// And no other of the statement is left.
    All,
}

impl Diagnostic {
    pub(crate) fn new(code: Code, span: Span, message: String) -> Self {
        Self {
            code,
            message: shorten(message, MAX_QUOTED_CHARS),
            detail: None,
            hint: None,
            span,
            skipped: Skipped::Nothing,
        }
    }

    /// It is about one rule of those that a statement was multiplied to.
    pub(crate) const fn skips_rule(&mut self) {
        self.skipped = Skipped::Rule;
    }

    /// And none of them is right.
    pub(crate) const fn skips_all(&mut self) {
        self.skipped = Skipped::All;
    }

    pub(crate) fn skips(&self) -> bool {
        self.skipped != Skipped::Nothing
    }
}

/// The errors of one reading, in the order of their places.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    sources: Box<Sources>,
    echo: Vec<EchoLine>,
}

impl Diagnostics {
    pub(crate) fn new(mut list: Vec<Diagnostic>, sources: Sources) -> Self {
        list.sort_by_key(|error| (error.span.file, error.span.lo));
        Self {
            list,
            sources: Box::new(sources),
            echo: Vec::new(),
        }
    }

    /// These errors, of a text of which `echo` was understood.
    pub(crate) fn after(self, echo: Vec<EchoLine>) -> Self {
        Self { echo, ..self }
    }

    /// What is told while the main file is read (`pfctl -v`), in spite of the errors.
    #[must_use]
    pub fn echo(&self) -> &[EchoLine] {
        &self.echo
    }

    /// Whether all of them are in files that `load anchor` names.
    #[must_use]
    pub fn only_of_loads(&self) -> bool {
        let mut files = self.list.iter().map(|error| error.span.file);
        files.all(|file| self.sources.is_of_load(file))
    }

    /// The errors with their places.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &Diagnostic)> {
        self.list
            .iter()
            .map(|error| (self.sources.place(error.span), error))
    }

    /// How many there are, at least one.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.list.len()
    }

    /// pfctl's own form (`--plain`, and when stderr is no terminal): `file:line: message`, and
    /// below it, indented, `file:line:column:` with the offending text and what was expected,
    /// a hint, and the macros that the text came from; then what pfctl says of rules that are skipped for it.
    /// Each line ends in a newline.
    #[must_use]
    pub fn plain(&self) -> String {
        self.list
            .iter()
            .map(|error| self.plain_one(error))
            .collect()
    }

    /// For people: source line, caret, expected, hint, macro expansion trail.
    #[must_use]
    pub fn rendered(&self, color: bool) -> String {
        render_all(&self.list, color, |error, renderer| {
            self.render_one(error, renderer)
        })
    }

    fn plain_one(&self, error: &Diagnostic) -> String {
        let place = self.sources.place(error.span);
        let Place { file, line, .. } = &place;
        let detail = error.detail.clone().unwrap_or_else(|| self.found(error));
        let mut text = format!("{file}:{line}: {}\n    {place}: {detail}\n", error.message);
        for note in self.trail(error.span) {
            text = text + "    " + &note + "\n";
        }
        if let Some(hint) = &error.hint {
            text = text + "    hint: " + hint + "\n";
        }
        let lines: &[&str] = match error.skipped {
            Skipped::Nothing => &[],
            Skipped::Rule => &[SKIPPING],
            Skipped::All => &[SKIPPING, NOTHING_LEFT],
        };
        for line in lines {
            text = text + file + ":" + &place.line.to_string() + ": " + line + "\n";
        }
        text
    }

    /// The offending text, as the file has it.
    fn found(&self, error: &Diagnostic) -> String {
        let text = self.sources.text(error.span);
        let first = text.lines().next().unwrap_or_default().trim();
        if first.is_empty() {
            "at the end of the line".to_owned()
        } else {
            format!("at `{}`", shorten(first.to_owned(), 60))
        }
    }

    /// `in macro …` for each macro that the place lies in, innermost first.
    fn trail(&self, span: Span) -> Vec<String> {
        /// Definitions that use each other, at most this many lines of them.
        const LONGEST: usize = 8;
        let mut notes = Vec::new();
        let mut at = Some(span);
        while let Some(expansion) = at.and_then(|span| self.sources.expansion(span)) {
            let defined = expansion.defined.map_or_else(
                || "defined with -D".to_owned(),
                |span| format!("defined at {}", self.sources.place(span)),
            );
            notes.push(format!(
                "in macro ${} = \"{}\", {defined}",
                expansion.name,
                shorten(expansion.value.to_string(), 60)
            ));
            at = expansion.defined;
            if notes.len() == LONGEST {
                break;
            }
        }
        notes
    }

    fn render_one(&self, error: &Diagnostic, renderer: &Renderer) -> String {
        let title = Level::ERROR
            .primary_title(error.message.as_str())
            .id(error.code.as_str());
        let mut group = Group::with_title(title);
        let file = self.sources.file(error.span.file);
        if let Some(file) = file {
            let label = error.detail.clone().unwrap_or_default();
            let hi = error.span.hi.max(error.span.lo).min(file.text.len());
            let window = Window::around(&file.text, error.span.lo, hi);
            let snippet = Snippet::source(window.text)
                .line_start(self.sources.place(error.span).line)
                .path(file.name.as_str())
                .annotation(
                    AnnotationKind::Primary
                        .span(window.lo..window.hi)
                        .label(label),
                );
            group = group.element(snippet);
        }
        for note in self.trail(error.span) {
            group = group.element(Level::NOTE.message(note));
        }
        if let Some(hint) = &error.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }
}

/// What `render` makes of each of `list`, a newline behind each.
pub(crate) fn render_all<T>(
    list: &[T],
    color: bool,
    render: impl Fn(&T, &Renderer) -> String,
) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    list.iter()
        .map(|item| render(item, &renderer) + "\n")
        .collect()
}

/// The lines of a file that a place touches, and the place in them.
pub(crate) struct Window<'a> {
    pub(crate) text: &'a str,
    pub(crate) lo: usize,
    pub(crate) hi: usize,
}

impl<'a> Window<'a> {
    /// Longest piece of a file that is shown.
    const LONGEST: usize = 4096;

    pub(crate) fn around(text: &'a str, lo: usize, hi: usize) -> Self {
        let start = text
            .get(..lo)
            .and_then(|t| t.rfind('\n'))
            .map_or(0, |at| at + 1);
        let end = text
            .get(hi..)
            .and_then(|t| t.find('\n'))
            .map_or(text.len(), |at| hi + at);
        let piece = text.get(start..end).unwrap_or_default();
        if piece.len() > Self::LONGEST {
            return Self {
                text: "",
                lo: 0,
                hi: 0,
            };
        }
        Self {
            text: piece,
            lo: lo - start,
            hi: hi - start,
        }
    }
}

/// `text`, cut behind `longest` characters, and without what a terminal would obey.
pub(crate) fn shorten(mut text: String, longest: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(longest) {
        text.truncate(at);
        text.push('…');
    }
    let is_unprintable = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(is_unprintable) {
        return text.replace(is_unprintable, "\u{fffd}");
    }
    text
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain())
    }
}

impl std::error::Error for Diagnostics {}
