//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng).

use std::io::{self, Read};
use std::time::Duration;

use super::{CaptureError, FRAME_MAX, Frame, fill};

/// Type of the block that begins a section; the same in both byte orders.
pub(super) const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const SECTION_TYPE: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;

/// Bytes of a block around its body: type, length, and the length once more.
const AROUND: usize = 12;
/// Fields in front of a packet.
const PACKET_FIELDS: usize = 20;
/// The largest body of a block that is looked into: a frame, and as much again for what stands
/// around it. Others are passed over.
const BODY_MAX: usize = 2 * FRAME_MAX;
/// Interfaces of a section. More are refused: their number is all that bounds this memory.
const INTERFACES_MAX: usize = 4096;

const OPTION_END: u16 = 0;
const OPTION_FLAGS: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;
/// Bit of a resolution that is a power of 2 instead of 10.
const POWER_OF_2: u8 = 0x80;

const NANOS: u128 = 1_000_000_000;

/// An interface of the box that captured.
#[derive(Clone, Copy, Debug)]
struct Source {
    link_type: u32,
    snap_length: usize,
    /// Units of time in a second.
    units: u64,
    /// Seconds that are added to each time.
    offset: i64,
}

/// Where the reading stands.
#[derive(Debug)]
pub(super) struct Blocks {
    little: bool,
    sources: Vec<Source>,
    body: Vec<u8>,
    /// For packets without a time: that of the one before.
    time: Duration,
}

impl Blocks {
    /// Reads the first block, whose type has been read.
    pub(super) fn open(input: &mut impl Read) -> Result<Self, CaptureError> {
        let mut blocks = Self {
            little: true,
            sources: Vec::new(),
            body: Vec::new(),
            time: Duration::ZERO,
        };
        blocks.section(input, 1)?;
        Ok(blocks)
    }

    /// Puts the next packet into `frame`; false at the end.
    pub(super) fn next(
        &mut self,
        input: &mut impl Read,
        number: u64,
        frame: &mut Frame,
    ) -> Result<bool, CaptureError> {
        loop {
            let mut kind = [0; 4];
            match fill(input, &mut kind)? {
                0 => return Ok(false),
                4 => {}
                _ => return Err(CaptureError::Truncated(number)),
            }
            let found = match self.number(&kind, 0).unwrap_or_default() {
                SECTION_TYPE => {
                    self.section(input, number)?;
                    None
                }
                kind => self.block(input, kind, number)?,
            };
            if let Some(found) = found {
                let broken = || CaptureError::Broken {
                    number,
                    what: "its block",
                };
                self.packet(found, frame).ok_or_else(broken)?;
                return Ok(true);
            }
        }
    }

    /// Reads a block behind its type; tells the type if it is a packet.
    fn block(
        &mut self,
        input: &mut impl Read,
        kind: u32,
        number: u64,
    ) -> Result<Option<u32>, CaptureError> {
        let mut len = [0; 4];
        if fill(input, &mut len)? < len.len() {
            return Err(CaptureError::Truncated(number));
        }
        let len = self.body_len(&len, number)?;
        let is_packet = matches!(kind, PACKET | OLD_PACKET | SIMPLE_PACKET);
        if !is_packet && kind != INTERFACE {
            skip(input, len + 4, number)?;
            return Ok(None);
        }
        self.read_body(input, len, number)?;
        if is_packet {
            return Ok(Some(kind));
        }
        let broken = |what| CaptureError::Broken { number, what };
        let source = self.source();
        let source = source.ok_or_else(|| broken("the interface before it"))?;
        if self.sources.len() >= INTERFACES_MAX {
            return Err(broken("more than 4096 interfaces before it"));
        }
        self.sources.push(source);
        Ok(None)
    }

    fn read_body(
        &mut self,
        input: &mut impl Read,
        len: usize,
        number: u64,
    ) -> Result<(), CaptureError> {
        if len > BODY_MAX {
            return Err(CaptureError::Broken {
                number,
                what: "its block is too large",
            });
        }
        super::read_into(input, &mut self.body, len, number)?;
        // The length once more.
        skip(input, 4, number)
    }

    /// Bytes of a block's body, by the field that announces the whole.
    fn body_len(&self, field: &[u8], number: u64) -> Result<usize, CaptureError> {
        let len = self.number(field, 0).and_then(super::size);
        let len = len.filter(|len| len.is_multiple_of(4));
        let body = len.and_then(|len| len.checked_sub(AROUND));
        body.ok_or(CaptureError::Broken {
            number,
            what: "the length of its block",
        })
    }

    /// The block that begins a section, behind its type.
    fn section(&mut self, input: &mut impl Read, number: u64) -> Result<(), CaptureError> {
        let mut start = [0; 8];
        if fill(input, &mut start)? < start.len() {
            return Err(CaptureError::Truncated(number));
        }
        // 0x1a2b3c4d in the byte order of its writer.
        self.little = match start {
            [.., 0x4d, 0x3c, 0x2b, 0x1a] => true,
            [.., 0x1a, 0x2b, 0x3c, 0x4d] => false,
            _ => return Err(CaptureError::NotACapture),
        };
        self.sources.clear();
        let len = self.body_len(&start, number)?;
        // Of the body its first field has been read, and behind it the length comes once more.
        skip(input, len, number)
    }

