//! `sshd_config(5)`, as far as Kerberos goes: the first value of a keyword counts.

use crate::files::{Files, Place, join};
use crate::glob::{is_pattern, matches};
use crate::limits::{MAX_DEPTH, MAX_FILES, MAX_LINES};

/// A keyword's first value outside of `Match`, and those inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyword {
    /// In lower case.
    pub name: String,
    /// Its arguments.
    pub value: String,
    /// Where.
    pub place: Place,
    /// The line.
    pub text: String,
    /// Whether it holds for some connections only.
    pub in_match: bool,
}

/// An `sshd_config` with what it includes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshdConfig {
    /// Keywords in their order.
    pub keywords: Vec<Keyword>,
    /// Whether something was left out: a file that includes itself, or a limit.
    pub cut: bool,
    files: usize,
    /// Files that are being read, each included by the one before.
    reading: Vec<String>,
}

impl SshdConfig {
    /// Reads one.
    ///
    /// # Errors
    /// When the file itself cannot be read.
    pub fn read(path: &str, files: &dyn Files) -> std::io::Result<Self> {
        let mut config = Self::default();
        let mut in_match = false;
        config.file(path, files, &mut in_match, 0)?;
        Ok(config)
    }

    /// The value of a keyword for a connection that no `Match` knows.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Keyword> {
        let global = |keyword: &&Keyword| !keyword.in_match && keyword.name == name;
        self.keywords.iter().find(global)
    }

    /// Whether a keyword is `yes`, for a connection that no `Match` knows.
    #[must_use]
    pub fn is_on(&self, name: &str, default: bool) -> bool {
        let value = self.value(name);
        value.map_or(default, |keyword| keyword.value.eq_ignore_ascii_case("yes"))
    }

    fn file(
        &mut self,
        path: &str,
        files: &dyn Files,
        in_match: &mut bool,
        depth: usize,
    ) -> std::io::Result<()> {
        let bytes = files.read(path)?;
        self.files += 1;
        self.reading.push(path.to_owned());
        for (line, text) in (1..).zip(String::from_utf8_lossy(&bytes).lines()) {
            if self.keywords.len() >= MAX_LINES {
                self.cut = true;
                break;
            }
            let place = Place {
                file: path.to_owned(),
                line,
            };
            self.line(place, text, files, in_match, depth);
        }
        self.reading.pop();
        Ok(())
    }

    fn line(
        &mut self,
        place: Place,
        text: &str,
        files: &dyn Files,
        in_match: &mut bool,
        depth: usize,
    ) {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return;
        }
        let end = trimmed
            .find(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or(trimmed.len());
        let (name, value) = trimmed.split_at(end);
        let name = name.to_ascii_lowercase();
        let value = value.trim_start();
        let value = value
            .strip_prefix('=')
            .unwrap_or(value)
            .trim()
            .trim_matches('"');
        if name == "include" {
            let mut inside = *in_match;
            for path in value.split_whitespace() {
                self.include(path, files, &mut inside, depth);
            }
            return;
        }
        if name == "match" {
            *in_match = !value.eq_ignore_ascii_case("all");
        }
        self.keywords.push(Keyword {
            name,
            value: value.to_owned(),
            place,
            text: text.to_owned(),
            in_match: *in_match,
        });
    }

    /// Paths are seen from /etc/ssh; what is missing is no error.
    fn include(&mut self, path: &str, files: &dyn Files, in_match: &mut bool, depth: usize) {
        let path = join("/etc/ssh", path);
        let Some((directory, name)) = path.rsplit_once('/') else {
            return;
        };
        let mut found = vec![path.clone()];
        if is_pattern(name) {
            let entries = files.list(directory).unwrap_or_default().into_iter();
            found = entries
                .filter(|entry| !entry.directory && matches(name, &entry.name))
                .map(|entry| format!("{directory}/{}", entry.name))
                .collect();
            found.sort();
        }
        for path in found {
            if depth >= MAX_DEPTH || self.files >= MAX_FILES || self.reading.contains(&path) {
                self.cut = true;
                return;
            }
            let _ = self.file(&path, files, in_match, depth + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryFiles;

    #[test]
    fn the_first_value_counts_and_match_blocks_are_apart() {
        let files = MemoryFiles::of(&[
            (
                "/etc/ssh/sshd_config",
                "Include sshd_config.d/*.conf\ngssapiauthentication no\nUsePAM=\"no\"\n\
                 Match User x\nGSSAPIStrictAcceptorCheck no\n",
            ),
            (
                "/etc/ssh/sshd_config.d/a.conf",
                "GSSAPIAuthentication yes\n",
            ),
            (
                "/etc/ssh/sshd_config.d/a.bak",
                "GSSAPIAuthentication maybe\n",
            ),
            ("/loop", "Include /loop\nInclude /loop\n"),
        ]);
        let config = SshdConfig::read("/etc/ssh/sshd_config", &files).unwrap();
        assert!(config.is_on("gssapiauthentication", false));
        assert_eq!(
            config.value("gssapiauthentication").unwrap().place.file,
            "/etc/ssh/sshd_config.d/a.conf"
        );
        assert!(!config.is_on("usepam", true));
        assert!(config.is_on("gssapistrictacceptorcheck", true));
        assert!(SshdConfig::read("/loop", &files).unwrap().cut);
        assert!(SshdConfig::read("/none", &files).is_err());
    }
}
