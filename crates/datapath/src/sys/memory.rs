//! What the kernel is told of this process's memory.

use rustix::mm::{Advice, madvise};

/// Memory that `len` bytes from `address` on are in, and that is about to be written to, may be of huge pages
/// (`MADV_HUGEPAGE`, madvise(2)): one fault instead of hundreds. All pages are meant that have some of it; a
/// kernel without huge pages, or an address where nothing is, is no error.
pub fn advise_huge(address: usize, len: usize) {
    let page = rustix::param::page_size();
    let first = address / page * page;
    let end = address.saturating_add(len).next_multiple_of(page);
    let begin = std::ptr::without_provenance_mut(first);
    // SAFETY: this advice changes nothing of what is in the memory, whosever it is, nor who may reach it.
    let advised = unsafe { madvise(begin, end.saturating_sub(first), Advice::LinuxHugepage) };
    if let Err(error) = advised {
        tracing::debug!(%error, "no huge pages");
    }
}
