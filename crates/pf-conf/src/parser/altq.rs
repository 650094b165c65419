//! ALTQ: `altq on …` and the `queue` definitions that belong to it (pf.conf(5) of FreeBSD, of
//! OpenBSD before 5.5).

use std::collections::BTreeMap;

use pf_engine::queue::{Altq, AltqQueue, Bandwidth, Curve, Discipline, Scheduler};

use super::{Bail, Parse, Parser};
use crate::ast::{InterfaceName, QueueStatement, SetStatement, Spanned, Statement};
use crate::diagnostic::Code;
use crate::limits::MAX_QUEUES;
use crate::print::queue::{altq_queue_line, flags_of};
use crate::source::Span;
use crate::token::{Kind, Token};

/// Largest priority of a queue; HFSC has none.
const fn max_priority(discipline: Discipline) -> u32 {
    match discipline {
        Discipline::Cbq => 7,
        Discipline::Priq => 15,
        Discipline::Fairq | Discipline::Hfsc | Discipline::Codel => 255,
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
        let interfaces = self.interface_names("altq")?;
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
            self.define_queue(QueueStatement::Interface {
                interface: interface.name.clone(),
                altq: Altq {
                    scheduler: scheduler.clone(),
                    bandwidth,
                    qlimit: options.qlimit,
                    tbrsize: options.tbrsize.map(|(size, _)| size),
                    children: children.clone(),
                },
                span: keyword.span,
            });
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

    fn define_queue(&mut self, queue: QueueStatement) {
        self.statements
            .push(Statement::Set(SetStatement::Queue(Box::new(queue))));
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
            self.interface_names("altq")?
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
        let parents = self.parents_of(&name.node, &interfaces);
        if parents.is_empty() && self.queues.failed {
            return Ok(());
        }
        if parents.is_empty() {
            let message = format!("queue {} has no parent", name.node);
            return Err(self.error(Code::UnknownName, name.span, &message, String::new()));
        }
        let queue = AltqQueue {
            bandwidth: options.bandwidth,
            priority: options.priority.map(|(priority, _)| priority),
            qlimit: options.qlimit,
            scheduler: options.scheduler.as_ref().map(|(s, _)| s.clone()),
            children,
        };
        let bound = !interfaces.is_empty();
        for (discipline, interface) in parents {
            self.check_discipline(&options, discipline, &name.node)?;
            self.check_children(&name, &queue, discipline)?;
            let line = altq_queue_line(&name.node, bound.then_some(&interface), &queue, discipline);
            if !self.note_line(&name, &interface, line)? {
                continue;
            }
            self.define_queue(QueueStatement::Altq {
                interface: interface.clone(),
                name: name.clone(),
                bound,
                options: queue.clone(),
            });
            self.adopt(&queue.children, discipline, &interface, keyword.span)?;
        }
        Ok(())
    }

    /// The disciplines above a queue and their interfaces, of `interfaces` if there are any.
    fn parents_of(&self, name: &str, interfaces: &[InterfaceName]) -> Vec<(Discipline, String)> {
        let parents = self.queues.parents.get(name).into_iter().flatten();
        parents
            .filter(|(_, on)| interfaces.is_empty() || interfaces.iter().any(|i| i.name == *on))
            .cloned()
            .collect()
    }

    /// Whether the queue is a new one on the interface. What PF prints of several interfaces says
    /// the same again for each.
    fn note_line(&mut self, name: &Spanned<String>, interface: &str, line: String) -> Parse<bool> {
        let key = (name.node.clone(), interface.to_owned());
        match self.queues.defined.get(&key) {
            Some(known) if *known == line => Ok(false),
            Some(_) => {
                let message = format!(
                    "queue {} already exists on interface {interface}",
                    name.node
                );
                Err(self.error(Code::Conflict, name.span, &message, String::new()))
            }
            None => {
                self.queues.defined.insert(key, line);
                Ok(true)
            }
        }
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
        let max = max_priority(discipline);
        if let Some((priority, span)) = options.priority
            && priority > max
        {
            let message = format!("priority out of range: max {max}");
            return Err(self.error(Code::BadNumber, span, &message, String::new()));
        }
        Ok(())
    }

    /// What is said of a queue's share and of those below it.
    fn check_children(
        &mut self,
        name: &Spanned<String>,
        queue: &AltqQueue,
        discipline: Discipline,
    ) -> Parse<()> {
        let shares = queue
            .bandwidth
            .is_some_and(|share| share != Bandwidth::WHOLE);
        let alone = discipline == Discipline::Priq;
        let message = if alone && !queue.children.is_empty() {
            "priq queues cannot have child queues"
        } else if alone && shares {
            "priq doesn't take bandwidth"
        } else if queue.children.contains(&name.node) {
            "queue cannot have itself as child"
        } else {
            return Ok(());
        };
        Err(self.error(Code::Conflict, name.span, message, String::new()))
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
                    // pfctl reads `codelq` and prints `codel`.
                    let other = if other == "codelq" { "codel" } else { other };
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
        let given = std::mem::take(&mut scheduler.flags);
        let flags = flags_of(discipline).iter().copied();
        scheduler.flags = flags.filter(|flag| given.contains(flag)).collect();
        Ok(scheduler)
    }

    fn scheduler_item(&mut self, scheduler: &mut Scheduler) -> Parse<()> {
        let token = self.peek().clone();
        if token.kind != Kind::Word {
            return Err(self.unexpected("an option of the scheduler"));
        }
        self.next();
        let discipline = scheduler.discipline;
        if let Some(parsed) = self.scheduler_curve(scheduler, &token) {
            return parsed;
        }
        let number = match (discipline, token.text.as_ref()) {
            (Discipline::Codel, "target") => Some(&mut scheduler.target),
            (Discipline::Codel, "interval") => Some(&mut scheduler.interval),
            (Discipline::Fairq, "buckets") => Some(&mut scheduler.buckets),
            (Discipline::Fairq, "hogs") => {
                scheduler.hogs = Some(self.bandwidth()?);
                return Ok(());
            }
            _ => None,
        };
        if let Some(number) = number {
            *number = Some(self.number("a number")?.node);
            return Ok(());
        }
        let Some(flag) = flags_of(discipline).iter().find(|flag| token.is_word(flag)) else {
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

    /// `None` when `token` names no curve of this discipline.
    fn scheduler_curve(&mut self, scheduler: &mut Scheduler, token: &Token) -> Option<Parse<()>> {
        let slot = match (scheduler.discipline, token.text.as_ref()) {
            (Discipline::Hfsc, "realtime") => &mut scheduler.realtime,
            (Discipline::Hfsc | Discipline::Fairq, "linkshare") => &mut scheduler.linkshare,
            (Discipline::Hfsc, "upperlimit") => &mut scheduler.upperlimit,
            _ => return None,
        };
        let curve = match self.curve() {
            Ok(curve) => curve,
            Err(bail) => return Some(Err(bail)),
        };
        if slot.replace(curve).is_some() {
            let message = format!("{} already specified", token.text);
            return Some(Err(self.error(
                Code::Conflict,
                token.span,
                &message,
                String::new(),
            )));
        }
        Some(Ok(()))
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
