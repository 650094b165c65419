//! Arrays of BPF that this process and the kernel's programs have in common (`BPF_F_MMAPABLE`, Linux
//! 5.5).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{NonNull, null_mut, slice_from_raw_parts_mut};
use std::sync::atomic::AtomicU64;

use aya::Pod;
use aya::maps::{Array, Map, MapData};

/// The memory of an array, as words that others write too.
pub(crate) struct SharedArray {
    words: NonNull<[AtomicU64]>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the value alone and lasts as long as it; whoever has it reaches nothing but
// atomic words, which any thread may use.
unsafe impl Send for SharedArray {}

impl fmt::Debug for SharedArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedArray")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl SharedArray {
    /// The memory of an array whose values are `V`, a whole number of words: others lie further apart
    /// than they are long.
    pub(crate) fn of<V: Pod>(map: &Map) -> io::Result<Self> {
        // It looks at the sizes.
        let array = Array::<&MapData, V>::try_from(map).map_err(io::Error::other)?;
        let Map::Array(data) = map else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if !size_of::<V>().is_multiple_of(size_of::<AtomicU64>()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = usize::try_from(array.len()).map_err(io::Error::other)?;
        let bytes = bytes.saturating_mul(size_of::<V>());
        let fd = data.fd().as_fd().as_raw_fd();
        // SAFETY: no address is asked for, so nothing of this process is replaced; the descriptor is open.
        // The kernel refuses what is longer than the array, rounded up to pages.
        let memory = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words =
            slice_from_raw_parts_mut(memory.cast::<AtomicU64>(), bytes / size_of::<AtomicU64>());
        let words = NonNull::new(words).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { words, bytes })
    }

    pub(crate) const fn words(&self) -> &[AtomicU64] {
        // SAFETY: the memory is mapped until the value is dropped, readable and writable, begins at a
        // page and has so many words, of which any bytes are valid. Whoever else writes it is the
        // kernel, whose programs write words.
        unsafe { self.words.as_ref() }
    }
}

impl Drop for SharedArray {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `of` made, and nobody has a reference to it any more. That
        // it cannot be taken away would leave it there, which harms nobody.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.bytes) };
    }
}
