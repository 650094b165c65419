//! Warnings as text.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Warning, Warnings};
use crate::diagnostic::{Window, render_all, shorten};
use crate::source::{Place, Sources, Span};

/// Longest line that is quoted, in characters.
const LONGEST_LINE: usize = 120;

impl Warnings {
    /// One form for programs and terminals without colour: `file:line: warning: message`, and
    /// below it, indented, `file:line:column:` with the line, the reason, and the place of the
    /// other rule. Each line ends in a newline.
    #[must_use]
    pub fn plain(&self) -> String {
        self.list
            .iter()
            .map(|warning| self.plain_one(warning))
            .collect()
    }

    /// For people: source line, caret, the other rule's line.
    #[must_use]
    pub fn rendered(&self, color: bool) -> String {
        render_all(&self.list, color, |warning, renderer| {
            self.render_one(warning, renderer)
        })
    }

    fn plain_one(&self, warning: &Warning) -> String {
        let place = self.sources.place(warning.span);
        let Place {
            file, line: number, ..
        } = &place;
        let mut text = format!(
            "{file}:{number}: warning: {} [{}]\n    {place}: {}\n    why: {}\n",
            warning.message,
            warning.kind.as_str(),
            quoted_line(&self.sources, warning.span),
            warning.why
        );
        if let Some((span, _)) = &warning.other {
            let place = self.sources.place(*span);
            let line = quoted_line(&self.sources, *span);
            let _ = writeln!(text, "    {place}: {line}");
        }
        text
    }

    fn render_one(&self, warning: &Warning, renderer: &Renderer) -> String {
        let title = Level::WARNING
            .primary_title(warning.message.as_str())
            .id(warning.kind.as_str());
        let mut group = Group::with_title(title);
        let primary = AnnotationKind::Primary;
        if let Some(snippet) = self.snippet(warning.span, primary, "") {
            group = group.element(snippet);
        }
        if let Some((span, role)) = &warning.other
            && let Some(snippet) = self.snippet(*span, AnnotationKind::Context, role)
        {
            group = group.element(snippet);
        }
        group = group.element(Level::NOTE.message(warning.why.as_str()));
        renderer.render(&[group])
    }

    fn snippet<'a>(
        &'a self,
        span: Span,
        kind: AnnotationKind,
        label: &'a str,
    ) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let file = self.sources.file(span.file)?;
        let hi = span.hi.max(span.lo).min(file.text.len());
        let window = Window::around(&file.text, span.lo, hi);
        let annotation = kind.span(window.lo..window.hi).label(label);
        let snippet = Snippet::source(window.text)
            .line_start(self.sources.place(span).line)
            .path(file.name.as_str())
            .annotation(annotation);
        Some(snippet)
    }
}

/// The line of a place, without the blanks around it.
pub(super) fn line(sources: &Sources, span: Span) -> &str {
    let text = sources.file(span.file).map_or("", |file| &file.text);
    let start = text
        .get(..span.lo)
        .and_then(|t| t.rfind('\n'))
        .map_or(0, |at| at + 1);
    text.get(start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default()
        .trim()
}

fn quoted_line(sources: &Sources, span: Span) -> String {
    shorten(line(sources, span).to_owned(), LONGEST_LINE)
}
