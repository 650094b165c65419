//! What a pf.conf amounts to once it has been checked: the only thing that can be installed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::addr::Prefix;
use crate::anchor::AnchorPath;
use crate::engine::RuleList;
use crate::ether::EtherRule;
use crate::limiter::LimiterSet;
use crate::osfp::pfos::Fingerprints;
use crate::queue::QueueTree;
use crate::rule::{Reassemble, Rule, StatePolicy, Timeout};

/// Whose meaning and printing a ruleset follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dialect {
    /// FreeBSD main: implicit `flags S/SA keep state`, nine fields in `-sl`.
    #[default]
    FreeBsd,
    /// OpenBSD current.
    OpenBsd,
    /// OpenBSD before 4.1: no implicit state or flags, four fields in `-sl`.
    OpenBsd3,
}

/// A checked pf.conf. Built by pf-conf only when there was not one error.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// The dialect it was read in.
    pub dialect: Dialect,
    /// `set …`.
    pub options: Options,
    /// `table …`, by name.
    pub tables: BTreeMap<String, TableDefinition>,
    /// Rules for frames. The last match decides, unless `quick`.
    pub ether: Vec<EtherRule>,
    /// `scrub`, `no scrub` of the old grammar. First match decides.
    pub scrub: Vec<Rule>,
    /// `nat`, `no nat` of the old grammar. First match decides.
    pub nat: Vec<Rule>,
    /// `rdr`, `no rdr` of the old grammar. First match decides.
    pub rdr: Vec<Rule>,
    /// `binat`, `no binat` of the old grammar. First match decides.
    pub binat: Vec<Rule>,
    /// Filter rules. The last match decides, unless `quick`.
    pub filter: Vec<Rule>,
    /// `state limiter`s and `source limiter`s.
    pub limiters: LimiterSet,
    /// `altq`, `queue`: one tree for each interface. Only the main ruleset has any.
    pub queues: Vec<QueueTree>,
    /// The rulesets that the same text has for anchors (in braces, or by `load anchor`), by their
    /// whole path. Their own `anchors`, `options` and `dialect` say nothing.
    pub anchors: BTreeMap<AnchorPath, Self>,
}

/// Which parts of a ruleset are put into force; the others stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one option letter of pfctl(8)"
)]
pub struct Parts {
    /// `set …` (`-O`). Only the main ruleset has any.
    pub options: bool,
    /// `table …` (`-T load`).
    pub tables: bool,
    /// `nat`, `rdr`, `binat` (`-N`).
    pub translation: bool,
    /// Filter rules (`-R`).
    pub filter: bool,
    /// `altq`, `queue` (`-A`). Only the main ruleset has any.
    #[serde(default)]
    pub queues: bool,
    /// Rules for frames. No option asks for them alone.
    pub ether: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Self::ALL
    }
}

impl Parts {
    /// Everything.
    pub const ALL: Self = Self {
        options: true,
        tables: true,
        translation: true,
        filter: true,
        queues: true,
        ether: true,
    };
    /// Nothing.
    pub const NONE: Self = Self {
        options: false,
        tables: false,
        translation: false,
        filter: false,
        queues: false,
        ether: false,
    };
}

impl Ruleset {
    /// The rules of one list.
    #[must_use]
    pub fn list(&self, list: RuleList) -> &[Rule] {
        match list {
            RuleList::Scrub => &self.scrub,
            RuleList::Nat => &self.nat,
            RuleList::Rdr => &self.rdr,
            RuleList::Binat => &self.binat,
            RuleList::Filter => &self.filter,
        }
    }

    /// The same, to be changed.
    pub const fn list_mut(&mut self, list: RuleList) -> &mut Vec<Rule> {
        match list {
            RuleList::Scrub => &mut self.scrub,
            RuleList::Nat => &mut self.nat,
            RuleList::Rdr => &mut self.rdr,
            RuleList::Binat => &mut self.binat,
            RuleList::Filter => &mut self.filter,
        }
    }

    /// The rules of all lists, in the order that PF prints them.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        RuleList::ALL.into_iter().flat_map(|list| self.list(list))
    }
}

