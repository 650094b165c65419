//! Rules to text, as `pfctl -sr` and `pfctl -sn` of each dialect print them.

pub(crate) mod address;
mod beyond;
pub(crate) mod criteria;
pub(crate) mod ether;
pub(crate) mod limits;
pub(crate) mod pool;
pub(crate) mod queue;
mod scrub;
pub(crate) mod tree;

use pf_engine::addr::{Family, Protocol};
use pf_engine::anchor::AnchorCall;
use pf_engine::rule::{
    Action, Address, BlockReply, Direction, DynamicPart, IcmpMatch, InterfaceMatch, Log, Rule,
    StateMode, StatePolicy, Timeout, tcp_flags,
};
use pf_engine::ruleset::{Dialect, TableDefinition};

use crate::extras::{Extras, Slot, StateGroup};
use crate::lexer::is_plain_word;
use crate::names::keywords::is_reserved;
use crate::names::{icmp, protocols};

/// How the name of what stands for a routing domain begins.
pub(crate) const RDOMAIN: &str = "rdomain ";

/// How to print rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrintOptions {
    /// Whose printing.
    pub dialect: Dialect,
    /// `-P` was given: numbers instead of service names (FreeBSD), names instead of numbers
    /// (OpenBSD).
    pub swap_service_names: bool,
}

impl PrintOptions {
    /// Whose names ports are printed by; nothing for numbers.
    fn names_of_ports(self) -> Option<Dialect> {
        let named = match self.dialect {
            Dialect::FreeBsd | Dialect::OpenBsd3 => !self.swap_service_names,
            Dialect::OpenBsd => self.swap_service_names,
        };
        named.then_some(self.dialect)
    }
}

/// A rule as `pfctl -sr`/`-sn` prints it, without newline.
#[must_use]
pub fn print_rule(rule: &Rule, options: PrintOptions) -> String {
    with_extras(rule, &Extras::NONE, options)
}

/// As [`print_rule`], with the number of addresses behind the name of each table
/// (`pfctl -vvsr`): `<name:6>`, or `<name:*>` where `entries` knows none of that name.
#[must_use]
pub fn print_rule_with_entries(
    rule: &Rule,
    options: PrintOptions,
    entries: &dyn Fn(&str) -> Option<usize>,
) -> String {
    let mut rule = rule.clone();
    let route = rule.route.as_mut().map(|route| &mut route.pool);
    let af_to = rule.af_to.as_mut();
    let (from, to) = af_to.map_or((None, None), |a| (Some(&mut a.from), a.to.as_mut()));
    let pools = [rule.nat.as_mut(), rule.rdr.as_mut(), from, to, route];
    let targets = pools.into_iter().flatten().flat_map(|p| &mut p.targets);
    let addresses = targets.map(|target| &mut target.address);
    let ends = [&mut rule.source.address, &mut rule.destination.address];
    for address in ends.into_iter().chain(addresses) {
        if let Address::Table(name) = address {
            let count = entries(name).map_or_else(|| "*".to_owned(), |count| count.to_string());
            *name = format!("{name}:{count}");
        }
    }
    print_rule(&rule, options)
}

/// The rule as `pfctl -vv` prints it before it is loaded: nothing is in the tables of its two ends yet, and of
/// interfaces nothing is known.
pub(crate) fn before_loading(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    for end in [&mut rule.source, &mut rule.destination] {
        match &mut end.address {
            Address::Table(name) => name.push_str(":0"),
            Address::Dynamic(dynamic) => {
                let inside = address::inside(dynamic) + ":*";
                dynamic.interface = inside;
                dynamic.part = DynamicPart::Host;
                dynamic.no_aliases = false;
            }
            Address::Any
            | Address::Prefix(_)
            | Address::Range(..)
            | Address::NoRoute
            | Address::UrpfFailed => {}
        }
    }
    rule
}

