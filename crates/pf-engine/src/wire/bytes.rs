//! Big-endian fields at offsets that may lie outside.

use super::WireError;

/// The `N` bytes at `at`.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], WireError> {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk::<N>)
        .copied()
        .ok_or(WireError::SHORT)
}

/// The byte at `at`.
pub(crate) fn byte(bytes: &[u8], at: usize) -> Result<u8, WireError> {
    array::<1>(bytes, at).map(|[b]| b)
}

/// The 16-bit field at `at`.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Result<u16, WireError> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// The 32-bit field at `at`.
pub(crate) fn be32(bytes: &[u8], at: usize) -> Result<u32, WireError> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// Overwrites the bytes at `at` with `value`.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Result<(), WireError> {
    bytes
        .get_mut(at..)
        .and_then(|rest| rest.get_mut(..value.len()))
        .ok_or(WireError::SHORT)?
        .copy_from_slice(value);
    Ok(())
}

/// `length` as a 16-bit length field, at most 65535.
pub(crate) fn len16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
