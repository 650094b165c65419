//! The part of sh(1) that `rc.conf` is written in: assignments, quotes, continuation, expansion
//! of variables that were set before. Nothing is run.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::ParseError;
use crate::line::{MAX_FILE_LEN, Word};

/// Longest value, in characters: expansion must not let a small file fill the memory.
const MAX_VALUE_LEN: usize = 8 * 1024;
/// Most assignments in a file. The defaults of FreeBSD have about 900.
const MAX_ASSIGNMENTS: usize = 4096;

/// A value whose characters know where they stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Value {
    text: String,
    /// Line and column of each character.
    places: Vec<(u32, u32)>,
    /// Where the value begins.
    start: (u32, u32),
}

/// `NAME=VALUE`.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) place: (u32, u32),
    pub(crate) value: Value,
}

impl Value {
    /// The words of the value, as the shell would split them.
    pub(crate) fn words(&self) -> Vec<Word<'_>> {
        let mut words = Vec::new();
        let mut begin: Option<(usize, usize)> = None;
        let end = (self.text.len(), ' ');
        for (nth, (at, c)) in self.text.char_indices().chain([end]).enumerate() {
            if !c.is_whitespace() {
                begin.get_or_insert((at, nth));
            } else if let Some((from, first)) = begin.take() {
                words.extend(self.word(from, at, first));
            }
        }
        words
    }

    fn word(&self, from: usize, to: usize, first: usize) -> Option<Word<'_>> {
        let (line, column) = self.places.get(first).copied().unwrap_or(self.start);
        Some(Word {
            text: self.text.get(from..to)?,
            line,
            column,
        })
    }

    /// The whole value as one word.
    pub(crate) fn whole(&self) -> Word<'_> {
        Word {
            text: &self.text,
            line: self.start.0,
            column: self.start.1,
        }
    }

    /// Whether it stands for yes (rc.subr(8), `checkyesno`).
    pub(crate) fn is_yes(&self) -> Option<bool> {
        match self.text.trim().to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" | "1" => Some(true),
            "no" | "false" | "off" | "0" | "" => Some(false),
            _ => None,
        }
    }

    fn push(&mut self, c: char, place: (u32, u32)) {
        self.text.push(c);
        self.places.push(place);
    }
}

impl Assignment {
    pub(crate) fn error(&self, message: impl Into<String>, hint: Option<&str>) -> ParseError {
        at(self.place, message, hint)
    }
}

fn at(place: (u32, u32), message: impl Into<String>, hint: Option<&str>) -> ParseError {
    let (line, column) = place;
    Word {
        text: "",
        line,
        column,
    }
    .error(message, hint)
}

