//! `component/component@REALM`.

use std::fmt;

use crate::glob;

/// A principal's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal {
    /// Its components.
    pub components: Vec<String>,
    /// Its realm; empty when it is left to the library.
    pub realm: String,
}

impl Principal {
    /// `service/host@realm`.
    #[must_use]
    pub fn service(service: &str, host: &str, realm: &str) -> Self {
        Self {
            components: vec![service.to_owned(), host.to_owned()],
            realm: realm.to_owned(),
        }
    }

    /// Reads one; `\` takes the meaning of the next character away (RFC 1964, 2.1.1).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut parts = vec![String::new()];
        let mut in_realm = false;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c == '@' && !in_realm {
                in_realm = true;
                parts.push(String::new());
            } else if c == '/' && !in_realm {
                parts.push(String::new());
            } else if let Some(part) = parts.last_mut() {
                part.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
        }
        let realm = if in_realm { parts.pop() } else { None };
        Self {
            components: parts,
            realm: realm.unwrap_or_default(),
        }
    }

    /// Whether it matches a pattern, as Heimdal compares them: as many components, each matching
    /// with fnmatch(3), and the realm. A pattern without realm means `default_realm`.
    #[must_use]
    pub fn matches(&self, pattern: &str, default_realm: &str) -> bool {
        let pattern = Self::parse(pattern);
        let realm = if pattern.realm.is_empty() {
            default_realm
        } else {
            &pattern.realm
        };
        pattern.components.len() == self.components.len()
            && glob::matches(realm, &self.realm)
            && pattern
                .components
                .iter()
                .zip(&self.components)
                .all(|(pattern, component)| glob::matches(pattern, component))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.components.join("/"))?;
        if self.realm.is_empty() {
            return Ok(());
        }
        write!(f, "@{}", self.realm)
    }
}

#[cfg(test)]
mod tests {
    use super::Principal;

    #[test]
    fn patterns_match_component_by_component() {
        let host = Principal::parse("host/a.example.org@MYREALM");
        assert_eq!(host, Principal::service("host", "a.example.org", "MYREALM"));
        for (pattern, expected) in [
            ("host/*@MYREALM", true),
            ("*/*@*", true),
            ("host/*", true),
            ("HTTP/*@MYREALM", false),
            ("host/*@OTHER", false),
            ("host@MYREALM", false),
            ("*@MYREALM", false),
        ] {
            assert_eq!(host.matches(pattern, "MYREALM"), expected, "{pattern}");
        }
        assert_eq!(Principal::parse("a\\/b\\@c").components, ["a/b@c"]);
    }
}
