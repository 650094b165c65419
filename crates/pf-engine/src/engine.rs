//! The engine: installed ruleset, states, tables and counters behind one `handle_packet`.

mod accounts;
mod answer;
mod associations;
mod by_state;
mod change;
mod control;
mod debug;
mod decisions;
mod errors;
mod ether;
mod expire;
mod explain;
mod families;
mod flows;
mod flushing;
mod gateways;
mod imagine;
mod install;
mod leads;
mod leave;
mod limits;
mod log;
mod normalize;
mod open;
mod openings;
mod packet;
mod persist;
mod proxy;
mod sources;
mod systems;
mod tables;
mod tally;
mod test;
mod translate;
mod views;
mod walk;

pub(crate) use self::families::prefix_len;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::addr::Prefix;
use crate::anchor::AnchorPath;
use crate::anchors::Anchors;
use crate::association::Associations;
use crate::bad_state::BadState;
use crate::compile::Lists;
use crate::decision::{Decision, DropReason, Hook, LOG_SNAP_LENGTH, Packet};
use crate::env::Env;
use crate::explain::Step;
use crate::hops::{DeadHops, Uplinks};
use crate::installed::Rules;
use crate::installed::ether::EtherRules;
use crate::lifetime::{self, Lifetimes};
use crate::limiter::Limiters;
use crate::limits::{Gauges, LimitCounter, LimitView};
use crate::names::{NameId, Names};
use crate::nat::{FullRanges, Mappings, mapping};
use crate::net::Net;
use crate::norm::{Reassembler, ReassemblyOptions};
use crate::osfp::pfos::Fingerprints;
use crate::pool::Loads;
use crate::queue::{Queue, QueueNumbers, QueueTree};
use crate::quota::{ERRORS_PER_SECOND, Quota, RESETS_PER_SECOND};
use crate::rule::{Action, Timeout, Timeouts};
use crate::ruleset::{DebugLevel, Dialect, Limit, Options, Parts, Ruleset};
use crate::source::SourceNodes;
use crate::state::{State, StateTable};
use crate::syncookie::SynCookies;
use crate::table::Tables;
use crate::time::Instant;
use crate::view::{InterfaceCounters, Status};

pub use control::{ForgetSources, Forgetting, KillFilter, KillStates, Killing};
pub use decisions::DECISION_LIFETIME;
pub(crate) use flows::Cacheable;
pub use flows::{FLOW_BEGINS_AT, FLOWS_AT_ONCE, FlowsRead, STREAM_BEGINS_AT};
pub use flushing::FLUSHED_AT_ONCE;

pub use self::change::{TableChange, TableChanged};
pub use self::install::Staging;
pub use crate::table::Discarded;

pub use self::gateways::{NEXT_HOPS_MAX, Reset, Vacated};
pub use crate::hops::{OnFailure, Uplink};
pub use crate::state::StateRoom;

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
    /// `scrub` of the old grammar.
    Scrub,
    /// `nat` of the old grammar.
    Nat,
    /// `rdr` of the old grammar.
    Rdr,
    /// `binat` of the old grammar.
    Binat,
    /// Filter rules.
    Filter,
}

impl RuleList {
    /// All of them, in the order that PF prints them.
    pub const ALL: [Self; 5] = [Self::Scrub, Self::Nat, Self::Rdr, Self::Binat, Self::Filter];

    /// The list that rules with this action stand in.
    #[must_use]
    pub const fn of(action: &Action) -> Self {
        match action {
            Action::Scrub | Action::NoScrub => Self::Scrub,
            Action::Nat | Action::NoNat => Self::Nat,
            Action::Rdr | Action::NoRdr => Self::Rdr,
            Action::Binat | Action::NoBinat => Self::Binat,
            Action::Pass | Action::Block(_) | Action::Match => Self::Filter,
        }
    }
}

