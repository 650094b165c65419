//! What the kernel tells of links and of the ways of packets: carriers above all.

use datapath::netlink::fuzzing::{links_told, ways_told};
use links::show::{Style, relate, render};

/// The number of the question that the messages of the corpus answer.
const QUESTION: u32 = 1;
/// Bytes that a link may be shown in at most beside its names and its description, and that each of
/// its ports may.
const SHOWN_MAX: usize = 4096;
const PORT_SHOWN_MAX: usize = 512;

/// Reads bytes as datagrams of rtnetlink, each behind its length in two bytes (big-endian): as
/// answers to a question for links, and as notices.
///
/// # Panics
/// When links are not in their order, one is told twice or not at all, or what is shown of one has
/// no end.
pub fn carrier(data: &[u8]) {
    let datagrams: Vec<&[u8]> = datagrams(data).collect();
    for datagram in &datagrams {
        links_of(datagram);
    }
    let told = ways_told(datagrams.iter().copied());
    assert_eq!(told.len(), datagrams.len());
}

fn datagrams(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes(*len)).min(after.len());
        let (datagram, next) = after.split_at(len);
        rest = next;
        Some(datagram)
    })
}

fn links_of(datagram: &[u8]) {
    let Ok((states, mut interfaces)) = links_told(datagram, QUESTION) else {
        return;
    };
    assert!(interfaces.is_sorted_by_key(|interface| interface.index));
    let names = interfaces.iter().map(|interface| &interface.name);
    assert!(names.eq(states.iter().map(|state| &state.name)));
    for state in &states {
        let is_known = |bridge: &String| states.iter().any(|other| other.name == *bridge);
        assert!(state.bridge.as_ref().is_none_or(is_known));
    }
    relate(&mut interfaces);
    let most = SHOWN_MAX + 8 * datagram.len() + PORT_SHOWN_MAX * interfaces.len();
    for interface in &interfaces {
        for style in [Style::Article, Style::FreeBsd14] {
            assert!(render(interface, style, true).len() <= most);
        }
    }
}
