//! What requests do to the engine. Runs in the packet loop, so each piece of work is small: what
//! would be long is [`Ongoing`], and packets have their turn between its pieces.

mod ongoing;
mod tables;

use std::sync::Arc;

use datapath::queues::QueueStatistics;
use pf_conf::Feedback;
use pf_engine::addr::Prefix;
use pf_engine::addr::Protocol;
use pf_engine::anchor::{AnchorPath, TableRef};
use pf_engine::decision::StateId;
use pf_engine::engine::{
    Engine, ForgetSources, KillFilter, KillStates, RuleList, SourceFilter, TableError,
};
use pf_engine::env::Interface;
use pf_engine::rule::Direction;
use pf_engine::ruleset::{DebugLevel, Dialect, Parts, Ruleset, TableEntry};
use pf_engine::time::Instant;
use pf_engine::view::AddressCounters;
use tracing::info;

pub use self::ongoing::{Ongoing, proceed};
pub use self::tables::Change;
use super::health::Health;
use super::protocol::{
    Description, DialectName, FlushRequest, FlushTarget, KillRequest, KillSourcesRequest,
    KillTarget, LoadedStates, Outcome, Request, ShowRequest,
};
use super::queueing::{self, Scheduler};
use crate::daemon::keep::file::{Contents, Draft, Form};
use crate::daemon::keep::load::{Printed, take_over};
use crate::daemon::logging;
use crate::flows::FlowCounters;
use crate::gateway::monitor::Monitor;
use crate::pfctl::show::{Cursor, LoadedBy, Lost, Page, Scope, Section, Shown, View, page, shown};

/// States that are written down before packets get their turn: a few milliseconds' worth.
const STATES_PER_TURN: usize = 512;
/// States that are looked at, and killed if they are meant, before packets get their turn.
const STATES_KILLED_PER_TURN: usize = 2_048;
/// Source nodes, or sources of a limiter, that are looked at before packets get their turn.
const SOURCES_FORGOTTEN_PER_TURN: usize = 2_048;
/// Addresses of tables that are looked at before packets get their turn: about a millisecond's
/// worth.
const ENTRIES_PER_TURN: usize = 2_048;

/// The part of the daemon that requests act on.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The engine.
    pub engine: &'a mut Engine,
    /// The moment.
    pub now: Instant,
    /// Seconds since 1970 at the engine's time origin.
    pub origin: u64,
    /// Who loaded the rules in force.
    pub loaded_by: &'a mut LoadedBy,
    /// Packets that the data path lost since it was opened.
    pub lost: Lost,
    /// How many of these had been lost when `-F info` last zeroed the counters.
    pub lost_before: &'a mut Lost,
    /// Packets that passed two hooks at once by the flow cache, and those of them that did at the
    /// driver, and by a lane.
    pub fused: [u64; 3],
    /// The interfaces of the box.
    pub interfaces: &'a [Interface],
    /// The dialect that the daemon was configured with.
    pub dialect: Dialect,
    /// What rules may send packets by, or translate on.
    pub filtered: &'a Arc<[String]>,
    /// What queues packets.
    pub scheduler: &'a mut dyn Scheduler,
    /// The gateways that are probed.
    pub gateways: &'a Monitor,
}

impl Desk<'_> {
    /// What the flow cache does, as far as the daemon has read its counters.
    pub(super) fn flows(&self) -> FlowCounters {
        FlowCounters::of(self.engine, self.lost.held_back, self.fused)
    }
}

/// What PF says of an anchor that is not there.
const NO_ANCHOR: &str = "Anchor does not exist.";

/// A ruleset, and where it goes.
#[derive(Debug)]
pub struct Installation {
    /// The ruleset, with those of its anchors.
    pub ruleset: Ruleset,
    /// The anchor that it is for.
    pub anchor: AnchorPath,
    /// What of it is wanted.
    pub parts: Parts,
    /// `pfctl -m`: options that it does not name stay.
    pub merge: bool,
}

