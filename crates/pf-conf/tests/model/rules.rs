//! Which rule decides (pf.conf(5), PACKET FILTERING, ANCHORS): the last that matches, or the first
//! with `quick`; `match` rules are gathered on the way.

use std::net::Ipv4Addr;
use std::rc::Rc;

use super::language::*;

/// Address and port.
pub(super) type Socket = (Ipv4Addr, u16);

/// What rules look at of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) direction: Direction,
    /// Number in [`INTERFACES`].
    pub(super) interface: usize,
    pub(super) protocol: Protocol,
    pub(super) source: Socket,
    pub(super) destination: Socket,
    /// Of TCP.
    pub(super) flags: u8,
}

/// Packets and bytes, `in` and `out` (or of the opener and of the other end).
pub(super) type Traffic = [(u64, u64); 2];

/// A rule in force: where the engine has it, what it is, what it has counted.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    /// Path of the anchor, empty for the main ruleset.
    pub(super) anchor: String,
    /// Number in that ruleset, from 0.
    pub(super) number: usize,
    pub(super) rule: Option<Rc<Rule>>,
    pub(super) traffic: Traffic,
    pub(super) states_created: u64,
}

#[derive(Clone, Debug)]
enum Node {
    Rule(usize),
    Anchor {
        id: usize,
        quick: bool,
        question: Question,
        nodes: Vec<Node>,
    },
}

/// The rules of a ruleset, numbered through.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) all: Vec<Installed>,
    nodes: Vec<Node>,
}

/// Tables in force.
pub(super) type Tables = [Vec<(bool, Network)>; TABLES.len()];

/// What an evaluation came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// The rule that decides.
    pub(super) decided: Option<usize>,
    /// The anchor of the main ruleset that it is in.
    pub(super) anchor: Option<usize>,
    pub(super) matched: Vec<usize>,
    pub(super) tag: Option<&'static str>,
    pub(super) tos: Option<u8>,
    pub(super) prio: Option<u8>,
}

impl Rules {
    pub(super) fn new(items: &[Item]) -> Self {
        let mut rules = Self::default();
        rules.nodes = rules.compile(items, "");
        rules
    }

    fn compile(&mut self, items: &[Item], anchor: &str) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (place, item) in items.iter().enumerate() {
            match item {
                Item::Rule(rule) => {
                    let id = self.install(anchor, nodes.len(), Some((**rule).clone()));
                    nodes.push(Node::Rule(id));
                }
                Item::Binat {
                    on,
                    inside,
                    outside,
                } => {
                    for rule in both_ways(on, *inside, *outside) {
                        nodes.push(Node::Rule(self.install(anchor, nodes.len(), Some(rule))));
                    }
                }
                Item::Anchor {
                    quick,
                    question,
                    items,
                } => {
                    let id = self.install(anchor, nodes.len(), None);
                    let slash = if anchor.is_empty() { "" } else { "/" };
                    let inner = self.compile(items, &format!("{anchor}{slash}a{place}"));
                    nodes.push(Node::Anchor {
                        id,
                        quick: *quick,
                        question: (**question).clone(),
                        nodes: inner,
                    });
                }
            }
        }
        nodes
    }

    fn install(&mut self, anchor: &str, number: usize, rule: Option<Rule>) -> usize {
        self.all.push(Installed {
            anchor: anchor.to_owned(),
            number,
            rule: rule.map(Rc::new),
            traffic: Traffic::default(),
            states_created: 0,
        });
        self.all.len() - 1
    }

    /// Compares `packet` with the rules. A `match` rule that translates changes what the rules
    /// behind it see, by `translate`.
    pub(super) fn evaluate(
        &self,
        packet: &mut Packet,
        tag: Option<&'static str>,
        tables: &Tables,
        translate: &mut dyn FnMut(To, &mut Packet),
    ) -> Outcome {
        let mut walk = Walk {
            rules: self,
            tables,
            translate,
            outcome: Outcome {
                tag,
                ..Outcome::default()
            },
        };
        walk.nodes(&self.nodes, None, packet);
        walk.outcome
    }
}

/// `binat-to` is `nat-to` for what goes out and `rdr-to` for what comes in.
fn both_ways(on: &'static str, inside: Ipv4Addr, outside: Ipv4Addr) -> [Rule; 2] {
    let any = End {
        negated: false,
        address: Address::Any,
        ports: None,
    };
    let only = |address| End {
        address: Address::Network((address, 32)),
        ..any.clone()
    };
    let rule = |direction, source, destination, to| Rule {
        verb: Verb::Match,
        quick: false,
        question: Question {
            direction: Some(direction),
            on: Some((false, on)),
            protocol: None,
            source,
            destination,
        },
        flags: None,
        tagged: None,
        tag: None,
        set_tos: None,
        set_prio: None,
        keep: None,
        to: Some(to),
    };
    let to_outside = To::Nat {
        address: outside,
        static_port: true,
    };
    let to_inside = To::Rdr {
        address: inside,
        port: None,
    };
    [
        rule(Direction::Out, only(inside), any.clone(), to_outside),
        rule(Direction::In, any.clone(), only(outside), to_inside),
    ]
}

