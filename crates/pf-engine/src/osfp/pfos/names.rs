//! Names of systems as a tree, and how a name in pf.conf is looked up in it.

use std::collections::BTreeMap;

use super::System;

/// What may stand between version and subtype.
const CONNECTORS: [char; 4] = ['.', ' ', '\t', '-'];

/// Names of one level by themselves in lower case, with their spelling and what is below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Level<Below>(BTreeMap<String, (String, Below)>);

impl<Below: Default> Level<Below> {
    /// What is below `name`, which keeps the spelling that came first.
    fn entry(&mut self, name: &str) -> &mut Below {
        let entry = self.0.entry(name.to_ascii_lowercase());
        &mut entry
            .or_insert_with(|| (name.to_owned(), Below::default()))
            .1
    }

    fn get(&self, name: &str) -> Option<&(String, Below)> {
        self.0.get(&name.to_ascii_lowercase())
    }
}

type Subtypes = Level<()>;
type Versions = Level<Subtypes>;

/// All names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(Level<Versions>);

impl Names {
    pub(super) fn add(&mut self, system: &System) {
        let versions = self.0.entry(&system.class);
        let Some(version) = &system.version else {
            return;
        };
        let subtypes = versions.entry(version);
        if let Some(subtype) = &system.subtype {
            subtypes.entry(subtype);
        }
    }

    /// PF takes what stands before the first blank for the class, so that it never finds a version
    /// of `RISC OS`; here every blank may be the one.
    pub(super) fn find(&self, name: &str) -> Option<System> {
        if let Some((class, _)) = self.0.get(name) {
            return Some(System {
                class: class.clone(),
                version: None,
                subtype: None,
            });
        }
        name.match_indices(' ').find_map(|(at, _)| {
            let (class, rest) = (name.get(..at)?, name.get(at.checked_add(1)?..)?);
            let (class, versions) = self.0.get(class)?;
            find_version(class, versions, rest)
        })
    }

    /// Each name before those that begin with it.
    pub(super) fn list(&self) -> Vec<System> {
        let mut list = Vec::new();
        for (class, versions) in self.0.0.values() {
            list.push(system(class, None, None));
            for (version, subtypes) in versions.0.values() {
                list.push(system(class, Some(version), None));
                let subtypes = subtypes.0.values();
                list.extend(subtypes.map(|(name, ())| system(class, Some(version), Some(name))));
            }
        }
        list
    }
}

fn system(class: &str, version: Option<&str>, subtype: Option<&str>) -> System {
    System {
        class: class.to_owned(),
        version: version.map(str::to_owned),
        subtype: subtype.map(str::to_owned),
    }
}

fn find_version(class: &str, versions: &Versions, rest: &str) -> Option<System> {
    if let Some((version, _)) = versions.get(rest) {
        return Some(system(class, Some(version), None));
    }
    rest.match_indices(CONNECTORS).find_map(|(at, _)| {
        let (version, subtype) = (rest.get(..at)?, rest.get(at.checked_add(1)?..)?);
        let (version, subtypes) = versions.get(version)?;
        let (subtype, ()) = subtypes.get(subtype)?;
        Some(system(class, Some(version), Some(subtype)))
    })
}
