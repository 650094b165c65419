//! Names and paths of anchors (pf.conf(5), ANCHORS).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes in the name of one anchor at most (`PF_ANCHOR_NAME_SIZE` 64 with the final NUL).
pub const ANCHOR_NAME_MAX: usize = 63;
/// Bytes in a path at most (`PATH_MAX` 1024 with the final NUL).
pub const ANCHOR_PATH_MAX: usize = 1023;
/// Anchors that an evaluation may be in at the same time (`PF_ANCHOR_STACK_MAX`).
pub const ANCHOR_STACK_MAX: usize = 64;

/// Where a ruleset stands: the names of the anchors that lead to it. The main ruleset has the
/// empty path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnchorPath(Arc<str>);

/// Why a text is no path of an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorPathError {
    /// A name between two slashes is empty.
    #[error("an anchor's name must not be empty")]
    Empty,
    /// A name or the whole path is too long, or there are too many names.
    #[error("anchor name too long")]
    TooLong,
    /// `..` leads out of the main ruleset.
    #[error("`..` leads above the main ruleset")]
    AboveMain,
}

impl AnchorPath {
    /// The main ruleset.
    #[must_use]
    pub fn main() -> Self {
        Self(Arc::from(""))
    }

    /// The path called `text`: names with slashes between them, and perhaps one in front. The
    /// empty text is the main ruleset.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(text: &str) -> Result<Self, AnchorPathError> {
        Self::main().resolve(text)
    }

    /// Where `text` leads from here: from the main ruleset if it begins with a slash, one anchor
    /// up for each `../` that it begins with.
    ///
    /// # Errors
    /// When it leads nowhere.
    pub fn resolve(&self, text: &str) -> Result<Self, AnchorPathError> {
        let (mut names, mut rest) = match text.strip_prefix('/') {
            Some(rest) => (Vec::new(), rest),
            None => (self.names().collect(), text),
        };
        while let Some(below) = up(rest) {
            names.pop().ok_or(AnchorPathError::AboveMain)?;
            rest = below;
        }
        names.extend(rest.split('/').filter(|_| !rest.is_empty()));
        if names.iter().any(|name| name.is_empty()) {
            return Err(AnchorPathError::Empty);
        }
        let path = names.join("/");
        let too_long = names.iter().any(|name| name.len() > ANCHOR_NAME_MAX);
        if too_long || path.len() > ANCHOR_PATH_MAX || names.len() > ANCHOR_STACK_MAX {
            return Err(AnchorPathError::TooLong);
        }
        Ok(Self(path.into()))
    }

    /// Its text, without a slash in front.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the main ruleset's.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.0.is_empty()
    }

    /// The names on the way to it.
    #[must_use]
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// Its last name; empty for the main ruleset.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names().next_back().unwrap_or_default()
    }

    /// The anchor that it is in; nothing for the main ruleset.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let at = self.0.rfind('/').unwrap_or_default();
        (!self.is_main()).then(|| Self(Arc::from(self.0.get(..at).unwrap_or_default())))
    }

    /// Whether `other` is it or inside of it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let rest = other.0.strip_prefix(&*self.0);
        self.is_main() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// What stands behind a `..` that `path` begins with.
fn up(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("..")?;
    rest.strip_prefix('/')
        .or_else(|| rest.is_empty().then_some(rest))
}

/// So that a map by paths can be asked for a text.
impl Borrow<str> for AnchorPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Default for AnchorPath {
    fn default() -> Self {
        Self::main()
    }
}

impl fmt::Display for AnchorPath {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl Serialize for AnchorPath {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AnchorPath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// The anchor that a rule calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnchorCall {
    /// As `pfctl -sr` prints it, relative or absolute, with `/*` behind it for a wildcard. That
    /// of an anchor without a name begins with `_`.
    pub name: String,
    /// Where it leads.
    pub path: AnchorPath,
    /// `/*`: not to that anchor, but to all that are in it, in the order of their names.
    pub wildcard: bool,
    /// Its rules stand in braces behind the rule.
    pub inline: bool,
}

impl AnchorCall {
    /// What a rule of the ruleset at `base` calls by `name`.
    ///
    /// # Errors
    /// When it calls nothing.
    pub fn new(base: &AnchorPath, name: &str) -> Result<Self, AnchorPathError> {
        let wildcard = name.ends_with("/*") || name == "*";
        let called = if wildcard {
            name.strip_suffix("/*").unwrap_or_default()
        } else {
            name
        };
        let path = base.resolve(called)?;
        // The main ruleset calls no anchor by nothing, and is none itself.
        if path.is_main() {
            return Err(AnchorPathError::Empty);
        }
        Ok(Self {
            name: name.to_owned(),
            path,
            wildcard,
            inline: false,
        })
    }

    /// Whether the anchor was given no name.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        let last = self.name.rsplit('/').next();
        last.is_some_and(|name| name.starts_with('_'))
    }
}

/// A table by its name and the anchor that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableRef<'a> {
    /// Path of the anchor; empty for a table of the main ruleset.
    pub anchor: &'a str,
    /// Name.
    pub name: &'a str,
}

impl<'a> From<&'a str> for TableRef<'a> {
    /// A table of the main ruleset.
    fn from(name: &'a str) -> Self {
        Self { anchor: "", name }
    }
}

impl<'a> From<&'a String> for TableRef<'a> {
    fn from(name: &'a String) -> Self {
        name.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> AnchorPath {
        AnchorPath::new(text).unwrap()
    }

    #[test]
    fn names_are_relative_absolute_or_lead_up() {
        let here = path("a/b");
        for (text, leads_to) in [
            ("c", "a/b/c"),
            ("/c", "c"),
            ("../c", "a/c"),
            ("../../c/d", "c/d"),
            ("..", "a"),
            ("..c", "a/b/..c"),
            ("", "a/b"),
            ("/", ""),
        ] {
            assert_eq!(here.resolve(text).unwrap().as_str(), leads_to, "{text}");
        }
        for (text, error) in [
            ("../../..", AnchorPathError::AboveMain),
            ("c//d", AnchorPathError::Empty),
            ("c/", AnchorPathError::Empty),
            (&"x".repeat(64), AnchorPathError::TooLong),
            (&"x/".repeat(64), AnchorPathError::Empty),
            (&["x"; 65].join("/"), AnchorPathError::TooLong),
        ] {
            assert_eq!(here.resolve(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_path_holds_itself_and_what_is_below() {
        assert!(path("a").holds(&path("a/b")) && path("a").holds(&path("a")));
        assert!(!path("a").holds(&path("ab")) && !path("a/b").holds(&path("a")));
        assert!(path("").holds(&path("a")));
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(AnchorPath::main()));
        assert_eq!(AnchorPath::main().parent(), None);
        assert_eq!((path("a/b").name(), AnchorPath::main().name()), ("b", ""));
    }

    #[test]
    fn a_wildcard_calls_what_is_inside() {
        let call = AnchorCall::new(&AnchorPath::main(), "relayd/*").unwrap();
        assert_eq!((call.path.as_str(), call.wildcard), ("relayd", true));
        let own = AnchorCall::new(&path("a"), "*").unwrap();
        assert_eq!((own.path.as_str(), own.wildcard), ("a", true));
        assert!(AnchorCall::new(&AnchorPath::main(), "/").is_err());
        assert!(AnchorCall::new(&AnchorPath::main(), "*").is_err());
        assert!(AnchorCall::new(&path("a"), "_1").unwrap().is_unnamed());
    }
}
