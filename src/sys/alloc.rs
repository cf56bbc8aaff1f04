//! Memory for a program that lives for milliseconds, allocates two thousand small things and is gone.
//!
//! The C library's malloc takes a third of the instructions that such a program runs: it looks for
//! neighbours to join, for good use of memory over hours. This hands out blocks of few sizes from the
//! front of a mapping and keeps the free ones of each size in a list, 10 instructions either way.
//! Large blocks are the C library's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Blocks up to here are multiples of [`STEP`], and beyond powers of two up to [`LARGEST`].
const SMALL: usize = 1024;
const STEP: usize = 16;
const LARGEST: usize = 1 << 15;
/// Multiples of 16, then 2048 to 32768.
const SIZES: usize = SMALL / STEP + 6;
/// Mapped at a time, its pages at once: a page fault takes longer than to clear a page.
const CHUNK: usize = 1 << 15;

/// For `#[global_allocator]`.
pub struct Short {
    taken: AtomicBool,
    arena: UnsafeCell<Arena>,
}

struct Arena {
    /// The rest of the mapping.
    next: *mut u8,
    left: usize,
    /// The first free block of each size, which holds the address of the next one.
    free: [*mut u8; SIZES],
}

// SAFETY: the arena is used by whoever has set `taken`.
unsafe impl Sync for Short {}

impl Short {
    /// Without any memory yet.
    #[expect(clippy::new_without_default, reason = "a static needs a const function")]
    pub const fn new() -> Self {
        let arena = Arena { next: ptr::null_mut(), left: 0, free: [ptr::null_mut(); SIZES] };
        Self { taken: AtomicBool::new(false), arena: UnsafeCell::new(arena) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Arena) -> T) -> T {
        while self.taken.swap(true, Ordering::Acquire) {
            spin_loop();
        }
        // SAFETY: nobody else is here until `taken` is false again, and `work` does not come back.
        let done = work(unsafe { &mut *self.arena.get() });
        self.taken.store(false, Ordering::Release);
        done
    }
}

/// Which list a layout's blocks are on, and how long they are; none for large ones.
fn size_of(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size().max(1);
    if layout.align() > STEP || size > LARGEST {
        return None;
    }
    if size <= SMALL {
        let steps = size.div_ceil(STEP);
        return Some((steps, steps * STEP));
    }
    let block = size.next_power_of_two();
    Some((SMALL / STEP + (block / SMALL).trailing_zeros() as usize, block))
}

impl Arena {
    fn take(&mut self, list: usize, size: usize) -> *mut u8 {
        match self.free.get_mut(list) {
            Some(first) if !first.is_null() => {
                let block = *first;
                // SAFETY: a free block's first word was written by `give`.
                *first = unsafe { block.cast::<*mut u8>().read() };
                block
            }
            _ => self.cut(size),
        }
    }

    fn give(&mut self, list: usize, block: *mut u8) {
        if let Some(first) = self.free.get_mut(list) {
            // SAFETY: the block is ours again, aligned to 16 and at least as long.
            unsafe { block.cast::<*mut u8>().write(*first) };
            *first = block;
        }
    }

    /// A new block, of a new mapping if the rest of this one is too short.
    fn cut(&mut self, size: usize) -> *mut u8 {
        if self.left < size {
            let (protection, kind) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
            );
            // SAFETY: a new mapping, wherever there is room.
            let mapped = unsafe { libc::mmap(ptr::null_mut(), CHUNK, protection, kind, -1, 0) };
            if mapped == libc::MAP_FAILED {
                return ptr::null_mut();
            }
            (self.next, self.left) = (mapped.cast(), CHUNK);
        }
        let block = self.next;
        self.left -= size;
        // SAFETY: `left` bytes of the mapping were there, at least `size`.
        self.next = unsafe { block.add(size) };
        block
    }
}

// SAFETY: a block is on a list or given out, never both; it is as long as its layout and aligned to
// 16. Which list it goes back to is decided by the same layout as where it came from.
unsafe impl GlobalAlloc for Short {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match size_of(layout) {
            Some((list, size)) => self.with(|arena| arena.take(list, size)),
            // SAFETY: the caller's promise.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match size_of(layout) {
            Some((list, _)) => self.with(|arena| arena.give(list, block)),
            // SAFETY: the caller's promise; such a layout's block is the C library's.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` is a layout's with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (size_of(layout), size_of(wanted)) {
            (Some(one), Some(other)) if one == other => return block,
            // SAFETY: the caller's promise.
            (None, None) => return unsafe { System.realloc(block, layout, size) },
            _ => {}
        }
        // SAFETY: both are of their layouts, and apart.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_apart_keep_their_content_and_come_back() {
        let short = Short::new();
        let mut blocks: Vec<(*mut u8, Layout)> = Vec::new();
        for size in [1, 8, 16, 17, 100, 1000, 1024, 1025, 2048, 5000, 32768, 32769, 100_000] {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: blocks are used within their layouts and given back once.
            unsafe {
                let block = short.alloc(layout);
                assert_eq!(block.addr() % STEP, 0);
                block.write_bytes(blocks.len() as u8, size);
                let grown = short.realloc(block, layout, size * 3);
                let layout = Layout::from_size_align(size * 3, 8).unwrap();
                grown.add(size).write_bytes(blocks.len() as u8, size * 2);
                blocks.push((grown, layout));
            }
        }
        for (mark, (block, layout)) in blocks.iter().enumerate() {
            // SAFETY: as above.
            unsafe {
                let bytes = std::slice::from_raw_parts(*block, layout.size());
                assert!(bytes.iter().all(|byte| *byte == mark as u8), "{layout:?}");
                short.dealloc(*block, *layout);
            }
        }
        let (small, layout) = blocks[2];
        // SAFETY: as above.
        unsafe {
            assert_eq!(short.alloc(layout), small, "the free one is used again");
            short.dealloc(small, layout);
        }
    }
}