/// Which source nodes `pfctl -K` kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceFilter {
    /// `-K source`: the node's source lies in it.
    pub source: Prefix,
    /// `-K source -K target`: so does what a sticky pool chose for it.
    pub target: Option<Prefix>,
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
    #[error(
        "table-entries limit of {limit} would be exceeded: there would be {wanted} addresses in \
         all tables"
    )]
    TooManyEntries {
        /// The limit.
        limit: u32,
        /// How many addresses there would be.
        wanted: usize,
    },
    /// `set limit tables` would be exceeded.
    #[error("tables limit of {limit} would be exceeded")]
    TooManyTables {
        /// The limit.
        limit: u32,
    },
}

/// Why a ruleset was not installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// Its tables do not fit.
    #[error(transparent)]
    Table(#[from] TableError),
    /// `set limit eth-anchors` would be exceeded.
    #[error("eth-anchors limit of {limit} would be exceeded")]
    TooManyEtherAnchors {
        /// The limit.
        limit: u32,
    },
    /// `set limit anchors` would be exceeded.
    #[error("anchors limit of {limit} would be exceeded")]
    TooManyAnchors {
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
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Engine {
    config: EngineConfig,
    /// The latest moment it was told of.
    now: Instant,
    enabled: bool,
    enabled_since: Option<Instant>,
    disabled_since: Option<Instant>,
    epoch: u64,
    dialect: Dialect,
    options: Options,
    timeouts: Timeouts,
    /// The main ruleset.
    lists: Arc<Lists>,
    /// The others.
    anchors: Anchors,
    /// Whether any rule asks for a tag.
    asks_for_tags: bool,
    asks_for_interface: bool,
    /// Whether any rule asks TCP segments for the port of their source.
    asks_for_openers: bool,
    /// Whether any rule asks for an operating system.
    asks_for_system: bool,
    fingerprints: Arc<Fingerprints>,
    rules: Rules,
    ether_rules: EtherRules,
    /// What rules for frames have written on the frame of the packet at hand.
    frame: ether::FrameMarks,
    tables: Tables,
    names: Names,
    net: Net,
    states: StateTable,
    flows: flows::Flows,
    next_state: u64,
    sources: SourceNodes,
    dead_hops: DeadHops,
    /// Sources whose states end.
    flushing: VecDeque<flushing::Flushing>,
    /// Next hops whose states are being moved or removed.
    vacating: VecDeque<gateways::Vacating>,
    uplinks: Uplinks,
    mappings: Mappings,
    full: FullRanges,
    limiters: Limiters,
    loads: Loads,
    associations: Associations,
    /// What the machine has, in bytes; limits that pf.conf does not set follow from it.
    memory: Option<u64>,
    gauges: Gauges,
    /// Addresses that a change of a table under way will add.
    promised: usize,
    fragments: Reassembler,
    counters: Counters,
    sweep: expire::Sweep,
    syncookies: SynCookies,
    /// TCP states whose opener has not completed its handshake.
    half_open: usize,
    resets: Quota,
    errors: Quota,
    log_snap_length: usize,
    /// What packets did at each interface.
    interfaces: BTreeMap<NameId, InterfaceCounters>,
    /// Since when interfaces count that have no counters of their own yet.
    interfaces_since: Instant,
    /// `set debug` or `pfctl -x`, whichever came last.
    debug: Option<DebugLevel>,
    /// What the last segment was that did not fit its state, until it is taken.
    bad_state: Option<Box<BadState>>,
    /// A rule or state has, or once had, `set prio` or `queue`: packets that leave may carry them.
    has_carried: bool,
    queue_numbers: QueueNumbers,
    /// Queues of the installed ruleset.
    queues: Vec<QueueTree>,
    /// Steps of the packet that is being explained, if one is.
    trace: Option<Vec<Step>>,
}

/// What `pfctl -si` counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    searches: u64,
    inserts: u64,
    removals: u64,
    reasons: [u64; DropReason::ALL.len()],
    limits: [u64; LimitCounter::ALL.len()],
}

impl Counters {
    fn count(&mut self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    fn count_many(&mut self, reason: DropReason, packets: u64) {
        if let Some(counter) = self.reasons.get_mut(reason as usize) {
            *counter = counter.wrapping_add(packets);
        }
    }

    fn count_limit(&mut self, limit: LimitCounter) {
        if let Some(counter) = self.limits.get_mut(limit as usize) {
            *counter = counter.wrapping_add(1);
        }
    }
}

impl Engine {
    /// A disabled engine with an empty ruleset.
    #[must_use]
    pub fn new(now: Instant, config: EngineConfig) -> Self {
        Self {
            config,
            now,
            enabled: false,
            enabled_since: None,
            disabled_since: None,
            epoch: 0,
            dialect: Dialect::default(),
            options: Options::default(),
            timeouts: Timeouts::default(),
            lists: Arc::default(),
            anchors: Anchors::default(),
            asks_for_tags: false,
            asks_for_interface: false,
            asks_for_openers: false,
            asks_for_system: false,
            fingerprints: Fingerprints::stock(),
            rules: Rules::default(),
            ether_rules: EtherRules::default(),
            frame: ether::FrameMarks::default(),
            tables: Tables::default(),
            names: Names::default(),
            net: Net::default(),
            states: StateTable::new(config.hash_key),
            flows: flows::Flows::default(),
            next_state: 0,
            sources: SourceNodes::default(),
            dead_hops: DeadHops::default(),
            flushing: VecDeque::new(),
            vacating: VecDeque::new(),
            uplinks: Uplinks::default(),
            mappings: Mappings::default(),
            full: FullRanges::default(),
            limiters: Limiters::default(),
            loads: Loads::default(),
            associations: Associations::default(),
            memory: None,
            gauges: Gauges::default(),
            promised: 0,
            fragments: Reassembler::new(),
            counters: Counters::default(),
            sweep: expire::Sweep::new(now),
            syncookies: SynCookies::default(),
            half_open: 0,
            resets: Quota::new(RESETS_PER_SECOND),
            errors: Quota::new(ERRORS_PER_SECOND),
            log_snap_length: LOG_SNAP_LENGTH,
            interfaces: BTreeMap::new(),
            interfaces_since: now,
            debug: None,
            bad_state: None,
            has_carried: false,
            queue_numbers: QueueNumbers::default(),
            queues: Vec::new(),
            trace: None,
        }
    }

    /// Installs `ruleset` in place of the one before. Atomic; states, their rules and counters
    /// stay; tables that are declared without contents keep theirs.
    ///
    /// # Errors
    /// When the tables exceed `table-entries` or `tables`, or the anchors `anchors`; then nothing
    /// has changed.
    pub fn install(&mut self, now: Instant, ruleset: Ruleset) -> Result<(), InstallError> {
        self.install_at(now, &AnchorPath::main(), Parts::ALL, ruleset)
    }

    /// As [`Engine::install`], for an anchor (`pfctl -a`) or for parts of a ruleset. The rules of
    /// other anchors stay, but for those that stood in the text before and do not any more.
    ///
    /// # Errors
    /// As [`Engine::install`].
    pub fn install_at(
        &mut self,
        now: Instant,
        anchor: &AnchorPath,
        parts: Parts,
        ruleset: Ruleset,
    ) -> Result<(), InstallError> {
        let mut staging = Staging::new(anchor.clone(), parts, ruleset);
        while self.stage(now, &mut staging, usize::MAX) {}
        self.install_staged(now, staging)
    }

    /// `pfctl -e`/`-d`. Returns whether that changed anything. While disabled every packet
    /// passes and nothing is counted or tracked.
    pub fn set_enabled(&mut self, now: Instant, enabled: bool) -> bool {
        self.now = now;
        if self.enabled == enabled {
            return false;
        }
        self.suspend_flows();
        self.enabled = enabled;
        self.enabled_since = enabled.then_some(now);
        self.disabled_since = (!enabled).then_some(now);
        self.advance_epoch();
        true
    }

    /// How many bytes of a packet are logged, [`LOG_SNAP_LENGTH`] until told otherwise.
    pub fn set_log_snap_length(&mut self, bytes: usize) {
        self.log_snap_length = bytes;
    }

    /// Ruleset epoch: moves on with every change that can change a stateless decision.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Decides about one packet at one hook and rewrites it in place.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        hook: Hook,
        packet: &mut Packet,
        env: &mut dyn Env,
    ) -> Decision {
        self.learn_opened();
        self.now = now;
        self.count_decided();
        let decision = self.decide(hook, packet, env);
        self.note_new_states();
        self.forget_stale_flows();
        decision
    }

    /// As [`Engine::handle_packet`], and tells how it came to the decision. The packet is decided
    /// in earnest: it moves counters and makes states.
    pub fn explain_packet(
        &mut self,
        now: Instant,
        hook: Hook,
        packet: &mut Packet,
        env: &mut dyn Env,
    ) -> (Decision, Vec<Step>) {
        self.learn_opened();
        self.trace = Some(Vec::new());
        let decision = self.handle_packet(now, hook, packet, env);
        (decision, self.trace.take().unwrap_or_default())
    }

    /// Tells the engine that interfaces or addresses changed.
    pub fn handle_interface_change(&mut self) {
        self.suspend_flows();
        self.net.invalidate();
        self.advance_epoch();
    }

    /// Expires states, fragments and source nodes. Harmless to call too often.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.learn_opened();
        self.now = now;
        self.expire();
    }

    /// When [`Engine::handle_timeout`] wants to be called next, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_expiry()
    }

    /// Options of the installed ruleset.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Queues of the installed ruleset.
    #[must_use]
    pub fn queues(&self) -> &[QueueTree] {
        &self.queues
    }

    /// `pfctl -F queue`: from now on there are none.
    pub fn flush_queues(&mut self) {
        self.queues.clear();
    }

    /// The numbers of the names of queues ([`Handling::queue`](crate::decision::Handling)).
    #[must_use]
    pub const fn queue_numbers(&self) -> &QueueNumbers {
        &self.queue_numbers
    }

    /// Numbers the queues of a ruleset that is about to be installed. Returns the first that
    /// there is no number for, if they are used up ([`QUEUE_NAMES_MAX`]).
    ///
    /// [`QUEUE_NAMES_MAX`]: crate::queue::QUEUE_NAMES_MAX
    pub fn number_queues<'a>(&mut self, trees: &'a [QueueTree]) -> Option<&'a Queue> {
        let mut queues = trees.iter().flat_map(|tree| &tree.queues);
        queues.find(|queue| self.queue_numbers.intern(&queue.name).is_none())
    }

    /// Dialect of the installed ruleset.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// `pfctl -z`: zeroes the counters of all rules.
    pub fn clear_rule_counters(&mut self) {
        self.read_flows();
        self.rules.clear_counters();
        self.ether_rules.clear_counters();
    }

    /// What the machine has, in bytes: limits that pf.conf does not set grow with it
    /// ([`Limit::default_for`]), and a limit of 0 ends where the memory does.
    pub fn set_memory(&mut self, bytes: u64) {
        self.memory = Some(bytes);
        self.timeouts = lifetime::timeouts(&self.options, self.memory);
    }

    /// How often each of [`Limit::ALL`] was hit since the start: packets that were dropped or
    /// commands that were refused for it.
    #[must_use]
    pub fn limit_hits(&self) -> [u64; Limit::ALL.len()] {
        Limit::ALL.map(|limit| self.hits_of(limit))
    }

    /// The limits: `set limit` in the order of [`Limit::ALL`], then those that cannot be set.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitView> {
        self.limit_views()
    }

    /// `pfctl -F rules`: removes the filter and `scrub` rules of a ruleset; states stay.
    pub fn flush_rules(&mut self, anchor: &AnchorPath) {
        self.flush_lists(anchor, |lists| {
            lists.scrub.clear();
            lists.filter.clear();
        });
    }

    /// `pfctl -F nat`: removes the translation rules (old grammar) of a ruleset; states stay.
    pub fn flush_nat(&mut self, anchor: &AnchorPath) {
        self.flush_lists(anchor, |lists| {
            *lists = Lists {
                scrub: std::mem::take(&mut lists.scrub),
                filter: std::mem::take(&mut lists.filter),
                ether: std::mem::take(&mut lists.ether),
                ..Lists::default()
            };
        });
    }

    fn flush_lists(&mut self, anchor: &AnchorPath, flush: impl FnOnce(&mut Lists)) {
        if let Some(lists) = self.lists_at(anchor) {
            let mut lists = lists.clone();
            flush(&mut lists);
            self.put(anchor, lists);
            self.tidy();
        }
    }

    /// `pfctl -F info`: zeroes the counters of [`Engine::status`].
    pub fn clear_status(&mut self, now: Instant) {
        self.read_flows();
        self.now = now;
        self.counters = Counters::default();
        self.interfaces.clear();
        self.interfaces_since = now;
        self.syncookies.clear_counters();
        self.resets.clear();
        self.errors.clear();
        self.associations.refused = 0;
        self.sources.searches = 0;
        self.sources.inserts = 0;
        self.sources.removals = 0;
    }

    /// `pfctl -F Reset`: `set …` as in a fresh PF.
    pub fn reset_options(&mut self) {
        self.options = Options::default();
        self.timeouts = lifetime::timeouts(&self.options, self.memory);
        self.debug = None;
        self.handle_interface_change();
    }

    /// What `pfctl -si` prints.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            enabled_since: self.enabled_since,
            disabled_since: self.disabled_since,
            host_id: self.config.creator_id,
            states: self.states.len(),
            searches: self.counters.searches,
            inserts: self.counters.inserts,
            removals: self.counters.removals,
            fragments: self.fragments.fragments(),
            syncookies: self.syncookie_status(),
            resets_refused: self.resets.refused(),
            errors_refused: self.errors.refused(),
            addresses_refused: self.associations.refused,
            reasons: self.counters.reasons,
            sources: self.source_status(),
            limits: self.counters.limits,
        }
    }

    /// Timeouts in force.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// A limit in force: what was set, or else what the machine's memory allows. 0 is no limit.
    #[must_use]
    pub fn limit(&self, limit: Limit) -> u32 {
        let set = self.options.limit(limit);
        set.unwrap_or(limit.default_for(self.memory))
    }

    /// Contents of tables that are no longer used, to be freed where that holds nobody up.
    pub fn take_discarded(&mut self) -> Discarded {
        self.tables.take_discarded()
    }

    fn advance_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        for limit in [Limit::Tables, Limit::TableEntries, Limit::Anchors] {
            self.note_use(limit);
        }
    }

    fn lifetimes(&self) -> Lifetimes<'_> {
        Lifetimes {
            now: self.now,
            timeouts: &self.timeouts,
            rules: &self.rules,
            states: self.states.len(),
        }
    }

    fn reassembly_options(&self) -> ReassemblyOptions {
        ReassemblyOptions {
            limit: self.bound(Limit::Frags),
            timeout: self.timeouts.duration(Timeout::Frag),
            no_df: false,
        }
    }

    /// Removes a state with its references.
    fn remove_state(&mut self, slot: u32) {
        self.settle(slot);
        self.leave_meeting(slot);
        let Some(state) = self.states.remove(slot) else {
            return;
        };
        self.counters.removals = self.counters.removals.wrapping_add(1);
        self.full.forget(&state);
        if state.endpoint_independent {
            self.mappings.release(mapping(&state).0);
        }
        self.half_open_moved(state.is_half_open(), false);
        self.leave_association(&state);
        self.release_references(state);
    }

    fn release_references(&mut self, state: State) {
        self.release_sources(&state);
        for limiter in &state.limiters {
            let listing = self.limiters.release((*limiter, state.id), self.now);
            self.list_source(listing);
        }
        for load in &state.loads {
            self.loads.release(load);
        }
        let rules = state
            .rule
            .into_iter()
            .chain(state.anchor)
            .chain(state.translation_rule)
            .chain(state.match_rules);
        for rule in rules {
            self.rules.release(rule);
        }
    }
}
