//! The rulesets beside the main one, by number and by path.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::anchor::{AnchorCall, AnchorPath};
use crate::compile::Lists;
use crate::slab::Slab;

/// Number of an anchor, its own as long as the anchor exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AnchorId(u32);

/// What a rule calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) anchor: AnchorId,
    /// All that are in it, not the anchor itself.
    pub(crate) wildcard: bool,
}

/// An anchor: it exists while it has rules, tables or other anchors in it, or a rule calls it.
#[derive(Debug)]
pub(crate) struct Anchor {
    pub(crate) path: AnchorPath,
    pub(crate) lists: Arc<Lists>,
    /// The anchors in it, in the order of their names.
    children: Vec<AnchorId>,
    /// Rules that call it.
    references: u32,
    /// Path of the ruleset in whose text its rules stood.
    pub(crate) filled_by: Option<AnchorPath>,
}

/// All anchors.
#[derive(Debug, Default)]
pub(crate) struct Anchors {
    slab: Slab<Anchor>,
    paths: BTreeMap<AnchorPath, AnchorId>,
}

impl Anchors {
    /// Number of anchors.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn find(&self, path: &AnchorPath) -> Option<AnchorId> {
        self.paths.get(path).copied()
    }

    pub(crate) fn get(&self, id: AnchorId) -> Option<&Anchor> {
        self.slab.get(id.0)
    }

    pub(crate) fn get_mut(&mut self, id: AnchorId) -> Option<&mut Anchor> {
        self.slab.get_mut(id.0)
    }

    pub(crate) fn at(&self, path: &AnchorPath) -> Option<&Anchor> {
        self.get(self.find(path)?)
    }

    /// The rules of an anchor.
    pub(crate) fn lists(&self, id: AnchorId) -> Option<Arc<Lists>> {
        self.get(id).map(|anchor| Arc::clone(&anchor.lists))
    }

    /// Number `at` of the anchors in `parent`, in the order of their names.
    pub(crate) fn child(&self, parent: AnchorId, at: usize) -> Option<AnchorId> {
        self.get(parent)?.children.get(at).copied()
    }

    /// The anchor at `path`, made with those that it is in if there is none; nothing for the main
    /// ruleset.
    pub(crate) fn ensure(&mut self, path: &AnchorPath) -> Option<AnchorId> {
        let id = self.find(path);
        let parent = path.parent().filter(|_| id.is_none())?;
        // As deep as a path has names at most, which is bounded.
        let parent = self.ensure(&parent).or_else(|| self.find(&parent));
        let anchor = Anchor {
            path: path.clone(),
            lists: Arc::default(),
            children: Vec::new(),
            references: 0,
            filled_by: None,
        };
        let id = AnchorId(self.slab.insert(anchor)?);
        self.paths.insert(path.clone(), id);
        if let Some(parent) = parent {
            self.adopt(parent, id, path.name());
        }
        Some(id)
    }

    fn adopt(&mut self, parent: AnchorId, child: AnchorId, name: &str) {
        let slab = &self.slab;
        let name_of = |id: &AnchorId| slab.get(id.0).map_or("", |anchor| anchor.path.name());
        let Some(children) = slab.get(parent.0).map(|anchor| &anchor.children) else {
            return;
        };
        let at = children.partition_point(|id| name_of(id) < name);
        if let Some(anchor) = self.slab.get_mut(parent.0) {
            anchor.children.insert(at, child);
        }
    }

    /// One more rule calls an anchor.
    pub(crate) fn call(&mut self, call: &AnchorCall) -> Option<Call> {
        let anchor = self.ensure(&call.path).or_else(|| self.find(&call.path))?;
        let references = &mut self.get_mut(anchor)?.references;
        *references = references.saturating_add(1);
        Some(Call {
            anchor,
            wildcard: call.wildcard,
        })
    }

    /// A rule that called an anchor is no longer in force.
    pub(crate) fn release(&mut self, call: Call) {
        if let Some(anchor) = self.get_mut(call.anchor) {
            anchor.references = anchor.references.saturating_sub(1);
        }
    }

    /// All anchors, in the order of their paths.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Anchor> {
        self.paths.values().filter_map(|id| self.get(*id))
    }

    /// Removes the anchors that nothing holds, but those for which `has_tables`.
    pub(crate) fn remove_empty(&mut self, has_tables: impl Fn(&AnchorPath) -> bool) {
        // An anchor comes before those that are in it.
        let paths: Vec<AnchorPath> = self.paths.keys().rev().cloned().collect();
        for path in paths {
            let empty = self.at(&path).is_some_and(|anchor| {
                anchor.references == 0 && anchor.children.is_empty() && anchor.lists.is_empty()
            });
            if empty && !has_tables(&path) {
                self.remove(&path);
            }
        }
    }

    fn remove(&mut self, path: &AnchorPath) {
        let Some(id) = self.paths.remove(path) else {
            return;
        };
        self.slab.remove(id.0);
        let parent = path.parent().and_then(|parent| self.find(&parent));
        if let Some(parent) = parent.and_then(|parent| self.get_mut(parent)) {
            parent.children.retain(|child| *child != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> AnchorPath {
        AnchorPath::new(text).unwrap()
    }

    #[test]
    fn anchors_are_made_with_their_parents_and_go_when_nothing_holds_them() {
        let mut anchors = Anchors::default();
        let main = AnchorPath::main();
        let call = AnchorCall::new(&main, "f/*").unwrap();
        let call = anchors.call(&call).unwrap();
        for name in ["f/b", "f/a/x", "f/c"] {
            assert!(anchors.ensure(&path(name)).is_some());
        }
        let parent = anchors.find(&path("f")).unwrap();
        let children: Vec<_> = (0..4)
            .filter_map(|at| anchors.child(parent, at))
            .filter_map(|id| Some(anchors.get(id)?.path.as_str()))
            .collect();
        assert_eq!(children, ["f/a", "f/b", "f/c"]);
        assert_eq!(anchors.len(), 5);
        anchors.remove_empty(|path| path.as_str() == "f/b");
        let left: Vec<_> = anchors.iter().map(|anchor| anchor.path.as_str()).collect();
        assert_eq!(left, ["f", "f/b"]);
        anchors.remove_empty(|_| false);
        assert_eq!(anchors.len(), 1, "a rule calls it");
        anchors.release(call);
        anchors.remove_empty(|_| false);
        assert_eq!(anchors.len(), 0);
        assert_eq!(anchors.ensure(&main), None);
    }
}
