//! How the queues of OpenBSD hang together: known when all were read.

use std::collections::BTreeMap;

use pf_engine::queue::FlowQueue;

use crate::ast::{QueueStatement, RuleStatement, SetStatement, Spanned, Statement};
use crate::diagnostic::{Code, Diagnostic};
use crate::limits::MAX_QUEUES;

/// Queues in each other.
const MAX_DEPTH: usize = 64;

/// One `queue`, on one interface.
pub(super) struct Spec {
    pub(super) name: Spanned<String>,
    pub(super) interface: Option<String>,
    pub(super) options: FlowQueue,
}

/// The queues of a text, in its order.
#[derive(Default)]
pub(super) struct QueueTree {
    specs: Vec<Spec>,
}

/// What came of the queues: they in PF's order, or what is wrong.
struct Walk<'a> {
    specs: &'a [Spec],
    children: BTreeMap<&'a str, Vec<usize>>,
    found: Vec<bool>,
    lines: Vec<QueueStatement>,
    /// The root stands on several interfaces: what is below it names the one that it is on.
    bound: bool,
}

impl QueueTree {
    pub(super) const fn len(&self) -> usize {
        self.specs.len()
    }

    pub(super) fn add(&mut self, spec: Spec) {
        self.specs.push(spec);
    }

    /// The queues, each root with what is below it; as in PF they come after
    /// everything that is echoed while the text is read.
    ///
    /// # Errors
    /// The first thing that is wrong with the queues, or with a rule's choice of one.
    pub(super) fn finish(&self, statements: &[Statement]) -> Result<Vec<Statement>, Diagnostic> {
        let mut children: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, spec) in self.specs.iter().enumerate() {
            if let Some(parent) = &spec.options.parent {
                children.entry(parent).or_default().push(at);
            }
        }
        let mut walk = Walk {
            specs: &self.specs,
            children,
            found: vec![false; self.specs.len()],
            lines: Vec::new(),
            bound: false,
        };
        let roots = || {
            self.specs
                .iter()
                .filter(|spec| spec.options.parent.is_none())
        };
        for root in roots() {
            let same_name = |other: &&Spec| other.name.node == root.name.node;
            walk.bound = roots().filter(same_name).count() > 1;
            let default = walk.below(root, root.interface.as_deref(), 0)?;
            if root.options.bandwidth.is_some() && !default {
                let message = "no default queue specified".to_owned();
                return Err(Diagnostic::new(Code::Conflict, root.name.span, message));
            }
        }
        walk.leaves_only(statements)?;
        walk.all_found()?;
        let lines = walk.lines.into_iter();
        Ok(lines
            .map(|queue| Statement::Set(SetStatement::Queue(Box::new(queue))))
            .collect())
    }
}

impl Walk<'_> {
    /// Prints `spec` and what is below it. Gives whether a default queue is among them.
    fn below(
        &mut self,
        spec: &Spec,
        interface: Option<&str>,
        depth: usize,
    ) -> Result<bool, Diagnostic> {
        let name = &spec.name.node;
        let wrong = |message: String| Diagnostic::new(Code::Conflict, spec.name.span, message);
        if depth > MAX_DEPTH || self.lines.len() >= MAX_QUEUES {
            return Err(wrong(format!("queue {name} is its own parent")));
        }
        self.lines.push(QueueStatement::Flow {
            interface: interface.unwrap_or_default().to_owned(),
            name: spec.name.clone(),
            bound: self.bound,
            options: spec.options.clone(),
        });
        let children = self.children_of(name, interface)?;
        if !children.is_empty() && spec.options.default {
            return Err(wrong(format!("default queue {name} is not a leaf queue")));
        }
        if !children.is_empty() && spec.options.flows.is_some() {
            return Err(wrong(format!("flow queue {name} is not a leaf queue")));
        }
        let mut default = spec.options.default;
        for child in children {
            if let Some(spec) = self.specs.get(child) {
                default |= self.below(spec, interface, depth + 1)?;
            }
        }
        Ok(default)
    }

    /// Children of a queue on `interface`. One that names its interface wins over one that does
    /// not.
    fn children_of(
        &mut self,
        parent: &str,
        interface: Option<&str>,
    ) -> Result<Vec<usize>, Diagnostic> {
        let mut chosen: Vec<usize> = Vec::new();
        for at in self.children.get(parent).cloned().unwrap_or_default() {
            let Some(spec) = self.specs.get(at) else {
                continue;
            };
            let elsewhere = spec.interface.is_some() && spec.interface.as_deref() != interface;
            if elsewhere {
                continue;
            }
            if let Some(found) = self.found.get_mut(at) {
                *found = true;
            }
            let same = |known: &&mut usize| {
                let known = self.specs.get(**known);
                known.is_some_and(|known| known.name.node == spec.name.node)
            };
            let Some(known) = chosen.iter_mut().find(same) else {
                chosen.push(at);
                continue;
            };
            let bound = self.specs.get(*known).and_then(|k| k.interface.as_ref());
            match (bound, &spec.interface) {
                (None, Some(_)) => *known = at,
                (Some(_), None) => {}
                (Some(on), Some(_)) => {
                    return Err(respecified(spec, &format!(" on {on}")));
                }
                (None, None) => return Err(respecified(spec, "")),
            }
        }
        Ok(chosen)
    }

    fn all_found(&self) -> Result<(), Diagnostic> {
        for (spec, found) in self.specs.iter().zip(&self.found) {
            let Some(parent) = &spec.options.parent else {
                continue;
            };
            let name = &spec.name.node;
            let (code, message) = if !found {
                let message = format!("queue {name}: parent {parent} not found");
                (Code::UnknownName, message)
            } else if spec.options.bandwidth.is_none() {
                let message = format!("queue {name}: no bandwidth was specified");
                (Code::Conflict, message)
            } else {
                continue;
            };
            return Err(Diagnostic::new(code, spec.name.span, message));
        }
        Ok(())
    }

    /// Rules may only choose queues without children.
    fn leaves_only(&self, statements: &[Statement]) -> Result<(), Diagnostic> {
        for statement in statements {
            let Statement::Rule(rule) = statement else {
                continue;
            };
            self.leaf_of(rule)?;
            self.leaves_only(rule.body.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    fn leaf_of(&self, rule: &RuleStatement) -> Result<(), Diagnostic> {
        let Some(choice) = &rule.queue else {
            return Ok(());
        };
        let mut names = std::iter::once(&choice.normal).chain(&choice.urgent);
        match names.find(|name| self.children.contains_key(name.as_str())) {
            Some(name) => {
                let message = format!("queue {name}: packets must be assigned to leaf queues only");
                Err(Diagnostic::new(Code::Conflict, rule.span, message))
            }
            None => Ok(()),
        }
    }
}

fn respecified(spec: &Spec, place: &str) -> Diagnostic {
    let message = format!("queue {}{place} respecified", spec.name.node);
    Diagnostic::new(Code::Conflict, spec.name.span, message)
}