/// `set …`, apart from what only the reader of pf.conf uses. `None`: not set in the file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// `set skip on`: interfaces and groups that are not filtered.
    pub skip: Vec<String>,
    /// `set state-policy`.
    pub state_policy: StatePolicy,
    /// `set limit`.
    pub limits: Vec<(Limit, u32)>,
    /// `set timeout`.
    pub timeouts: Vec<(Timeout, u32)>,
    /// `set reassemble`, or what the dialect does without; a `scrub` rule decides instead.
    pub reassemble: Reassemble,
    /// `set syncookies`.
    pub syncookies: Syncookies,
    /// `set hostid`: the number of this box in its states.
    pub host_id: Option<u32>,
    /// `set debug`.
    pub debug: Option<DebugLevel>,
    /// `set loginterface`: whose packets `pfctl -si` counts; an interface or a group.
    pub log_interface: Option<String>,
    /// `set keepcounters`: rules that are loaded again keep what they have counted.
    pub keep_counters: bool,
    /// `set fingerprints`, read; without it [`Fingerprints::stock`].
    pub fingerprints: Option<Arc<Fingerprints>>,
    /// `set fail-policy return`: whom a pass rule fails to pass is told.
    pub fail_return: bool,
    /// Those of the file whose value does not tell that they were written.
    pub named: BTreeSet<OptionName>,
}

/// An option whose value in [`Options`] does not tell whether the file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptionName {
    /// `set fail-policy`.
    FailPolicy,
    /// `set loginterface`.
    LogInterface,
    /// `set reassemble`.
    Reassemble,
    /// `set skip on none`: what was skipped before is filtered again.
    SkipNone,
    /// `set state-policy`.
    StatePolicy,
    /// `set syncookies`.
    Syncookies,
}

impl Options {
    /// `pfctl -m`: takes over what the file of `newer` names and leaves the rest as it is.
    pub fn merge(&mut self, newer: Self) {
        let names = |name| newer.named.contains(&name);
        if names(OptionName::SkipNone) {
            self.skip.clear();
        }
        for interface in newer.skip {
            if !self.skip.contains(&interface) {
                self.skip.push(interface);
            }
        }
        if names(OptionName::StatePolicy) {
            self.state_policy = newer.state_policy;
        }
        if names(OptionName::Reassemble) {
            self.reassemble = newer.reassemble;
        }
        if names(OptionName::Syncookies) {
            self.syncookies = newer.syncookies;
        }
        if names(OptionName::LogInterface) {
            self.log_interface = newer.log_interface;
        }
        if names(OptionName::FailPolicy) {
            self.fail_return = newer.fail_return;
        }
        // As in PF: a limit of states brings adaptive timeouts that suit it.
        let adaptive = |(timeout, _): &(Timeout, u32)| timeout.is_adaptive();
        let limited = newer
            .limits
            .iter()
            .any(|(limit, _)| *limit == Limit::States);
        if limited && !newer.timeouts.iter().any(adaptive) {
            self.timeouts.retain(|timeout| !adaptive(timeout));
        }
        put_all(&mut self.limits, newer.limits);
        put_all(&mut self.timeouts, newer.timeouts);
        self.host_id = newer.host_id.or(self.host_id);
        self.debug = newer.debug.or(self.debug);
        self.fingerprints = newer.fingerprints.or(self.fingerprints.take());
        self.keep_counters |= newer.keep_counters;
        self.named.extend(newer.named);
    }
}

/// Puts each value of `newer` in place of that of the same key.
fn put_all<K: PartialEq>(list: &mut Vec<(K, u32)>, newer: Vec<(K, u32)>) {
    list.retain(|(key, _)| !newer.iter().any(|(named, _)| named == key));
    list.extend(newer);
}

/// `set debug`, `pfctl -x`: how much PF says. Of what PF logs then the engine tells segments that do
/// not fit their states ([`Engine::take_bad_state`](crate::engine::Engine::take_bad_state)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugLevel(&'static str);

