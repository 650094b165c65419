//! The views: which rows, and which fields of them.

use super::fields::Field;
use crate::pfctl::show::Section;

/// What the rows of a view are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// States.
    States,
    /// Filter rules.
    Rules,
    /// Queues.
    Queues,
    /// Interfaces.
    Links,
    /// Tables.
    Tables,
    /// Gateways that are probed.
    Gateways,
}

impl Kind {
    /// As the first line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::States => "State",
            Self::Rules => "Rule",
            Self::Queues => "Queue",
            Self::Links => "Link",
            Self::Tables => "Table",
            Self::Gateways => "Gateway",
        }
    }

    /// What the daemon is asked for; gateways have a request of their own.
    #[must_use]
    pub const fn section(self) -> Option<Section> {
        Some(match self {
            Self::States => Section::StateRecords,
            Self::Rules => Section::RuleRecords,
            Self::Queues => Section::QueueRecords,
            Self::Links => Section::LinkRecords,
            Self::Tables => Section::TableRecords,
            Self::Gateways => return None,
        })
    }
}

/// A view.
#[derive(Debug, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: &'static str,
    /// What its rows are.
    pub kind: Kind,
    /// Its fields, the most important first: what the screen has no room for is left out.
    pub fields: &'static [Field],
}

use Field::{
    Action, Addresses, Age, Anchor, Average, Bandwidth, BlockIn, BlockOut, Blocked, Borrow, Bytes,
    BytesIn, BytesOut, BytesRate, Dest, Dir, DropBytes, DropPackets, Evaluations, Expires,
    Failures, Gateway, Gw, If, Info, KeepState, Label, Log, Loss, Match, Max, NoMatch, PacketRate,
    Packets, PassIn, PassOut, Peak, Prio, Proto, Queue, QueueLength, Quick, Rate, Rtt, Rule, Rules,
    Scheduler, Since, Skip, Src, State, States, Suspends, Table, Up,
};

/// All of them, pftop's first and in its order: the first ten have the keys 0 to 9.
pub const VIEWS: [View; 12] = [
    View {
        name: "default",
        kind: Kind::States,
        fields: &[Proto, Dir, Src, Dest, State, Age, Expires, Packets, Bytes],
    },
    View {
        name: "long",
        kind: Kind::States,
        fields: &[
            Proto, Dir, Src, Dest, Gw, State, Age, Expires, Packets, Bytes, Rate, Peak, Average,
            Rule,
        ],
    },
    View {
        name: "state",
        kind: Kind::States,
        fields: &[
            Proto, Dir, Src, Dest, State, Age, Expires, Packets, Bytes, Rate, Peak, Average, Rule,
            Gw,
        ],
    },
    View {
        name: "time",
        kind: Kind::States,
        fields: &[
            Proto, Dir, Src, Dest, Age, Expires, Packets, Bytes, State, Rate, Peak, Average, Rule,
            Gw,
        ],
    },
    View {
        name: "size",
        kind: Kind::States,
        fields: &[
            Proto, Dir, Src, Dest, Packets, Bytes, State, Age, Expires, Rate, Peak, Average, Rule,
            Gw,
        ],
    },
    View {
        name: "rules",
        kind: Kind::Rules,
        fields: &[
            Rule, Anchor, Action, Dir, Log, Quick, If, Proto, KeepState, Packets, Bytes, States,
            Max, Info,
        ],
    },
    View {
        name: "label",
        kind: Kind::Rules,
        fields: &[
            Rule,
            Label,
            Packets,
            Bytes,
            States,
            Max,
            Action,
            Dir,
            Log,
            Quick,
            If,
            Proto,
            Anchor,
            KeepState,
            Evaluations,
        ],
    },
    View {
        name: "speed",
        kind: Kind::States,
        fields: &[
            Proto, Dir, Src, Dest, Rate, Peak, Average, Bytes, State, Packets, Age, Expires, Rule,
            Gw,
        ],
    },
    View {
        name: "queue",
        kind: Kind::Queues,
        fields: &[
            Queue,
            Bandwidth,
            Scheduler,
            Prio,
            Packets,
            Bytes,
            DropPackets,
            DropBytes,
            QueueLength,
            Borrow,
            Suspends,
            PacketRate,
            BytesRate,
        ],
    },
    View {
        name: "links",
        kind: Kind::Links,
        fields: &[
            If, PacketRate, BytesRate, PassIn, BytesIn, BlockIn, PassOut, BytesOut, BlockOut, Skip,
        ],
    },
    View {
        name: "tables",
        kind: Kind::Tables,
        fields: &[
            Table, Addresses, Rules, Match, NoMatch, Packets, Bytes, Blocked, Anchor,
        ],
    },
    View {
        name: "gateways",
        kind: Kind::Gateways,
        fields: &[If, Gateway, Up, Since, Failures, Rtt, Loss],
    },
];

/// The place of the view whose name alone begins with `typed`, in any case.
///
/// # Errors
/// What is wrong, and which views there are.
pub fn named(typed: &str) -> Result<usize, String> {
    let wanted = typed.to_ascii_lowercase();
    let begins = |at: &usize| {
        VIEWS
            .get(*at)
            .is_some_and(|view| view.name.starts_with(&wanted))
    };
    let exact = VIEWS.iter().position(|view| view.name == wanted);
    let found: Vec<usize> = (0..VIEWS.len()).filter(begins).collect();
    match (exact, &found[..]) {
        (Some(at), _) | (None, &[at]) if !wanted.is_empty() => Ok(at),
        _ => {
            let names = VIEWS.each_ref().map(|view| view.name).join(", ");
            let what = if found.is_empty() {
                "no"
            } else {
                "more than one"
            };
            Err(format!(
                "{what} view is named '{typed}': use one of {names}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_found_by_the_beginning_of_their_name() {
        for (typed, expected) in [("def", "default"), ("LONG", "long"), ("sp", "speed")] {
            let at = named(typed).expect("a view");
            assert_eq!(VIEWS[at].name, expected);
        }
        assert!(named("l").unwrap_err().starts_with("more than one view"));
        assert!(named("x").unwrap_err().contains("gateways"));
        assert!(named("").is_err());
    }

    #[test]
    fn pftops_views_have_pftops_keys() {
        let names = VIEWS.each_ref().map(|view| view.name);
        assert_eq!(
            names[..9],
            [
                "default", "long", "state", "time", "size", "rules", "label", "speed", "queue"
            ]
        );
    }
}
