//! The two grammars. They differ in comments, braces, quotes and includes.

use super::{Grammar, Profile, ProfileProblem, Relation};
use crate::case::meant;
use crate::files::{Files, Place};
use crate::limits::{
    MAX_DEPTH, MAX_FILES, MAX_GROUP_DEPTH, MAX_LINES, MAX_PROBLEMS, MAX_TOTAL_LEN,
};

/// Sections that one of the two libraries, a KDC or a tool of theirs reads.
const SECTIONS: [&str; 18] = [
    "appdefaults",
    "capaths",
    "database",
    "dbdefaults",
    "dbmodules",
    "domain_realm",
    "gssapi",
    "kadmin",
    "kcm",
    "kdc",
    "kdcdefaults",
    "libdefaults",
    "logging",
    "login",
    "otp",
    "password_quality",
    "plugins",
    "realms",
];

/// What Heimdal reads in `[gssapi]`; its `verify_krb5_conf` does not look at these.
const GSSAPI_KEYS: [&str; 2] = ["broken_des3_mic", "correct_des3_mic"];

/// Longest line that Heimdal reads, in bytes (its buffer has 2048).
const MAX_HEIMDAL_LINE_LEN: usize = 2047;

pub(super) fn read(paths: &str, grammar: Grammar, files: &dyn Files) -> Profile {
    let mut reader = Reader {
        grammar,
        files,
        profile: Profile::default(),
        reading: Vec::new(),
        lines: 0,
        bytes: 0,
    };
    let mut missing = Vec::new();
    for path in paths.split(':').filter(|path| !path.is_empty()) {
        let sealed = reader.profile.finals.clone();
        if let Err(error) = reader.file(path, &sealed, 0) {
            missing.push((path.to_owned(), error));
        }
    }
    if reader.profile.files.is_empty() {
        for (path, error) in missing {
            let message = format!("cannot read {path}: {error}");
            reader.problem(&Place::file(path), "", true, message);
        }
    }
    reader.profile
}

struct Reader<'a> {
    grammar: Grammar,
    files: &'a dyn Files,
    profile: Profile,
    /// Files that are being read, each included by the one before.
    reading: Vec<String>,
    lines: usize,
    bytes: usize,
}

/// Where the reader stands in one file.
struct Cursor<'a> {
    /// Section and open groups.
    path: Vec<String>,
    /// A tag whose `{` may come on the next line.
    waiting: bool,
    /// Paths that an earlier file closed for good.
    sealed: &'a std::collections::BTreeSet<Vec<String>>,
    depth: usize,
}

