//! ALTQ: `altq on …` and the `queue` definitions that belong to it (pf.conf(5) of FreeBSD, of
//! OpenBSD before 5.5), for a preview.

use std::collections::BTreeMap;

use super::bandwidth::Bandwidth;
use super::{Bail, Parse, Parser};
use crate::ast::{InterfaceName, SetStatement, Statement};
use crate::diagnostic::Code;
use crate::limits::MAX_QUEUES;
use crate::print;
use crate::source::Span;
use crate::token::Kind;

/// Disciplines of ALTQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Discipline {
    Cbq,
    Priq,
    Hfsc,
    Fairq,
    Codel,
}

impl Discipline {
    const ALL: [Self; 5] = [Self::Cbq, Self::Priq, Self::Hfsc, Self::Fairq, Self::Codel];

    const fn name(self) -> &'static str {
        match self {
            Self::Cbq => "cbq",
            Self::Priq => "priq",
            Self::Hfsc => "hfsc",
            Self::Fairq => "fairq",
            Self::Codel => "codel",
        }
    }

    /// Flags in the order of printing.
    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Cbq => &[
                "red",
                "ecn",
                "rio",
                "codel",
                "cleardscp",
                "flowvalve",
                "borrow",
                "wrr",
                "efficient",
                "root",
                "control",
                "default",
            ],
            Self::Priq | Self::Hfsc | Self::Fairq => {
                &["red", "ecn", "rio", "codel", "cleardscp", "default"]
            }
            Self::Codel => &["ecn"],
        }
    }

    /// Whether its queues share the bandwidth by their own.
    const fn shares_bandwidth(self) -> bool {
        matches!(self, Self::Cbq | Self::Hfsc | Self::Fairq)
    }

    /// Largest priority of a queue; HFSC has none.
    const fn max_priority(self) -> u32 {
        match self {
            Self::Cbq => 7,
            Self::Priq => 15,
            Self::Fairq | Self::Hfsc | Self::Codel => 255,
        }
    }
}

/// `linkshare`, `realtime`, `upperlimit`: one rate, or one for the first milliseconds and another
/// after them.
struct Curve {
    first: Option<(Bandwidth, u32)>,
    rate: Bandwidth,
}

impl Curve {
    /// Behind the name of the curve, as PF does: a blank before a rate, none before parentheses.
    fn print(&self) -> String {
        match &self.first {
            None => format!(" {}", self.rate.altq()),
            Some((first, time)) => format!("({} {time} {})", first.altq(), self.rate.altq()),
        }
    }
}

/// A discipline with what stands in its parentheses.
struct Scheduler {
    discipline: Discipline,
    flags: Vec<&'static str>,
    /// `target N`, `interval N`, `buckets N`, `hogs N`.
    values: BTreeMap<&'static str, String>,
    curves: BTreeMap<&'static str, Curve>,
}

/// Curves in the order of printing.
const CURVES: [&str; 3] = ["realtime", "linkshare", "upperlimit"];
/// Other values in the order of printing. PF prints no `buckets` and `hogs`.
const VALUES: [&str; 4] = ["target", "interval", "buckets", "hogs"];

impl Scheduler {
    const fn new(discipline: Discipline) -> Self {
        Self {
            discipline,
            flags: Vec::new(),
            values: BTreeMap::new(),
            curves: BTreeMap::new(),
        }
    }

    /// The parentheses; nothing where they would be empty. A `linkshare` that is the bandwidth is
    /// not worth a word.
    fn print(&self, bandwidth: &Bandwidth) -> Option<String> {
        let flags = self.discipline.flags().iter();
        let mut words: Vec<String> = flags
            .filter(|flag| self.flags.contains(flag))
            .map(|flag| (*flag).to_owned())
            .collect();
        if self.discipline == Discipline::Codel {
            let values = VALUES.iter().filter_map(|name| self.values.get(name));
            words.splice(0..0, values.cloned());
        }
        for name in CURVES {
            let Some(curve) = self.curves.get(name) else {
                continue;
            };
            let implied = name == "linkshare" && curve.first.is_none() && curve.rate == *bandwidth;
            if !implied {
                words.push(format!("{name}{}", curve.print()));
            }
        }
        let name = self.discipline.name();
        (!words.is_empty()).then(|| format!("{name}( {} )", words.join(" ")))
    }
}

/// Options of `altq` and of `queue`.
#[derive(Default)]
struct Options {
    bandwidth: Option<Bandwidth>,
    priority: Option<(u32, Span)>,
    qlimit: Option<u32>,
    tbrsize: Option<(u32, Span)>,
    scheduler: Option<(Scheduler, Span)>,
}

