//! What requests do to the engine. Runs in the packet loop, so each piece of work is small.

use std::collections::BTreeMap;
use std::time::Duration;

use datapath::queues::QueueStatistics;
use pf_conf::Feedback;
use pf_engine::addr::Prefix;
use pf_engine::addr::Protocol;
use pf_engine::anchor::{AnchorPath, TableRef};
use pf_engine::decision::StateId;
use pf_engine::engine::{
    Engine, KillFilter, KillStates, ReplaceOutcome, RuleList, SourceFilter, TableError,
};
use pf_engine::env::Interface;
use pf_engine::rule::Direction;
use pf_engine::ruleset::{DebugLevel, Dialect, Parts, Ruleset, TableEntry};
use pf_engine::time::Instant;
use pf_engine::view::AddressCounters;
use tracing::info;

use super::protocol::{
    Description, DialectName, FlushRequest, FlushTarget, KillRequest, KillSourcesRequest,
    KillTarget, LoadedStates, Outcome, PrefixText, Request, ShowRequest, TableCommand,
    TableOutcome, TableRequest,
};
use super::queueing::{self, Scheduler};
use crate::daemon::keep::file::{Contents, Draft};
use crate::daemon::keep::load::take_over;
use crate::daemon::logging;
use crate::gateway::monitor::Monitor;
use crate::pfctl::show::tables::write_entry;
use crate::pfctl::show::{Cursor, LoadedBy, Page, Section, View, page};

/// States that are written down before packets get their turn: a few milliseconds' worth.
const STATES_PER_TURN: usize = 512;

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
    pub lost: u64,
    /// How many of these had been lost when `-F info` last zeroed the counters.
    pub lost_before: &'a mut u64,
    /// The interfaces of the box.
    pub interfaces: &'a [Interface],
    /// The dialect that the daemon was configured with.
    pub dialect: Dialect,
    /// What queues packets.
    pub scheduler: &'a mut dyn Scheduler,
    /// The gateways that are probed.
    pub gateways: &'a Monitor,
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
    /// All addresses of a table of an anchor, with the moments since which they count.
    Entries(AnchorPath, String),
    /// The next states for `-S`: nothing begins.
    Export(Option<Box<Draft>>),
    /// States for `-L`.
    Import(Box<Contents>),
    /// Any other request.
    Request(Request),
}

/// What comes back.
#[derive(Debug)]
pub enum Answer {
    /// To [`Work::Interfaces`]: the interfaces and the configured dialect.
    Interfaces(Vec<Interface>, Dialect),
    /// To [`Work::Feedback`].
    Feedback(Vec<Feedback>),
    /// To [`Work::Page`].
    Page(Page),
    /// To [`Work::Entries`].
    Entries(TableContents),
    /// To [`Work::Export`]: the text so far, and whether more comes.
    Export(Box<Draft>, bool),
    /// To everything else: text for standard output, and the outcome.
    Outcome(String, Outcome),
    /// It was refused.
    Refused(String),
}

/// Addresses of a table.
#[derive(Debug, Default)]
pub struct TableContents {
    /// The addresses, in order, each with the moment since which it counts.
    pub entries: Vec<(TableEntry, Instant)>,
    /// With `counters`: of the addresses that packets have met.
    pub counters: Option<BTreeMap<Prefix, AddressCounters>>,
    /// Seconds since 1970 at the engine's time origin.
    pub origin: u64,
    /// Whose printing.
    pub dialect: Dialect,
}

