//! What stands in for the address sanitizer where it does not start: it wants more
//! addresses than a program under qemu has. An allocator that puts the end of each
//! block at a page that nobody may touch, so that a kernel that reads or writes past
//! it does not live to be compared.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{NonNull, null_mut};

use libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE};

struct Fence;

#[global_allocator]
static FENCE: Fence = Fence;

/// The largest page that 64-bit ARM has, a multiple of the others, and the smallest.
const PAGE: usize = 1 << 16;
const PAGE_MIN: usize = 1 << 12;

/// What a block's pages take, and where in them the block starts: at the last place
/// that suits its alignment.
fn place(layout: Layout) -> Option<(usize, usize)> {
    if layout.align() > PAGE_MIN {
        return None;
    }
    let pages = layout.size().checked_next_multiple_of(PAGE)?;
    Some((pages, (pages - layout.size()) & !(layout.align() - 1)))
}

// SAFETY: each block is a mapping of its own, readable and writable for `size` bytes
// from a place of its alignment, and ends with `dealloc`.
unsafe impl GlobalAlloc for Fence {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((pages, start)) = place(layout) else { return null_mut() };
        // SAFETY: the system chooses the place, which nobody else has.
        let base = unsafe {
            libc::mmap(null_mut(), pages + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        };
        if base == MAP_FAILED {
            return null_mut();
        }
        // SAFETY: the pages were mapped here, and nobody has them yet.
        match unsafe { libc::mprotect(base, pages, PROT_READ | PROT_WRITE) } {
            // SAFETY: `start` is within the pages.
            0 => unsafe { base.byte_add(start).cast() },
            _ => null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((pages, start)) = place(layout) else { return };
        // SAFETY: `alloc` mapped this many bytes from here for that layout.
        unsafe { libc::munmap(block.byte_sub(start).cast(), pages + PAGE) };
    }
}

/// Asks the system to read the byte, which refuses where we would be killed.
fn is_readable(byte: NonNull<u8>) -> bool {
    let mut ends = [0; 2];
    // SAFETY: `pipe` fills two numbers; `write` checks the address itself.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let written = libc::write(ends[1], byte.as_ptr().cast(), 1);
        assert_eq!(ends.map(|end| libc::close(end)), [0, 0]);
        written == 1
    }
}

#[test]
fn what_is_past_a_block_cannot_be_read() {
    for length in [1, 3, 64, 1000, 20_000] {
        let block = vec![1f32; length];
        let range = block.as_ptr_range();
        let last = NonNull::new(range.end.cast::<u8>().wrapping_sub(1).cast_mut());
        let past = NonNull::new(range.end.cast::<u8>().cast_mut());
        assert!(last.is_some_and(is_readable), "{length} numbers");
        assert!(past.is_some_and(|byte| !is_readable(byte)), "{length} numbers");
    }
}