/// What `priority` and `qlimit` are when they are not printed (`DEFAULT_PRIORITY`,
/// `DEFAULT_QLIMIT` of altq.h).
const DEFAULT_PRIORITY: u32 = 1;
const DEFAULT_QLIMIT: u32 = 50;

impl Options {
    fn qlimit(&self) -> Option<u32> {
        self.qlimit.filter(|qlimit| *qlimit != DEFAULT_QLIMIT)
    }
}

/// Queues that an `altq` or a `queue` named as its children: each with one entry for every
/// interface that has it.
#[derive(Default)]
pub(super) struct Queues {
    parents: BTreeMap<String, Vec<(Discipline, String)>>,
    /// How each queue was defined, by its name and interface.
    defined: BTreeMap<(String, String), String>,
    /// An `altq` had an error: its queues are not known.
    failed: bool,
}

impl Queues {
    /// Whether there was an `altq`.
    pub(super) fn in_use(&self) -> bool {
        self.failed || !self.parents.is_empty()
    }
}

impl Parser<'_> {
    /// `altq on interface scheduler … [queue { … }]`.
    pub(super) fn altq(&mut self) -> Parse<()> {
        let parsed = self.altq_interface();
        self.queues.failed |= parsed.is_err();
        parsed
    }

    fn altq_interface(&mut self) -> Parse<()> {
        let keyword = self.next();
        self.expect_word("on")?;
        let interfaces = self.queue_interfaces()?;
        let options = self.altq_options()?;
        let Some((scheduler, _)) = &options.scheduler else {
            let message = "no scheduler specified!";
            return Err(self.error(Code::Conflict, keyword.span, message, String::new()));
        };
        let children = if self.eat_word("queue") {
            self.children()?
        } else {
            Vec::new()
        };
        if !self.peek().ends_line() {
            return Err(self.unexpected("an option of the interface's queues"));
        }
        for interface in &interfaces {
            let Some(bandwidth) = options.bandwidth.and_then(Bandwidth::absolute) else {
                return Err(self.unknown_speed(interface));
            };
            let line = altq_line(&interface.name, scheduler, &options, bandwidth, &children);
            self.echo(line);
            self.adopt(
                &children,
                scheduler.discipline,
                &interface.name,
                keyword.span,
            )?;
        }
        Ok(())
    }

    fn unknown_speed(&mut self, interface: &InterfaceName) -> Bail {
        let message = format!(
            "interface {} does not know its bandwidth, please specify an absolute bandwidth",
            interface.name
        );
        self.error(Code::Conflict, interface.span, &message, String::new())
    }

    pub(super) fn echo(&mut self, line: String) {
        self.statements
            .push(Statement::Set(SetStatement::Printed(line)));
    }

    pub(super) fn queue_interfaces(&mut self) -> Parse<Vec<InterfaceName>> {
        let mut interfaces = Vec::new();
        self.list("an interface name", &mut |parser| {
            interfaces.push(parser.interface_name()?);
            Ok(())
        })?;
        if let Some(negated) = interfaces.iter().find(|interface| interface.negated) {
            let message = "altq on ! <interface> is not supported";
            return Err(self.error(Code::Conflict, negated.span, message, String::new()));
        }
        Ok(interfaces)
    }

    /// Remembers what queues a statement names.
    fn adopt(
        &mut self,
        children: &[String],
        discipline: Discipline,
        interface: &str,
        span: Span,
    ) -> Parse<()> {
        for child in children {
            let total: usize = self.queues.parents.values().map(Vec::len).sum();
            if total >= MAX_QUEUES {
                let message = format!("more than {MAX_QUEUES} queues");
                return Err(self.error(Code::Limit, span, &message, String::new()));
            }
            let known = self.queues.parents.entry(child.clone()).or_default();
            if !known.iter().any(|(_, on)| on == interface) {
                known.push((discipline, interface.to_owned()));
            }
        }
        Ok(())
    }

    fn children(&mut self) -> Parse<Vec<String>> {
        let mut children = Vec::new();
        self.list("a queue", &mut |parser| {
            children.push(parser.queue_name()?.node);
            Ok(())
        })?;
        Ok(children)
    }

    /// `queue name [on interface] … [{ … }]` of ALTQ.
    pub(super) fn altq_queue(&mut self) -> Parse<()> {
        let keyword = self.next();
        let name = self.queue_name()?;
        let interfaces = if self.eat_word("on") {
            self.queue_interfaces()?
        } else {
            Vec::new()
        };
        let options = self.altq_options()?;
        if let Some((_, span)) = options.tbrsize {
            let message = "cannot specify tbrsize for queue";
            return Err(self.error(Code::Conflict, span, message, String::new()));
        }
        let children = if self.peek().ends_line() {
            Vec::new()
        } else {
            self.children()?
        };
        let parents: Vec<(Discipline, String)> = self
            .queues
            .parents
            .get(&name.node)
            .into_iter()
            .flatten()
            .filter(|(_, on)| interfaces.is_empty() || interfaces.iter().any(|i| i.name == *on))
            .cloned()
            .collect();
        if parents.is_empty() && self.queues.failed {
            return Ok(());
        }
        if parents.is_empty() {
            let message = format!("queue {} has no parent", name.node);
            return Err(self.error(Code::UnknownName, name.span, &message, String::new()));
        }
        for (discipline, interface) in parents {
            self.check_discipline(&options, discipline, &name.node)?;
            let on = (!interfaces.is_empty()).then_some(interface.as_str());
            let line = queue_line(&name.node, on, &options, discipline, &children);
            let key = (name.node.clone(), interface.clone());
            match self.queues.defined.get(&key) {
                // What PF prints of several interfaces says the same again for each.
                Some(known) if *known == line => continue,
                Some(_) => {
                    let message = format!(
                        "queue {} already exists on interface {interface}",
                        name.node
                    );
                    return Err(self.error(Code::Conflict, name.span, &message, String::new()));
                }
                None => self.queues.defined.insert(key, line.clone()),
            };
            self.echo(line);
            self.adopt(&children, discipline, &interface, keyword.span)?;
        }
        Ok(())
    }

    fn check_discipline(
        &mut self,
        options: &Options,
        discipline: Discipline,
        name: &str,
    ) -> Parse<()> {
        if let Some((scheduler, span)) = &options.scheduler
            && scheduler.discipline != discipline
        {
            let message = format!(
                "queue {name}: {} options, but its interface has {}",
                scheduler.discipline.name(),
                discipline.name()
            );
            return Err(self.error(Code::Conflict, *span, &message, String::new()));
        }
        let max = discipline.max_priority();
        if let Some((priority, span)) = options.priority
            && priority > max
        {
            let message = format!("priority out of range: max {max}");
            return Err(self.error(Code::BadNumber, span, &message, String::new()));
        }
        Ok(())
    }

    fn altq_options(&mut self) -> Parse<Options> {
        let mut options = Options::default();
        loop {
            let token = self.peek().clone();
            if token.kind != Kind::Word {
                return Ok(options);
            }
            let known = match token.text.as_ref() {
                "bandwidth" => {
                    self.next();
                    let bandwidth = self.bandwidth()?;
                    options.bandwidth.replace(bandwidth).is_some()
                }
                "priority" => {
                    let value = (self.bounded(255)?, token.span);
                    options.priority.replace(value).is_some()
                }
                "qlimit" => options.qlimit.replace(self.bounded(65_535)?).is_some(),
                "tbrsize" => {
                    let value = (self.bounded(65_535)?, token.span);
                    options.tbrsize.replace(value).is_some()
                }
                other => {
                    let named = Discipline::ALL.into_iter().find(|d| d.name() == other);
                    let Some(discipline) = named else {
                        return Ok(options);
                    };
                    let scheduler = (self.scheduler(discipline)?, token.span);
                    options.scheduler.replace(scheduler).is_some()
                }
            };
            if known {
                let message = format!("{} cannot be respecified", token.text);
                return Err(self.error(Code::Conflict, token.span, &message, String::new()));
            }
        }
    }

    /// `keyword N` with `N` at most `max`.
    fn bounded(&mut self, max: u32) -> Parse<u32> {
        let keyword = self.next();
        let number = self.number("a number")?;
        if number.node > max {
            let message = if keyword.is_word("tbrsize") {
                format!("tbrsize too big: max {max}")
            } else {
                format!("{} out of range: max {max}", keyword.text)
            };
            return Err(self.error(Code::BadNumber, number.span, &message, String::new()));
        }
        Ok(number.node)
    }

    fn scheduler(&mut self, discipline: Discipline) -> Parse<Scheduler> {
        self.next();
        let mut scheduler = Scheduler::new(discipline);
        if self.eat_symbol("(") {
            loop {
                self.scheduler_item(&mut scheduler)?;
                self.eat_symbol(",");
                if self.eat_symbol(")") {
                    break;
                }
            }
        }
        Ok(scheduler)
    }

    fn scheduler_item(&mut self, scheduler: &mut Scheduler) -> Parse<()> {
        let token = self.peek().clone();
        if token.kind != Kind::Word {
            return Err(self.unexpected("an option of the scheduler"));
        }
        self.next();
        let discipline = scheduler.discipline;
        let hfsc = discipline == Discipline::Hfsc;
        let curve = CURVES.iter().find(|curve| token.is_word(curve));
        if let Some(curve) =
            curve.filter(|curve| hfsc || discipline == Discipline::Fairq && **curve == "linkshare")
        {
            let value = self.curve()?;
            if scheduler.curves.insert(curve, value).is_some() {
                let message = format!("{curve} already specified");
                return Err(self.error(Code::Conflict, token.span, &message, String::new()));
            }
            return Ok(());
        }
        let wanted: &[&str] = match discipline {
            Discipline::Codel => &["target", "interval"],
            Discipline::Fairq => &["buckets", "hogs"],
            Discipline::Cbq | Discipline::Priq | Discipline::Hfsc => &[],
        };
        let value = VALUES.iter().find(|value| token.is_word(value));
        if let Some(name) = value.filter(|value| wanted.contains(value)) {
            let text = if *name == "hogs" {
                self.bandwidth()?.altq()
            } else {
                self.number("a number")?.node.to_string()
            };
            scheduler.values.insert(name, format!("{name} {text}"));
            return Ok(());
        }
        let Some(flag) = discipline.flags().iter().find(|flag| token.is_word(flag)) else {
            let message = format!("unknown {} flag \"{}\"", discipline.name(), token.text);
            return Err(self.error(Code::UnknownName, token.span, &message, String::new()));
        };
        // ECN is a way of doing RED.
        if *flag == "ecn" && discipline != Discipline::Codel {
            scheduler.flags.push("red");
        }
        scheduler.flags.push(flag);
        Ok(())
    }

    /// `rate`, or `(rate milliseconds rate)`.
    fn curve(&mut self) -> Parse<Curve> {
        if !self.eat_symbol("(") {
            return Ok(Curve {
                first: None,
                rate: self.bandwidth()?,
            });
        }
        let first = self.bandwidth()?;
        self.eat_symbol(",");
        let time = self.number("milliseconds")?.node;
        self.eat_symbol(",");
        let rate = self.bandwidth()?;
        self.expect_symbol(")")?;
        // PF prints no first rate that lasts no time.
        let first = (time > 0).then_some((first, time));
        Ok(Curve { first, rate })
    }
}

