//! A list that grows by a line at a time.

use std::collections::{HashMap, HashSet};

use super::matching::{Shape, Signature};
use super::{Fingerprints, MAX_ENTRIES, System};

/// More fingerprints than [`MAX_ENTRIES`].
#[derive(Debug)]
pub(super) struct TooMany;

/// A list that is being read, with what finds out in constant time whether a line is new.
#[derive(Debug, Default)]
pub(super) struct Loader {
    list: Fingerprints,
    numbers: HashMap<Shape, usize>,
    known: HashSet<(usize, System)>,
}

impl Loader {
    /// Adds a name to a signature. One that is there already changes nothing.
    pub(super) fn add(&mut self, shape: Shape, system: System) -> Result<(), TooMany> {
        let list = &mut self.list;
        let next = list.signatures.len();
        let number = *self.numbers.entry(shape).or_insert(next);
        if !self.known.insert((number, system.clone())) {
            return Ok(());
        }
        if list.entries >= MAX_ENTRIES {
            return Err(TooMany);
        }
        list.entries = list.entries.saturating_add(1);
        list.names.add(&system);
        if let Some(signature) = list.signatures.get_mut(number) {
            signature.systems.push(system);
            return Ok(());
        }
        list.index.entry(shape.key()).or_default().push(number);
        let systems = vec![system];
        list.signatures.push(Signature { shape, systems });
        Ok(())
    }

    /// PF puts each name in front of those that a signature has.
    pub(super) fn finish(mut self) -> Fingerprints {
        for signature in &mut self.list.signatures {
            signature.systems.reverse();
        }
        self.list
    }
}
