//! krb5.conf, in the grammars of MIT and of Heimdal, with line numbers.

mod reader;

use std::collections::BTreeSet;

use crate::files::{Files, Place};

/// Whose library reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// MIT krb5 (also Solaris, macOS' tools, and what FreeBSD 15 has).
    Mit,
    /// Heimdal (FreeBSD up to 14, OpenBSD up to 5.5, Samba).
    Heimdal,
}

/// `tag = value`, with the section and groups that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Section, groups, tag: `realms`, `MYREALM`, `kdc`.
    pub path: Vec<String>,
    /// Value.
    pub value: String,
    /// Where.
    pub place: Place,
    /// The line.
    pub text: String,
}

/// What the library would refuse or overlook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileProblem {
    /// Where.
    pub place: Place,
    /// The line.
    pub text: String,
    /// What is wrong.
    pub message: String,
    /// Whether the library refuses the whole file.
    pub fatal: bool,
    /// The line as it should be, where that is certain.
    pub correction: Option<String>,
}

/// The configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Relations in their order.
    pub relations: Vec<Relation>,
    /// Sections in their order, with the places of their headers.
    pub sections: Vec<(String, Place)>,
    /// What is wrong with the text.
    pub problems: Vec<ProfileProblem>,
    /// Files that were read.
    pub files: Vec<String>,
    /// Whether a limit left something out.
    pub cut: bool,
    finals: BTreeSet<Vec<String>>,
}

/// A KDC as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kdc {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The port of Kerberos (RFC 4120, 7.2).
pub(crate) const PORT: u16 = 88;

impl Profile {
    /// Reads `paths`, a list with `:` as in `KRB5_CONFIG`. Of several files those that are missing
    /// are no problem; when none is there, that is one.
    #[must_use]
    pub fn read(paths: &str, grammar: Grammar, files: &dyn Files) -> Self {
        reader::read(paths, grammar, files)
    }

    /// All values of a relation.
    pub fn values<'a>(&'a self, path: &'a [&str]) -> impl Iterator<Item = &'a Relation> {
        self.relations
            .iter()
            .filter(move |relation| relation.path == path)
    }

    /// The first value of a relation: the one that counts.
    #[must_use]
    pub fn first(&self, path: &[&str]) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.path == path)
    }

    /// A switch of `[libdefaults]`, if it is there.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<(bool, &Relation)> {
        let relation = self
            .relations
            .iter()
            .find(|r| r.path == ["libdefaults", name])?;
        let word = relation.value.to_ascii_lowercase();
        Some((
            matches!(word.as_str(), "y" | "yes" | "true" | "t" | "1" | "on"),
            relation,
        ))
    }

    /// `default_realm`.
    #[must_use]
    pub fn default_realm(&self) -> Option<&str> {
        Some(&self.first(&["libdefaults", "default_realm"])?.value)
    }

    /// The realm of a host: `[domain_realm]` by its name, then its domains from the longest, each
    /// with and without a leading dot; then the default.
    #[must_use]
    pub fn realm_of(&self, host: &str) -> Option<&str> {
        let host = host.to_ascii_lowercase();
        let mut domain = host.as_str();
        loop {
            if let Some(relation) = self.first(&["domain_realm", domain]) {
                return Some(&relation.value);
            }
            let at = match domain.strip_prefix('.') {
                Some(rest) => domain.len() - rest.len(),
                None => match domain.find('.') {
                    Some(dot) => dot,
                    None => return self.default_realm(),
                },
            };
            domain = domain.get(at..)?;
        }
    }

    /// The KDCs of a realm that the configuration names; those in a form that is not asked here
    /// (a proxy over HTTPS) with the reason.
    #[must_use]
    pub fn kdcs(&self, realm: &str) -> Vec<Result<Kdc, String>> {
        let path = ["realms", realm, "kdc"];
        self.values(&path)
            .map(|relation| kdc(&relation.value))
            .collect()
    }

    /// The patterns of a `[gssapi]` list: repeated, or several on a line.
    #[must_use]
    pub fn patterns<'a>(&'a self, key: &str) -> Vec<(&'a str, &'a Relation)> {
        self.relations
            .iter()
            .filter(|relation| relation.path == ["gssapi", key])
            .flat_map(|relation| {
                relation
                    .value
                    .split_whitespace()
                    .map(move |word| (word, relation))
            })
            .collect()
    }
}

fn kdc(text: &str) -> Result<Kdc, String> {
    let text = text.trim();
    if text.contains("://") || text.starts_with("http/") {
        return Err(format!(
            "{text}: a KDC behind a web proxy is not asked here"
        ));
    }
    let text = ["udp/", "tcp/"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text);
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None if text.matches(':').count() > 1 => (text, None),
        None => text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => PORT,
        Some(port) => port
            .parse()
            .map_err(|_| format!("{text}: {port} is no port"))?,
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(format!("`{text}` names no host"));
    }
    Ok(Kdc {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests;
