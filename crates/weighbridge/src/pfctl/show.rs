//! What `pfctl -s …` and `-T show` print: pure functions of the engine, byte for byte as PF.
//!
//! Long answers are made in pages, so that the daemon's packet loop is never held up by a box
//! with a million states.

pub mod anchors;
pub mod ether;
mod fingerprints;
pub mod info;
pub mod interfaces;
pub mod labels;
mod limiters;
pub mod memory;
pub mod queues;
pub mod records;
pub mod rules;
mod sources;
pub mod states;
pub mod tables;
pub mod time;
pub mod timeouts;

use datapath::queues::QueueStatistics;
use pf_engine::decision::StateId;
use pf_engine::engine::Engine;
use pf_engine::env::Interface;
use pf_engine::record::SourceCursor;
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;
use serde::{Deserialize, Serialize};

pub use self::anchors::Scope;

/// Rules, labels and tables in one page. Formatting them takes a few milliseconds.
pub const ITEMS_PER_PAGE: usize = 1_000;

/// What `-s` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// `-s nat`: translation rules of the old grammar.
    Nat,
    /// `-s rules`.
    Rules,
    /// `-s Anchors`.
    Anchors,
    /// `-s queue`.
    Queue,
    /// `-s states`.
    States,
    /// `-s Sources`: source nodes.
    Sources,
    /// `-s info`.
    Info,
    /// `-s labels`.
    Labels,
    /// `-s timeouts`.
    Timeouts,
    /// `-s memory`: limits.
    Memory,
    /// `-s Tables`.
    Tables,
    /// `-s Interfaces`.
    Interfaces,
    /// `-s osfp`.
    Fingerprints,
    /// `-s creatorids`: who made the states.
    CreatorIds,
    /// `-s ether`: rules for frames.
    Ether,
    /// `-s LimiterStates`.
    LimiterStates,
    /// `-s LimiterSrcs`.
    LimiterSources,
    /// States for `weighbridge top`.
    StateRecords,
    /// Filter rules for `weighbridge top`.
    RuleRecords,
    /// Queues for `weighbridge top`.
    QueueRecords,
    /// Interfaces for `weighbridge top`.
    LinkRecords,
    /// Tables for `weighbridge top`.
    TableRecords,
}

impl Section {
    /// `-s all`, in PF's order: without the list of interfaces.
    pub const ALL: [Self; 12] = [
        Self::Ether,
        Self::Nat,
        Self::Rules,
        Self::Queue,
        Self::States,
        Self::Sources,
        Self::Info,
        Self::Labels,
        Self::Timeouts,
        Self::Memory,
        Self::Tables,
        Self::Fingerprints,
    ];

    /// Whether it has counters that packets of states, or of decisions without one, move.
    const fn has_counters(self) -> bool {
        match self {
            Self::Nat
            | Self::Rules
            | Self::Sources
            | Self::Info
            | Self::Labels
            | Self::Tables
            | Self::Interfaces
            | Self::LimiterStates
            | Self::LimiterSources
            | Self::RuleRecords
            | Self::LinkRecords
            | Self::TableRecords => true,
            Self::Anchors
            | Self::Queue
            | Self::States
            | Self::Timeouts
            | Self::Memory
            | Self::Fingerprints
            | Self::CreatorIds
            | Self::Ether
            | Self::StateRecords
            | Self::QueueRecords => false,
        }
    }

    /// The heading in `-s all`.
    const fn title(self) -> &'static str {
        match self {
            Self::Nat => "TRANSLATION RULES:",
            Self::Rules => "FILTER RULES:",
            Self::Anchors => "ANCHORS:",
            Self::Queue => "ALTQ:",
            Self::States => "STATES:",
            Self::Sources => "SOURCE TRACKING NODES:",
            Self::Info => "INFO:",
            Self::Labels => "LABEL COUNTERS:",
            Self::Timeouts => "TIMEOUTS:",
            Self::Memory => "LIMITS:",
            Self::Tables => "TABLES:",
            Self::Interfaces => "INTERFACES:",
            Self::Fingerprints => "OS FINGERPRINTS:",
            Self::CreatorIds => "CREATOR IDS:",
            Self::Ether => "ETH RULES:",
            Self::LimiterStates => "STATE LIMITERS:",
            Self::LimiterSources => "SOURCE LIMITERS:",
            // For a program: never with headings.
            Self::StateRecords
            | Self::RuleRecords
            | Self::QueueRecords
            | Self::LinkRecords
            | Self::TableRecords => "",
        }
    }

    /// Whether the heading stands there without anything below it.
    const fn titled_when_empty(self) -> bool {
        matches!(self, Self::Rules)
    }
}

