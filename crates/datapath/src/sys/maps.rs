//! Many entries of a BPF map in one system call (`BPF_MAP_*_BATCH`, Linux 5.6).

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData};

/// `BPF_MAP_LOOKUP_BATCH`, `BPF_MAP_UPDATE_BATCH` and `BPF_MAP_DELETE_BATCH`, `linux/bpf.h`.
#[derive(Clone, Copy, Debug)]
enum BatchCommand {
    Lookup = 24,
    Update = 26,
    Delete = 27,
}

/// The part of `union bpf_attr` that these commands use.
#[repr(C)]
#[derive(Debug, Default)]
struct BatchRequest {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Where a call ended that has not done all.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// Entries before this one are done; this one is not.
    pub(crate) at: usize,
    pub(crate) error: io::Error,
}

/// A map without values for each CPU, whose keys are `K` and whose values are `V`.
pub(crate) struct BatchMap<K, V> {
    map: OwnedFd,
    types: PhantomData<fn(K, V)>,
}

impl<K, V> fmt::Debug for BatchMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BatchMap").field(&self.map).finish()
    }
}

impl<K: Pod, V: Pod> BatchMap<K, V> {
    /// Another descriptor of a hash whose keys are `K` and whose values are `V`.
    pub(crate) fn of_hash(map: &Map) -> io::Result<Self> {
        // It looks at the sizes.
        HashMap::<&MapData, K, V>::try_from(map).map_err(io::Error::other)?;
        let Map::HashMap(data) = map else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Self::of(data)
    }

    fn of(map: &MapData) -> io::Result<Self> {
        Ok(Self {
            map: map.fd().as_fd().try_clone_to_owned()?,
            types: PhantomData,
        })
    }

    /// Writes values by their keys, those that both lists have.
    pub(crate) fn update(&self, keys: &[K], values: &[V], flags: u64) -> Result<(), Stopped> {
        let len = keys.len().min(values.len());
        let request = BatchRequest {
            keys: address(keys.as_ptr()),
            values: address(values.as_ptr()),
            element_flags: flags,
            ..BatchRequest::default()
        };
        // SAFETY: the kernel reads `len` keys and values of the map's sizes, which are those of `K`
        // and `V` (`of_hash`, `of_array`), and both lists have so many; it writes nothing but the request.
        unsafe { self.call(BatchCommand::Update, request, len) }
    }

    /// Removes entries. One that is not there stops it.
    pub(crate) fn delete(&self, keys: &[K]) -> Result<(), Stopped> {
        let request = BatchRequest {
            keys: address(keys.as_ptr()),
            ..BatchRequest::default()
        };
        // SAFETY: the kernel reads as many keys of the map's size, which is that of `K` (`of_hash`, `of_array`), as
        // the list has, and writes nothing but the request.
        unsafe { self.call(BatchCommand::Delete, request, keys.len()) }
    }

    /// Removes those of these entries that are there.
    pub(crate) fn delete_all(&self, mut keys: &[K]) {
        while let Err(stopped) = self.delete(keys) {
            tracing::debug!(error = %stopped.error, "an entry of a map was gone already");
            keys = keys.get(stopped.at.saturating_add(1)..).unwrap_or_default();
        }
    }

    /// # Safety
    /// What the request points to must be valid for `count` entries, as the command has it.
    unsafe fn call(
        &self,
        command: BatchCommand,
        mut request: BatchRequest,
        count: usize,
    ) -> Result<(), Stopped> {
        let failed = |error| Stopped { at: 0, error };
        if count == 0 {
            return Ok(());
        }
        let asked = u32::try_from(count).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        request.count = asked;
        request.map = self.map.as_raw_fd().cast_unsigned();
        // SAFETY: bpf(2) reads and writes `size` bytes of the attributes: the request begins as
        // `union bpf_attr` does for these commands and outlives the call, and so does, as the
        // caller has promised, what it points to.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command as libc::c_long,
                &raw mut request,
                size_of::<BatchRequest>(),
            )
        };
        if done >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        // A call that is refused at once leaves the number as it was.
        let at = usize::try_from(request.count).unwrap_or_default();
        let at = if at < count { at } else { 0 };
        Err(Stopped { at, error })
    }
}

impl<V: Pod> BatchMap<u32, V> {
    /// Another descriptor of an array whose values are `V`.
    pub(crate) fn of_array(map: &Map) -> io::Result<Self> {
        // It looks at the sizes.
        Array::<&MapData, V>::try_from(map).map_err(io::Error::other)?;
        let Map::Array(data) = map else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Self::of(data)
    }

    /// Reads the values from `first` on of an array. It must have so many.
    pub(crate) fn read(&self, first: u32, values: &mut [V], flags: u64) -> io::Result<()> {
        // The kernel goes on behind the index that it is told; behind the last is the first one.
        let before = first.wrapping_sub(1);
        let mut last = 0u32;
        let mut keys = vec![0u32; values.len()];
        let request = BatchRequest {
            in_batch: address(&raw const before),
            out_batch: address(&raw mut last),
            keys: address(keys.as_mut_ptr()),
            values: address(values.as_mut_ptr()),
            element_flags: flags,
            ..BatchRequest::default()
        };
        // SAFETY: the kernel reads one key and writes one, and writes as many keys and values as
        // both lists have room for, of the map's sizes, which are those of `u32` and `V` (`of_hash`, `of_array`).
        // Any bytes are a `V`: it is `Pod`.
        let read = unsafe { self.call(BatchCommand::Lookup, request, values.len()) };
        read.map_err(|stopped| stopped.error)
    }
}

fn address<T>(pointer: *const T) -> u64 {
    // `usize` has 64 bits where the kernel's program runs.
    u64::try_from(pointer.addr()).unwrap_or_default()
}
