//! `weighbridge fmt`: one layout for every pf.conf.
//!
//! Works on the text as it is written: macros stay `$name`, comments, line breaks and the order of
//! everything stay. Only blanks, indentation and runs of empty lines change. The result is given
//! out only if it is read as exactly the same words as the text it came from, so no layout can
//! change what a file means.

mod layout;
mod scan;

use crate::diagnostic::Diagnostics;
use crate::parser::{Parsed, parse_traced};
use crate::source::Place;
use crate::token::Token;
use crate::{LoadOptions, SourceReader};

/// Why a text was not laid out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FormatError {
    /// It has errors.
    Refused(Diagnostics),
    /// From this place on other words would be read: macros are put in place of their names as
    /// text, and here the blanks around one belong to the meaning.
    BlanksMatter(Place),
}

/// The canonical layout of `main` (named `name` in messages): single blanks between words, lists
/// as `{ a, b }`, 4 blanks of indentation in braces and on continuation lines, at most one empty
/// line in a row, comments behind a statement in one column with those above and below.
///
/// Reads the files that `main` includes, because they may define macros, but lays out only `main`.
/// Of `options` only the macros count. Bytes that are not UTF-8 stay as they are.
///
/// # Errors
/// When the text has errors, or when its blanks are part of its meaning.
pub fn format(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
) -> Result<Vec<u8>, FormatError> {
    let before = parse_traced(name, main, files, options);
    if !before.errors.is_empty() {
        let refused = Diagnostics::new(before.errors, before.sources);
        return Err(FormatError::Refused(refused));
    }
    let text = layout::lay_out(&scan::pieces(main));
    let after = parse_traced(name, &text, files, options);
    match first_difference(&before, &after) {
        None => Ok(text),
        Some(place) => Err(FormatError::BlanksMatter(place)),
    }
}

/// Where the two are read as different words; an empty line more or less is no difference.
fn first_difference(before: &Parsed, after: &Parsed) -> Option<Place> {
    let (mut left, mut right) = (words(&before.tokens), words(&after.tokens));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if a.kind == b.kind && a.text == b.text => {}
            // The last line may end with the file.
            (Some(token), None) | (None, Some(token)) if token.ends_line() => {}
            (Some(token), _) => return Some(before.sources.place(token.span)),
            (None, Some(_)) => {
                let last = before.tokens.last()?;
                return Some(before.sources.place(last.span));
            }
        }
    }
}

/// The tokens, ends of lines only where a line has something.
fn words(tokens: &[Token]) -> impl Iterator<Item = &Token> {
    let mut line_is_empty = true;
    tokens.iter().filter(move |token| {
        let ends = token.ends_line();
        let counts = !(ends && line_is_empty);
        line_is_empty = ends;
        counts
    })
}

#[cfg(test)]
mod tests;
