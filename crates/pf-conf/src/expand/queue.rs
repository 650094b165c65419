//! Queues of a pf.conf, put together to trees.

use pf_engine::queue::{Altq, AltqQueue, FlowQueue, Queue, QueueOptions, QueueTree, Written};

use super::{Expand, Expander};
use crate::ast::{QueueStatement, Spanned};
use crate::diagnostic::Code;
use crate::print::queue::{altq_line, altq_queue_line, flow_line};
use crate::source::{Sources, Span};

/// Bytes in the name of a queue at most (`PF_QNAME_SIZE`, with the byte behind it).
const NAME_MAX: usize = 63;

/// Where the queues of a tree were written.
#[derive(Clone, Debug)]
pub(crate) struct TreeSpans {
    tree: Span,
    queues: Vec<Span>,
}

impl TreeSpans {
    /// Writes the places into the tree.
    pub(crate) fn name_places(&self, tree: &mut QueueTree, sources: &Sources) {
        let text = |span: Span| {
            let place = sources.place(span);
            Written(format!("{}:{}", place.file, place.line))
        };
        tree.place = text(self.tree);
        for (queue, span) in tree.queues.iter_mut().zip(&self.queues) {
            queue.place = text(*span);
        }
    }
}

impl Expander<'_> {
    /// Takes a queue up; gives how it is echoed. Nothing after an error.
    pub(super) fn queue(&mut self, statement: &QueueStatement) -> Option<String> {
        match statement {
            QueueStatement::Interface {
                interface,
                altq,
                span,
            } => self.altq(interface, altq, *span),
            QueueStatement::Altq {
                interface,
                name,
                bound,
                options,
            } => self.altq_queue(interface, name, *bound, options),
            QueueStatement::Flow {
                interface,
                name,
                bound,
                options,
            } => self.flow_queue(interface, name, *bound, options),
        }
        .ok()
    }

    fn altq(&mut self, interface: &str, altq: &Altq, span: Span) -> Expand<String> {
        if self.tree_of(interface).is_some() {
            let message = format!("altq on {interface} already specified");
            return Err(self.error(Code::Conflict, span, &message, ""));
        }
        self.new_tree(interface, Some(altq.clone()), span);
        Ok(altq_line(interface, altq))
    }

    fn altq_queue(
        &mut self,
        interface: &str,
        name: &Spanned<String>,
        bound: bool,
        options: &AltqQueue,
    ) -> Expand<String> {
        self.check_name(name)?;
        let Some(at) = self.tree_of(interface) else {
            let message = format!("queue {} has no parent", name.node);
            return Err(self.error(Code::UnknownName, name.span, &message, ""));
        };
        let scheduler = options.scheduler.as_ref();
        let queue = Queue {
            name: name.node.clone(),
            parent: None,
            default: scheduler.is_some_and(|scheduler| scheduler.has("default")),
            bound,
            options: QueueOptions::Altq(options.clone()),
            place: Written::default(),
        };
        let line = self.ruleset.queues.get(at).and_then(|tree| {
            let discipline = tree.altq.as_ref()?.scheduler.discipline;
            let on = bound.then_some(interface);
            Some(altq_queue_line(&name.node, on, options, discipline))
        });
        self.put_queue(at, queue, name.span)?;
        Ok(line.unwrap_or_default())
    }

    fn flow_queue(
        &mut self,
        interface: &str,
        name: &Spanned<String>,
        bound: bool,
        options: &FlowQueue,
    ) -> Expand<String> {
        self.check_name(name)?;
        let at = match self.tree_of(interface) {
            Some(at) => at,
            None => self.new_tree(interface, None, name.span),
        };
        let on = bound || options.parent.is_none();
        let line = flow_line(&name.node, on.then_some(interface), options);
        let queue = Queue {
            name: name.node.clone(),
            parent: None,
            default: options.default,
            bound,
            options: QueueOptions::Flow(options.clone()),
            place: Written::default(),
        };
        self.put_queue(at, queue, name.span)?;
        Ok(line)
    }

    fn check_name(&mut self, name: &Spanned<String>) -> Expand<()> {
        if name.node.len() <= NAME_MAX {
            return Ok(());
        }
        let message = format!("the name of a queue has at most {NAME_MAX} bytes");
        Err(self.error(Code::Limit, name.span, &message, ""))
    }

    fn tree_of(&self, interface: &str) -> Option<usize> {
        let mut trees = self.ruleset.queues.iter();
        trees.position(|tree| tree.interface == interface)
    }

    fn new_tree(&mut self, interface: &str, altq: Option<Altq>, span: Span) -> usize {
        self.ruleset.queues.push(QueueTree {
            interface: interface.to_owned(),
            altq,
            queues: Vec::new(),
            place: Written::default(),
        });
        self.queue_spans.push(TreeSpans {
            tree: span,
            queues: Vec::new(),
        });
        self.ruleset.queues.len() - 1
    }

    /// Puts a queue below its parent, and checks its share.
    fn put_queue(&mut self, at: usize, mut queue: Queue, span: Span) -> Expand<()> {
        let Some(tree) = self.ruleset.queues.get_mut(at) else {
            return Ok(());
        };
        queue.parent = tree.parent_of(&queue);
        tree.queues.push(queue);
        if let Some(spans) = self.queue_spans.get_mut(at) {
            spans.queues.push(span);
        }
        let last = tree.queues.len() - 1;
        if !tree.is_above_its_parent(last) {
            return Ok(());
        }
        let name = tree.queues.last().map_or("", |queue| &queue.name);
        let than = match tree.queues.get(last).and_then(|queue| queue.parent) {
            Some(_) => "parent",
            None => "interface",
        };
        let message = format!("bandwidth for {name} higher than {than}");
        Err(self.error(Code::Conflict, span, &message, ""))
    }

    /// What must hold when all queues were read (pf.conf(5), QUEUEING). As PF's own pfctl does, a
    /// preview does without.
    pub(super) fn check_queues(&mut self) {
        if !self.errors.is_empty() || self.print.is_some() {
            return;
        }
        let wrong = |tree: &QueueTree| {
            let defaults = tree.queues.iter().filter(|queue| queue.default).count();
            let wrong = tree.altq.is_some() && !tree.queues.is_empty() && defaults != 1;
            wrong.then(|| format!("should have one default queue on {}", tree.interface))
        };
        let trees = self.ruleset.queues.iter().zip(&self.queue_spans);
        let errors: Vec<(String, Span)> = trees
            .filter_map(|(tree, spans)| Some((wrong(tree)?, spans.tree)))
            .collect();
        for (message, span) in errors {
            let _ = self.error(Code::Conflict, span, &message, "");
        }
    }
}