fn altq_line(
    interface: &str,
    scheduler: &Scheduler,
    options: &Options,
    bandwidth: Bandwidth,
    children: &[String],
) -> String {
    let name = scheduler.discipline.name().to_owned();
    let mut words = vec![format!("altq on {}", print::name(interface))];
    words.push(scheduler.print(&bandwidth).unwrap_or(name));
    words.push(format!("bandwidth {}", bandwidth.altq()));
    if let Some(qlimit) = options.qlimit() {
        words.push(format!("qlimit {qlimit}"));
    }
    let tbrsize = options
        .tbrsize
        .map_or_else(|| bandwidth.token_bucket(), |(size, _)| size);
    words.push(format!("tbrsize {tbrsize}"));
    if !children.is_empty() {
        words.push(format!("queue {}", braces(children)));
    }
    trailing_blank(&words, children)
}

/// PF ends each word of these lines with a blank; braces come last.
fn trailing_blank(words: &[String], children: &[String]) -> String {
    let blank = if children.is_empty() { " " } else { "" };
    words.join(" ") + blank
}

fn braces(children: &[String]) -> String {
    let names: Vec<String> = children.iter().map(|child| print::name(child)).collect();
    format!("{{ {} }}", names.join(" "))
}

fn queue_line(
    name: &str,
    interface: Option<&str>,
    options: &Options,
    discipline: Discipline,
    children: &[String],
) -> String {
    let mut words = vec![format!("queue {}", print::name(name))];
    if let Some(interface) = interface {
        words.push(format!("on {}", print::name(interface)));
    }
    let whole = Bandwidth::WHOLE;
    let bandwidth = options.bandwidth.unwrap_or(whole);
    if discipline.shares_bandwidth() && bandwidth != whole {
        words.push(format!("bandwidth {}", bandwidth.altq()));
    }
    let priority = options.priority.map(|(priority, _)| priority);
    if let Some(priority) = priority.filter(|priority| *priority != DEFAULT_PRIORITY) {
        words.push(format!("priority {priority}"));
    }
    if let Some(qlimit) = options.qlimit() {
        words.push(format!("qlimit {qlimit}"));
    }
    let scheduler = options.scheduler.as_ref();
    words.extend(scheduler.and_then(|(scheduler, _)| scheduler.print(&bandwidth)));
    if !children.is_empty() {
        words.push(braces(children));
    }
    trailing_blank(&words, children)
}