/// How it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Style {
    /// Number of `-v`.
    pub verbose: u8,
    /// `-P`.
    pub swap_service_names: bool,
    /// `-g`.
    #[serde(default)]
    pub debug: bool,
}

/// Who loaded the rules in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadedBy {
    /// User.
    pub uid: u32,
    /// Process.
    pub pid: u32,
}

/// Packets that never came to the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// There was no room for them (`congestion`).
    pub congested: u64,
    /// Their sender had had his share (`upcall-share`).
    pub held_back: u64,
}

impl Lost {
    /// Those that have been lost since they were `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            congested: self.congested.saturating_sub(earlier.congested),
            held_back: self.held_back.saturating_sub(earlier.held_back),
        }
    }
}

/// All that showing needs: the engine and what it does not know.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// What the kernel has counted of queues; empty where nobody asks.
    pub queues: &'a QueueStatistics,
    /// The moment, for ages and rates.
    pub now: Instant,
    /// Seconds since 1970 at the engine's time origin.
    pub origin: u64,
    /// Who loaded the rules.
    pub loaded_by: LoadedBy,
    /// Packets that the data path lost before the engine saw them.
    pub lost: Lost,
    /// The interfaces of the box.
    pub interfaces: &'a [Interface],
    /// `-i`: this interface alone.
    pub interface: Option<&'a str>,
    /// Whose printing.
    pub dialect: Dialect,
    /// How.
    pub style: Style,
    /// Of which rulesets.
    pub scope: &'a Scope,
}

/// Where the next page begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Index of the section.
    section: usize,
    /// Place in it.
    place: Place,
    /// Whether a heading has been printed.
    titled: bool,
}

/// A place in a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    /// What the number means is the section's own business.
    At(u64),
    /// Behind a source node.
    After(SourceCursor),
}

impl Place {
    /// The number, or 0.
    const fn number(self) -> u64 {
        match self {
            Self::At(number) => number,
            Self::Start | Self::After(_) => 0,
        }
    }
}

/// Part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The text.
    pub text: String,
    /// Where it goes on, if it does.
    pub next: Option<Cursor>,
}

/// What a page shows of what packets did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Neither states nor counters, or counters that were shown as of the moment of an earlier page.
    Neither,
    /// States, so many from this number on.
    States(StateId, usize),
    /// Counters that any packet may move.
    Counters,
}

/// What the page of `sections` that begins at `cursor` shows.
#[must_use]
pub fn shown(sections: &[Section], cursor: Cursor) -> Shown {
    let (before, from) = sections.split_at(cursor.section.min(sections.len()));
    match from.first() {
        Some(Section::States) => Shown::States(StateId(cursor.place.number()), ITEMS_PER_PAGE),
        Some(Section::StateRecords) => {
            Shown::States(StateId(cursor.place.number()), records::STATES_PER_PAGE)
        }
        Some(section) if section.has_counters() => {
            let is_first = cursor.place == Place::Start && !before.iter().any(|s| s.has_counters());
            if is_first {
                Shown::Counters
            } else {
                Shown::Neither
            }
        }
        Some(_) | None => Shown::Neither,
    }
}

/// The page of `sections` that begins at `cursor`; with headings (`-s all`) or without.
#[must_use]
pub fn page(view: &View<'_>, sections: &[Section], titles: bool, cursor: Cursor) -> Page {
    let Some(&section) = sections.get(cursor.section) else {
        return Page {
            text: String::new(),
            next: None,
        };
    };
    let (body, more) = section_page(view, section, titles, cursor.place);
    let has_title =
        titles && cursor.place == Place::Start && (section.titled_when_empty() || !body.is_empty());
    let text = match (has_title, cursor.titled) {
        (false, _) => body,
        (true, false) => format!("{}\n{body}", section.title()),
        (true, true) => format!("\n{}\n{body}", section.title()),
    };
    let any_title = cursor.titled || has_title;
    let next = match more {
        Some(place) => Some(Cursor {
            place,
            titled: any_title,
            ..cursor
        }),
        None if cursor.section + 1 < sections.len() => Some(Cursor {
            section: cursor.section + 1,
            place: Place::Start,
            titled: any_title,
        }),
        None => None,
    };
    Page { text, next }
}

