//! Rules and rulesets.

use pf_engine::addr::{Family, Protocol};
use pf_engine::rule::{
    Action, Address, BlockReply, DynamicAddress, DynamicPart, Endpoint, FlagsMatch, InterfaceMatch,
    Pool, PoolKind, PoolPorts, PoolTarget, PortMatch, Route, RouteKind, Rule, StateMode,
};
use pf_engine::ruleset::{Limit, Ruleset, TableDefinition, TableEntry};

use super::{In, Out, prefix};

/// Rules in the order of pf.conf's words.
pub(crate) trait RuleWords: Sized {
    fn change(self, change: impl FnOnce(&mut Rule)) -> Self;

    fn inbound(self) -> Self {
        self.change(|r| r.direction = Some(In))
    }
    fn outbound(self) -> Self {
        self.change(|r| r.direction = Some(Out))
    }
    fn quick(self) -> Self {
        self.change(|r| r.quick = true)
    }
    fn on(self, name: &str) -> Self {
        self.change(|r| {
            r.interface = Some(InterfaceMatch {
                negated: false,
                name: name.to_owned(),
            });
        })
    }
    fn inet(self) -> Self {
        self.change(|r| r.family = Some(Family::Inet))
    }
    fn inet6(self) -> Self {
        self.change(|r| r.family = Some(Family::Inet6))
    }
    fn proto(self, protocol: Protocol) -> Self {
        self.change(|r| r.protocol = Some(protocol))
    }
    fn from(self, text: &str) -> Self {
        self.change(|r| {
            let port = r.source.port;
            r.source = Endpoint {
                port,
                ..endpoint(text)
            };
        })
    }
    fn to(self, text: &str) -> Self {
        self.change(|r| {
            let port = r.destination.port;
            r.destination = Endpoint {
                port,
                ..endpoint(text)
            };
        })
    }
    fn port(self, port: u16) -> Self {
        self.change(|r| r.destination.port = Some(PortMatch::Eq(port)))
    }
    fn flags_s_sa(self) -> Self {
        self.change(|r| r.flags = Some(FlagsMatch::SYN_OF_SYN_ACK))
    }
    fn keep(self) -> Self {
        self.change(|r| r.state = StateMode::Keep)
    }
    fn modulate(self) -> Self {
        self.change(|r| r.state = StateMode::Modulate)
    }
    fn synproxy(self) -> Self {
        self.change(|r| r.state = StateMode::Synproxy)
    }
    fn label(self, label: &str) -> Self {
        self.change(|r| r.labels.push(label.to_owned()))
    }
    fn route(self, kind: RouteKind, targets: &[(&str, &str)]) -> Self {
        self.route_by(kind, PoolKind::Single, false, targets)
    }
    fn route_by(
        self,
        kind: RouteKind,
        pool_kind: PoolKind,
        sticky: bool,
        targets: &[(&str, &str)],
    ) -> Self {
        let target = |(name, address): &(&str, &str)| PoolTarget {
            interface: (!name.is_empty()).then(|| (*name).to_owned()),
            address: endpoint(address).address,
            weight: None,
        };
        let pool = Pool {
            targets: targets.iter().map(target).collect(),
            kind: pool_kind,
            sticky,
            ..Pool::default()
        };
        self.change(|r| r.route = Some(Route { kind, pool }))
    }
    fn nat_to(self, address: &str) -> Self {
        self.change(|r| r.nat = Some(pool(address)))
    }
    fn rdr_to(self, address: &str, port: Option<u16>) -> Self {
        self.change(|r| {
            r.rdr = Some(Pool {
                ports: port.map(PoolPorts::Single),
                ..pool(address)
            });
        })
    }
}

impl RuleWords for Rule {
    fn change(mut self, change: impl FnOnce(&mut Rule)) -> Self {
        change(&mut self);
        self
    }
}

pub(crate) fn pool(address: &str) -> Pool {
    Pool {
        targets: vec![PoolTarget {
            interface: None,
            address: endpoint(address).address,
            weight: None,
        }],
        ..Pool::default()
    }
}

/// `any`, `<table>`, `(interface)`, an address or network, with `!` before it or not.
fn endpoint(text: &str) -> Endpoint {
    let (negated, text) = text
        .strip_prefix('!')
        .map_or((false, text), |rest| (true, rest));
    let inner = |open, close| {
        text.strip_prefix(open)
            .and_then(|t: &str| t.strip_suffix(close))
    };
    let address = if text == "any" {
        Address::Any
    } else if let Some(name) = inner('<', '>') {
        Address::Table(name.to_owned())
    } else if let Some(name) = inner('(', ')') {
        Address::Dynamic(DynamicAddress {
            interface: name.to_owned(),
            part: DynamicPart::Host,
            no_aliases: false,
            prefix_len: None,
        })
    } else {
        Address::Prefix(prefix(text))
    };
    Endpoint {
        negated,
        address,
        port: None,
    }
}

pub(crate) fn pass() -> Rule {
    Rule::new(Action::Pass)
}

pub(crate) fn block() -> Rule {
    Rule::new(Action::Block(BlockReply::Drop))
}

pub(crate) fn nat(on: &str, to: &str) -> Rule {
    Rule::new(Action::Nat).on(on).nat_to(to)
}

pub(crate) fn rdr(on: &str, to: &str, port: Option<u16>) -> Rule {
    Rule::new(Action::Rdr).on(on).rdr_to(to, port)
}

pub(crate) fn filter(rules: &[Rule]) -> Ruleset {
    Ruleset {
        filter: rules.to_vec(),
        ..Ruleset::default()
    }
}

pub(crate) fn entries(texts: &[&str]) -> Vec<TableEntry> {
    let entry = |text: &&str| {
        let (negated, text) = text
            .strip_prefix('!')
            .map_or((false, *text), |rest| (true, rest));
        TableEntry {
            prefix: prefix(text),
            negated,
        }
    };
    texts.iter().map(entry).collect()
}

pub(crate) fn table(persist: bool, texts: &[&str]) -> TableDefinition {
    TableDefinition {
        persist,
        has_contents: true,
        entries: entries(texts),
        ..TableDefinition::default()
    }
}

/// `set limit`.
pub(crate) fn limit(mut ruleset: Ruleset, limit: Limit, value: u32) -> Ruleset {
    ruleset.options.limits.push((limit, value));
    ruleset
}
