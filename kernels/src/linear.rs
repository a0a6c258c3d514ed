//! A linear layer: rows times a packed matrix, plus a bias, and an activation.

use std::marker::PhantomData;
use std::ops::Range;

use crate::Activation;
use crate::isa::{Isa, Vectors, Work};
use crate::lines::{self, Lines};
use crate::rows::{Format, Numbers, Outlier, Quantised, Rows};
use crate::tile::{Bf16, Bytes, Factor, Floats, Multiply, Tiles, each_tile};

/// Vectors of a strip of columns. With three, a step of a tile of 8 rows loads 11
/// times for 24 products; with two it would be 10 for 16.
const STRIP: usize = 3;

/// Products of 255 and -128 whose sum fits 32 bits.
const INT8_INPUTS_MAX: usize = (i32::MAX / (255 * 128)) as usize;

/// A matrix `[outputs, inputs]` in row-major order, as checkpoints have it.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    F32(&'a [f32]),
    /// Multiplied as the nearest bf16.
    Bf16(&'a [f32]),
    /// Numbers times the scale of their output.
    Int8 {
        values: &'a [i8],
        scales: &'a [f32],
    },
}

/// Weights and bias, packed for one instruction set. It is shared by all that use it.
pub struct Linear {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    format: Format,
    /// Strips of columns; in a strip, lane by lane of the inputs. Missing columns and
    /// missing numbers of the last lane are 0.
    lanes: Lines,
    /// For each column of the strips, as is what follows.
    bias: Lines,
    quantised: Option<Columns>,
}

/// What int8 products need of each column.
struct Columns {
    scales: Lines,
    /// Sums of the column's weights: what a row's zero has added to its products.
    sums: Lines,
}

impl Linear {
    /// Packs weights of shape `[bias.len(), inputs]`.
    pub fn new(isa: Isa, inputs: usize, weights: Weights<'_>, bias: &[f32]) -> Self {
        let outputs = bias.len();
        let width = isa.run(StripWidth);
        let columns = outputs.next_multiple_of(width);
        let padded = |values: &[f32]| {
            let mut padded = values.to_vec();
            padded.resize(columns, 0.0);
            Lines::of_floats(&padded)
        };
        let pack = Pack { inputs, width, columns };
        let (format, lanes, quantised) = match weights {
            Weights::F32(values) => {
                assert_eq!(values.len(), outputs * inputs);
                let lanes = pack.lanes::<Floats>(outputs, |at| values[at.start].to_bits());
                (Format::F32, lanes, None)
            }
            Weights::Bf16(values) => {
                assert_eq!(values.len(), outputs * inputs);
                let lane = |at: Range<usize>| {
                    let second = if at.len() == 2 { values[at.end - 1] } else { 0.0 };
                    lines::bf16_lane(values[at.start], second)
                };
                (Format::Bf16, pack.lanes::<Bf16>(outputs, lane), None)
            }
            Weights::Int8 { values, scales } => {
                assert_eq!(values.len(), outputs * inputs);
                assert_eq!(scales.len(), outputs);
                assert!(inputs <= INT8_INPUTS_MAX, "{inputs} inputs, of {INT8_INPUTS_MAX}");
                let lane = |at: Range<usize>| {
                    let mut bytes = [0; 4];
                    for (byte, value) in bytes.iter_mut().zip(&values[at]) {
                        *byte = *value as u8;
                    }
                    u32::from_le_bytes(bytes)
                };
                let sums: Vec<f32> = values
                    .chunks_exact(inputs)
                    .map(|row| row.iter().map(|value| i32::from(*value)).sum::<i32>() as f32)
                    .collect();
                let columns = Columns { scales: padded(scales), sums: padded(&sums) };
                (Format::Int8, pack.lanes::<Bytes>(outputs, lane), Some(columns))
            }
        };
        Linear { isa, inputs, outputs, format, lanes, bias: padded(bias), quantised }
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The format of the rows it takes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// activation(rows × weightsᵀ + bias), in rows of `outputs`. The rows are in
    /// [`format`](Self::format).
    pub fn apply(&self, rows: Rows<'_>, activation: Option<Activation>, output: &mut [f32]) {
        assert_eq!(rows.width, self.inputs, "inputs of a linear layer");
        assert_eq!(output.len(), rows.count * self.outputs, "outputs of a linear layer");
        self.isa.run(Apply { linear: self, rows, activation, output });
    }
}

struct StripWidth;

impl Work for StripWidth {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vectors>(self, _: V) -> usize {
        STRIP * V::LANES
    }
}

/// Brings a matrix into the order in which tiles read it.
struct Pack {
    inputs: usize,
    /// Columns of a strip.
    width: usize,
    columns: usize,
}

impl Pack {
    /// `lane` packs the numbers at a range of the matrix, at most a group.
    fn lanes<M: Multiply>(&self, outputs: usize, lane: impl Fn(Range<usize>) -> u32) -> Lines {
        let steps = self.inputs.div_ceil(M::GROUP);
        let mut lines = Lines::zeroed(steps * self.columns);
        let lanes = lines.lanes_mut();
        for output in 0..outputs {
            let (strip, column) = (output / self.width, output % self.width);
            for step in 0..steps {
                let from = output * self.inputs + step * M::GROUP;
                let to = (from + M::GROUP).min((output + 1) * self.inputs);
                lanes[(strip * steps + step) * self.width + column] = lane(from..to);
            }
        }
        lines
    }
}

struct Apply<'a> {
    linear: &'a Linear,
    rows: Rows<'a>,
    activation: Option<Activation>,
    output: &'a mut [f32],
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let Linear { inputs, .. } = *self.linear;
        match (self.rows.numbers, &self.linear.quantised) {
            (Numbers::Floats(values), None) if self.linear.format == Format::F32 => {
                let factor = Factor { lanes: lines::lanes(values), stride: inputs, steps: inputs };
                self.strips(v, factor, PlainSum::<Floats>(PhantomData));
            }
            (Numbers::Bf16 { lanes, stride }, None) if self.linear.format == Format::Bf16 => {
                let factor = Factor { lanes, stride, steps: inputs.div_ceil(Bf16::GROUP) };
                self.strips(v, factor, PlainSum::<Bf16>(PhantomData));
            }
            (Numbers::Quantised(rows), Some(columns)) => {
                let steps = inputs.div_ceil(Bytes::GROUP);
                let factor = Factor { lanes: rows.lanes, stride: rows.stride, steps };
                self.strips(v, factor, ScaledSum { rows, columns });
            }
            _ => panic!("rows are in the format of the layer that they are for"),
        }
    }
}