impl From<Ruleset> for Installation {
    /// All of it, for the main ruleset.
    fn from(ruleset: Ruleset) -> Self {
        Self {
            ruleset,
            anchor: AnchorPath::main(),
            parts: Parts::ALL,
            merge: false,
        }
    }
}

/// A piece of work for the packet loop.
#[derive(Debug)]
pub enum Work {
    /// The daemon's view of the box, as the loader wants it.
    Interfaces,
    /// The packets that quick rules have seen.
    Feedback,
    /// Install a checked ruleset.
    Install(Box<Installation>, LoadedBy),
    /// A part of what `-s` shows.
    Page(ShowRequest, Cursor),
    /// The next addresses of a table of an anchor, after one of them.
    Entries(AnchorPath, String, Option<Prefix>),
    /// `-T add`, `delete`, `replace`, `expire`.
    Change(Box<Change>),
    /// The next states for `-S`: nothing begins.
    Export(Option<Box<Draft>>),
    /// States for `-L`, and the rules in force as they were printed for the states before them.
    Import(Box<Contents>, Option<Printed>),
    /// Any other request.
    Request(Request),
}

/// What a piece of work needs to have happened to the flow cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it has nothing to do with packets, or goes on with what it began to show.
    None,
    /// It shows what packets did.
    Shows,
    /// It shows what the packets of some states did: of so many from this number on.
    ShowsStates(StateId, usize),
    /// It may change what happens to packets.
    Changes,
}

impl Work {
    /// What it does with what the flow cache knows.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self {
            Self::Interfaces
            | Self::Request(
                Request::Describe | Request::Gateways | Request::Limits | Request::Health,
            )
            | Self::Entries(_, _, Some(_)) => Effect::None,
            Self::Page(request, cursor) => match shown(&request.sections, *cursor) {
                Shown::Neither => Effect::None,
                Shown::States(from, max) => Effect::ShowsStates(from, max),
                Shown::Counters => Effect::Shows,
            },
            Self::Export(draft) => {
                let from = draft
                    .as_ref()
                    .map_or(StateId(0), |draft| draft.next_state());
                Effect::ShowsStates(from, STATES_PER_TURN)
            }
            Self::Feedback | Self::Entries(..) | Self::Request(Request::Flows) => Effect::Shows,
            Self::Install(..) | Self::Change(_) | Self::Import(..) | Self::Request(_) => {
                Effect::Changes
            }
        }
    }
}

/// What rules are read with.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The interfaces of the box.
    pub interfaces: Vec<Interface>,
    /// The dialect that the daemon was configured with.
    pub dialect: Dialect,
    /// What rules may send packets by, or translate on.
    pub filtered: Arc<[String]>,
}

/// What comes back.
#[derive(Debug)]
pub enum Answer {
    /// To [`Work::Interfaces`].
    Interfaces(Surroundings),
    /// To [`Work::Feedback`].
    Feedback(Vec<Feedback>),
    /// To [`Work::Page`].
    Page(Page),
    /// To [`Work::Entries`].
    Entries(TableContents),
    /// To [`Work::Export`]: the text so far, and whether more comes.
    Export(Box<Draft>, bool),
    /// To [`Work::Import`], with what the next one wants.
    Imported(Outcome, Printed),
    /// To everything else: text for standard output, and the outcome.
    Outcome(String, Outcome),
    /// It was refused.
    Refused(String),
}

/// Some addresses of a table.
#[derive(Debug, Default)]
pub struct TableContents {
    /// The addresses, in order, each with the moment since which it counts and, with `counters`,
    /// what it has counted.
    pub entries: Vec<(TableEntry, Instant, Option<AddressCounters>)>,
    /// After which there may be more.
    pub next: Option<Prefix>,
    /// Seconds since 1970 at the engine's time origin.
    pub origin: u64,
    /// Whose printing.
    pub dialect: Dialect,
}

/// How far a piece of work has come.
#[derive(Debug)]
pub enum Handled {
    /// It is done.
    Done(Answer),
    /// There is more to do, once packets have had their turn.
    More(Ongoing),
}