impl Reader<'_> {
    fn problem(&mut self, place: &Place, text: &str, fatal: bool, message: String) {
        if self.profile.problems.len() >= MAX_PROBLEMS {
            self.profile.cut = true;
            return;
        }
        self.profile.problems.push(ProfileProblem {
            place: place.clone(),
            text: text.to_owned(),
            message,
            fatal,
            correction: None,
        });
    }

    fn correctable(&mut self, place: &Place, text: &str, message: String, correction: String) {
        let before = self.profile.problems.len();
        self.problem(place, text, false, message);
        if let Some(problem) = self.profile.problems.get_mut(before) {
            problem.correction = Some(correction);
        }
    }

    fn file(
        &mut self,
        path: &str,
        sealed: &std::collections::BTreeSet<Vec<String>>,
        depth: usize,
    ) -> std::io::Result<()> {
        let bytes = self.files.read(path)?;
        self.bytes += bytes.len();
        if self.profile.files.len() >= MAX_FILES || self.bytes > MAX_TOTAL_LEN {
            self.profile.cut = true;
            return Ok(());
        }
        self.profile.files.push(path.to_owned());
        self.reading.push(path.to_owned());
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}');
        let mut cursor = Cursor {
            path: Vec::new(),
            waiting: false,
            sealed,
            depth,
        };
        let mut place = Place::file(path);
        for line in text.lines() {
            place.line = place.line.saturating_add(1);
            self.lines += 1;
            if self.lines > MAX_LINES {
                self.profile.cut = true;
                break;
            }
            self.line(&mut cursor, &place, line);
        }
        self.reading.pop();
        if cursor.path.len() > 1 {
            let open = cursor.path.join(" ");
            self.problem(
                &place,
                "",
                true,
                format!("`}}` is missing at the end: {open} is open"),
            );
        }
        Ok(())
    }

    fn line(&mut self, cursor: &mut Cursor<'_>, place: &Place, raw: &str) {
        if self.grammar == Grammar::Heimdal && raw.len() > MAX_HEIMDAL_LINE_LEN {
            let message = format!("Heimdal reads at most {MAX_HEIMDAL_LINE_LEN} bytes of a line");
            self.problem(place, raw, true, message);
        }
        let line = raw.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return;
        }
        if std::mem::take(&mut cursor.waiting) {
            return self.opening(cursor, place, line);
        }
        if self.inclusion(cursor, place, raw) {
            return;
        }
        if let Some(header) = line.strip_prefix('[') {
            self.header(cursor, place, line, header);
        } else if let Some(rest) = line.strip_prefix('}') {
            self.closing(cursor, place, line, rest);
        } else {
            self.relation(cursor, place, line);
        }
    }

    /// MIT: the line behind `tag =`.
    fn opening(&mut self, cursor: &mut Cursor<'_>, place: &Place, line: &str) {
        if line != "{" {
            cursor.path.pop();
            self.problem(
                place,
                line,
                true,
                "`{` is expected behind a tag without value".to_owned(),
            );
        }
    }

    /// `include`, `includedir` and `module`, at the very beginning of a line.
    fn inclusion(&mut self, cursor: &Cursor<'_>, place: &Place, line: &str) -> bool {
        let Some((word, path)) = line.split_once(char::is_whitespace) else {
            return false;
        };
        let path = path.trim();
        if path.starts_with('=') {
            return false;
        }
        match word {
            "include" => self.include(cursor, place, line, path),
            "includedir" => self.include_directory(cursor, place, line, path),
            "module" if self.grammar == Grammar::Mit => {
                let message = "the configuration comes out of a module, which is not read here";
                self.problem(place, line, false, message.to_owned());
            }
            _ => return false,
        }
        true
    }

    fn include(&mut self, cursor: &Cursor<'_>, place: &Place, line: &str, path: &str) {
        if !self.may_include(cursor, place, line, path) {
            return;
        }
        if let Err(error) = self.file(path, cursor.sealed, cursor.depth + 1) {
            self.problem(place, line, true, format!("cannot read {path}: {error}"));
        }
    }

    fn may_include(&mut self, cursor: &Cursor<'_>, place: &Place, line: &str, path: &str) -> bool {
        if cursor.depth >= MAX_DEPTH {
            let message = format!("files are included more than {MAX_DEPTH} deep");
            self.problem(place, line, true, message);
        } else if !path.starts_with('/') {
            self.problem(
                place,
                line,
                true,
                format!("{path}: the path must begin with /"),
            );
        } else if self.reading.iter().any(|open| open == path) {
            self.problem(place, line, true, format!("{path} includes itself"));
        } else if self.profile.files.len() >= MAX_FILES || self.lines > MAX_LINES {
            self.profile.cut = true;
        } else {
            return true;
        }
        false
    }

    /// Names of letters, digits, `-` and `_`, or that end in `.conf` and begin with no dot.
    fn include_directory(&mut self, cursor: &Cursor<'_>, place: &Place, line: &str, path: &str) {
        if !self.may_include(cursor, place, line, path) {
            return;
        }
        let mut entries = match self.files.list(path) {
            Ok(entries) => entries,
            Err(error) => {
                return self.problem(place, line, true, format!("cannot read {path}: {error}"));
            }
        };
        entries.sort();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let taken = |name: &str| {
            name.chars().all(plain)
                || !name.starts_with('.')
                    && std::path::Path::new(name)
                        .extension()
                        .is_some_and(|e| e == "conf")
        };
        for entry in entries
            .iter()
            .filter(|entry| !entry.directory && taken(&entry.name))
        {
            let path = format!("{}/{}", path.trim_end_matches('/'), entry.name);
            self.include(cursor, place, line, &path);
        }
    }

    fn header(&mut self, cursor: &mut Cursor<'_>, place: &Place, line: &str, header: &str) {
        if cursor.path.len() > 1 {
            let open = cursor.path.join(" ");
            cursor.path.truncate(1);
            self.problem(
                place,
                line,
                true,
                format!("`}}` is missing before: {open} is open"),
            );
        }
        let Some((name, rest)) = header.split_once(']') else {
            return self.problem(place, line, true, "`]` is missing".to_owned());
        };
        let rest = rest.trim();
        let last = rest.strip_prefix('*');
        if !last.unwrap_or(rest).trim().is_empty() && self.grammar == Grammar::Mit {
            self.problem(
                place,
                line,
                true,
                format!("`{rest}` behind the section's name"),
            );
        }
        if last.is_some() && self.grammar == Grammar::Mit {
            self.profile.finals.insert(vec![name.to_owned()]);
        }
        self.near(place, line, name, &SECTIONS, "section");
        self.profile.sections.push((name.to_owned(), place.clone()));
        cursor.path = vec![name.to_owned()];
    }

    /// Tells a name that is a slip of a known one.
    fn near(&mut self, place: &Place, line: &str, name: &str, known: &[&str], what: &str) {
        if known.contains(&name) {
            return;
        }
        if let Some(known) = meant(name, known) {
            let message = format!("no {what} has the name {name}; {known} is meant?");
            self.correctable(place, line, message, line.replacen(name, known, 1));
        }
    }

    fn closing(&mut self, cursor: &mut Cursor<'_>, place: &Place, line: &str, rest: &str) {
        if cursor.path.len() <= 1 {
            return self.problem(place, line, true, "`}` closes nothing".to_owned());
        }
        if rest == "*" && self.grammar == Grammar::Mit {
            self.profile.finals.insert(cursor.path.clone());
        }
        cursor.path.pop();
    }

    fn relation(&mut self, cursor: &mut Cursor<'_>, place: &Place, line: &str) {
        let Some((tag, value)) = line.split_once('=') else {
            return self.problem(place, line, true, "`=` is missing".to_owned());
        };
        let (tag, value) = (tag.trim(), value.trim());
        if tag.is_empty() || tag.contains(char::is_whitespace) {
            return self.problem(place, line, true, format!("`{tag}` is no tag"));
        }
        if cursor.path.is_empty() {
            return self.before_sections(place, line);
        }
        let (tag, last) = match tag.strip_suffix('*') {
            Some(tag) if self.grammar == Grammar::Mit => (tag, true),
            Some(_) | None => (tag, false),
        };
        if cursor.path == ["gssapi"] {
            self.near(place, line, tag, &GSSAPI_KEYS, "setting of [gssapi]");
        }
        let mut path = cursor.path.clone();
        path.push(tag.to_owned());
        let is_quoted = value.starts_with('"');
        match self.value(value) {
            Value::Group => self.group(cursor, place, line, path),
            Value::GroupOnNextLine => {
                cursor.waiting = true;
                self.group(cursor, place, line, path);
            }
            Value::Text(_) if cursor.sealed.iter().any(|sealed| path.starts_with(sealed)) => {
                let message = "an earlier file has closed this section for good (`*`)".to_owned();
                self.problem(place, line, false, message);
            }
            Value::Text(value) => {
                if last {
                    self.profile.finals.insert(path.clone());
                }
                if !is_quoted {
                    self.comment_in(place, line, &value);
                }
                self.profile.relations.push(Relation {
                    path,
                    value,
                    place: place.clone(),
                    text: line.to_owned(),
                });
            }
        }
    }

    /// A `#` behind a value is part of it, in both grammars; in quotes it is meant to be.
    fn comment_in(&mut self, place: &Place, line: &str, value: &str) {
        if let Some((kept, _)) = value.split_once(" #").or(value.split_once("\t#")) {
            let message = "`#` begins a comment only where a line begins: it is part of the value";
            let correction = line.replacen(value, kept.trim_end(), 1);
            self.correctable(place, line, message.to_owned(), correction);
        }
    }

    fn before_sections(&mut self, place: &Place, line: &str) {
        let (fatal, message) = match self.grammar {
            Grammar::Mit => (false, "stands before the first section: MIT overlooks it"),
            Grammar::Heimdal => (true, "stands before the first section"),
        };
        self.problem(place, line, fatal, message.to_owned());
    }

    fn group(&mut self, cursor: &mut Cursor<'_>, place: &Place, line: &str, path: Vec<String>) {
        if path.len() > MAX_GROUP_DEPTH {
            cursor.waiting = false;
            self.profile.cut = true;
            return self.problem(
                place,
                line,
                false,
                format!("groups more than {MAX_GROUP_DEPTH} deep"),
            );
        }
        cursor.path = path;
    }

    fn value(&self, value: &str) -> Value {
        match self.grammar {
            Grammar::Heimdal if value.starts_with('{') => Value::Group,
            Grammar::Heimdal => Value::Text(value.to_owned()),
            Grammar::Mit if value.is_empty() => Value::GroupOnNextLine,
            Grammar::Mit if value == "{" => Value::Group,
            Grammar::Mit => Value::Text(
                value
                    .strip_prefix('"')
                    .map_or_else(|| value.to_owned(), quoted),
            ),
        }
    }
}

enum Value {
    Text(String),
    Group,
    GroupOnNextLine,
}

/// The text up to the closing quote, with MIT's `\n`, `\t`, `\b`, `\"`, `\\`.
fn quoted(text: &str) -> String {
    let mut result = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('n') => result.push('\n'),
                Some('t') => result.push('\t'),
                Some('b') => result.push('\u{8}'),
                Some(other) => result.push(other),
                None => {}
            },
            other => result.push(other),
        }
    }
    result
}
