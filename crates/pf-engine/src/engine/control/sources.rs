//! `pfctl -K`, `-F Sources`, `pfctl -I id -k`: sources are forgotten, their states stay and count for
//! them no longer.
//!
//! No state is looked at: those that are older than what is remembered of a source do not count for it.

use crate::addr::Prefix;
use crate::decision::StateId;
use crate::engine::{Engine, SourceFilter};
use crate::pool::Choice;
use crate::source::SourceKey;

/// Which sources are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetSources {
    /// `-F Sources`: all source nodes.
    All,
    /// `-K`: these source nodes.
    Nodes(SourceFilter),
    /// `-I id -k source -k host`: those of a source limiter within a network.
    Limited(u8, Prefix),
}

/// Sources that are being forgotten: packets cannot wait until a million were looked at.
#[derive(Clone, Debug)]
pub struct Forgetting {
    next: Next,
    /// What is remembered since a state behind this one is not meant.
    last: StateId,
    forgotten: usize,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    /// Nodes behind one.
    Nodes(Option<SourceFilter>, Option<SourceKey>),
    /// Sources of a limiter behind one.
    Limited(u8, Prefix, Option<Prefix>),
}

impl Forgetting {
    /// How many sources were forgotten so far.
    #[must_use]
    pub const fn forgotten(&self) -> usize {
        self.forgotten
    }
}

impl Engine {
    /// `pfctl -K`, in one go. Returns how many source nodes were removed.
    pub fn kill_sources(&mut self, filter: SourceFilter) -> usize {
        self.forget_sources(ForgetSources::Nodes(filter))
    }

    /// `pfctl -F Sources`, in one go. Returns how many source nodes were removed.
    pub fn flush_sources(&mut self) -> usize {
        self.forget_sources(ForgetSources::All)
    }

    /// `pfctl -I id -k source -k host`, in one go. Returns how many sources.
    pub fn kill_limited_sources(&mut self, id: u8, within: Prefix) -> usize {
        self.forget_sources(ForgetSources::Limited(id, within))
    }

    fn forget_sources(&mut self, which: ForgetSources) -> usize {
        let mut forgetting = self.begin_forgetting(which);
        while self.go_on_forgetting(&mut forgetting, usize::MAX) {}
        forgetting.forgotten()
    }

    /// Begins to forget the sources that there are now.
    #[must_use]
    pub const fn begin_forgetting(&self, which: ForgetSources) -> Forgetting {
        Forgetting {
            next: match which {
                ForgetSources::All => Next::Nodes(None, None),
                ForgetSources::Nodes(filter) => Next::Nodes(Some(filter), None),
                ForgetSources::Limited(id, within) => Next::Limited(id, within, None),
            },
            last: StateId(self.next_state),
            forgotten: 0,
        }
    }

    /// Looks at the next sources, at most `most`; whether there are more.
    pub fn go_on_forgetting(&mut self, forgetting: &mut Forgetting, most: usize) -> bool {
        let last = forgetting.last;
        let (next, looked_at, forgotten) = match forgetting.next {
            Next::Nodes(filter, behind) => {
                let (behind, looked_at, forgotten) =
                    self.forget_nodes((filter, last), behind, most);
                (Next::Nodes(filter, behind), looked_at, forgotten)
            }
            Next::Limited(id, within, behind) => {
                let (behind, looked_at, forgotten) =
                    self.forget_limited((id, within, last), behind, most);
                (Next::Limited(id, within, behind), looked_at, forgotten)
            }
        };
        forgetting.next = next;
        forgetting.forgotten = forgetting.forgotten.saturating_add(forgotten);
        looked_at == most
    }

    fn forget_nodes(
        &mut self,
        (filter, last): (Option<SourceFilter>, StateId),
        behind: Option<SourceKey>,
        most: usize,
    ) -> (Option<SourceKey>, usize, usize) {
        let (mut at, mut looked_at, mut doomed) = (behind, 0_usize, Vec::new());
        for (key, node) in self.sources.iter_after(behind).take(most) {
            at = Some(*key);
            looked_at = looked_at.saturating_add(1);
            let is_meant = filter.is_none_or(|filter| is_wanted(filter, key, node.choice));
            if is_meant && node.first <= last {
                doomed.push(*key);
            }
        }
        for key in &doomed {
            self.sources.remove(key);
            self.forget_node(key);
        }
        (at, looked_at, doomed.len())
    }

    fn forget_limited(
        &mut self,
        (id, within, last): (u8, Prefix, StateId),
        behind: Option<Prefix>,
        most: usize,
    ) -> (Option<Prefix>, usize, usize) {
        let known = self.limiters.sources_behind(id, behind, most);
        let is_within = |source: &Prefix| {
            within.prefix_len() <= source.prefix_len() && within.contains(source.address())
        };
        let doomed = known.iter();
        let doomed = doomed.filter(|(source, first)| is_within(source) && *first <= last);
        let mut forgotten = 0_usize;
        for (source, _) in doomed {
            let listing = self.limiters.forget(id, *source);
            self.list_source(listing);
            forgotten = forgotten.saturating_add(1);
        }
        let at = known.last().map(|(source, _)| *source).or(behind);
        (at, known.len(), forgotten)
    }
}

fn is_wanted(filter: SourceFilter, key: &SourceKey, choice: Option<Choice>) -> bool {
    let target = choice.and_then(|choice| choice.address);
    filter.source.contains(key.address)
        && filter
            .target
            .is_none_or(|wanted| target.is_some_and(|target| wanted.contains(target)))
}
