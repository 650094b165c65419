//! Doors for the fuzz targets to the readers of what the kernel tells.

use std::io;

use links::show::Interface;

use super::connection::Answers;
use super::link::{Link, links_of};
use super::snapshot::Machine;
use super::state::{self, LinkState};
use super::ways::{Known, News};

/// What a datagram says that answers the question with this number: links as they stand, and as
/// ifconfig(8) shows them.
///
/// # Errors
/// What is wrong with it, or the error that it tells.
pub fn links_told(datagram: &[u8], question: u32) -> io::Result<(Vec<LinkState>, Vec<Interface>)> {
    let mut answers = Answers::default();
    answers.add(datagram, question)?;
    let links: Vec<Link> = links_of(answers.messages);
    let states = state::states(&links);
    Ok((states, Machine::of(links).interfaces()))
}

/// For each of these notices whether it tells of another way than was known.
pub fn ways_told<'a>(notices: impl IntoIterator<Item = &'a [u8]>) -> Vec<bool> {
    let mut known = Known::default();
    let heard = notices
        .into_iter()
        .map(|notice| known.hear(notice) != News::Nothing);
    heard.collect()
}