/// Does `work`.
pub fn handle(desk: &mut Desk<'_>, work: Work) -> Handled {
    Handled::Done(match work {
        Work::Install(installation, by) => {
            let installing = Ongoing::install(desk.engine, *installation, by);
            return proceed(desk, installing);
        }
        Work::Change(change) => return proceed(desk, Ongoing::Change(change)),
        Work::Interfaces => Answer::Interfaces(Surroundings {
            interfaces: desk.interfaces.to_vec(),
            dialect: desk.dialect,
            filtered: desk.filtered.clone(),
        }),
        Work::Feedback => Answer::Feedback(packets_seen(desk.engine)),
        Work::Page(request, _) if !desk.engine.has_anchor(&request.scope.anchor) => {
            Answer::Refused(NO_ANCHOR.to_owned())
        }
        Work::Page(request, cursor) => Answer::Page(show(desk, &request, cursor)),
        Work::Entries(anchor, name, after) => entries(desk, table_ref(&anchor, &name), after),
        Work::Export(draft) => export(desk, draft),
        Work::Import(contents, printed) => import(desk, *contents, printed),
        Work::Request(Request::Kill(request)) => {
            let killing = Ongoing::kill(desk.engine, filters(&request), String::new());
            return proceed(desk, killing);
        }
        Work::Request(Request::KillSources(requests)) => {
            return forget(desk, requests.iter().map(nodes_of));
        }
        Work::Request(Request::KillLimited(request)) => {
            let id = request.limiter;
            let networks = request.sources.iter();
            return forget(
                desk,
                networks.map(|network| ForgetSources::Limited(id, network.0)),
            );
        }
        Work::Request(Request::Flush(request)) => return flush(desk, &request),
        Work::Request(request) => perform(desk, request),
    })
}

/// The filter rules in force that are `quick` and have seen packets.
#[must_use]
pub fn packets_seen(engine: &Engine) -> Vec<Feedback> {
    let rules = engine.rules(RuleList::Filter);
    let busy = rules.filter(|rule| rule.rule.quick && rule.counters.traffic.packets() > 0);
    busy.map(|rule| (rule.rule.clone(), rule.counters.traffic.packets()))
        .collect()
}

fn outcome(outcome: Outcome) -> Answer {
    Answer::Outcome(String::new(), outcome)
}

fn show(desk: &Desk<'_>, request: &ShowRequest, cursor: Cursor) -> Page {
    let of_queues = |section: &Section| matches!(section, Section::Queue | Section::QueueRecords);
    let asked = request.sections.iter().any(of_queues);
    let statistics = if asked && request.style.verbose > 0 {
        desk.scheduler.statistics(desk.engine.queue_numbers())
    } else {
        QueueStatistics::new()
    };
    let view = View {
        queues: &statistics,
        engine: desk.engine,
        now: desk.now,
        origin: desk.origin,
        loaded_by: *desk.loaded_by,
        lost: desk.lost.since(*desk.lost_before),
        interfaces: desk.interfaces,
        interface: request.interface.as_deref(),
        dialect: request
            .dialect
            .map_or_else(|| desk.engine.dialect(), |name| name.0),
        style: request.style,
        scope: &request.scope,
    };
    page(&view, &request.sections, request.titles, cursor)
}

fn table_ref<'a>(anchor: &'a AnchorPath, name: &'a str) -> TableRef<'a> {
    TableRef {
        anchor: anchor.as_str(),
        name,
    }
}

fn entries(desk: &Desk<'_>, name: TableRef<'_>, after: Option<Prefix>) -> Answer {
    let engine = &desk.engine;
    let Some(page) = engine.table_page(name, after, ENTRIES_PER_TURN) else {
        return Answer::Refused(TableError::NoSuchTable.to_string());
    };
    let counts = engine.table_has_counters(name);
    let last = page.last().map(|(entry, _)| entry.prefix);
    let is_whole = page.len() == ENTRIES_PER_TURN;
    let entries = page.into_iter().map(|(entry, since)| {
        let counters = counts.then(|| engine.address_counters(name, entry.prefix));
        (entry, since, counters)
    });
    Answer::Entries(TableContents {
        entries: entries.collect(),
        next: last.filter(|_| is_whole),
        origin: desk.origin,
        dialect: engine.dialect(),
    })
}

