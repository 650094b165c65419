//! Evaluations of many rules that are counted at once.

use crate::slab::Slab;

/// Number of a run of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunId(u32);

/// A rule's place in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    run: RunId,
    group: u32,
}

/// What was counted of each run.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    slab: Slab<Run>,
}

#[derive(Debug)]
struct Run {
    counts: RangeCounts,
    /// Rules that are in it.
    rules: u32,
}

impl Runs {
    /// A run of so many groups.
    pub(crate) fn open(&mut self, groups: u32) -> RunId {
        let run = Run {
            counts: RangeCounts::new(groups),
            rules: groups,
        };
        RunId(self.slab.insert(run).unwrap_or(u32::MAX))
    }

    pub(crate) const fn place(run: RunId, group: u32) -> Place {
        Place { run, group }
    }

    /// Groups from `from` to the one before `to`, or to the last, were looked at for so many
    /// packets.
    pub(crate) fn count(&mut self, run: RunId, from: u32, to: Option<u32>, packets: u64) {
        if let Some(run) = self.slab.get_mut(run.0) {
            run.counts.add(from, packets);
            if let Some(to) = to {
                run.counts.add(to, packets.wrapping_neg());
            }
        }
    }

    /// How often a rule was counted there.
    pub(crate) fn get(&self, place: Place) -> u64 {
        let run = self.slab.get(place.run.0);
        run.map_or(0, |run| run.counts.get(place.group))
    }

    /// The rule is in the run no longer.
    pub(crate) fn leave(&mut self, place: Place) {
        let Some(run) = self.slab.get_mut(place.run.0) else {
            return;
        };
        run.rules = run.rules.saturating_sub(1);
        if run.rules == 0 {
            self.slab.remove(place.run.0);
        }
    }

    pub(crate) fn clear(&mut self) {
        for (_, run) in self.slab.iter_mut() {
            run.counts.clear();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }
}

/// Counts to which ranges are added: a binary indexed tree of their differences (Fenwick, "A new
/// data structure for cumulative frequency tables", 1994). Numbers wrap, as counters do.
#[derive(Debug)]
struct RangeCounts {
    tree: Vec<u64>,
}

impl RangeCounts {
    fn new(len: u32) -> Self {
        Self {
            tree: vec![0; len as usize],
        }
    }

    /// Adds to the counts from `from` to the last.
    fn add(&mut self, from: u32, by: u64) {
        // Nodes are numbered from 1.
        let mut node = (from as usize).saturating_add(1);
        while let Some(count) = self.tree.get_mut(node.saturating_sub(1)) {
            *count = count.wrapping_add(by);
            node = node.saturating_add(lowest_bit(node));
        }
    }

    fn get(&self, at: u32) -> u64 {
        let mut node = (at as usize).saturating_add(1);
        let mut sum: u64 = 0;
        while node > 0 {
            sum = sum.wrapping_add(self.tree.get(node - 1).copied().unwrap_or_default());
            node = node.saturating_sub(lowest_bit(node));
        }
        sum
    }

    fn clear(&mut self) {
        self.tree.fill(0);
    }
}

const fn lowest_bit(node: usize) -> usize {
    node & node.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_counted_as_if_each_were_counted_alone() {
        let mut runs = Runs::default();
        let run = runs.open(37);
        let mut model = [0u64; 37];
        for (from, to) in [
            (0, Some(5)),
            (3, None),
            (36, None),
            (7, Some(7)),
            (10, Some(30)),
        ] {
            runs.count(run, from, to, 3);
            for count in &mut model[from as usize..to.unwrap_or(37) as usize] {
                *count += 3;
            }
        }
        for (group, expected) in (0..).zip(model) {
            assert_eq!(runs.get(Runs::place(run, group)), expected, "{group}");
        }
        runs.clear();
        assert_eq!(runs.get(Runs::place(run, 4)), 0);
    }

    #[test]
    fn a_run_goes_with_the_last_of_its_rules() {
        let mut runs = Runs::default();
        let run = runs.open(2);
        runs.leave(Runs::place(run, 0));
        assert_eq!(runs.len(), 1);
        runs.leave(Runs::place(run, 1));
        assert_eq!(runs.len(), 0);
    }
}