impl DebugLevel {
    /// Levels of FreeBSD and old OpenBSD, then of OpenBSD today (syslog(3)).
    pub const NAMES: [&'static str; 12] = [
        "none", "urgent", "misc", "loud", "emerg", "alert", "crit", "err", "warning", "notice",
        "info", "debug",
    ];

    /// The level of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::NAMES.into_iter().find(|known| *known == name);
        found.map(Self)
    }

    /// That of a fresh PF.
    #[must_use]
    pub const fn default_of(dialect: Dialect) -> Self {
        Self(match dialect {
            Dialect::FreeBsd | Dialect::OpenBsd3 => "urgent",
            Dialect::OpenBsd => "err",
        })
    }

    /// Whether PF logs segments that do not fit their states: `PF_DEBUG_MISC` of FreeBSD, and of OpenBSD
    /// `LOG_NOTICE`.
    #[must_use]
    pub fn tells_bad_states(self) -> bool {
        matches!(self.0, "misc" | "loud" | "notice" | "info" | "debug")
    }

    /// Its name in `set debug`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// `set syncookies`: whether SYNs that come in are answered without making a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Syncookies {
    /// `never`.
    #[default]
    Never,
    /// `always`.
    Always,
    /// `adaptive (start N%, end N%)`, in percent of the limit of states.
    Adaptive {
        /// They begin with more half-open states than this.
        start: u8,
        /// They end with no more than this.
        end: u8,
    },
}

impl Options {
    /// The value of a limit, if it was set.
    #[must_use]
    pub fn limit(&self, limit: Limit) -> Option<u32> {
        let mut set = self.limits.iter().rev();
        set.find(|(name, _)| *name == limit)
            .map(|(_, value)| *value)
    }
}

/// Names of `set limit`, in the order that `pfctl -sm` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// `states`.
    States,
    /// `src-nodes`.
    SrcNodes,
    /// `frags`: fragments held for reassembly.
    Frags,
    /// `tables`: tables that are defined, or that rules name.
    Tables,
    /// `table-entries`: addresses in all tables together.
    TableEntries,
    /// `anchors`: rulesets beside the main one.
    Anchors,
    /// `eth-anchors`: those of them that rules for frames stand in or call.
    EtherAnchors,
}

impl Limit {
    /// All of them, in the order of `pfctl -sm`.
    pub const ALL: [Self; 7] = [
        Self::States,
        Self::SrcNodes,
        Self::Frags,
        Self::Tables,
        Self::TableEntries,
        Self::Anchors,
        Self::EtherAnchors,
    ];

    /// The name in `set limit` and `pfctl -sm`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::States => "states",
            Self::SrcNodes => "src-nodes",
            Self::Frags => "frags",
            Self::Tables => "tables",
            Self::TableEntries => "table-entries",
            Self::Anchors => "anchors",
            Self::EtherAnchors => "eth-anchors",
        }
    }

    /// The value of a fresh PF (FreeBSD's pf.conf(5), `set limit`; `tables`: OpenBSD's).
    #[must_use]
    pub const fn default_value(self) -> u32 {
        match self {
            Self::States => 100_000,
            Self::SrcNodes => 10_000,
            Self::Frags => 5_000,
            Self::Tables => 1_000,
            Self::TableEntries => 200_000,
            Self::Anchors | Self::EtherAnchors => 512,
        }
    }
}

/// `table <name> …`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one keyword of pf.conf(5)"
)]
pub struct TableDefinition {
    /// `persist`: kept without a rule that refers to it.
    pub persist: bool,
    /// `const`: its contents cannot be changed once loaded.
    pub constant: bool,
    /// `counters`: per-address counters.
    pub counters: bool,
    /// Whether addresses were given (inline or by file), even none: then loading replaces the
    /// contents, otherwise a table that exists keeps them.
    pub has_contents: bool,
    /// The addresses.
    pub entries: Vec<TableEntry>,
}

/// One address of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableEntry {
    /// Host or network, host bits zero.
    pub prefix: Prefix,
    /// `! address`: not in the table although a shorter prefix is.
    pub negated: bool,
}
