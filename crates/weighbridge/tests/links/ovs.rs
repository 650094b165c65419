//! Open vSwitch as LACP partner, and beside us.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::requirements;

use super::ends::{End, FAR, NEAR, Pair, Who};
use super::flows::{Echo, reach};
use super::lacp::{LONGEST_GAP, TURN, best_alternation};
use super::open_vswitch::programs;

/// A loss of carrier may cost no more; the best of some tries counts, for a busy machine delays
/// those who measure, and Open vSwitch.
const CARRIER_LIMIT: Duration = Duration::from_millis(100);
const TRIES: usize = 10;
/// Of each figure of the table, but for the last, which takes a minute.
const SAMPLES: usize = 3;
/// Links that die in turn: for a minute.
const TURNS: u32 = 9;

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

#[test]
fn open_vswitch_is_a_partner_and_links_that_die_in_turn_leave_one() -> Result<()> {
    let test = "open_vswitch_is_a_partner";
    if requirements::skip_test(test) {
        return Ok(());
    }
    let Some(root) = programs(test) else {
        return Ok(());
    };
    let pair = Pair::start(&root, Who::Ours, Who::OpenVSwitch)?;
    the_other_way_round(&pair)?;

    let mut cut = Duration::MAX;
    for _ in 0..TRIES {
        cut = cut.min(pair.carrier_cut()?);
        if cut < CARRIER_LIMIT {
            break;
        }
    }
    ensure!(cut < CARRIER_LIMIT, "a loss of carrier cost {cut:?}");

    let longest = best_alternation(|| pair.whole(), || pair.alternating(3))?;
    eprintln!("carrier {cut:?}, in turn {longest:?}");
    if let End::Ours(keeper) = &pair.near {
        let state = keeper.state()?;
        ensure!(longest <= LONGEST_GAP, "{longest:?}\n{state:#?}");
    }
    Ok(())
}

/// Flows that the far end begins are answered too.
fn the_other_way_round(pair: &Pair) -> Result<()> {
    let _echo = Echo::start(&pair.site.host)?;
    reach(&pair.site.far, NEAR)
}

/// A line of the table: who, and the figures.
fn line(root: &std::path::Path, near: Who, far: Who) -> Result<[Duration; 5]> {
    let pair = Pair::start(root, near, far)?;
    let formation = (0..SAMPLES).map(|_| pair.formation());
    let formation = median(formation.collect::<Result<_>>()?);
    let carrier = (0..SAMPLES).map(|_| pair.carrier_cut());
    let carrier = median(carrier.collect::<Result<_>>()?);
    let silent = (0..SAMPLES).map(|_| pair.silent_cut());
    let (silent, rejoin): (Vec<_>, Vec<_>) =
        silent.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    reach(&pair.site.host, FAR)?;
    let alternating = pair.alternating(TURNS)?;
    Ok([
        formation,
        carrier,
        median(silent),
        median(rejoin),
        alternating,
    ])
}

#[test]
#[ignore = "takes ten minutes: make bench-links"]
fn figures_of_links_that_fail() -> Result<()> {
    let test = "figures_of_links_that_fail";
    if requirements::skip_test(test) {
        return Ok(());
    }
    let Some(root) = programs(test) else {
        return Ok(());
    };
    println!(
        "seconds, medians of {SAMPLES}; links in turn: the longest gap in {} s\n",
        (TURN * TURNS).as_secs()
    );
    println!("| ends | formation | carrier cut | silent cut | rejoin | links in turn |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let mut ours = Duration::ZERO;
    for (name, near, far) in [
        ("ours, Open vSwitch", Who::Ours, Who::OpenVSwitch),
        ("Open vSwitch, itself", Who::OpenVSwitch, Who::OpenVSwitch),
        ("ours, itself", Who::Ours, Who::Ours),
    ] {
        let figures = line(&root, near, far)?;
        let cells = figures.map(|figure| format!("{:.3}", figure.as_secs_f64()));
        println!("| {name} | {} |", cells.join(" | "));
        if near == Who::Ours {
            ours = ours.max(figures[4]);
        }
    }
    ensure!(ours <= LONGEST_GAP, "links in turn: {ours:?}");
    Ok(())
}
