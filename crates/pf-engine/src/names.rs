//! Names as small numbers: interfaces, groups and tags are compared for every packet.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Number of a name. Names are never forgotten: there are as many as rulesets and interfaces
/// have named, and no packet can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NameId(u32);

impl NameId {
    /// The empty name: that of an interface nobody knows.
    pub(crate) const UNKNOWN: Self = Self(0);

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All names that were ever used.
#[derive(Debug)]
pub(crate) struct Names {
    list: Vec<Arc<str>>,
    index: BTreeMap<Arc<str>, NameId>,
}

impl Default for Names {
    fn default() -> Self {
        let empty: Arc<str> = Arc::from("");
        Self {
            list: vec![Arc::clone(&empty)],
            index: BTreeMap::from([(empty, NameId::UNKNOWN)]),
        }
    }
}

impl Names {
    /// The number of `name`, given now if it has none.
    pub(crate) fn intern(&mut self, name: &str) -> NameId {
        if let Some(id) = self.index.get(name) {
            return *id;
        }
        let id = NameId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        let name: Arc<str> = Arc::from(name);
        self.list.push(Arc::clone(&name));
        self.index.insert(name, id);
        id
    }

    /// The number of `name`, if it has one.
    pub(crate) fn find(&self, name: &str) -> Option<NameId> {
        self.index.get(name).copied()
    }

    pub(crate) fn name(&self, id: NameId) -> &str {
        self.list.get(id.index()).map_or("", |name| name)
    }

    /// The name, to be kept.
    pub(crate) fn shared(&self, id: NameId) -> Arc<str> {
        self.list
            .get(id.index())
            .map_or_else(Arc::default, Arc::clone)
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let mut names = Names::default();
        let em0 = names.intern("em0");
        assert_ne!(names.intern("em1"), em0);
        assert_eq!(names.intern("em0"), em0);
        assert_eq!(names.name(em0), "em0");
        assert_eq!(names.intern(""), NameId::UNKNOWN);
        assert_eq!(names.len(), 3);
    }
}
