//! The engine: installed ruleset, states, tables and counters behind one `handle_packet`.

use std::net::IpAddr;

use crate::addr::{Prefix, Protocol};
use crate::counters::Traffic;
use crate::decision::{Decision, Hook, Packet, StateId};
use crate::env::Env;
use crate::rule::{Direction, Rule, Timeouts};
use crate::ruleset::{Limit, Options, Ruleset, TableEntry};
use crate::time::Instant;
use crate::view::{InstalledRule, StateView, Status, TableView};

/// What distinguishes one engine from another.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Key of the hash tables that packets reach; random on a live box.
    pub hash_key: [u64; 2],
    /// `creatorid` of its states, as `pfctl -vvss` prints it; PF's hostid.
    pub creator_id: u32,
}

/// Which list of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleList {
    /// `nat` of the old grammar.
    Nat,
    /// `rdr` of the old grammar.
    Rdr,
    /// `binat` of the old grammar.
    Binat,
    /// Filter rules.
    Filter,
}

/// Which states `pfctl -k` kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillFilter {
    /// `-k source`: the state's source lies in it.
    pub source: Prefix,
    /// `-k source -k destination`.
    pub destination: Option<Prefix>,
}

/// Why a change of a table was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is no table of that name.
    #[error("Table does not exist.")]
    NoSuchTable,
    /// It is `const`.
    #[error("Operation not permitted")]
    Constant,
    /// `set limit table-entries` would be exceeded.
    #[error("table-entries limit of {limit} would be exceeded")]
    TooManyEntries {
        /// The limit.
        limit: u32,
    },
}

/// Outcome of `pfctl -T replace`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplaceOutcome {
    /// Addresses that were not in it before.
    pub added: usize,
    /// Addresses that are no longer in it.
    pub deleted: usize,
    /// Addresses whose negation changed.
    pub changed: usize,
}

/// The packet filter.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// A disabled engine with an empty ruleset.
    #[must_use]
    pub fn new(now: Instant, config: EngineConfig) -> Self {
        todo!()
    }

    /// Installs `ruleset` in place of the one before. Atomic; states, their rules and counters
    /// stay; tables that are declared without contents keep theirs.
    ///
    /// # Errors
    /// When the tables exceed `table-entries`; then nothing has changed.
    pub fn install(&mut self, now: Instant, ruleset: Ruleset) -> Result<(), TableError> {
        todo!()
    }

    /// `pfctl -e`/`-d`. Returns whether that changed anything. While disabled every packet
    /// passes and nothing is counted or tracked.
    pub fn set_enabled(&mut self, now: Instant, enabled: bool) -> bool {
        todo!()
    }

    /// Ruleset epoch: moves on with every change that can change a stateless decision.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        todo!()
    }

    /// Decides about one packet at one hook and rewrites it in place.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        hook: Hook,
        packet: &mut Packet,
        env: &mut dyn Env,
    ) -> Decision {
        todo!()
    }

    /// Tells the engine that interfaces or addresses changed.
    pub fn handle_interface_change(&mut self) {
        todo!()
    }

    /// Expires states, fragments and source nodes. Harmless to call too often.
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }

    /// When [`Engine::handle_timeout`] wants to be called next, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Dialect and options of the installed ruleset.
    #[must_use]
    pub fn options(&self) -> &Options {
        todo!()
    }

    /// Dialect of the installed ruleset.
    #[must_use]
    pub fn dialect(&self) -> crate::ruleset::Dialect {
        todo!()
    }

    /// The installed rules of one list, in order, with their counters.
    pub fn rules(&self, list: RuleList) -> impl Iterator<Item = InstalledRule<'_>> {
        std::iter::from_fn(|| todo!())
    }

    /// `pfctl -z`: zeroes the counters of all rules.
    pub fn clear_rule_counters(&mut self) {
        todo!()
    }

    /// All states, in the order of their numbers. `now` tells age and expiry.
    pub fn states(&self, now: Instant) -> impl Iterator<Item = StateView<'_>> {
        std::iter::from_fn(|| todo!())
    }

    /// The states whose number is `from` or above, in order: a long listing made in pieces.
    /// Getting to the first of them must not cost a walk over those before it.
    pub fn states_from(
        &self,
        from: StateId,
        now: Instant,
    ) -> impl Iterator<Item = StateView<'_>> {
        std::iter::from_fn(|| todo!())
    }

    /// Number of states.
    #[must_use]
    pub fn state_count(&self) -> usize {
        todo!()
    }

    /// `pfctl -k`. Returns how many states were killed.
    pub fn kill_states(&mut self, filter: KillFilter) -> usize {
        todo!()
    }

    /// `pfctl -F states`. Returns how many states were removed.
    pub fn flush_states(&mut self) -> usize {
        todo!()
    }

    /// `pfctl -F rules`: removes the filter rules; states stay.
    pub fn flush_rules(&mut self) {
        todo!()
    }

    /// `pfctl -F nat`: removes the translation rules of the old grammar; states stay.
    pub fn flush_nat(&mut self) {
        todo!()
    }

    /// `pfctl -F info`: zeroes the counters of [`Engine::status`].
    pub fn clear_status(&mut self, now: Instant) {
        todo!()
    }

    /// What `pfctl -si` prints.
    #[must_use]
    pub fn status(&self) -> Status {
        todo!()
    }

    /// Timeouts in force.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        todo!()
    }

    /// A limit in force.
    #[must_use]
    pub fn limit(&self, limit: Limit) -> u32 {
        todo!()
    }

    /// All tables, in the order of their names.
    pub fn tables(&self) -> impl Iterator<Item = TableView<'_>> {
        std::iter::from_fn(|| todo!())
    }

    /// One table.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<TableView<'_>> {
        todo!()
    }

    /// `pfctl -t name -T add`. Creates the table (persistent) when there is none, as pfctl does.
    /// Returns how many addresses were not in it before.
    ///
    /// # Errors
    /// When the table is constant or full; then nothing has changed.
    pub fn table_add(
        &mut self,
        now: Instant,
        name: &str,
        entries: &[TableEntry],
    ) -> Result<usize, TableError> {
        todo!()
    }

    /// `pfctl -t name -T delete`. Returns how many addresses were in it.
    ///
    /// # Errors
    /// When there is no such table or it is constant.
    pub fn table_delete(
        &mut self,
        name: &str,
        entries: &[TableEntry],
    ) -> Result<usize, TableError> {
        todo!()
    }

    /// `pfctl -t name -T replace`.
    ///
    /// # Errors
    /// When the table is constant or full; then nothing has changed.
    pub fn table_replace(
        &mut self,
        now: Instant,
        name: &str,
        entries: &[TableEntry],
    ) -> Result<ReplaceOutcome, TableError> {
        todo!()
    }

    /// `pfctl -t name -T flush`. Returns how many addresses it had.
    ///
    /// # Errors
    /// When there is no such table or it is constant.
    pub fn table_flush(&mut self, name: &str) -> Result<usize, TableError> {
        todo!()
    }

    /// `pfctl -t name -T test`: whether the table holds `address`, negation applied.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn table_test(&self, name: &str, address: Prefix) -> Result<bool, TableError> {
        todo!()
    }

    /// `pfctl -F Tables`: empties and removes all tables that no rule refers to, empties the
    /// others. Returns how many were removed.
    pub fn flush_tables(&mut self) -> usize {
        todo!()
    }
}