impl Apply<'_> {
    /// Strip by strip, so that each weight is read from far memory once, and a
    /// strip's are near for all rows.
    #[inline(always)]
    fn strips<V: Vectors, F: Finish>(self, v: V, factor: Factor<'_>, finish: F) {
        let Apply { linear, rows, activation, output } = self;
        let width = STRIP * V::LANES;
        let strips = linear.lanes.lanes().chunks_exact(factor.steps * width);
        for (strip, weights) in strips.enumerate() {
            let column = strip * width;
            let columns = (linear.outputs - column).min(width);
            let finish = &finish;
            let mut strip = Strip { linear, factor, weights, column, columns, finish, output };
            each_tile(v, rows.count, &mut strip);
            finish.complete(v, &mut strip);
            if let Some(activation) = activation {
                v.run(Activate { linear, activation, columns: column..column + columns, output });
            }
        }
    }
}

/// A strip of columns of the output.
struct Strip<'a, F> {
    linear: &'a Linear,
    factor: Factor<'a>,
    weights: &'a [u32],
    column: usize,
    columns: usize,
    finish: &'a F,
    output: &'a mut [f32],
}

impl<F: Finish> Tiles for Strip<'_, F> {
    #[inline(always)]
    fn tile<V: Vectors, const R: usize>(&mut self, v: V, row: usize) {
        let sums = F::Multiply::tile::<V, R, STRIP>(v, self.factor.from(row), self.weights);
        let Strip { linear, column, columns, finish, .. } = *self;
        let each = finish.columns(v, linear, column);
        for (r, sums) in sums.iter().enumerate() {
            let from = (row + r) * linear.outputs + column;
            let output = &mut self.output[from..from + columns];
            let of_row = finish.row(v, row + r);
            let parts = output.chunks_mut(V::LANES);
            for ((sum, of_column), part) in sums.iter().zip(&each).zip(parts) {
                v.store_part(F::finish(v, *sum, of_row, *of_column), part);
            }
        }
    }
}

/// Once more over a strip, which is near: in the tiles a copy of every activation would
/// stand for every number of rows. It is a function of its own, so that its constants take no
/// registers from the tiles.
struct Activate<'a> {
    linear: &'a Linear,
    activation: Activation,
    columns: Range<usize>,
    output: &'a mut [f32],
}

impl Work for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        // Factors that are rounded to 8 bits need no better.
        let coarse = self.linear.format != Format::F32;
        for row in self.output.chunks_exact_mut(self.linear.outputs) {
            for part in row[self.columns.clone()].chunks_mut(V::LANES) {
                let x = v.load_part(part, 0.0);
                v.store_part(self.activation.apply(v, x, coarse), part);
            }
        }
    }
}

/// From the sums of products to the output.
trait Finish {
    type Multiply: Multiply;
    /// What the sums of a row need.
    type Row<V: Vectors>: Copy;
    /// What the sums of some columns need.
    type Column<V: Vectors>: Copy;