/// A rule with what the engine has nothing for.
pub(crate) fn with_extras(rule: &Rule, extras: &Extras, options: PrintOptions) -> String {
    let mut words = Vec::new();
    head(rule, &mut words);
    let route_first = options.dialect != Dialect::OpenBsd;
    if let Some(route) = rule.route.as_ref().filter(|_| route_first) {
        words.push(pool::route(route));
    }
    words.extend_from_slice(extras.words(Slot::Fastroute));
    match_words(rule, extras, options, &mut words);
    state_words(rule, extras, options, &mut words);
    tail(rule, extras, options.dialect, &mut words);
    pool::translations(rule, &mut words);
    words.extend(rule.af_to.iter().map(|a| pool::af_to(a, rule)));
    if let Some(route) = rule.route.as_ref().filter(|_| !route_first) {
        words.push(pool::route(route));
    }
    if options.dialect != Dialect::OpenBsd {
        words.extend(once(rule));
    }
    words.join(" ")
}

/// Action, direction, log, quick, interface.
fn head(rule: &Rule, words: &mut Vec<String>) {
    words.push(action(rule));
    if rule.nat_pass {
        words.push("pass".to_owned());
    }
    match rule.direction {
        Some(Direction::In) => words.push("in".to_owned()),
        Some(Direction::Out) => words.push("out".to_owned()),
        None => {}
    }
    if let Some(given) = &rule.log {
        words.push(log(*given));
    }
    if rule.quick {
        words.push("quick".to_owned());
    }
    words.extend(rule.interface.as_ref().map(on));
}

/// `on [!] interface`.
fn on(interface: &InterfaceMatch) -> String {
    let not = if interface.negated { "! " } else { "" };
    match interface.name.as_str() {
        "any" => format!("on {not}any"),
        rdomain if rdomain.starts_with(RDOMAIN) => format!("on {not}{rdomain}"),
        other => format!("on {not}{}", name(other)),
    }
}

fn once(rule: &Rule) -> Option<String> {
    rule.once.then(|| "once".to_owned())
}

/// `anchor` and its kin; an anchor without a name has none here either.
fn call(rule: &Rule, call: &AnchorCall) -> String {
    let word = match rule.action {
        Action::Nat | Action::NoNat => "nat-anchor",
        Action::Rdr | Action::NoRdr => "rdr-anchor",
        Action::Binat | Action::NoBinat => "binat-anchor",
        Action::Pass | Action::Block(_) | Action::Match | Action::Scrub | Action::NoScrub => {
            "anchor"
        }
    };
    if call.is_unnamed() {
        word.to_owned()
    } else {
        format!("{word} {}", quoted(&call.name))
    }
}

fn action(rule: &Rule) -> String {
    if let Some(anchor) = &rule.anchor {
        return call(rule, anchor);
    }
    match rule.action {
        Action::Pass => "pass".to_owned(),
        Action::Match => "match".to_owned(),
        Action::Block(reply) => format!("block {}", block_reply(reply, rule.family)),
        Action::Nat => "nat".to_owned(),
        Action::NoNat => "no nat".to_owned(),
        Action::Rdr => "rdr".to_owned(),
        Action::NoRdr => "no rdr".to_owned(),
        Action::Binat => "binat".to_owned(),
        Action::NoBinat => "no binat".to_owned(),
        Action::Scrub => "scrub".to_owned(),
        Action::NoScrub => "no scrub".to_owned(),
    }
}

fn block_reply(reply: BlockReply, family: Option<Family>) -> String {
    match reply {
        BlockReply::Drop => "drop".to_owned(),
        BlockReply::Return => "return".to_owned(),
        BlockReply::Rst { ttl: 0 } => "return-rst".to_owned(),
        BlockReply::Rst { ttl } => format!("return-rst(ttl {ttl})"),
        BlockReply::Icmp { v4, v6 } => {
            let v4 = icmp_code(Family::Inet, v4);
            let v6 = icmp_code(Family::Inet6, v6);
            match family {
                Some(Family::Inet) => format!("return-icmp({v4})"),
                Some(Family::Inet6) => format!("return-icmp6({v6})"),
                None => format!("return-icmp({v4}, {v6})"),
            }
        }
    }
}