/// Does `work`.
pub fn handle(desk: &mut Desk<'_>, work: Work) -> Answer {
    match work {
        Work::Interfaces => Answer::Interfaces(desk.interfaces.to_vec(), desk.dialect),
        Work::Feedback => Answer::Feedback(packets_seen(desk.engine)),
        Work::Install(installation, by) => install(desk, *installation, by),
        Work::Page(request, _) if !desk.engine.has_anchor(&request.scope.anchor) => {
            Answer::Refused(NO_ANCHOR.to_owned())
        }
        Work::Page(request, cursor) => Answer::Page(show(desk, &request, cursor)),
        Work::Entries(anchor, name) => entries(desk, table_ref(&anchor, &name)),
        Work::Export(draft) => export(desk, draft),
        Work::Import(contents) => import(desk, *contents),
        Work::Request(request) => perform(desk, request),
    }
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

fn install(desk: &mut Desk<'_>, installation: Installation, by: LoadedBy) -> Answer {
    let Installation {
        mut ruleset,
        anchor,
        parts,
        merge,
    } = installation;
    if merge {
        let mut options = desk.engine.options().clone();
        options.merge(std::mem::take(&mut ruleset.options));
        ruleset.options = options;
    }
    let rules = ruleset.filter.len();
    let queues = anchor.is_main() && parts.queues;
    if queues && let Err(message) = queueing::put(desk.engine, desk.scheduler, &ruleset.queues) {
        return Answer::Refused(format!("{message}\nrules not loaded"));
    }
    let installed = desk.engine.install_at(desk.now, &anchor, parts, ruleset);
    match installed {
        Ok(()) => {
            info!(rules, %anchor, uid = by.uid, pid = by.pid, "rules loaded");
            *desk.loaded_by = by;
            outcome(Outcome::Ok)
        }
        Err(error) => {
            if queues {
                queueing::put_back(desk.engine, desk.scheduler);
            }
            Answer::Refused(format!("{error}: rules not loaded"))
        }
    }
}

fn show(desk: &Desk<'_>, request: &ShowRequest, cursor: Cursor) -> Page {
    let asked = request.sections.contains(&Section::Queue);
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
        lost: desk.lost.saturating_sub(*desk.lost_before),
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

fn entries(desk: &Desk<'_>, name: TableRef<'_>) -> Answer {
    let engine = &desk.engine;
    match (engine.table_ages(name), engine.table_has_counters(name)) {
        (Some(entries), counts) => Answer::Entries(TableContents {
            entries,
            counters: counts.then(|| engine.table_address_counters(name).collect()),
            origin: desk.origin,
            dialect: engine.dialect(),
        }),
        (None, _) => Answer::Refused(TableError::NoSuchTable.to_string()),
    }
}

/// Seconds since 1970.
fn date(desk: &Desk<'_>) -> u64 {
    let now = desk.now.since_origin().as_secs();
    desk.origin.saturating_add(now)
}

fn export(desk: &Desk<'_>, draft: Option<Box<Draft>>) -> Answer {
    let fresh = || Box::new(Draft::new(desk.engine.dialect(), date(desk)));
    let mut draft = draft.unwrap_or_else(fresh);
    let more = draft.add(desk.engine, desk.now, STATES_PER_TURN);
    Answer::Export(draft, more)
}

fn import(desk: &mut Desk<'_>, contents: Contents) -> Answer {
    let date = date(desk);
    match take_over(contents, desk.engine, desk.now, date, desk.interfaces) {
        Ok(imported) => {
            info!(states = imported.states, "states loaded");
            outcome(Outcome::Loaded(LoadedStates {
                states: imported.states,
                expired: imported.expired,
                without_interface: imported.without_interface,
                without_room: imported.without_room,
            }))
        }
        Err(error) => Answer::Refused(format!("states not loaded: {error}")),
    }
}

/// `Load`, `Show` and `-T show` come as other work: the control thread takes them apart.
fn perform(desk: &mut Desk<'_>, request: Request) -> Answer {
    match request {
        Request::Describe => outcome(Outcome::Description(describe(desk))),
        Request::SetEnabled(enabled) => set_enabled(desk, enabled),
        Request::Flush(request) => flush(desk, &request),
        Request::ClearRuleCounters => {
            desk.engine.clear_rule_counters();
            outcome(Outcome::Ok)
        }
        Request::KillSources(filters) => outcome(Outcome::Count(kill_sources(desk, &filters))),
        Request::KillLimited(request) => {
            let sources = request.sources.iter();
            let kill =
                |within: &PrefixText| desk.engine.kill_limited_sources(request.limiter, within.0);
            outcome(Outcome::Count(sources.map(kill).sum()))
        }
        Request::Gateways => outcome(Outcome::Gateways(desk.gateways.views(desk.now))),
        Request::Kill(request) => outcome(Outcome::Count(kill(desk, &request))),
        Request::ClearInterface(name) => {
            desk.engine.clear_interface_counters(desk.now, &name);
            outcome(Outcome::Ok)
        }
        Request::SetDebug(name) => set_debug(desk, &name),
        Request::Table(request) => table(desk, &request),
        Request::Load(_)
        | Request::Show(_)
        | Request::Watch(_)
        | Request::SaveStates
        | Request::LoadStates(_) => Answer::Refused("request out of place".into()),
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

/// `-F`. With `-a path/*` each anchor is named before it is emptied.
fn flush(desk: &mut Desk<'_>, request: &FlushRequest) -> Answer {
    let FlushRequest { target, scope } = request;
    if !desk.engine.has_anchor(&scope.anchor) {
        return Answer::Refused(NO_ANCHOR.to_owned());
    }
    info!(?target, anchor = %scope.anchor, "flushed");
    let mut text = String::new();
    let mut anchors = vec![scope.anchor.clone()];
    if scope.recurse {
        let inside = desk.engine.anchors().filter(|path| scope.holds(path));
        anchors.extend(inside.filter(|path| **path != scope.anchor).cloned());
        text.push_str("Removing:\n");
        for anchor in &anchors {
            let shown = if anchor.is_main() {
                "/"
            } else {
                anchor.as_str()
            };
            text = format!("{text}  {shown}\n");
        }
    }
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
        FlushTarget::States => count = desk.engine.flush_states(),
        FlushTarget::Sources => count = desk.engine.flush_sources(),
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
    let counted = matches!(target, FlushTarget::Tables | FlushTarget::States);
    let outcome = if counted {
        Outcome::Count(count)
    } else {
        Outcome::Ok
    };
    Answer::Outcome(text, outcome)
}

fn kill_sources(desk: &mut Desk<'_>, requests: &[KillSourcesRequest]) -> usize {
    let filter = |request: &KillSourcesRequest| SourceFilter {
        source: request.source.0,
        target: request.target.map(|prefix| prefix.0),
    };
    requests
        .iter()
        .map(|request| desk.engine.kill_sources(filter(request)))
        .sum()
}

fn kill(desk: &mut Desk<'_>, request: &KillRequest) -> usize {
    let mut killed = 0;
    for target in &request.targets {
        killed += desk.engine.kill_states(&KillFilter {
            states: states_of(target),
            interface: request.interface.clone(),
            matching: request.matching,
        });
    }
    killed
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

/// Addresses of a table with their signs.
type Addresses = BTreeMap<Prefix, bool>;

fn table(desk: &mut Desk<'_>, request: &TableRequest) -> Answer {
    // What is in the table is only worth a walk over it when somebody asks for the difference.
    let before = (request.dry_run || request.verbose > 0)
        .then(|| contents(desk, table_ref(&request.anchor, &request.name)));
    let given: Vec<TableEntry> = match chosen(desk, request) {
        Ok(Some(chosen)) => chosen,
        Ok(None) => request.entries.iter().map(|entry| entry.0).collect(),
        Err(error) => return Answer::Refused(error.to_string()),
    };
    let done = if request.command == TableCommand::Test {
        test(desk, request, &given)
    } else if request.dry_run {
        rehearse(desk, request, &given, before.as_ref())
    } else {
        change(desk, request, &given)
    };
    match done {
        Ok(mut done) => {
            done.requested = given.len();
            if request.command == TableCommand::Reset {
                done.requested = done.zeroed;
            }
            let text = feedback(desk, request, &given, before.as_ref());
            Answer::Outcome(text, Outcome::Table(done))
        }
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// The addresses that the command finds itself.
fn chosen(desk: &Desk<'_>, request: &TableRequest) -> Result<Option<Vec<TableEntry>>, TableError> {
    if request.command != TableCommand::Expire {
        return Ok(None);
    }
    let age = Duration::from_secs(request.age);
    let name = table_ref(&request.anchor, &request.name);
    desk.engine.table_older_than(desk.now, name, age).map(Some)
}

fn contents(desk: &Desk<'_>, name: TableRef<'_>) -> Addresses {
    let entries = desk.engine.table(name).map_or(Vec::new(), |t| t.entries);
    entries.iter().map(|e| (e.prefix, e.negated)).collect()
}

fn change(
    desk: &mut Desk<'_>,
    request: &TableRequest,
    given: &[TableEntry],
) -> Result<TableOutcome, TableError> {
    let (name, now) = (table_ref(&request.anchor, &request.name), desk.now);
    let mut done = TableOutcome::default();
    let exists = |desk: &Desk<'_>| desk.engine.has_table(name);
    match request.command {
        TableCommand::Add => {
            done.created = !exists(desk);
            done.added = desk.engine.table_add(now, name, given)?;
        }
        TableCommand::Delete | TableCommand::Expire => {
            done.deleted = desk.engine.table_delete(name, given)?;
        }
        TableCommand::Flush => done.deleted = desk.engine.table_flush(name)?,
        TableCommand::Replace => {
            done.created = !exists(desk);
            let ReplaceOutcome {
                added,
                deleted,
                changed,
            } = desk.engine.table_replace(now, name, given)?;
            (done.added, done.deleted, done.changed) = (added, deleted, changed);
        }
        TableCommand::Kill => {
            desk.engine.table_kill(name)?;
            done.deleted = 1;
        }
        TableCommand::Zero if given.is_empty() => {
            desk.engine.table_zero(now, name)?;
            done.zeroed = 1;
        }
        TableCommand::Zero => done.zeroed = desk.engine.table_zero_addresses(now, name, given)?,
        TableCommand::Reset => done.zeroed = desk.engine.table_reset(now, name)?,
        TableCommand::Show | TableCommand::Test | TableCommand::Load => {}
    }
    Ok(done)
}

fn test(
    desk: &Desk<'_>,
    request: &TableRequest,
    given: &[TableEntry],
) -> Result<TableOutcome, TableError> {
    let mut done = TableOutcome::default();
    let name = table_ref(&request.anchor, &request.name);
    for entry in given {
        done.matched += usize::from(desk.engine.table_test(name, entry.prefix)?);
    }
    Ok(done)
}

/// What [`change`] would do.
fn rehearse(
    desk: &Desk<'_>,
    request: &TableRequest,
    given: &[TableEntry],
    before: Option<&Addresses>,
) -> Result<TableOutcome, TableError> {
    let table = desk.engine.table(table_ref(&request.anchor, &request.name));
    let creates = matches!(request.command, TableCommand::Add | TableCommand::Replace);
    let changes = creates
        || matches!(
            request.command,
            TableCommand::Delete | TableCommand::Flush | TableCommand::Expire
        );
    match &table {
        None if !creates => return Err(TableError::NoSuchTable),
        Some(table) if table.constant && changes => return Err(TableError::Constant),
        _ => {}
    }
    let before = before.cloned().unwrap_or_default();
    let count = |mark: char| {
        marks(request.command, given, &before)
            .filter(|m| m.0 == mark)
            .count()
    };
    Ok(TableOutcome {
        created: creates && table.is_none(),
        added: count('A'),
        deleted: count('D') + usize::from(request.command == TableCommand::Kill),
        changed: count('C'),
        zeroed: would_zero(desk, request, given, &before),
        ..TableOutcome::default()
    })
}

fn would_zero(
    desk: &Desk<'_>,
    request: &TableRequest,
    given: &[TableEntry],
    before: &Addresses,
) -> usize {
    match request.command {
        TableCommand::Zero if given.is_empty() => 1,
        TableCommand::Zero => {
            let known = |entry: &&TableEntry| before.contains_key(&entry.prefix);
            given.iter().filter(known).count()
        }
        TableCommand::Reset => {
            let name = table_ref(&request.anchor, &request.name);
            desk.engine.table_address_counters(name).count()
        }
        TableCommand::Add
        | TableCommand::Delete
        | TableCommand::Flush
        | TableCommand::Replace
        | TableCommand::Show
        | TableCommand::Test
        | TableCommand::Load
        | TableCommand::Kill
        | TableCommand::Expire => 0,
    }
}

/// What a command does to each address: (mark, address), a blank for nothing.
fn marks<'a>(
    command: TableCommand,
    given: &'a [TableEntry],
    before: &'a Addresses,
) -> impl Iterator<Item = (char, TableEntry)> {
    let mut seen: Addresses = BTreeMap::new();
    let own = given.iter().map(move |entry| {
        let mark = match (command, before.get(&entry.prefix)) {
            _ if seen.insert(entry.prefix, entry.negated).is_some() => ' ',
            (TableCommand::Add | TableCommand::Replace, None) => 'A',
            (TableCommand::Replace, Some(negated)) if *negated != entry.negated => 'C',
            (TableCommand::Delete | TableCommand::Expire, Some(_)) => 'D',
            _ => ' ',
        };
        (mark, *entry)
    });
    let kept: Addresses = match command {
        TableCommand::Replace => given.iter().map(|e| (e.prefix, e.negated)).collect(),
        TableCommand::Flush => Addresses::new(),
        TableCommand::Add
        | TableCommand::Delete
        | TableCommand::Show
        | TableCommand::Test
        | TableCommand::Load
        | TableCommand::Kill
        | TableCommand::Zero
        | TableCommand::Reset
        | TableCommand::Expire => before.clone(),
    };
    let gone = before
        .iter()
        .filter(move |(prefix, _)| !kept.contains_key(prefix))
        .map(|(prefix, negated)| {
            let (prefix, negated) = (*prefix, *negated);
            ('D', TableEntry { prefix, negated })
        });
    own.chain(gone)
}

/// What `-v` prints: the addresses that were touched; `-vv`: all that were given.
fn feedback(
    desk: &Desk<'_>,
    request: &TableRequest,
    given: &[TableEntry],
    before: Option<&Addresses>,
) -> String {
    let mut text = String::new();
    let Some(before) = before.filter(|_| request.verbose > 0) else {
        return text;
    };
    let name = table_ref(&request.anchor, &request.name);
    for (mark, entry) in marks(request.command, given, before) {
        let matched = request.command == TableCommand::Test
            && desk.engine.table_test(name, entry.prefix) == Ok(true);
        let mark = if matched { 'M' } else { mark };
        if mark != ' ' || request.verbose > 1 {
            write_entry(&mut text, mark, &entry);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_table_entry;

    fn entries(texts: &[&str]) -> Vec<TableEntry> {
        let parse = |text: &&str| parse_table_entry(text).expect("valid");
        texts.iter().map(parse).collect()
    }

    fn marked(command: TableCommand, given: &[&str], before: &[&str]) -> String {
        let before = entries(before)
            .iter()
            .map(|e| (e.prefix, e.negated))
            .collect();
        marks(command, &entries(given), &before)
            .map(|(mark, entry)| format!("{mark}{}", crate::text::table_entry_text(&entry)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn marks_tell_what_each_command_does() {
        let before = ["192.0.2.1", "192.0.2.2"];
        let given = ["192.0.2.2", "192.0.2.3", "192.0.2.3"];
        assert_eq!(
            marked(TableCommand::Add, &given, &before),
            " 192.0.2.2 A192.0.2.3  192.0.2.3"
        );
        assert_eq!(
            marked(TableCommand::Delete, &given, &before),
            "D192.0.2.2  192.0.2.3  192.0.2.3"
        );
        assert_eq!(
            marked(TableCommand::Replace, &["!192.0.2.2", "192.0.2.9"], &before),
            "C!192.0.2.2 A192.0.2.9 D192.0.2.1"
        );
        assert_eq!(
            marked(TableCommand::Flush, &[], &before),
            "D192.0.2.1 D192.0.2.2"
        );
    }
}
