//! Pieces to lines.

use super::scan::{Kind, Piece};

/// Blanks of one level of indentation.
const INDENT: usize = 4;

/// Lays out the pieces of a whole file.
pub(super) fn lay_out(pieces: &[Piece<'_>]) -> Vec<u8> {
    let mut layout = Layout {
        tables: tables(pieces),
        lines: Vec::new(),
        line: Line::default(),
        depth: 0,
        base: 0,
        continued: false,
        statement_is_empty: true,
    };
    for at in 0..pieces.len() {
        layout.piece(pieces, at);
    }
    layout.end_line(b"");
    written(&layout.lines)
}

/// One line.
#[derive(Debug, Default)]
struct Line {
    indent: usize,
    code: Vec<u8>,
    comment: Vec<u8>,
    /// It goes on in the next without a blank between.
    tight: bool,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.code.is_empty() && self.comment.is_empty()
    }

    /// Columns before a comment; nothing for a line that cannot stand in a column.
    fn width(&self) -> Option<usize> {
        let both = !self.code.is_empty() && !self.comment.is_empty();
        (both && !self.code.contains(&b'\n')).then(|| {
            let characters = String::from_utf8_lossy(&self.code).chars().count();
            self.indent + characters
        })
    }
}

struct Layout {
    /// For each piece, whether it is `<` or `>` around the name of a table.
    tables: Vec<bool>,
    lines: Vec<Line>,
    line: Line,
    /// Braces open now, and where the statement's first line began.
    depth: usize,
    base: usize,
    /// The line continues the one before.
    continued: bool,
    /// Nothing of the statement is written yet.
    statement_is_empty: bool,
}

