//! Handshakes out of a capture.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use mail::time::Timestamp;
use pf_engine::osfp::p0f::Mode;

use super::watcher::Watcher;
use crate::capture::link::{self, Carried};
use crate::capture::{Capture, Frame};
use crate::output::Output;
use crate::text::reason;
use crate::tools::Complaint;

/// Link types of libpcap's list that p0f does not know, or not whole.
const ETHERNET: u32 = 1;
const COOKED_2: u32 = 276;
/// What p0f reads in a frame of Ethernet.
const BARE_IP: [[u8; 2]; 2] = [[8, 0], [0x86, 0xdd]];

/// Reads `file` (`-`: standard input) to its end.
pub(super) fn read(
    file: &Path,
    mode: Mode,
    watcher: &mut Watcher,
    output: &mut Output<'_>,
) -> Result<(), Complaint> {
    let name = file.display();
    let failed = |problem: String| Complaint::Message(format!("{name}: {problem}"));
    let input = open(file).map_err(|error| failed(reason(&error)))?;
    let mut capture = Capture::open(input).map_err(|error| failed(error.to_string()))?;
    let mut frame = Frame::default();
    loop {
        match capture.next(&mut frame) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                watcher.flush(output)?;
                return Err(failed(error.to_string()));
            }
        }
        if mode == Mode::Parity && !p0f_reads(&frame) {
            continue;
        }
        let Ok(carried) = link::unwrap(&frame) else {
            continue;
        };
        let at = Timestamp::from_epoch(frame.time);
        if !watcher.packet(captured(&carried), at, output)? {
            break;
        }
    }
    watcher.flush(output)?;
    Ok(())
}

fn open(file: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if file == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(file)?))
    })
}

/// What was captured of the packet: nothing can be told from zeros in the place of the rest.
fn captured(carried: &Carried) -> &[u8] {
    let len = carried.bytes.len().saturating_sub(carried.cut);
    carried.bytes.get(..len).unwrap_or_default()
}

fn p0f_reads(frame: &Frame) -> bool {
    let kind = frame.bytes.get(12..14);
    match frame.link_type {
        ETHERNET => BARE_IP.iter().any(|bare| kind == Some(bare.as_slice())),
        other => other != COOKED_2,
    }
}