    fn row<V: Vectors>(&self, v: V, row: usize) -> Self::Row<V>;

    /// Of as many columns as a vector has, from `at` on.
    fn column<V: Vectors>(&self, v: V, linear: &Linear, at: usize) -> Self::Column<V>;

    /// Of a strip.
    #[inline(always)]
    fn columns<V: Vectors>(&self, v: V, linear: &Linear, at: usize) -> [Self::Column<V>; STRIP] {
        let mut columns = [self.column(v, linear, at); STRIP];
        for (c, column) in columns.iter_mut().enumerate() {
            *column = self.column(v, linear, at + c * V::LANES);
        }
        columns
    }

    fn finish<V: Vectors>(
        v: V,
        sum: <Self::Multiply as Multiply>::Sum<V>,
        row: Self::Row<V>,
        column: Self::Column<V>,
    ) -> V::F32;

    /// Adds to a strip what the sums do not have.
    #[inline(always)]
    fn complete<V: Vectors>(&self, _: V, _: &mut Strip<'_, Self>)
    where
        Self: Sized,
    {
    }
}

struct PlainSum<M>(PhantomData<M>);

impl<M: Multiply> Finish for PlainSum<M> {
    type Multiply = M;
    type Row<V: Vectors> = ();
    /// The bias.
    type Column<V: Vectors> = V::F32;

    #[inline(always)]
    fn row<V: Vectors>(&self, _: V, _: usize) {}

    #[inline(always)]
    fn column<V: Vectors>(&self, v: V, linear: &Linear, at: usize) -> V::F32 {
        v.load(&linear.bias.floats()[at..])
    }

    #[inline(always)]
    fn finish<V: Vectors>(v: V, sum: M::Sum<V>, _: (), bias: V::F32) -> V::F32 {
        v.add(M::float(v, sum), bias)
    }
}

/// (Σ byte weight - zero Σ weight) × both scales, and of outliers their product.
struct ScaledSum<'a> {
    rows: Quantised<'a>,
    columns: &'a Columns,
}

impl Finish for ScaledSum<'_> {
    type Multiply = Bytes;
    /// Zero, negative, and scale.
    type Row<V: Vectors> = [V::F32; 2];
    /// Sum of weights, scale and bias.
    type Column<V: Vectors> = [V::F32; 3];

    #[inline(always)]
    fn row<V: Vectors>(&self, v: V, row: usize) -> [V::F32; 2] {
        [v.splat(-self.rows.zeros[row]), v.splat(self.rows.scales[row])]
    }

    #[inline(always)]
    fn column<V: Vectors>(&self, v: V, linear: &Linear, at: usize) -> [V::F32; 3] {
        let Columns { sums, scales } = self.columns;
        [
            v.load(&sums.floats()[at..]),
            v.load(&scales.floats()[at..]),
            v.load(&linear.bias.floats()[at..]),
        ]
    }

    #[inline(always)]
    fn finish<V: Vectors>(
        v: V,
        sum: V::I32,
        [zero, row_scale]: [V::F32; 2],
        [weights, scale, bias]: [V::F32; 3],
    ) -> V::F32 {
        let products = v.mul_add(zero, weights, v.float(sum));
        v.mul_add(products, v.mul(scale, row_scale), bias)
    }

    #[inline(always)]
    fn complete<V: Vectors>(&self, v: V, strip: &mut Strip<'_, Self>) {
        let width = STRIP * V::LANES;
        let columns = self.columns(v, strip.linear, strip.column);
        for outlier in self.rows.outliers {
            let weights = &strip.weights[outlier.step * width..][..width];
            let from = outlier.row * strip.linear.outputs + strip.column;
            let output = &mut strip.output[from..from + strip.columns];
            // Most are whole, and of those nothing asks how long they are.
            if output.len() == width {
                add_outlier(v, outlier, weights, &columns, &mut output[..width]);
            } else {
                add_outlier(v, outlier, weights, &columns, output);
            }
        }
    }
}

/// The product of an outlier with a strip.
#[inline(always)]
fn add_outlier<V: Vectors>(
    v: V,
    outlier: &Outlier,
    weights: &[u32],
    columns: &[[V::F32; 3]; STRIP],
    output: &mut [f32],
) {
    let (one, value) = (v.splat_lane(outlier.one), v.splat(outlier.value));
    for (c, part) in output.chunks_mut(V::LANES).enumerate().take(STRIP) {
        let lanes = v.load_lanes(&weights[c * V::LANES..]);
        let weights = v.float(v.dot_bytes(v.splat_lane(0), one, lanes));
        let [_, scale, _] = columns[c];
        let x = v.load_part(part, 0.0);
        v.store_part(v.mul_add(value, v.mul(weights, scale), x), part);
    }
}
