//! Memory in whole cache lines, and numbers seen as 32-bit lanes.
//!
//! A lane is what a matrix product multiplies at a time: one f32, two bf16 or four
//! bytes, the first in the low bits.

/// Memory for rows of numbers, used again and again: it begins at a cache line, so that
/// where rows are whole lines no vector straddles two, and it only grows.
pub struct Buffer(Lines);

impl Buffer {
    pub fn new() -> Self {
        Buffer(Lines::zeroed(0))
    }

    /// The first so many numbers, whatever they are.
    pub fn room(&mut self, numbers: usize) -> &mut [f32] {
        self.0.resize(numbers);
        self.0.floats_mut()
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer::new()
    }
}

/// Lanes of a cache line.
const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; LINE]);

/// Lanes that begin at a cache line.
pub struct Lines {
    lines: Vec<Line>,
    lanes: usize,
}

impl Lines {
    pub fn zeroed(lanes: usize) -> Self {
        Lines { lines: vec![Line([0; LINE]); lanes.div_ceil(LINE)], lanes }
    }

    /// Makes it so many lanes long; their values are whatever they were. Memory only
    /// grows, so that a replica soon allocates no more.
    pub fn resize(&mut self, lanes: usize) {
        let lines = lanes.div_ceil(LINE);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; LINE]));
        }
        self.lanes = lanes;
    }

    pub fn lanes(&self) -> &[u32] {
        // SAFETY: a `Line` is its 16 lanes and nothing else, and `zeroed` and `resize`
        // saw to it that there are lines for all lanes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lanes) }
    }

    pub fn lanes_mut(&mut self) -> &mut [u32] {
        // SAFETY: as in `lanes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lanes) }
    }

    pub fn of_floats(floats: &[f32]) -> Self {
        let mut lines = Lines::zeroed(floats.len());
        lines.floats_mut().copy_from_slice(floats);
        lines
    }

    pub fn floats(&self) -> &[f32] {
        let lanes = self.lanes();
        // SAFETY: as in `floats_mut`.
        unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast(), lanes.len()) }
    }

    pub fn floats_mut(&mut self) -> &mut [f32] {
        floats_mut(self.lanes_mut())
    }
}

/// One f32 a lane.
pub fn lanes(floats: &[f32]) -> &[u32] {
    // SAFETY: as in `floats_mut`.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), floats.len()) }
}

pub fn floats_mut(lanes: &mut [u32]) -> &mut [f32] {
    // SAFETY: f32 and u32 have one size and alignment, and every bit pattern
    // is a value of both.
    unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), lanes.len()) }
}

/// Four bytes a lane.
pub fn bytes_mut(lanes: &mut [u32]) -> &mut [u8] {
    // SAFETY: a u32 is four bytes, bytes have no alignment, and every bit pattern
    // is a value of both.
    unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), 4 * lanes.len()) }
}

/// Two bf16 a lane: the nearest of each number, ties to even.
pub fn bf16_lane(first: f32, second: f32) -> u32 {
    u32::from(bf16(first)) | u32::from(bf16(second)) << 16
}

fn bf16(number: f32) -> u16 {
    let bits = number.to_bits();
    if number.is_nan() {
        // Rounding could carry it into infinity.
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The numbers of a lane of bf16.
pub fn bf16_numbers(lane: u32) -> [f32; 2] {
    [f32::from_bits(lane << 16), f32::from_bits(lane & 0xffff_0000)]
}
