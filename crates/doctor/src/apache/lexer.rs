//! Lines and words of an httpd.conf.

use std::collections::BTreeMap;

use crate::limits::MAX_WORD_LEN;

/// A line, with those that a backslash joins to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Number of its first line, from 1.
    pub(crate) first: u32,
    /// The lines as they stand, without their ends.
    pub(crate) raw: Vec<String>,
    /// Joined, without blanks around.
    pub(crate) text: String,
}

impl Line {
    /// Whether it says nothing. `#` counts only where a line begins.
    pub(crate) fn is_blank(&self) -> bool {
        self.text.is_empty() || self.text.starts_with('#')
    }

    /// Blanks before it.
    pub(crate) fn indent(&self) -> &str {
        let raw = self.raw.first().map_or("", String::as_str);
        raw.get(..raw.len() - raw.trim_start().len())
            .unwrap_or_default()
    }
}

/// Cuts a file into lines. A backslash at the end joins the next line, also to a comment.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut numbered = (1..).zip(text.lines());
    while let Some((first, raw)) = numbered.next() {
        let mut line = Line {
            first,
            raw: vec![raw.to_owned()],
            text: raw.to_owned(),
        };
        while let Some(joined) = line.text.strip_suffix('\\') {
            line.text.truncate(joined.len());
            let Some((_, raw)) = numbered.next() else {
                break;
            };
            line.text.push_str(raw);
            line.raw.push(raw.to_owned());
        }
        line.text = line.text.trim().into();
        lines.push(line);
    }
    lines
}

/// The words of a line: split at blanks, `"…"` and `'…'` kept together, `\` before a quote or
/// another `\` takes its meaning away.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(first) = chars.peek().copied() else {
            return words;
        };
        let quote = matches!(first, '"' | '\'').then_some(first);
        if quote.is_some() {
            chars.next();
        }
        words.push(word(&mut chars, quote));
    }
}

fn word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: Option<char>) -> String {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_whitespace()) {
        let escaped = |next: &char| *next == '\\' || Some(*next) == quote;
        if Some(c) == quote {
            break;
        }
        match (c == '\\').then(|| chars.next_if(escaped)).flatten() {
            Some(taken) => word.push(taken),
            None => word.push(c),
        }
    }
    word
}

/// `word` with `${NAME}` replaced, once; unknown names stay as they are and are returned.
/// None when it becomes longer than a word may be.
pub(crate) fn expand(
    word: &str,
    variables: &BTreeMap<String, String>,
) -> Option<(String, Vec<String>)> {
    let mut result = String::new();
    let mut unknown = Vec::new();
    let mut rest = word;
    while let Some((before, behind)) = rest.split_once("${") {
        result.push_str(before);
        let Some((name, after)) = behind.split_once('}') else {
            result.push_str("${");
            rest = behind;
            continue;
        };
        if let Some(value) = variables.get(name) {
            result.push_str(value);
        } else {
            result.push_str("${");
            result.push_str(name);
            result.push('}');
            unknown.push(name.to_owned());
        }
        rest = after;
        if result.len() > MAX_WORD_LEN {
            return None;
        }
    }
    result.push_str(rest);
    (result.len() <= MAX_WORD_LEN).then_some((result, unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_joins_lines_and_comments_too() {
        let lines = lines("Listen \\\n  80\n# a \\\nListen 81\n  Listen 82");
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["Listen   80", "# a Listen 81", "Listen 82"]);
        assert_eq!([lines[0].first, lines[1].first, lines[2].first], [1, 3, 5]);
        assert_eq!((lines[2].indent(), lines[1].is_blank()), ("  ", true));
    }

    #[test]
    fn words_are_split_as_httpd_does() {
        assert_eq!(
            words(r#"  Define a "b c" 'd "e' f\"g "h\"i\\" "#),
            ["Define", "a", "b c", "d \"e", "f\\\"g", "h\"i\\"]
        );
        assert_eq!(words("\"never closed"), ["never closed"]);
        assert_eq!(words(" \t"), Vec::<String>::new());
    }

    #[test]
    fn variables_are_put_in_once_and_unknown_ones_stay() {
        let variables = BTreeMap::from([("A".to_owned(), "${B}x".to_owned())]);
        assert_eq!(
            expand("${A}-${C}${", &variables),
            Some(("${B}x-${C}${".to_owned(), vec!["C".to_owned()]))
        );
        let long = BTreeMap::from([("A".to_owned(), "x".repeat(40_000))]);
        assert_eq!(expand("${A}${A}", &long), None);
    }
}