/// All pages at once: for short answers and for tests.
#[must_use]
pub fn whole(view: &View<'_>, sections: &[Section], titles: bool) -> String {
    let mut text = String::new();
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        let page = page(view, sections, titles, at);
        text.push_str(&page.text);
        cursor = page.next;
    }
    text
}

fn section_page(
    view: &View<'_>,
    section: Section,
    titles: bool,
    place: Place,
) -> (String, Option<Place>) {
    if section == Section::Sources {
        let after = match place {
            Place::After(node) => Some(node),
            Place::Start | Place::At(_) => None,
        };
        let (text, next) = sources::page(view, after);
        return (text, next.map(Place::After));
    }
    let (text, next) = numbered_page(view, section, titles, place.number());
    (text, next.map(Place::At))
}

/// Of a section whose places are numbers.
fn numbered_page(
    view: &View<'_>,
    section: Section,
    titles: bool,
    position: u64,
) -> (String, Option<u64>) {
    match section {
        Section::Nat => rules::nat_page(view, position),
        Section::Rules => rules::filter_page(view, position),
        Section::Anchors => (anchors::anchors(view), None),
        Section::Queue => queues::page(view, position, titles),
        Section::States => states::page(view, position),
        // Its places are no numbers.
        Section::Sources => (String::new(), None),
        Section::LimiterStates => (limiters::states(view), None),
        Section::LimiterSources => (limiters::sources(view), None),
        Section::Info => (info::info(view), None),
        Section::Labels => labels::page(view, position),
        Section::Timeouts => (timeouts::timeouts(view), None),
        Section::Memory => (memory::memory(view.engine, view.dialect), None),
        Section::Tables => (tables::tables(view), None),
        Section::Fingerprints => (fingerprints::fingerprints(view, titles), None),
        Section::Interfaces => (interfaces::interfaces(view), None),
        Section::CreatorIds => (states::creator_ids(view), None),
        Section::Ether => ether::page(view, position),
        Section::StateRecords => records::states(view, position),
        Section::RuleRecords => records::rules(view, position),
        Section::QueueRecords => records::queues(view, position),
        Section::LinkRecords => records::links(view, position),
        Section::TableRecords => records::tables(view, position),
    }
}

/// Formats up to [`ITEMS_PER_PAGE`] of `items` from `position` on.
fn paged<T>(
    items: impl Iterator<Item = T>,
    position: u64,
    mut format: impl FnMut(&mut String, T),
) -> (String, Option<u64>) {
    let mut text = String::new();
    let mut items = items.skip(usize::try_from(position).unwrap_or(usize::MAX));
    for item in items.by_ref().take(ITEMS_PER_PAGE) {
        format(&mut text, item);
    }
    let next = items
        .next()
        .map(|_| position.saturating_add(ITEMS_PER_PAGE as u64));
    (text, next)
}

#[cfg(test)]
mod testing {
    use pf_engine::counters::Traffic;
    use pf_engine::view::RuleCounters;

    /// What a rule may have counted.
    pub(super) const COUNTERS: RuleCounters = RuleCounters {
        evaluations: 1203,
        traffic: Traffic {
            packets_in: 4401,
            bytes_in: 502_211,
            packets_out: 4411,
            bytes_out: 701_133,
        },
        states: 2,
        states_created: 34,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_states_wants_those_states_alone_and_counters_are_wanted_once() {
        let at = |section, position| Cursor {
            section,
            place: if position == 0 {
                Place::Start
            } else {
                Place::At(position)
            },
            titled: false,
        };
        let all = Section::ALL;
        let index = |section| all.iter().position(|s| *s == section).unwrap_or_default();
        let shown = |section, position| shown(&all, at(index(section), position));
        assert_eq!(shown(Section::Ether, 0), Shown::Neither);
        assert_eq!(shown(Section::Nat, 0), Shown::Counters);
        for (section, position) in [
            (Section::Nat, 1000),
            (Section::Rules, 0),
            (Section::Info, 0),
        ] {
            assert_eq!(shown(section, position), Shown::Neither, "as of the first");
        }
        for from in [0, 5000] {
            let page = Shown::States(StateId(from), ITEMS_PER_PAGE);
            assert_eq!(shown(Section::States, from), page);
        }
        assert_eq!(super::shown(&all, at(all.len(), 0)), Shown::Neither);
        assert_eq!(super::shown(&[Section::Info], at(0, 0)), Shown::Counters);
    }
}
