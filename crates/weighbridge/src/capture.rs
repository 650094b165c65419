//! A capture, one packet at a time: pcap and pcapng.
//!
//! Whatever the file says, no more than one record of bounded size is held.

use std::io::{self, Read};
use std::time::Duration;

mod blocks;
pub(crate) mod link;

use self::blocks::Blocks;
use crate::pflog::record::{FILE_HEADER, Order, RECORD_HEADER};
use crate::text::reason;

/// The largest frame that is read: the largest snap length of libpcap (`MAXIMUM_SNAPLEN`).
pub(crate) const FRAME_MAX: usize = 262_144;
/// The link type in the last field of a pcap file's header; above it stand lengths of check
/// sums.
const LINK_TYPE_MASK: u32 = 0xffff;
/// Bytes that tell what kind of file it is.
const MAGIC: usize = 4;
/// Magic number of a file that gzip has made (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A frame as it was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Since 1970.
    pub(crate) time: Duration,
    /// Link type, by libpcap's list (`LINKTYPE_*`).
    pub(crate) link_type: u32,
    /// What was captured of it.
    pub(crate) bytes: Vec<u8>,
    /// Bytes that it had on the wire; never less than were captured.
    pub(crate) length: usize,
    /// Whether the box sent it, where the capture tells.
    pub(crate) outgoing: Option<bool>,
}

/// Why a capture cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// Another kind of file.
    #[error("no pcap or pcapng file")]
    NotACapture,
    /// It is compressed.
    #[error(
        "compressed: unpack it first, or give it on standard input: `zcat FILE | weighbridge ... -`"
    )]
    Compressed,
    /// It ends within a packet.
    #[error("cut off within packet {0}")]
    Truncated(u64),
    /// What stands there cannot be a packet.
    #[error("broken at packet {number}: {what}")]
    Broken {
        /// Number of the packet, from 1.
        number: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The system could not read it.
    #[error("{}", reason(.0))]
    Io(#[from] io::Error),
}

/// A capture that is being read.
#[derive(Debug)]
pub(crate) struct Capture<R> {
    input: R,
    format: Format,
    /// Packets that were read.
    count: u64,
}

#[derive(Debug)]
enum Format {
    Pcap { order: Order, link_type: u32 },
    Pcapng(Blocks),
}

impl<R: Read> Capture<R> {
    /// Reads the beginning of the file.
    ///
    /// # Errors
    /// When it is none that can be read.
    pub(crate) fn open(mut input: R) -> Result<Self, CaptureError> {
        let mut header = [0; FILE_HEADER];
        if fill(&mut input, &mut header[..MAGIC])? < MAGIC {
            return Err(CaptureError::NotACapture);
        }
        if header.starts_with(&GZIP) {
            return Err(CaptureError::Compressed);
        }
        if header.starts_with(&blocks::SECTION) {
            return Ok(Self {
                format: Format::Pcapng(Blocks::open(&mut input)?),
                input,
                count: 0,
            });
        }
        let order = Order::of_magic(&header).ok_or(CaptureError::NotACapture)?;
        if fill(&mut input, &mut header[MAGIC..])? < FILE_HEADER - MAGIC {
            return Err(CaptureError::NotACapture);
        }
        let link_type = order.number(&header, 20).unwrap_or_default() & LINK_TYPE_MASK;
        Ok(Self {
            input,
            format: Format::Pcap { order, link_type },
            count: 0,
        })
    }

    /// Puts the next frame into `frame`; false at the end.
    ///
    /// # Errors
    /// When the file cannot be read further.
    pub(crate) fn next(&mut self, frame: &mut Frame) -> Result<bool, CaptureError> {
        let number = self.count + 1;
        let found = match &mut self.format {
            Format::Pcap { order, link_type } => {
                frame.link_type = *link_type;
                frame.outgoing = None;
                record(&mut self.input, *order, number, frame)?
            }
            Format::Pcapng(blocks) => blocks.next(&mut self.input, number, frame)?,
        };
        self.count += u64::from(found);
        Ok(found)
    }
}

fn record(
    input: &mut impl Read,
    order: Order,
    number: u64,
    frame: &mut Frame,
) -> Result<bool, CaptureError> {
    let mut header = [0; RECORD_HEADER];
    match fill(input, &mut header)? {
        0 => return Ok(false),
        RECORD_HEADER => {}
        _ => return Err(CaptureError::Truncated(number)),
    }
    let broken = |what| CaptureError::Broken { number, what };
    let field = |at| order.number(&header, at).unwrap_or_default();
    frame.time = order.time(&header).ok_or_else(|| broken("its time"))?;
    let captured = size(field(8)).filter(|size| *size <= FRAME_MAX);
    let captured = captured.ok_or_else(|| broken("larger than 262144 bytes"))?;
    read_into(input, &mut frame.bytes, captured, number)?;
    frame.length = size(field(12)).unwrap_or_default().max(captured);
    Ok(true)
}

fn size(field: u32) -> Option<usize> {
    usize::try_from(field).ok()
}

/// Replaces `bytes` by the next `len`.
fn read_into(
    input: &mut impl Read,
    bytes: &mut Vec<u8>,
    len: usize,
    number: u64,
) -> Result<(), CaptureError> {
    bytes.resize(len, 0);
    if fill(input, bytes)? < len {
        return Err(CaptureError::Truncated(number));
    }
    Ok(())
}

/// Fills `bytes` as far as there is something left; returns how far.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match input.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
