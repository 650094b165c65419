//! A way through a ruleset and the anchors that its rules call (pf.conf(5), ANCHORS).

use std::sync::Arc;

use crate::anchor::ANCHOR_STACK_MAX;
use crate::anchors::{AnchorId, Call};
use crate::compile::{ListKind, Lists};
use crate::decision::DropReason;
use crate::engine::packet::Refused;
use crate::engine::translate::Course;
use crate::engine::{Engine, RuleList};
use crate::env::Env;
use crate::evaluate::CompiledRule;
use crate::installed::RuleId;

/// Anchors that one evaluation may enter. Anchors that call anchors that call anchors multiply,
/// and a rule may call the one that it is in: PF bounds the depth alone.
const ANCHORS_ENTERED_MAX: usize = 65_536;

/// Where an evaluation stands.
pub(super) struct Walk {
    kind: ListKind,
    pub(super) lists: Arc<Lists>,
    /// The rule that is looked at next.
    pub(super) at: usize,
    frames: Vec<Frame>,
    entered: usize,
}

/// An anchor that the evaluation is in, and where it goes on behind it.
struct Frame {
    lists: Arc<Lists>,
    /// The rule behind the one that called.
    next: usize,
    caller: RuleId,
    quick: bool,
    /// A rule in it has decided.
    matched: bool,
    /// Of a wildcard: the anchor whose children are entered, and which is next.
    children: Option<(AnchorId, usize)>,
}

/// A rule that matches.
#[derive(Clone)]
pub(super) struct Found {
    kind: ListKind,
    lists: Arc<Lists>,
    at: usize,
    /// The rule of the main ruleset that led to the anchor in which it is.
    pub(super) anchor: Option<RuleId>,
}

impl Found {
    /// A filter rule of `lists`.
    pub(super) const fn filter(lists: Arc<Lists>, at: usize, anchor: Option<RuleId>) -> Self {
        Self {
            kind: ListKind::Read(RuleList::Filter),
            lists,
            at,
            anchor,
        }
    }

    pub(super) fn rule(&self) -> Option<&CompiledRule> {
        self.lists.of(self.kind).get(self.at)
    }
}

impl Walk {
    pub(super) const fn new(kind: ListKind, lists: Arc<Lists>) -> Self {
        Self {
            kind,
            lists,
            at: 0,
            frames: Vec::new(),
            entered: 0,
        }
    }

    /// A rule has decided: what `anchor quick` asks.
    pub(super) fn mark_matched(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.matched = true;
        }
    }
}

impl Engine {
    /// The next rule that matches, in the ruleset or in an anchor that a matching rule calls;
    /// nothing when the evaluation is over.
    pub(super) fn next_found(
        &mut self,
        walk: &mut Walk,
        course: &mut Course,
        env: &mut dyn Env,
    ) -> Result<Option<Found>, Refused> {
        loop {
            let lists = Arc::clone(&walk.lists);
            let rules = lists.of(walk.kind);
            let Some(at) = self.next_match(rules, walk.at, course, env) else {
                if self.step_out(walk) {
                    continue;
                }
                return Ok(None);
            };
            walk.at = at.saturating_add(1);
            let Some(rule) = rules.get(at) else {
                return Ok(None);
            };
            let Some(call) = rule.call else {
                let anchor = walk.frames.first().map(|frame| frame.caller);
                let kind = walk.kind;
                return Ok(Some(Found {
                    kind,
                    lists,
                    at,
                    anchor,
                }));
            };
            course.tag = rule.tag.or(course.tag);
            self.step_into(walk, (rule.id, rule.quick), call)?;
        }
    }

    /// Steps into what a rule calls. Too deep is a drop: whatever the rules there would say, they
    /// are not asked.
    pub(super) fn step_into(
        &self,
        walk: &mut Walk,
        (caller, quick): (RuleId, bool),
        call: Call,
    ) -> Result<(), Refused> {
        if walk.frames.len() >= ANCHOR_STACK_MAX || walk.entered >= ANCHORS_ENTERED_MAX {
            return Err(DropReason::Memory.into());
        }
        walk.entered = walk.entered.saturating_add(1);
        let frame = Frame {
            lists: Arc::clone(&walk.lists),
            next: walk.at,
            caller,
            quick,
            matched: false,
            children: call.wildcard.then_some((call.anchor, 0)),
        };
        walk.frames.push(frame);
        if call.wildcard {
            self.step_out(walk);
        } else {
            self.go_to(walk, call.anchor);
        }
        Ok(())
    }

    fn go_to(&self, walk: &mut Walk, anchor: AnchorId) {
        walk.lists = self.anchors.lists(anchor).unwrap_or_default();
        walk.at = 0;
    }

    /// From the end of an anchor to the next one of its wildcard, or behind its call. Whether the
    /// evaluation goes on.
    pub(super) fn step_out(&self, walk: &mut Walk) -> bool {
        let Some(frame) = walk.frames.last_mut() else {
            return false;
        };
        if let Some((parent, next)) = &mut frame.children
            && let Some(child) = self.anchors.child(*parent, *next)
        {
            *next = next.saturating_add(1);
            walk.entered = walk.entered.saturating_add(1);
            self.go_to(walk, child);
            return true;
        }
        let Some(frame) = walk.frames.pop() else {
            return false;
        };
        if frame.matched {
            walk.mark_matched();
        }
        walk.lists = frame.lists;
        walk.at = frame.next;
        !(frame.matched && frame.quick)
    }
}
