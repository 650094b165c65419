//! `-s Anchors`, and the order in which rules are shown that stand in anchors.

use std::fmt::Write;

use pf_engine::anchor::{ANCHOR_STACK_MAX, AnchorCall, AnchorPath};
use pf_engine::engine::{Engine, RuleList};
use pf_engine::view::{InstalledEtherRule, InstalledRule};
use serde::{Deserialize, Serialize};

use super::View;

/// `-a`: the ruleset that is meant, and whether those in it are meant too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// The ruleset.
    pub anchor: AnchorPath,
    /// `/*` or `*` was behind it.
    pub recurse: bool,
}

impl Scope {
    /// Whether what belongs to the ruleset at `path` is meant.
    #[must_use]
    pub fn holds(&self, path: &AnchorPath) -> bool {
        *path == self.anchor || (self.recurse && self.anchor.holds(path))
    }
}

/// `-s Anchors`: the anchors in the one that is meant; with `-v` those in them too, and the ones
/// that were given no name.
#[must_use]
pub fn anchors(view: &View<'_>) -> String {
    let mut text = String::new();
    let deep = view.style.verbose > 0 || view.scope.recurse;
    let here = &view.scope.anchor;
    for path in view.engine.anchors() {
        let inside = path != here && here.holds(path);
        let shown = deep || path.parent().as_ref() == Some(here);
        let unnamed = path.as_str().starts_with('_') && view.style.verbose == 0;
        if inside && shown && !unnamed {
            let _ = writeln!(text, "  {path}");
        }
    }
    text
}

/// A line of a listing of rules.
pub(super) enum Line<R> {
    /// A rule of the ruleset at this path, so far in, and whether a brace opens behind it.
    Rule(usize, AnchorPath, R, bool),
    /// Of a wildcard: an anchor that it means, and its brace.
    Anchor(usize, AnchorPath),
    /// The brace closes.
    Close(usize),
}

/// A rule of any kind.
pub(super) trait Listed {
    /// The anchor that it calls.
    fn call(&self) -> Option<&AnchorCall>;
}

impl Listed for InstalledRule<'_> {
    fn call(&self) -> Option<&AnchorCall> {
        self.rule.anchor.as_ref()
    }
}

impl Listed for InstalledEtherRule<'_> {
    fn call(&self) -> Option<&AnchorCall> {
        self.rule.anchor.as_ref()
    }
}

/// The lists of `-s nat`, in its order.
pub(super) const TRANSLATION: [RuleList; 3] = [RuleList::Nat, RuleList::Rdr, RuleList::Binat];

type Rules<'a, R> = Box<dyn Iterator<Item = R> + 'a>;

type RulesAt<'a, R> = Box<dyn Fn(&AnchorPath) -> Rules<'a, R> + 'a>;

enum Level<'a, R> {
    Rules(AnchorPath, Rules<'a, R>),
    Wildcard(std::vec::IntoIter<AnchorPath>),
}

/// The rules of a list, with those in anchors that are to be shown.
pub(super) struct Lines<'a, R> {
    engine: &'a Engine,
    rules_at: RulesAt<'a, R>,
    recurse: bool,
    levels: Vec<Level<'a, R>>,
}

impl<'a> Lines<'a, InstalledRule<'a>> {
    pub(super) fn new(view: &View<'a>, list: RuleList) -> Self {
        Self::below(view, list, [list])
    }

    /// A list of translation rules. As in PF, the anchors in it are shown with their translation rules
    /// of all kinds, whichever kind the rule that calls them is of.
    pub(super) fn translation(view: &View<'a>, list: RuleList) -> Self {
        Self::below(view, list, TRANSLATION)
    }

    /// The rules of `list`, with those of `inside` in its anchors.
    fn below<const N: usize>(view: &View<'a>, list: RuleList, inside: [RuleList; N]) -> Self {
        let (engine, here) = (view.engine, view.scope.anchor.clone());
        Self::of(view, move |path| {
            if *path == here {
                return Box::new(engine.rules_at(path, list));
            }
            let path = path.clone();
            let lists = inside.into_iter();
            Box::new(lists.flat_map(move |list| engine.rules_at(&path, list)))
        })
    }
}

impl<'a> Lines<'a, InstalledEtherRule<'a>> {
    pub(super) fn ether(view: &View<'a>) -> Self {
        let engine = view.engine;
        Self::of(view, move |path| Box::new(engine.ether_rules_at(path)))
    }
}

impl<'a, R: Listed> Lines<'a, R> {
    fn of(view: &View<'a>, rules_at: impl Fn(&AnchorPath) -> Rules<'a, R> + 'a) -> Self {
        let path = view.scope.anchor.clone();
        let rules = rules_at(&path);
        Self {
            engine: view.engine,
            rules_at: Box::new(rules_at),
            recurse: view.scope.recurse,
            levels: vec![Level::Rules(path, rules)],
        }
    }

    /// As in PF, what stands in the braces of an anchor without a name is shown always, the rest
    /// when it is asked for. An anchor that calls itself is not shown inside of itself.
    fn opens(&self, rule: &R) -> bool {
        let Some(call) = rule.call() else {
            return false;
        };
        let is_open =
            |level: &Level<'_, R>| matches!(level, Level::Rules(path, _) if *path == call.path);
        (self.recurse || call.is_unnamed())
            && self.levels.len() < ANCHOR_STACK_MAX
            && (call.wildcard || !self.levels.iter().any(is_open))
    }

    fn open(&mut self, rule: &R) {
        let Some(call) = rule.call() else {
            return;
        };
        if call.wildcard {
            let inside = self.engine.anchors();
            let children = inside.filter(|path| path.parent().as_ref() == Some(&call.path));
            let children: Vec<AnchorPath> = children.cloned().collect();
            self.levels.push(Level::Wildcard(children.into_iter()));
        } else {
            self.enter(call.path.clone());
        }
    }

    fn enter(&mut self, path: AnchorPath) {
        let rules = (self.rules_at)(&path);
        self.levels.push(Level::Rules(path, rules));
    }
}

impl<R: Listed> Iterator for Lines<'_, R> {
    type Item = Line<R>;

    fn next(&mut self) -> Option<Self::Item> {
        let depth = self.levels.len().checked_sub(1)?;
        match self.levels.last_mut()? {
            Level::Rules(path, rules) => {
                if let Some(rule) = rules.next() {
                    let path = path.clone();
                    let opens = self.opens(&rule);
                    if opens {
                        self.open(&rule);
                    }
                    return Some(Line::Rule(depth, path, rule, opens));
                }
            }
            Level::Wildcard(children) => {
                if let Some(child) = children.next() {
                    self.enter(child.clone());
                    return Some(Line::Anchor(depth, child));
                }
            }
        }
        self.levels.pop();
        self.levels.len().checked_sub(1).map(Line::Close)
    }
}
