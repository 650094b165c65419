//! Names of operating systems, looked up in the fingerprints of the ruleset.

use std::sync::Arc;

use pf_engine::osfp::pfos::{Fingerprints, SystemMatch};

use super::rule::or_none;
use super::{Expand, Expander};
use crate::ast::{RuleStatement, Spanned};
use crate::diagnostic::Code;
use crate::names::did_you_mean;

impl Expander<'_> {
    /// What `os` of a rule asks for, one after the other.
    pub(super) fn systems(
        &mut self,
        statement: &RuleStatement,
    ) -> Expand<Vec<Option<SystemMatch>>> {
        let systems = statement.systems.iter().map(|name| self.system(name));
        let systems = systems.collect::<Expand<Vec<_>>>()?;
        Ok(or_none(systems.into_iter()))
    }

    /// PF takes a name that it does not know, and no packet matches the rule.
    fn system(&mut self, name: &Spanned<String>) -> Expand<SystemMatch> {
        let set = self.ruleset.options.fingerprints.as_ref().map(Arc::clone);
        let fingerprints = set.unwrap_or_else(Fingerprints::stock);
        if let Some(found) = fingerprints.find(&name.node) {
            return Ok(found);
        }
        let message = format!("unknown OS fingerprint \"{}\"", name.node);
        let detail = "`pfctl -s osfp` lists the names";
        let bail = self.error(Code::UnknownName, name.span, &message, detail);
        let known: Vec<String> = fingerprints
            .list()
            .iter()
            .map(ToString::to_string)
            .collect();
        let hint = did_you_mean(&name.node, known.iter().map(String::as_str));
        if let Some(error) = self.errors.last_mut() {
            error.hint = hint;
        }
        Err(bail)
    }
}