    /// The interface in the body.
    fn source(&self) -> Option<Source> {
        let link_type = self.short(&self.body, 0)?;
        // 0 is no limit.
        let snap_length = match super::size(self.number(&self.body, 4)?)? {
            0 => FRAME_MAX,
            some => some,
        };
        let resolution = self.option(8, OPTION_RESOLUTION);
        let units = match resolution.and_then(|value| value.first().copied()) {
            None => 1_000_000,
            Some(power) if power & POWER_OF_2 != 0 => {
                1_u64.checked_shl(u32::from(power & !POWER_OF_2))?
            }
            Some(power) => 10_u64.checked_pow(u32::from(power))?,
        };
        let offset = self.option(8, OPTION_OFFSET);
        let offset = offset.and_then(|value| value.first_chunk().copied());
        Some(Source {
            link_type: u32::from(link_type),
            snap_length,
            units,
            offset: offset.map_or(0, |bytes| self.signed(bytes)),
        })
    }

    /// Takes the packet out of the body.
    fn packet(&mut self, kind: u32, frame: &mut Frame) -> Option<()> {
        if kind == SIMPLE_PACKET {
            return self.simple_packet(frame);
        }
        let source = match kind {
            OLD_PACKET => u32::from(self.short(&self.body, 0)?),
            _ => self.number(&self.body, 0)?,
        };
        let source = *self.sources.get(super::size(source)?)?;
        let high = u64::from(self.number(&self.body, 4)?);
        let low = u64::from(self.number(&self.body, 8)?);
        let captured = super::size(self.number(&self.body, 12)?)?;
        self.time = moment(high << 32 | low, source)?;
        let length = super::size(self.number(&self.body, 16)?)?;
        self.fill(frame, source, PACKET_FIELDS, captured, length)?;
        let options = PACKET_FIELDS.checked_add(captured.checked_next_multiple_of(4)?)?;
        let flags = self.option(options, OPTION_FLAGS);
        frame.outgoing = match flags.and_then(|flags| self.number(flags, 0)).map(|f| f & 3) {
            Some(1) => Some(false),
            Some(2) => Some(true),
            _ => None,
        };
        Some(())
    }

    /// A packet that has no time, of the section's first interface.
    fn simple_packet(&mut self, frame: &mut Frame) -> Option<()> {
        let source = *self.sources.first()?;
        let length = super::size(self.number(&self.body, 0)?)?;
        let room = self.body.len().checked_sub(4)?;
        let captured = length.min(source.snap_length).min(room);
        frame.outgoing = None;
        self.fill(frame, source, 4, captured, length)
    }

    fn fill(
        &self,
        frame: &mut Frame,
        source: Source,
        at: usize,
        captured: usize,
        length: usize,
    ) -> Option<()> {
        let end = at.checked_add(captured)?;
        let bytes = self.body.get(at..end)?;
        frame.bytes.clear();
        frame.bytes.extend_from_slice(bytes);
        frame.length = length.max(captured);
        frame.link_type = source.link_type;
        frame.time = self.time;
        (captured <= FRAME_MAX).then_some(())
    }

    /// The value of an option in the list that begins at `at` of the body.
    fn option(&self, mut at: usize, wanted: u16) -> Option<&[u8]> {
        loop {
            let code = self.short(&self.body, at)?;
            let len = usize::from(self.short(&self.body, at.checked_add(2)?)?);
            let start = at.checked_add(4)?;
            if code == OPTION_END {
                return None;
            }
            if code == wanted {
                return self.body.get(start..start.checked_add(len)?);
            }
            at = start.checked_add(len.checked_next_multiple_of(4)?)?;
        }
    }

    fn number(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.little {
            u32::from_le_bytes(field)
        } else {
            u32::from_be_bytes(field)
        })
    }

    fn short(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let field = *bytes.get(at..)?.first_chunk()?;
        Some(if self.little {
            u16::from_le_bytes(field)
        } else {
            u16::from_be_bytes(field)
        })
    }

    const fn signed(&self, field: [u8; 8]) -> i64 {
        if self.little {
            i64::from_le_bytes(field)
        } else {
            i64::from_be_bytes(field)
        }
    }
}

/// A time in the units of its interface, since 1970.
fn moment(time: u64, source: Source) -> Option<Duration> {
    let seconds = time / source.units;
    let rest = u128::from(time % source.units);
    let nanos = u32::try_from(rest * NANOS / u128::from(source.units)).ok()?;
    let seconds = seconds.checked_add_signed(source.offset)?;
    Some(Duration::new(seconds, nanos))
}

fn skip(input: &mut impl Read, len: usize, number: u64) -> Result<(), CaptureError> {
    let len = len as u64;
    let skipped = io::copy(&mut input.take(len), &mut io::sink())?;
    if skipped < len {
        return Err(CaptureError::Truncated(number));
    }
    Ok(())
}