/// Seconds since 1970.
fn date(desk: &Desk<'_>) -> u64 {
    let now = desk.now.since_origin().as_secs();
    desk.origin.saturating_add(now)
}

fn export(desk: &Desk<'_>, draft: Option<Box<Draft>>) -> Answer {
    let fresh = || Box::new(Draft::new(Form::Lines, desk.engine.dialect(), date(desk)));
    let mut draft = draft.unwrap_or_else(fresh);
    let more = draft.add(desk.engine, desk.now, STATES_PER_TURN);
    Answer::Export(draft, more)
}

fn import(desk: &mut Desk<'_>, contents: Contents, printed: Option<Printed>) -> Answer {
    let date = date(desk);
    let printed = Printed::current(printed, desk.engine, contents.dialect);
    match take_over(
        contents,
        desk.engine,
        desk.now,
        date,
        desk.interfaces,
        &printed,
    ) {
        Ok(imported) => {
            info!(states = imported.states, "states loaded");
            let loaded = Outcome::Loaded(LoadedStates {
                states: imported.states,
                expired: imported.expired,
                without_interface: imported.without_interface,
                without_room: imported.without_room,
            });
            Answer::Imported(loaded, printed)
        }
        Err(error) => Answer::Refused(format!("states not loaded: {error}")),
    }
}

/// `Load`, `Show` and `-T show` come as other work: the control thread takes them apart. What
/// takes longer is [`Ongoing`].
fn perform(desk: &mut Desk<'_>, request: Request) -> Answer {
    match request {
        Request::Describe => outcome(Outcome::Description(describe(desk))),
        Request::SetEnabled(enabled) => set_enabled(desk, enabled),
        Request::ClearRuleCounters => {
            desk.engine.clear_rule_counters();
            outcome(Outcome::Ok)
        }
        Request::Gateways => outcome(Outcome::Gateways(desk.gateways.views(desk.now))),
        Request::ClearInterface(name) => {
            desk.engine.clear_interface_counters(desk.now, &name);
            outcome(Outcome::Ok)
        }
        Request::SetDebug(name) => set_debug(desk, &name),
        Request::Health => outcome(Outcome::Health(Health::of(desk))),
        Request::Flows => outcome(Outcome::Flows(desk.flows())),
        Request::Limits => outcome(Outcome::Limits(
            desk.engine.limits().iter().map(Into::into).collect(),
        )),
        Request::Table(request) => tables::table(desk, &request),
        Request::Load(_)
        | Request::Show(_)
        | Request::Watch(_)
        | Request::SaveStates
        | Request::LoadStates(_)
        | Request::Kill(_)
        | Request::KillSources(_)
        | Request::KillLimited(_)
        | Request::Flush(_) => Answer::Refused("request out of place".into()),
    }
}

fn describe(desk: &Desk<'_>) -> Description {
    Description {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        dialect: DialectName(desk.dialect),
        enabled: desk.engine.status().enabled_since.is_some(),
        interfaces: desk.interfaces.iter().map(Into::into).collect(),
    }
}

fn set_enabled(desk: &mut Desk<'_>, enabled: bool) -> Answer {
    let changed = desk.engine.set_enabled(desk.now, enabled);
    if changed {
        info!("pf {}", if enabled { "enabled" } else { "disabled" });
    }
    outcome(Outcome::Changed(changed))
}

fn set_debug(desk: &mut Desk<'_>, name: &str) -> Answer {
    let Some(level) = DebugLevel::named(name) else {
        return Answer::Refused(format!("unknown debug level '{name}'"));
    };
    desk.engine.set_debug(level);
    logging::follow(level);
    outcome(Outcome::Ok)
}

