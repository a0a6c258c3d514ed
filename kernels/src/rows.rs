//! Rows of numbers in the form that a matrix product reads.

use crate::isa::{Isa, LANES_MAX, Vectors, Work};
use crate::lines::{self, Lines};
use crate::quantise::Quantise;

/// What the numbers of a matrix product are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    F32,
    /// The upper half of an f32: its range, and 8 bits of precision. Sums are f32.
    Bf16,
    /// Bytes: the weights with a scale for each output, the rows with a scale and a
    /// zero of their own, found as they come. The sums are exact. A number that is far
    /// from all others of its row stays a float.
    Int8,
}

/// Rows that are not f32 are padded to whole vectors.
pub const ROW_STEP: usize = LANES_MAX;

/// Memory for rows in a product's format, used again and again.
pub struct Operand {
    isa: Isa,
    format: Format,
    lanes: Lines,
    scales: Vec<f32>,
    zeros: Vec<f32>,
    outliers: Vec<Outlier>,
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
    pub outliers: &'a [Outlier],
}

/// A number that is not among the bytes of its row: it alone would set their range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlier {
    pub row: usize,
    /// The lane that it is in, by number.
    pub step: usize,
    /// A lane of bytes with a 1 at its place.
    pub one: u32,
    pub value: f32,
}

impl Operand {
    pub fn new(isa: Isa, format: Format) -> Self {
        Operand {
            isa,
            format,
            lanes: Lines::zeroed(0),
            scales: Vec::new(),
            zeros: Vec::new(),
            outliers: Vec::new(),
        }
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
        self.outliers.clear();
        self.outliers.reserve(2 * count);
        self.isa.run(Quantise {
            values,
            width,
            bytes: lines::bytes_mut(self.lanes.lanes_mut()),
            scales: &mut self.scales,
            zeros: &mut self.zeros,
            outliers: &mut self.outliers,
        });
        Quantised {
            lanes: self.lanes.lanes(),
            stride,
            scales: &self.scales,
            zeros: &self.zeros,
            outliers: &self.outliers,
        }
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
