//! Rows of numbers in the form that a matrix product reads.

use crate::isa::{Isa, Vectors, Work};
use crate::lines::{self, Lines};

/// What the numbers of a matrix product are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    F32,
    /// The upper half of an f32: its range, and 8 bits of precision. Sums are f32.
    Bf16,
    /// Bytes: the weights with a scale for each output, the rows with a scale and a
    /// zero of their own, found as they come. The sums are exact.
    Int8,
}

/// Numbers of the widest vector: rows that are not f32 are padded to whole ones.
const ROW_STEP: usize = 16;

/// Memory for rows in a product's format, used again and again.
pub struct Operand {
    isa: Isa,
    format: Format,
    lanes: Lines,
    scales: Vec<f32>,
    zeros: Vec<f32>,
}

/// Rows that a [`Linear`](crate::Linear) of the same format takes.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub(crate) count: usize,
    pub(crate) width: usize,
    pub(crate) numbers: Numbers<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum Numbers<'a> {
    Floats(&'a [f32]),
    Bf16 {
        lanes: &'a [u32],
        /// Lanes from one row to the next.
        stride: usize,
    },
    Quantised(Quantised<'a>),
}

/// value = (byte - zero) scale, row by row.
#[derive(Clone, Copy)]
pub(crate) struct Quantised<'a> {
    pub lanes: &'a [u32],
    /// Lanes from one row to the next.
    pub stride: usize,
    pub scales: &'a [f32],
    pub zeros: &'a [f32],
}

impl Operand {
    pub fn new(isa: Isa, format: Format) -> Self {
        Operand { isa, format, lanes: Lines::zeroed(0), scales: Vec::new(), zeros: Vec::new() }
    }

    /// The rows of `values`, each `width` long, in this operand's format. As f32 they
    /// stay where they are.
    pub fn rows<'a>(&'a mut self, values: &'a [f32], width: usize) -> Rows<'a> {
        assert!(values.len().is_multiple_of(width), "{} values in rows of {width}", values.len());
        let count = values.len() / width;
        let numbers = match self.format {
            Format::F32 => Numbers::Floats(values),
            Format::Bf16 => self.round(values, width),
            Format::Int8 => Numbers::Quantised(self.quantise(values, width)),
        };
        Rows { count, width, numbers }
    }

    fn round(&mut self, values: &[f32], width: usize) -> Numbers<'_> {
        let stride = width.next_multiple_of(ROW_STEP) / 2;
        self.lanes.resize(values.len() / width * stride);
        self.isa.run(Round { values, width, stride, lanes: self.lanes.lanes_mut() });
        Numbers::Bf16 { lanes: self.lanes.lanes(), stride }
    }

    fn quantise(&mut self, values: &[f32], width: usize) -> Quantised<'_> {
        let count = values.len() / width;
        let stride = width.next_multiple_of(ROW_STEP) / 4;
        self.lanes.resize(count * stride);
        self.scales.resize(count, 0.0);
        self.zeros.resize(count, 0.0);
        self.isa.run(Quantise {
            values,
            width,
            bytes: lines::bytes_mut(self.lanes.lanes_mut()),
            scales: &mut self.scales,
            zeros: &mut self.zeros,
        });
        Quantised { lanes: self.lanes.lanes(), stride, scales: &self.scales, zeros: &self.zeros }
    }
}

/// Each number to the nearest bf16.
struct Round<'a> {
    values: &'a [f32],
    width: usize,
    stride: usize,
    lanes: &'a mut [u32],
}

impl Work for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let rows = self.values.chunks_exact(self.width);
        for (values, lanes) in rows.zip(self.lanes.chunks_exact_mut(self.stride)) {
            pack_bf16(v, values, lanes);
        }
    }
}

/// Two numbers a lane, in as many vectors as they take; what they do not fill is 0.
#[inline(always)]
pub(crate) fn pack_bf16<V: Vectors>(v: V, numbers: &[f32], lanes: &mut [u32]) {
    for (part, lanes) in numbers.chunks(V::LANES).zip(lanes.chunks_exact_mut(V::LANES / 2)) {
        v.store_bf16(v.load_part(part, 0.0), lanes);
    }
}

/// Each row to bytes, so that its least and its largest number (or 0) are 0 and 255.
struct Quantise<'a> {
    values: &'a [f32],
    width: usize,
    /// In rows of the width, rounded up to [`ROW_STEP`].
    bytes: &'a mut [u8],
    scales: &'a mut [f32],
    zeros: &'a mut [f32],
}

/// Below this a row is as good as 0, and its reciprocal would not be a number.
const RANGE_MIN: f32 = 1e-30;

impl Work for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let values = self.values.chunks_exact(self.width);
        let bytes = self.bytes.chunks_exact_mut(self.width.next_multiple_of(ROW_STEP));
        let scales = self.scales.iter_mut().zip(self.zeros);
        for ((values, bytes), (scale, zero)) in values.zip(bytes).zip(scales) {
            let (mut least, mut largest) = (v.splat(0.0), v.splat(0.0));
            for part in values.chunks(V::LANES) {
                let x = v.load_part(part, 0.0);
                least = v.min(least, x);
                largest = v.max(largest, x);
            }
            let least = -v.largest(v.sub(v.splat(0.0), least));
            let range = (v.largest(largest) - least).max(RANGE_MIN);
            let steps = 255.0 / range;
            // The zero is a whole number, so that a 0 stays one.
            let middle = (-least * steps).round_ties_even();
            for (part, bytes) in values.chunks(V::LANES).zip(bytes.chunks_exact_mut(V::LANES)) {
                let x = v.load_part(part, 0.0);
                let x = v.mul_add(x, v.splat(steps), v.splat(middle));
                v.store_bytes(v.round(v.clamp(x, 0.0, 255.0)), bytes);
            }
            *scale = range / 255.0;
            *zero = middle - f32::from(V::BYTE_OFFSET);
        }
    }
}
