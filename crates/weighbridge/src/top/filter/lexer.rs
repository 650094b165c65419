//! Words and signs of a filter.

use super::{FILTER_BYTES_MAX, FilterError};

/// A word or a sign, and the character where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) text: String,
}

/// Signs, the longer ones first.
const SIGNS: [&str; 18] = [
    "&&", "||", ">=", "<=", "!=", "==", "<<", ">>", "!", "(", ")", "<", ">", "=", "+", "*", "&",
    "|",
];

/// A word may have these within: addresses, networks, names.
fn of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || ".:_-/".contains(character)
}

/// Takes `text` apart. `-` and `/` stand for themselves where a word does not go on.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(FilterError {
            at: 0,
            message: format!("longer than {FILTER_BYTES_MAX} bytes"),
        });
    }
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = characters.get(at) {
        if first.is_whitespace() {
            at += 1;
            continue;
        }
        let rest = &characters[at..];
        let len = token_len(rest).ok_or_else(|| FilterError {
            at,
            message: format!("'{}' means nothing", first.escape_debug()),
        })?;
        let text = rest.iter().take(len).collect();
        tokens.push(Token { at, text });
        at += len;
    }
    Ok(tokens)
}

fn token_len(rest: &[char]) -> Option<usize> {
    let begins = |sign: &&&str| {
        let mut letters = rest.iter();
        sign.chars().all(|wanted| letters.next() == Some(&wanted))
    };
    if let Some(sign) = SIGNS.iter().find(begins) {
        return Some(sign.len());
    }
    let first = *rest.first()?;
    if "-/".contains(first) {
        return Some(1);
    }
    let word = rest.iter().take_while(|character| of_word(**character));
    let len = word.count();
    // `outb-inb` and `age/60` are arithmetic, `192.0.2.0/24` and `web-1` are not.
    let text: String = rest.iter().take(len).collect();
    let cut = text.find(['-', '/']).filter(|at| is_operand(&text[..*at]));
    Some(cut.unwrap_or(len)).filter(|len| *len > 0)
}

fn is_operand(word: &str) -> bool {
    let variables = ["inp", "outp", "inb", "outb", "age", "exp"];
    variables.contains(&word) || (!word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()))
}
