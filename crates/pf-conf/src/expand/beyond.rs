//! What a rule prints and cannot install yet: see [`crate::extras`].

use pf_engine::rule::{Rule, StateMode};

use super::pool::Purpose;
use super::rule::Combination;
use super::{Expand, Expander};
use crate::ast::{AfTo, RuleStatement, Verb};
use crate::extras::{Extras, Slot};
use crate::print::pool::plain as print_pool;

impl Expander<'_> {
    /// What is printed and not installed.
    pub(super) fn extras(
        &mut self,
        rule: &Rule,
        statement: &RuleStatement,
        combination: &Combination<'_>,
    ) -> Expand<Extras> {
        let mut extras = statement.extras.clone();
        if let Some(state) = statement
            .state
            .as_ref()
            .filter(|_| rule.state != StateMode::None)
        {
            extras.add_state(&state.extras);
        }
        for (slot, text) in [
            (Slot::Os, combination.system),
            (Slot::User, combination.user),
            (Slot::Group, combination.group),
        ] {
            if let Some(text) = text {
                extras.push(slot, text.clone());
            }
        }
        let pools = [
            (Slot::NatPool, &statement.nat),
            (Slot::RdrPool, &statement.rdr),
        ];
        for (slot, pool) in pools {
            for word in pool.iter().flat_map(|pool| &pool.words) {
                extras.push(slot, word.clone());
            }
        }
        for word in statement.route.iter().flat_map(|(_, pool)| &pool.words) {
            extras.push(Slot::RoutePool, word.clone());
        }
        scrub_words(statement, &mut extras);
        if let Some(af_to) = &statement.af_to {
            extras.push(Slot::AfTo, self.af_to(af_to)?);
        }
        Ok(extras)
    }

    fn af_to(&mut self, af_to: &AfTo) -> Expand<String> {
        let mut text = format!("af-to {}", af_to.family);
        for (word, pool) in [("from", Some(&af_to.from)), ("to", af_to.to.as_ref())] {
            let Some(statement) = pool else { continue };
            let candidates = self.candidates(statement)?;
            let family = Some(af_to.family);
            let pool = self.pool(statement, &candidates, Purpose::Nat, family, None)?;
            text = format!("{text} {word} {}", print_pool(&pool));
        }
        Ok(text)
    }
}

/// Options of a `scrub` rule, or of `scrub (…)`.
fn scrub_words(statement: &RuleStatement, extras: &mut Extras) {
    let scrub = &statement.scrub;
    let numbers = [
        scrub.min_ttl.map(|ttl| format!("min-ttl {ttl}")),
        scrub.max_mss.map(|mss| format!("max-mss {mss}")),
        scrub.set_tos.map(|tos| format!("set-tos 0x{tos:02x}")),
    ];
    let mut words: Vec<String> = [(scrub.no_df, "no-df"), (scrub.random_id, "random-id")]
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, word)| word.to_owned())
        .chain(numbers.into_iter().flatten())
        .collect();
    let tcp = scrub.reassemble_tcp.then(|| "reassemble tcp".to_owned());
    if statement.verb == Verb::Scrub {
        let no = if scrub.no_reassemble { "no " } else { "" };
        let fragment = format!("fragment {no}reassemble");
        for word in words {
            extras.push(Slot::Scrub, word);
        }
        for word in tcp.into_iter().chain([fragment]) {
            extras.push(Slot::ScrubEnd, word);
        }
        return;
    }
    words.extend(tcp);
    if !words.is_empty() {
        extras.push(Slot::Scrub, format!("scrub ({})", words.join(" ")));
    }
}
