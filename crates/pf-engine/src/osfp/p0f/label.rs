//! What a signature names.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of a program with a stack of its own.
pub const PROGRAM: &str = "!";

/// An operating system (or program) as a fingerprint names it: what `label = type:class:name:flavor`
/// says behind the type.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// p0f's class: `unix`, `win`, `other`, or [`PROGRAM`] (`nmap`, `masscan`).
    pub class: String,
    /// The family: `Windows`, `Linux`.
    pub name: String,
    /// Version or flavour: `7 or 8`, `3.11 and newer`. Empty where only the family is known.
    pub flavor: String,
}

impl Label {
    /// Whether it names a program.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.class == PROGRAM
    }
}

impl fmt::Display for Label {
    /// `name flavor`, or the name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, flavor) = (plain(&self.name), plain(&self.flavor));
        if flavor.is_empty() {
            f.write_str(&name)
        } else {
            write!(f, "{name} {flavor}")
        }
    }
}

/// `text` with `?` for every character that a terminal, a header, a page or a line of fields would
/// take for more than a character. Names of signature files have no such; what comes out of a
/// database or a file in memory could.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '|' | '<' | '>' | '&' | '"' | '\\');
    let harmless = |c: char| (c.is_ascii_graphic() || c == ' ') && !special(c);
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let masked = text.chars().map(|c| if harmless(c) { c } else { '?' });
    Cow::Owned(masked.collect())
}
