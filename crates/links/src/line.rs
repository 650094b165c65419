//! Lines of a start-up file, cut into words that know their column.

use std::iter::Peekable;
use std::slice::Iter;

use crate::{MAX_NAME_LEN, ParseError};

/// The words of a line that are still to be read.
pub(crate) type Words<'w, 't> = Peekable<Iter<'w, Word<'t>>>;

/// Longest start-up file that is read, in bytes. Real ones have a few hundred.
pub(crate) const MAX_FILE_LEN: usize = 64 * 1024;

/// A word and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Word<'_> {
    pub(crate) fn error(&self, message: impl Into<String>, hint: Option<&str>) -> ParseError {
        ParseError {
            line: self.line,
            column: self.column,
            message: message.into(),
            hint: hint.map(Into::into),
        }
    }
}

/// The words of each line that has any; `#` begins a comment.
pub(crate) fn lines(text: &str) -> Result<Vec<Vec<Word<'_>>>, ParseError> {
    if text.len() > MAX_FILE_LEN {
        return Err(ParseError {
            line: 1,
            column: 1,
            message: format!("file is larger than {MAX_FILE_LEN} bytes"),
            hint: Some("is this a start-up file?".into()),
        });
    }
    let numbered = text.lines().zip(1..);
    Ok(numbered
        .map(|(line, number)| words(line, number))
        .filter(|w| !w.is_empty())
        .collect())
}

fn words(line: &str, number: u32) -> Vec<Word<'_>> {
    let code = line.split_once('#').map_or(line, |(code, _)| code);
    let mut words = Vec::new();
    let mut rest = code;
    let mut column = 1u32;
    loop {
        let trimmed = rest.trim_start();
        column += characters(rest) - characters(trimmed);
        if trimmed.is_empty() {
            return words;
        }
        let end = word_end(trimmed);
        let (word, after) = trimmed.split_at(end);
        words.push(Word {
            text: word,
            line: number,
            column,
        });
        column += characters(word);
        rest = after;
    }
}

/// A quoted word ends at its closing quote, any other at the next blank.
fn word_end(text: &str) -> usize {
    if let Some(quoted) = text.strip_prefix('"')
        && let Some(close) = quoted.find('"')
    {
        return close + 2;
    }
    text.find(char::is_whitespace).unwrap_or(text.len())
}

pub(crate) fn characters(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// The interface or bridge name that a file's own name carries.
pub(crate) fn check_name(name: &str) -> Result<(), ParseError> {
    let valid = !name.is_empty()
        && name.len() <= MAX_NAME_LEN
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if valid {
        return Ok(());
    }
    Err(ParseError {
        line: 1,
        column: 1,
        message: format!("'{}' is no interface name", name.escape_debug()),
        hint: Some(format!(
            "letters, digits, '.', '_' and '-', at most {MAX_NAME_LEN} characters"
        )),
    })
}

/// A member or interface name inside a file.
pub(crate) fn interface_name(word: &Word<'_>) -> Result<String, ParseError> {
    check_name(word.text).map_err(|error| word.error(error.message, error.hint.as_deref()))?;
    Ok(word.text.to_owned())
}

/// What was read, unless it has faults.
pub(crate) fn unless_faulty<T>(read: T, faults: Vec<ParseError>) -> Result<T, Vec<ParseError>> {
    if faults.is_empty() {
        Ok(read)
    } else {
        Err(faults)
    }
}

/// Carries out the words of all lines of `text` in turn, as [`each_option`] does.
pub(crate) fn all_options(
    text: &str,
    mut carry_out: impl for<'w, 't> FnMut(&'w Word<'t>, &mut Words<'w, 't>) -> Result<(), ParseError>,
) -> Result<(), Vec<ParseError>> {
    let lines = lines(text).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    for words in &lines {
        each_option(&mut words.iter().peekable(), &mut errors, &mut carry_out);
    }
    unless_faulty((), errors)
}

/// Carries out the words of a line in turn, and tells every fault of it. What stands behind a fault and
/// looks like an argument of what was not understood is passed over.
pub(crate) fn each_option<'w, 't: 'w>(
    words: &mut Words<'w, 't>,
    errors: &mut Vec<ParseError>,
    mut carry_out: impl FnMut(&'w Word<'t>, &mut Words<'w, 't>) -> Result<(), ParseError>,
) {
    let mut is_lost = false;
    while let Some(word) = words.next() {
        let done = carry_out(word, words);
        is_lost = match done {
            Ok(()) => false,
            Err(error) => {
                let of_word = (error.line, error.column) == (word.line, word.column);
                if !(is_lost && of_word && may_be_argument(word.text)) {
                    errors.push(error);
                }
                true
            }
        };
    }
}

/// Names of interfaces, numbers, addresses, texts: no option of ifconfig(8) or brconfig(8) has a digit but
/// `inet6`, which is always understood.
fn may_be_argument(text: &str) -> bool {
    text == "NONE" || text.contains(|c: char| c.is_ascii_digit() || c == '"')
}

/// The word that `word` needs behind it.
pub(crate) fn argument<'w, 't: 'w>(
    word: &Word<'_>,
    words: &mut impl Iterator<Item = &'w Word<'t>>,
    what: &str,
) -> Result<&'w Word<'t>, ParseError> {
    words
        .next()
        .ok_or_else(|| word.error(format!("'{}' needs {what}", word.text), None))
}

/// A decimal number.
pub(crate) fn number(word: &Word<'_>, what: &str) -> Result<u32, ParseError> {
    word.text.parse().map_err(|_| {
        word.error(
            format!("expected {what}, found '{}'", word.text.escape_debug()),
            None,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_line_and_column_and_comments_are_cut() {
        let lines = lines("# nothing\n\n  inet\t192.0.2.1 # tail\n").unwrap();
        let expected = [
            Word {
                text: "inet",
                line: 3,
                column: 3,
            },
            Word {
                text: "192.0.2.1",
                line: 3,
                column: 8,
            },
        ];
        assert_eq!(lines, [expected.to_vec()]);
    }

    #[test]
    fn a_quoted_word_keeps_its_blanks() {
        let lines = lines("description \"to the Cisco\" up").unwrap();
        assert_eq!(lines[0][1].text, "\"to the Cisco\"");
        assert_eq!((lines[0][2].text, lines[0][2].column), ("up", 28));
    }

    #[test]
    fn a_huge_file_is_refused() {
        let text = "up\n".repeat(MAX_FILE_LEN);
        assert!(lines(&text).unwrap_err().message.contains("larger than"));
    }
}