/// All assignments in their order, a later one of the same name in the place of the first.
pub(crate) fn read(text: &str) -> (Vec<Assignment>, Vec<ParseError>) {
    if text.len() > MAX_FILE_LEN {
        let message = format!("file is larger than {MAX_FILE_LEN} bytes");
        return (Vec::new(), vec![at((1, 1), message, None)]);
    }
    let mut reader = Reader {
        rest: text.chars().peekable(),
        text,
        offset: 0,
        place: (1, 1),
        known: BTreeMap::new(),
        assignments: Vec::new(),
    };
    let mut errors = Vec::new();
    while reader.skip_blank() {
        if let Err(error) = reader.statement() {
            errors.push(error);
            reader.skip_line();
        }
    }
    (reader.assignments, errors)
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    text: &'t str,
    /// Bytes that were read.
    offset: usize,
    place: (u32, u32),
    /// Place of each name in `assignments`.
    known: BTreeMap<String, usize>,
    assignments: Vec<Assignment>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.offset += c.len_utf8();
        self.place = match c {
            '\n' => (self.place.0 + 1, 1),
            _ => (self.place.0, self.place.1 + 1),
        };
        Some(c)
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next_if(&mut self, is: impl Fn(char) -> bool) -> Option<char> {
        self.peek().filter(|c| is(*c))?;
        self.next()
    }

    /// Skips to the next statement; false at the end.
    fn skip_blank(&mut self) -> bool {
        loop {
            match self.peek() {
                None => return false,
                Some('#') => self.skip_line(),
                Some(c) if c.is_whitespace() || c == ';' => {
                    self.next();
                }
                Some('\\') if self.follows("\\\n") => {
                    self.next();
                    self.next();
                }
                Some(_) => return true,
            }
        }
    }

    fn follows(&self, what: &str) -> bool {
        let rest = self.text.get(self.offset..);
        rest.is_some_and(|rest| rest.starts_with(what))
    }

    fn skip_line(&mut self) {
        while self.next_if(|c| c != '\n').is_some() {}
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.next_if(|c| c.is_ascii_alphanumeric() || c == '_') {
            name.push(c);
        }
        name
    }

    fn statement(&mut self) -> Result<(), ParseError> {
        let place = self.place;
        let name = self.name();
        let starts_well = name.starts_with(|c: char| !c.is_ascii_digit());
        if !starts_well || self.next_if(|c| c == '=').is_none() {
            let rest = self.peek().filter(|c| !c.is_whitespace());
            let shown: String = name.chars().chain(rest).collect();
            return Err(at(
                place,
                format!("expected NAME=\"VALUE\", found '{}'", shown.escape_debug()),
                Some("rc.conf is read as assignments; commands in it are not run"),
            ));
        }
        let value = self.value()?;
        self.assign(Assignment { name, place, value })
    }

    fn assign(&mut self, assignment: Assignment) -> Result<(), ParseError> {
        if let Some(known) = self.known.get(&assignment.name)
            && let Some(before) = self.assignments.get_mut(*known)
        {
            *before = assignment;
            return Ok(());
        }
        if self.assignments.len() == MAX_ASSIGNMENTS {
            let message = format!("more than {MAX_ASSIGNMENTS} variables");
            return Err(assignment.error(message, None));
        }
        let place = self.assignments.len();
        self.known.insert(assignment.name.clone(), place);
        self.assignments.push(assignment);
        Ok(())
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        let mut value = Value {
            start: self.place,
            ..Value::default()
        };
        while let Some(c) = self.peek() {
            let place = self.place;
            match c {
                _ if c.is_whitespace() || c == ';' => break,
                '\'' => self.single(&mut value)?,
                '"' => self.double(&mut value)?,
                '\\' => {
                    self.next();
                    if let Some(c) = self.next().filter(|c| *c != '\n') {
                        value.push(c, place);
                    }
                }
                '$' => self.expansion(&mut value)?,
                '`' | '&' | '|' | '<' | '>' | '(' | ')' => return Err(no_command(place)),
                _ => {
                    self.next();
                    value.push(c, place);
                }
            }
            if value.places.len() > MAX_VALUE_LEN {
                return Err(at(
                    place,
                    format!("more than {MAX_VALUE_LEN} characters"),
                    None,
                ));
            }
        }
        Ok(value)
    }

    fn single(&mut self, value: &mut Value) -> Result<(), ParseError> {
        let open = self.place;
        self.check_closed('\'')?;
        self.next();
        loop {
            let place = self.place;
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => value.push(c, place),
                None => return Err(unclosed(open, '\'')),
            }
        }
    }

    fn double(&mut self, value: &mut Value) -> Result<(), ParseError> {
        let open = self.place;
        self.check_closed('"')?;
        self.next();
        loop {
            let place = self.place;
            match self.peek() {
                Some('"') => {
                    self.next();
                    return Ok(());
                }
                Some('\\') => self.escape(value),
                Some('$') => self.expansion(value)?,
                Some('`') => return Err(no_command(place)),
                Some(c) => {
                    self.next();
                    value.push(c, place);
                }
                None => return Err(unclosed(open, '"')),
            }
            if value.places.len() > MAX_VALUE_LEN {
                return Err(at(
                    open,
                    format!("more than {MAX_VALUE_LEN} characters"),
                    None,
                ));
            }
        }
    }

    /// A backslash between double quotes.
    fn escape(&mut self, value: &mut Value) {
        let place = self.place;
        self.next();
        match self.peek() {
            Some('\n') => {
                self.next();
            }
            Some(c @ ('"' | '\\' | '$' | '`')) => {
                self.next();
                value.push(c, place);
            }
            Some(_) | None => value.push('\\', place),
        }
    }

    /// A quote that the next assignment's quote would close was forgotten: FreeBSD's handbook has
    /// such a line.
    fn check_closed(&self, quote: char) -> Result<(), ParseError> {
        let rest = self.text.get(self.offset + 1..).unwrap_or_default();
        let Some((inside, _)) = rest.split_once(quote) else {
            return Err(unclosed(self.place, quote));
        };
        let swallowed = inside.lines().skip(1).any(|line| {
            let name = line.split_once('=').map_or("", |(name, _)| name);
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        if swallowed {
            return Err(unclosed(self.place, quote));
        }
        Ok(())
    }

    fn expansion(&mut self, value: &mut Value) -> Result<(), ParseError> {
        let place = self.place;
        self.next();
        let braces = self.next_if(|c| c == '{').is_some();
        let name = self.name();
        if name.is_empty() || (braces && self.next_if(|c| c == '}').is_none()) {
            return Err(at(
                place,
                "expected the name of a variable behind '$'",
                Some("$NAME or ${NAME}; other expansions of sh are not done"),
            ));
        }
        let Some(known) = self.known.get(&name) else {
            let message = format!("'{name}' was not set before");
            return Err(at(place, message, None));
        };
        let known = self.assignments.get(*known);
        for c in known.map_or("", |known| &known.value.text).chars() {
            value.push(c, place);
        }
        Ok(())
    }
}

fn unclosed(place: (u32, u32), quote: char) -> ParseError {
    let hint = format!("add {quote} at the end of the value");
    at(place, format!("{quote} is not closed"), Some(&hint))
}

fn no_command(place: (u32, u32)) -> ParseError {
    at(
        place,
        "not supported: commands and redirections",
        Some("rc.conf is read as assignments; write the value itself"),
    )
}