impl Layout {
    fn piece(&mut self, pieces: &[Piece<'_>], at: usize) {
        let piece = &pieces[at];
        match piece.kind {
            Kind::Newline => self.newline(),
            Kind::Continuation => self.continuation(pieces, at),
            Kind::Comment => self.comment(piece),
            Kind::Word | Kind::Macro | Kind::Quoted | Kind::Symbol => self.code(pieces, at),
        }
    }

    fn newline(&mut self) {
        self.end_line(b"");
        self.continued = false;
        self.statement_is_empty = true;
        self.base = self.depth;
    }

    /// One that continues nothing, or nothing further, goes.
    fn continuation(&mut self, pieces: &[Piece<'_>], at: usize) {
        let goes_on = pieces[at + 1..]
            .iter()
            .find(|piece| piece.kind != Kind::Continuation)
            .is_some_and(|piece| piece.kind != Kind::Newline);
        if self.statement_is_empty || !goes_on || self.line.is_empty() {
            return;
        }
        let behind_macro = at
            .checked_sub(1)
            .is_some_and(|before| pieces[before].kind == Kind::Macro);
        let tight = behind_macro && !pieces[at].gap && !pieces[at + 1].gap;
        self.end_line(if tight { b"\\" } else { b" \\" });
        self.line.tight = tight;
        self.continued = true;
    }

    fn comment(&mut self, piece: &Piece<'_>) {
        if self.line.is_empty() {
            self.line.indent = self.indentation(piece);
        }
        let mut text = piece.raw.trim_ascii_end().to_vec();
        if text.ends_with(b"\\") {
            // It must not continue the comment.
            text.push(b' ');
        }
        self.line.comment = text;
    }

    fn code(&mut self, pieces: &[Piece<'_>], at: usize) {
        let piece = &pieces[at];
        if piece.is("}") {
            self.depth = self.depth.saturating_sub(1);
        }
        if self.line.code.is_empty() {
            if !self.line.tight {
                self.line.indent = self.indentation(piece);
            }
        } else if self.is_spaced(pieces, at) {
            self.line.code.push(b' ');
        }
        if piece.is("{") {
            self.depth += 1;
        }
        self.line.code.extend_from_slice(piece.raw);
        self.statement_is_empty = false;
    }

    fn indentation(&self, first: &Piece<'_>) -> usize {
        let level = if self.continued && !first.is("}") {
            self.depth.max(self.base + 1)
        } else {
            self.depth
        };
        level * INDENT
    }

    /// Whether a blank goes between a piece and the one before it in its line.
    fn is_spaced(&self, pieces: &[Piece<'_>], at: usize) -> bool {
        let (Some(before), Some(next)) = (
            at.checked_sub(1).and_then(|b| pieces.get(b)),
            pieces.get(at),
        ) else {
            return false;
        };
        let around_table = |at: usize| self.tables.get(at).copied().unwrap_or_default();
        // What is put in place of the macro may go on in what follows it.
        if before.kind == Kind::Macro && !next.gap && !next.is("{") && !next.is("}") {
            return false;
        }
        if next.is(",") || next.is(")") || before.is("(") {
            return false;
        }
        if before.is("!") && !next.is("=") {
            return false;
        }
        if before.is("<") && around_table(at - 1) || next.is(">") && around_table(at) {
            return false;
        }
        let keeps = |piece: &Piece<'_>| piece.kind == Kind::Symbol && !is_set_apart(piece);
        if keeps(before) || keeps(next) {
            return next.gap;
        }
        true
    }

    /// Ends the line with `end`; of several empty lines one is kept.
    fn end_line(&mut self, end: &[u8]) {
        let mut line = std::mem::take(&mut self.line);
        line.code.extend_from_slice(end);
        let repeats = self.lines.last().is_none_or(Line::is_empty);
        if !(line.is_empty() && repeats) {
            self.lines.push(line);
        }
    }
}

/// Symbols with a blank before and behind, but for what [`Layout::is_spaced`] says before that.
fn is_set_apart(symbol: &Piece<'_>) -> bool {
    [
        "{", "}", "(", ")", ",", "!", "=", "<", ">", "!=", "<=", ">=", "<>", "><", "->",
    ]
    .into_iter()
    .any(|known| symbol.is(known))
}

/// Which pieces are `<` and `>` around the name of a table, not comparisons of ports: those that
/// stand close, and those where only a table can stand.
fn tables(pieces: &[Piece<'_>]) -> Vec<bool> {
    let mut found = vec![false; pieces.len()];
    for (at, window) in pieces.windows(3).enumerate() {
        let [open, name, close] = window else {
            continue;
        };
        let named = matches!(name.kind, Kind::Word | Kind::Quoted | Kind::Macro);
        if !(open.is("<") && named && close.is(">")) {
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| pieces.get(before));
        let expected = before.is_some_and(|before| {
            before.is("!") || [&b"table"[..], b"from", b"to", b"overload"].contains(&before.raw)
        });
        if expected || !(name.gap || close.gap) {
            found[at] = true;
            found[at + 2] = true;
        }
    }
    found
}

/// The text: comments behind code in one column in consecutive lines, no empty line at the end.
fn written(lines: &[Line]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let run = lines[at..].iter().map_while(Line::width);
        let (count, column) = run.fold((0, 0), |(n, most), width| (n + 1, most.max(width)));
        for line in &lines[at..at + count.max(1)] {
            write_line(line, column, &mut text);
        }
        at += count.max(1);
    }
    let end = text.trim_ascii_end().len();
    let needed = text.get(..end).is_some_and(|kept| kept.ends_with(b"\\"));
    text.truncate(if needed { end + 1 } else { end });
    if end > 0 && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text
}

fn write_line(line: &Line, column: usize, text: &mut Vec<u8>) {
    if !line.is_empty() {
        text.resize(text.len() + line.indent, b' ');
    }
    text.extend_from_slice(&line.code);
    if !line.comment.is_empty() {
        if !line.code.is_empty() {
            let width = line.width().unwrap_or(column);
            text.resize(text.len() + column.saturating_sub(width) + 1, b' ');
        }
        text.extend_from_slice(&line.comment);
    }
    text.push(b'\n');
}
