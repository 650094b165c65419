//! Records of a file of states, packed: less than a fifth of the bytes of a line of JSON.
//!
//! The beginning names the format; then comes each record as its length, four bytes with the least first, and
//! what postcard makes of it. That has neither names nor room for fields of later: who changes
//! [`StateRecord`](pf_engine::record::StateRecord) or another record makes it another version.

use std::io::{self, BufRead, Read};

use postcard::ser_flavors::Flavor;
use sha2::{Digest, Sha256};

use super::file::{Damage, Line, RECORD_MAX, Written};

/// Version of the packed records; a file of another one is not read.
pub(super) const VERSION: u32 = 2;

/// No text begins so.
pub(super) const BEGINNING: &[u8; 8] = b"\x89wbstate";

/// Bytes of a length.
const HEAD: usize = 4;

/// A record at the end of what has been written.
struct Appended<'b>(&'b mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Adds a record to `bytes`; nothing if that cannot be done, and then part of it may be there.
pub(super) fn write(bytes: &mut Vec<u8>, line: Written<'_>) -> Option<()> {
    let before = bytes.len();
    bytes.extend_from_slice(&[0; HEAD]);
    let begins = bytes.len();
    postcard::serialize_with_flavor(&line, Appended(bytes)).ok()?;
    let len = u32::try_from(bytes.len().saturating_sub(begins)).ok()?;
    let head = bytes.get_mut(before..begins)?;
    head.copy_from_slice(&len.to_le_bytes());
    Some(())
}

/// Reads what is before the first record.
pub(super) fn begin(input: &mut impl BufRead, hash: &mut Sha256) -> Result<(), Damage> {
    let mut beginning = [0; BEGINNING.len()];
    input.read_exact(&mut beginning).map_err(cut_off)?;
    if beginning != *BEGINNING {
        return Err(Damage::Record(0));
    }
    hash.update(beginning);
    Ok(())
}

/// The next record, and its bytes.
pub(super) fn next(
    input: &mut impl BufRead,
    bytes: &mut Vec<u8>,
    number: usize,
) -> Result<Line, Damage> {
    let damaged = || Damage::Record(number);
    let mut head = [0; HEAD];
    input.read_exact(&mut head).map_err(cut_off)?;
    let len = u64::from(u32::from_le_bytes(head));
    if len > RECORD_MAX {
        return Err(damaged());
    }
    bytes.clear();
    bytes.extend_from_slice(&head);
    let read = Read::take(&mut *input, len).read_to_end(bytes)?;
    let packed = bytes.get(HEAD..).filter(|_| read as u64 == len);
    let packed = packed.ok_or(Damage::Checksum)?;
    match postcard::take_from_bytes(packed) {
        Ok((line, [])) => Ok(line),
        Ok(_) | Err(_) => Err(damaged()),
    }
}

fn cut_off(error: io::Error) -> Damage {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Damage::Checksum
    } else {
        error.into()
    }
}