fn icmp_code(family: Family, (kind, code): (u8, u8)) -> String {
    icmp::code_name(family, kind, code).map_or_else(|| code.to_string(), str::to_owned)
}

fn log(log: Log) -> String {
    let mut options = Vec::new();
    for (set, word) in [
        (log.all, "all"),
        (log.matches, "matches"),
        (log.user, "user"),
    ] {
        if set {
            options.push(word.to_owned());
        }
    }
    if log.interface != 0 {
        options.push(format!("to pflog{}", log.interface));
    }
    if options.is_empty() {
        "log".to_owned()
    } else {
        format!("log ({})", options.join(", "))
    }
}

/// Family, protocol, addresses, flags, ICMP types, TOS.
fn match_words(rule: &Rule, extras: &Extras, options: PrintOptions, words: &mut Vec<String>) {
    if let Some(family) = rule.family {
        words.push(family.to_string());
    }
    if let Some(protocol) = rule.protocol {
        words.push(format!("proto {}", protocol_name(protocol)));
    }
    words.push(address::from_to(rule, options.names_of_ports()));
    criteria::words(rule, words);
    if let Some(flags) = rule.flags {
        words.push(format!(
            "flags {}/{}",
            flag_letters(flags.set),
            flag_letters(flags.mask)
        ));
    } else if prints_flags_any(rule, options.dialect) {
        words.push("flags any".to_owned());
    }
    if let Some(given) = rule.icmp {
        icmp_words(given, rule.protocol, words);
    }
    if let Some(tos) = rule.tos {
        words.push(format!("tos 0x{tos:02x}"));
    }
    beyond::set_words(rule, extras, options.dialect, words);
}

fn protocol_name(protocol: Protocol) -> String {
    protocols::name(protocol.0).map_or_else(|| protocol.0.to_string(), str::to_owned)
}

fn flag_letters(flags: u8) -> String {
    tcp_flags::LETTERS
        .iter()
        .filter(|(_, bit)| flags & bit != 0)
        .map(|(letter, _)| *letter)
        .collect()
}

/// Where `flags S/SA` is implied, its absence has to be said.
fn prints_flags_any(rule: &Rule, dialect: Dialect) -> bool {
    dialect != Dialect::OpenBsd3
        && rule.action == Action::Pass
        && rule.state != StateMode::None
        && !rule.fragment
        && rule.protocol.is_none_or(|p| p == Protocol::TCP)
}

fn icmp_words(given: IcmpMatch, protocol: Option<Protocol>, words: &mut Vec<String>) {
    let (keyword, family) = if protocol == Some(Protocol::ICMPV6) {
        ("icmp6-type", Family::Inet6)
    } else {
        ("icmp-type", Family::Inet)
    };
    let kind = icmp::kind_name(family, given.kind);
    words.push(keyword.to_owned());
    words.push(kind.map_or_else(|| given.kind.to_string(), str::to_owned));
    if let Some(code) = given.code {
        words.push(format!("code {}", icmp_code(family, (given.kind, code))));
    }
}

fn state_words(rule: &Rule, extras: &Extras, options: PrintOptions, words: &mut Vec<String>) {
    let list = state_options(rule, extras);
    let keyword = match rule.state {
        StateMode::Keep if options.dialect == Dialect::OpenBsd && list.is_empty() => "",
        StateMode::Keep => "keep state",
        StateMode::Modulate => "modulate state",
        StateMode::Synproxy => "synproxy state",
        StateMode::None if rule.action == Action::Pass && options.dialect != Dialect::OpenBsd3 => {
            "no state"
        }
        StateMode::None => "",
    };
    // Where states are not implied, options say that one is wanted.
    let implied_by_match = rule.action == Action::Match && rule.state == StateMode::Keep;
    if !keyword.is_empty() {
        words.push(keyword.to_owned());
    } else if implied_by_match {
        words.push("keep state".to_owned());
    }
    words.extend(limits::limiters(rule));
    words.extend(rule.criteria.probability.map(criteria::probability));
    if !list.is_empty() {
        words.push(format!("({})", list.join(", ")));
    }
}

