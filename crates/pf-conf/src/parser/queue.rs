//! Queues of OpenBSD since 5.5: `queue name on interface …`, `queue name parent other …`.

use pf_engine::queue::{Bandwidth, Curve, FlowQueue};

use super::{Parse, Parser, queue_tree};
use crate::ast::{InterfaceName, Spanned};
use crate::diagnostic::Code;
use crate::limits::MAX_QUEUES;
use crate::token::{Kind, Token};

impl Parser<'_> {
    /// A name of a queue, which may be one of PF's words (`default` often is).
    pub(super) fn queue_name(&mut self) -> Parse<Spanned<String>> {
        if self.peek().kind == Kind::Number {
            let token = self.next();
            return Ok(Spanned {
                node: token.text.into_owned(),
                span: token.span,
            });
        }
        self.string("a queue")
    }

    /// `queue …`: of ALTQ after an `altq`, of OpenBSD otherwise.
    pub(super) fn queue_statement(&mut self) -> Parse<()> {
        if self.queues.in_use() {
            return self.altq_queue();
        }
        self.next();
        let name = self.queue_name()?;
        let interfaces = if self.eat_word("on") {
            self.interface_names("altq")?
        } else {
            Vec::new()
        };
        let mut queue = FlowQueue::default();
        while !self.peek().ends_line() {
            self.new_queue_option(&mut queue, &name)?;
        }
        let message = if interfaces.is_empty() && queue.parent.is_none() {
            "root queue without interface"
        } else if queue.bandwidth.is_none() && queue.flows.is_none() {
            "no bandwidth or flow specification"
        } else {
            return self.add_queue(&name, &interfaces, &queue);
        };
        Err(self.error(Code::Conflict, name.span, message, String::new()))
    }

    /// Keeps the queue, once for each of its interfaces.
    fn add_queue(
        &mut self,
        name: &Spanned<String>,
        interfaces: &[InterfaceName],
        queue: &FlowQueue,
    ) -> Parse<()> {
        let mut on: Vec<Option<String>> = interfaces
            .iter()
            .map(|interface| Some(interface.name.clone()))
            .collect();
        if on.is_empty() {
            on.push(None);
        }
        if self.queue_tree.len() + on.len() > MAX_QUEUES {
            let message = format!("more than {MAX_QUEUES} queues");
            return Err(self.error(Code::Limit, name.span, &message, String::new()));
        }
        for interface in on {
            self.queue_tree.add(queue_tree::Spec {
                name: name.clone(),
                interface,
                options: queue.clone(),
            });
        }
        Ok(())
    }

    fn new_queue_option(&mut self, queue: &mut FlowQueue, name: &Spanned<String>) -> Parse<()> {
        let token = self.peek().clone();
        if self.at_symbol(",") {
            self.next();
            return Ok(());
        }
        if token.kind != Kind::Word {
            return Err(self.unexpected("an option of the queue"));
        }
        let known = match token.text.as_ref() {
            "parent" => {
                self.next();
                let parent = self.queue_name()?.node;
                queue.parent.replace(parent).is_some()
            }
            "bandwidth" => queue.bandwidth.replace(self.queue_rate()?).is_some(),
            "min" => queue.min.replace(self.queue_rate()?).is_some(),
            "max" => queue.max.replace(self.queue_rate()?).is_some(),
            "default" => {
                self.next();
                std::mem::replace(&mut queue.default, true)
            }
            "flows" => {
                let flows = self.queue_number(1, 32_767)?;
                queue.flows.replace(flows).is_some()
            }
            "quantum" => {
                let quantum = self.queue_number(1, 65_535)?;
                queue.quantum.replace(quantum).is_some()
            }
            "qlimit" => queue
                .qlimit
                .replace(self.queue_number(0, 65_535)?)
                .is_some(),
            "cbq" | "priq" | "hfsc" | "fairq" | "codel" | "priority" | "tbrsize" => {
                let message = format!("queue {} has no parent", name.node);
                let detail = "no `altq` before it names this queue".to_owned();
                return Err(self.error(Code::UnknownName, name.span, &message, detail));
            }
            _ => return Err(self.unexpected("an option of the queue")),
        };
        self.once_only(known, &token)
    }

    fn once_only(&mut self, known: bool, token: &Token) -> Parse<()> {
        if known {
            let message = format!("{} cannot be respecified", token.text);
            return Err(self.error(Code::Conflict, token.span, &message, String::new()));
        }
        Ok(())
    }

    fn queue_number(&mut self, min: u32, max: u32) -> Parse<u32> {
        let keyword = self.next();
        let number = self.number("a number")?;
        if !(min..=max).contains(&number.node) {
            let what = if keyword.is_word("flows") {
                "number of flows"
            } else {
                keyword.text.as_ref()
            };
            let message = format!("{what} out of range: max {max}");
            return Err(self.error(Code::BadNumber, number.span, &message, String::new()));
        }
        Ok(number.node)
    }

    /// `bandwidth rate [burst rate for milliseconds]`, and `min` and `max` alike.
    fn queue_rate(&mut self) -> Parse<Curve> {
        self.next();
        let rate = self.absolute_bandwidth()?;
        let mut first = None;
        if self.eat_word("burst") {
            let burst = self.absolute_bandwidth()?;
            self.expect_word("for")?;
            first = Some((burst, self.milliseconds()?));
        }
        Ok(Curve { first, rate })
    }

    fn absolute_bandwidth(&mut self) -> Parse<Bandwidth> {
        let span = self.peek().span;
        let rate = self.bandwidth()?;
        if rate.absolute().is_some() {
            return Ok(rate);
        }
        let message = "no bandwidth in % yet";
        Err(self.error(Code::Conflict, span, message, String::new()))
    }

    fn milliseconds(&mut self) -> Parse<u32> {
        let token = self.peek().clone();
        let number = token.text.strip_suffix("ms").unwrap_or(&token.text);
        let Ok(number) = number.parse() else {
            return Err(self.unexpected("milliseconds"));
        };
        self.next();
        Ok(number)
    }
}
