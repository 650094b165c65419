//! What entries cost in memory, and the limits that follow from it where pf.conf sets none.

use crate::ruleset::Limit;

/// One in so many bytes of the machine that all limits together may use. The other half is for
/// the kernel, for the rules, and for what is being loaded while the old contents are still there.
pub const MEMORY_SHARE: u64 = 2;

impl Limit {
    /// Bytes that one entry takes at most, indexes and unused slots included. A test compares
    /// them with the structures.
    #[must_use]
    pub const fn entry_bytes(self) -> u64 {
        match self {
            // A fragment is of an Ethernet frame, with what is noted of it; all together are
            // bounded by `norm::MAX_HELD_BYTES` too.
            Self::States | Self::Frags => 2_048,
            Self::SrcNodes => 768,
            // An IPv6 address in the old and the new contents of a table that is being replaced.
            Self::TableEntries => 160,
            Self::Tables | Self::Anchors | Self::EtherAnchors => 1_024,
        }
    }

    /// One in so many bytes of the machine that this limit may use unless pf.conf says more;
    /// nothing for a limit that does not grow: fragments are bounded by their bytes, and of tables
    /// and anchors nobody has more because of memory.
    const fn default_share(self) -> Option<u64> {
        match self {
            Self::States => Some(8),
            Self::TableEntries => Some(32),
            Self::SrcNodes => Some(64),
            Self::Frags | Self::Tables | Self::Anchors | Self::EtherAnchors => None,
        }
    }

    /// What holds on a machine with `memory` bytes where pf.conf says nothing: PF's own default,
    /// or as many as fit into the limit's share of the memory if these are more, rounded down to
    /// thousands.
    #[must_use]
    pub fn default_for(self, memory: Option<u64>) -> u32 {
        let share = memory.zip(self.default_share());
        let fits = share.map_or(0, |(memory, share)| memory / share / self.entry_bytes());
        let fits = u32::try_from(fits / 1_000 * 1_000).unwrap_or(u32::MAX);
        fits.max(self.default_value())
    }

    /// How many entries a machine with `memory` bytes can hold at all.
    #[must_use]
    pub fn capacity(self, memory: u64) -> u32 {
        u32::try_from(memory / MEMORY_SHARE / self.entry_bytes()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_small_machine_has_the_defaults_of_pf() {
        for limit in Limit::ALL {
            assert_eq!(limit.default_for(None), limit.default_value());
            assert_eq!(limit.default_for(Some(64 << 20)), limit.default_value());
        }
    }

    #[test]
    fn defaults_grow_with_the_memory() {
        let at = |limit: Limit, gib: u64| limit.default_for(Some(gib * GIB));
        assert_eq!(at(Limit::States, 1), 100_000);
        assert_eq!(at(Limit::States, 4), 262_000);
        assert_eq!(at(Limit::States, 64), 4_194_000);
        assert_eq!(at(Limit::TableEntries, 1), 209_000);
        assert_eq!(at(Limit::TableEntries, 16), 3_355_000);
        assert_eq!(at(Limit::SrcNodes, 16), 349_000);
        assert_eq!(at(Limit::Anchors, 64), 512);
        assert_eq!(at(Limit::Frags, 64), 5_000);
        assert_eq!(Limit::States.default_for(Some(u64::MAX)), u32::MAX);
    }

    #[test]
    fn all_defaults_together_fit_into_what_the_limits_may_use() {
        for memory in [GIB, 16 * GIB, 1 << 40] {
            let needed = Limit::ALL.map(|limit| {
                u64::from(limit.default_for(Some(memory))).saturating_mul(limit.entry_bytes())
            });
            let total: u64 = needed.iter().sum();
            assert!(total <= memory / MEMORY_SHARE, "{memory}: {total}");
        }
    }

    /// Bytes of an entry in an ordered map whose nodes, of eleven places, are half full.
    fn in_ordered_map<T>() -> usize {
        size_of::<T>() * 2 + 16
    }

    /// Bytes of an entry in a hash map that has just grown.
    fn in_hash_map<T>() -> usize {
        (size_of::<T>() + 1) * 16 / 7
    }

    #[test]
    fn no_entry_takes_more_than_is_reckoned_and_none_less_than_a_quarter() {
        // A list of slots doubles when it is full.
        let state = 2 * size_of::<crate::state::State>()
            + 2 * in_hash_map::<(crate::key::StateKey, u32)>()
            + in_ordered_map::<(crate::decision::StateId, u32)>();
        let node = in_ordered_map::<(crate::source::SourceKey, crate::source::SourceNode)>()
            + in_ordered_map::<(crate::time::Instant, crate::source::SourceKey)>();
        let table = 2 * size_of::<crate::table::Table>() + 4 * crate::anchor::ANCHOR_NAME_MAX;
        let address = 2 * in_ordered_map::<(u128, [u32; 2])>();
        let anchor = 2 * size_of::<crate::anchors::Anchor>() + size_of::<crate::compile::Lists>();
        for (limit, bytes) in [
            (Limit::States, state),
            (Limit::SrcNodes, node),
            (Limit::Tables, table),
            (Limit::TableEntries, address),
            (Limit::Anchors, anchor),
        ] {
            let reckoned = usize::try_from(limit.entry_bytes()).expect("small");
            assert!(bytes <= reckoned, "{limit:?}: {bytes} bytes");
            assert!(bytes * 4 >= reckoned, "{limit:?}: {bytes} bytes");
        }
    }

    #[test]
    fn what_a_machine_can_hold_is_half_of_its_memory() {
        assert_eq!(Limit::States.capacity(4 * GIB), 1_048_576);
        assert_eq!(Limit::TableEntries.capacity(GIB), 3_355_443);
    }
}