/// `-F`.
fn flush(desk: &mut Desk<'_>, request: &FlushRequest) -> Handled {
    let FlushRequest { target, scope } = request;
    if !desk.engine.has_anchor(&scope.anchor) {
        return Handled::Done(Answer::Refused(NO_ANCHOR.to_owned()));
    }
    info!(?target, anchor = %scope.anchor, "flushed");
    let (anchors, text) = flushed(desk, scope);
    let mut count = 0;
    match target {
        FlushTarget::Rules => {
            for anchor in &anchors {
                desk.engine.flush_rules(anchor);
            }
        }
        FlushTarget::Ether => {
            for anchor in &anchors {
                desk.engine.flush_ether(anchor);
            }
        }
        FlushTarget::Nat => {
            for anchor in &anchors {
                desk.engine.flush_nat(anchor);
            }
        }
        FlushTarget::Tables => {
            for anchor in &anchors {
                count += desk.engine.flush_tables(anchor);
            }
        }
        FlushTarget::States => {
            let all = KillFilter::from(KillStates::All);
            return proceed(desk, Ongoing::kill(desk.engine, [all], text));
        }
        FlushTarget::Sources => {
            let tells = |_| Outcome::Ok;
            let all = Ongoing::forget(desk.engine, [ForgetSources::All], text, tells);
            return proceed(desk, all);
        }
        FlushTarget::Queues => {
            desk.engine.flush_queues();
            queueing::put_back(desk.engine, desk.scheduler);
        }
        FlushTarget::Info => {
            desk.engine.clear_status(desk.now);
            *desk.lost_before = desk.lost;
        }
        FlushTarget::Fingerprints => desk.engine.flush_fingerprints(),
        FlushTarget::Options => desk.engine.reset_options(),
    }
    let outcome = if *target == FlushTarget::Tables {
        Outcome::Count(count)
    } else {
        Outcome::Ok
    };
    Handled::Done(Answer::Outcome(text, outcome))
}

/// The anchors that are emptied. With `-a path/*` each is named before.
fn flushed(desk: &Desk<'_>, scope: &Scope) -> (Vec<AnchorPath>, String) {
    let mut anchors = vec![scope.anchor.clone()];
    if !scope.recurse {
        return (anchors, String::new());
    }
    let inside = desk.engine.anchors().filter(|path| scope.holds(path));
    anchors.extend(inside.filter(|path| **path != scope.anchor).cloned());
    let mut text = String::from("Removing:\n");
    for anchor in &anchors {
        let shown = if anchor.is_main() {
            "/"
        } else {
            anchor.as_str()
        };
        text = format!("{text}  {shown}\n");
    }
    (anchors, text)
}

/// `-K`, `-I id -k`.
fn forget(desk: &mut Desk<'_>, sources: impl Iterator<Item = ForgetSources>) -> Handled {
    let forgetting = Ongoing::forget(desk.engine, sources, String::new(), Outcome::Count);
    proceed(desk, forgetting)
}

fn nodes_of(request: &KillSourcesRequest) -> ForgetSources {
    ForgetSources::Nodes(SourceFilter {
        source: request.source.0,
        target: request.target.map(|prefix| prefix.0),
    })
}

fn filters(request: &KillRequest) -> impl Iterator<Item = KillFilter> {
    request.targets.iter().map(|target| KillFilter {
        states: states_of(target),
        interface: request.interface.clone(),
        matching: request.matching,
    })
}

fn states_of(target: &KillTarget) -> KillStates {
    match target {
        KillTarget::All => KillStates::All,
        KillTarget::Hosts(source, destination) => {
            KillStates::Hosts(source.0, destination.map(|prefix| prefix.0))
        }
        KillTarget::Nat(source) => KillStates::Nat(source.0, None),
        KillTarget::Label(label) => KillStates::Label(label.clone()),
        KillTarget::Gateway(gateway) => KillStates::Gateway(gateway.0),
        KillTarget::Id(id, creator) => KillStates::Id(StateId(*id), *creator),
        KillTarget::Key(protocol, ends, inbound) => {
            let direction = if *inbound {
                Direction::In
            } else {
                Direction::Out
            };
            KillStates::Key(Protocol(*protocol), *ends, direction)
        }
    }
}