fn state_options(rule: &Rule, extras: &Extras) -> Vec<String> {
    let options = &rule.state_options;
    let mut list = Vec::new();
    if let Some(max) = options.max {
        list.push(format!("max {max}"));
    }
    if options.no_sync {
        list.push("no-sync".to_owned());
    }
    limits::source(&options.source, &mut list);
    list.extend(extras.state_words(StateGroup::BeforePolicy).cloned());
    match options.policy {
        Some(StatePolicy::IfBound) => list.push("if-bound".to_owned()),
        Some(StatePolicy::Floating) => list.push("floating".to_owned()),
        None => {}
    }
    if options.sloppy {
        list.push("sloppy".to_owned());
    }
    list.extend(extras.state_words(StateGroup::AfterSloppy).cloned());
    if options.allow_related {
        list.push("allow-related".to_owned());
    }
    let timeout = |(timeout, value): &(Timeout, u32)| format!("{} {value}", timeout.name());
    list.extend(options.timeouts.iter().map(timeout));
    list
}

/// `fragment`, `scrub`, `allow-opts`, labels, tags.
fn tail(rule: &Rule, extras: &Extras, dialect: Dialect, words: &mut Vec<String>) {
    let allow_options = rule.allow_options.then(|| "allow-opts".to_owned());
    let comes_first = dialect == Dialect::FreeBsd;
    words.extend(allow_options.clone().filter(|_| comes_first));
    if rule.fragment {
        words.push("fragment".to_owned());
    }
    scrub::options(rule, dialect, words);
    words.extend(allow_options.filter(|_| !comes_first));
    scrub::fragments(rule, words);
    for label in &rule.labels {
        words.push(format!("label {}", quoted(label)));
    }
    words.extend(
        rule.identifier
            .map(|number| format!("ridentifier {number}")),
    );
    if dialect == Dialect::OpenBsd {
        words.extend(once(rule));
    } else {
        words.extend_from_slice(extras.words(Slot::Pipe));
        words.extend(beyond::queue(rule));
    }
    if let Some(tag) = &rule.tag {
        words.push(format!("tag {}", name(tag)));
    }
    if let Some((negated, tag)) = &rule.tagged {
        let not = if *negated { "! " } else { "" };
        words.push(format!("{not}tagged {}", name(tag)));
    }
    criteria::treatment(rule, words);
    words.extend_from_slice(extras.words(Slot::Divert));
}

/// A `table` line with its addresses.
pub(crate) fn table_line(name: &str, table: &TableDefinition) -> String {
    let mut line = format!("table {}", table_name(name));
    for (set, word) in [
        (table.constant, " const"),
        (table.persist, " persist"),
        (table.counters, " counters"),
    ] {
        if set {
            line.push_str(word);
        }
    }
    line.push_str(" {");
    for entry in &table.entries {
        line.push_str(if entry.negated { " !" } else { " " });
        line.push_str(&entry.prefix.to_string());
    }
    line + " }"
}

/// A name, in quotes only where it could not be read back without.
pub(crate) fn name(text: &str) -> String {
    if is_plain_word(text) && !is_reserved(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A table's name: numbers and keywords need no quotes between `<` and `>`.
pub(crate) fn table_name(text: &str) -> String {
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if number || is_plain_word(text) {
        format!("<{text}>")
    } else {
        format!("<{}>", quoted(text))
    }
}

/// A string in quotes, with the backslashes that it takes to read it back.
pub(crate) fn quoted(text: &str) -> String {
    let mut written = String::from("\"");
    let mut after_backslash = false;
    for c in text.chars() {
        if c == '"' || (after_backslash && matches!(c, ' ' | '\t')) {
            written.push('\\');
        }
        written.push(c);
        after_backslash = c == '\\';
    }
    written.push('"');
    written
}