struct Walk<'a> {
    rules: &'a Rules,
    tables: &'a Tables,
    translate: &'a mut dyn FnMut(To, &mut Packet),
    outcome: Outcome,
}

/// How a list of rules ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Nothing in it decided.
    Through,
    /// Something in it decided, for the time being.
    Decided,
    /// For good.
    Final,
}

impl Walk<'_> {
    fn nodes(&mut self, nodes: &[Node], top: Option<usize>, packet: &mut Packet) -> Ended {
        let mut end = Ended::Through;
        for node in nodes {
            let ended = match node {
                Node::Rule(id) => self.rule(*id, top, packet),
                Node::Anchor {
                    id,
                    quick,
                    question,
                    nodes,
                } => {
                    if !asks_for(question, packet, self.tables) {
                        continue;
                    }
                    match self.nodes(nodes, top.or(Some(*id)), packet) {
                        Ended::Decided if *quick => Ended::Final,
                        ended @ (Ended::Through | Ended::Decided | Ended::Final) => ended,
                    }
                }
            };
            match ended {
                Ended::Through => {}
                Ended::Decided => end = Ended::Decided,
                Ended::Final => return Ended::Final,
            }
        }
        end
    }

    fn rule(&mut self, id: usize, top: Option<usize>, packet: &mut Packet) -> Ended {
        let Some(rule) = self.rules.all[id].rule.clone() else {
            return Ended::Through;
        };
        if !matches(&rule, packet, self.outcome.tag, self.tables) {
            return Ended::Through;
        }
        self.outcome.tag = rule.tag.or(self.outcome.tag);
        if rule.verb == Verb::Match {
            self.outcome.matched.push(id);
            self.outcome.tos = rule.set_tos.or(self.outcome.tos);
            self.outcome.prio = rule.set_prio.or(self.outcome.prio);
            if let Some(to) = rule.to {
                (self.translate)(to, packet);
            }
            return Ended::Through;
        }
        self.outcome.decided = Some(id);
        self.outcome.anchor = top;
        if rule.quick {
            Ended::Final
        } else {
            Ended::Decided
        }
    }
}

fn matches(rule: &Rule, packet: &Packet, tag: Option<&str>, tables: &Tables) -> bool {
    let flags = match rule.flags {
        Some((set, mask)) if packet.protocol == Protocol::Tcp => packet.flags & mask == set,
        Some(_) | None => true,
    };
    let tagged = match rule.tagged {
        Some((negated, wanted)) => (tag == Some(wanted)) != negated,
        None => true,
    };
    flags && tagged && asks_for(&rule.question, packet, tables)
}

fn asks_for(question: &Question, packet: &Packet, tables: &Tables) -> bool {
    question.direction.is_none_or(|d| d == packet.direction)
        && question
            .on
            .is_none_or(|(negated, on)| is_on(on, packet.interface) != negated)
        && question.protocol.is_none_or(|p| p == packet.protocol)
        && is_end(&question.source, packet.source, tables)
        && is_end(&question.destination, packet.destination, tables)
}

/// Whether `on` is this interface or a group of it.
pub(super) fn is_on(on: &str, interface: usize) -> bool {
    let (name, _, group) = INTERFACES[interface];
    [name, group, ALL_OF_THEM].contains(&on)
}

pub(super) fn is_end(end: &End, (address, port): Socket, tables: &Tables) -> bool {
    let inside = match end.address {
        Address::Any => true,
        Address::Network(network) => is_in(network, address),
        Address::Range(first, last) => (first..=last).contains(&address),
        Address::Table(number) => in_table(&tables[number], address).is_some_and(|not| !not),
    };
    inside != end.negated && end.ports.is_none_or(|ports| is_port(ports, port))
}

const fn is_port(ports: Ports, port: u16) -> bool {
    match ports {
        Ports::Equal(n) => port == n,
        Ports::Unequal(n) => port != n,
        Ports::Less(n) => port < n,
        Ports::AtMost(n) => port <= n,
        Ports::Greater(n) => port > n,
        Ports::AtLeast(n) => port >= n,
        Ports::From(a, b) => a <= port && port <= b,
        Ports::Between(a, b) => a < port && port < b,
        Ports::Except(a, b) => port < a || b < port,
    }
}

fn is_in((network, length): Network, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    network.to_bits() & mask == address.to_bits() & mask
}

/// The narrowest entry that holds the address: whether it is negated.
pub(super) fn in_table(entries: &[(bool, Network)], address: Ipv4Addr) -> Option<bool> {
    let holding = entries.iter().filter(|(_, net)| is_in(*net, address));
    holding
        .max_by_key(|(_, (_, length))| *length)
        .map(|(negated, _)| *negated)
}
