//! Somebody looks at everything all the time; each answer must come, and be whole.

use anyhow::ensure;

use super::world::{World, between, pick};
use crate::clock;
use crate::service::PseudoRandom;

/// Arguments of pfctl.
const QUESTIONS: [&[&str]; 12] = [
    &["-sr"],
    &["-sr"],
    &["-vvsr"],
    &["-ss"],
    &["-vvss"],
    &["-vsi"],
    &["-sn"],
    &["-sA"],
    &["-sS"],
    &["-vvsI"],
    &["-vvsT"],
    &["-s", "all"],
];
/// Milliseconds between two questions.
const REST: (u64, u64) = (300, 1_500);

/// The reader, until the soak ends.
pub(super) fn work(world: &World, seed: u64) {
    let mut random = PseudoRandom::seeded(seed);
    while !world.ledger.is_stopped() {
        let question = pick(&mut random, &QUESTIONS);
        let began = clock::now();
        let result = ask(world, question);
        world.ledger.judge("pfctl -s", None, began, result);
        world.ledger.pause(between(&mut random, REST.0, REST.1));
    }
}

fn ask(world: &World, question: &[&str]) -> anyhow::Result<()> {
    let answer = world.daemon().pfctl_ok(question)?;
    let whole = question != ["-sr"] || world.printed.contains(&answer);
    ensure!(whole, "pfctl -sr shows neither ruleset:\n{answer}");
    Ok(())
}
