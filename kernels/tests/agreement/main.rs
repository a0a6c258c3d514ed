//! Every kernel, on every instruction set of this machine, against its plain twin.
//!
//! Sizes and numbers are drawn; each test prints its seed, and `MAITRED_SEED` repeats
//! it.

// Elsewhere the address sanitizer sees more.
#[cfg(all(target_arch = "aarch64", unix, not(miri)))]
mod fence;
mod plain;

use fastrand::Rng;
use maitred_kernels::{
    Activation, Asking, Attention, Columns, Embedding, Format, Isa, Linear, Norm, Operand,
    Sequences, Weights, Words, all_finite,
};

const ACTIVATIONS: [Activation; 5] =
    [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu, Activation::Tanh];

/// One token, sizes that fill no vector, sizes around a vector's and a tile's.
const SIZES: &[usize] = match cfg!(miri) {
    false => &[1, 2, 3, 5, 8, 15, 16, 17, 31, 48, 97, 130],
    true => &[1, 2, 3, 5, 9],
};
/// What is drawn. Miri, which takes some thousand times as long, tries each scale once.
const ROUNDS: usize = if cfg!(miri) { 5 } else { 60 };
/// The longest sequence of the usual models.
const LONGEST: usize = 512;
/// Ordinary numbers, denormals, small ones, large ones.
const SCALES: [f32; 4] = [1.0, 1e-39, 1e-20, 1e30];

fn rng() -> Rng {
    let seed = std::env::var("MAITRED_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("MAITRED_SEED is a number"));
    println!("MAITRED_SEED={seed}");
    Rng::with_seed(seed)
}

fn normal(rng: &mut Rng, count: usize, scale: f32) -> Vec<f32> {
    let one = |rng: &mut Rng| (0..4).map(|_| rng.f32() - 0.5).sum::<f32>() * 1.73;
    (0..count).map(|_| one(rng) * scale).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Each number within `tolerance` of the twin's.
fn check(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let far = (f64::from(*found) - expected).abs();
        assert!(far <= tolerance, "{what}: number {at} is {found}, expected {expected}");
    }
}

fn size(rng: &mut Rng) -> usize {
    SIZES[rng.usize(..SIZES.len())]
}

/// Rows, inputs and outputs of a layer; once as many rows as a sequence can have.
fn shape(rng: &mut Rng, round: usize) -> (usize, usize, usize) {
    let rows = if round == SCALES.len() && !cfg!(miri) { LONGEST } else { size(rng) };
    (rows, size(rng), size(rng))
}

/// What a product of numbers of this scale may be off: of denormals, all, if an instruction
/// takes them for 0.
fn of_scale(scale: f32, flushed: bool) -> f64 {
    match flushed && scale < f32::MIN_POSITIVE {
        true => f64::from(scale) * 1e3,
        false => f64::from(scale) * 4e-6 + 1e-44,
    }
}

#[test]
fn there_is_always_an_instruction_set() {
    let names: Vec<_> = Isa::available().map(Isa::name).collect();
    println!("{names:?}");
    assert_eq!(names.last(), Some(&"scalar"));
    assert_eq!(names[0], Isa::detect().name());
}

/// Or all the others would agree with nothing. `MAITRED_ISAS` names them where the system does
/// not.
#[test]
fn every_instruction_set_of_the_machine_is_tested() {
    let names: Vec<_> = Isa::available().map(Isa::name).collect();
    if let Ok(expected) = std::env::var("MAITRED_ISAS") {
        assert_eq!(names.join(" "), expected, "MAITRED_ISAS");
    } else if cfg!(all(target_arch = "x86_64", target_os = "linux", not(miri))) {
        let system = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = system.lines().find(|line| line.starts_with("flags")).unwrap();
        let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        let expected = [
            ("avx512-bf16", has("avx512_bf16") && has("avx512_vnni")),
            ("avx512", has("avx512_vnni")),
            ("avx2-vnni", has("avx_vnni")),
            ("avx2", has("avx2") && has("fma")),
            ("scalar", true),
        ];
        let expected = expected.into_iter().filter_map(|(name, there)| there.then_some(name));
        assert_eq!(names, expected.collect::<Vec<_>>());
    }
}

/// x wᵀ + bias, as a kernel has it.
fn applied(isa: Isa, weights: Weights<'_>, bias: &[f32], x: &[f32]) -> Vec<f32> {
    let numbers = match weights {
        Weights::F32(values) | Weights::Bf16(values) => values.len(),
        Weights::Int8 { values, .. } => values.len(),
    };
    let inputs = numbers / bias.len();
    let linear = Linear::new(isa, inputs, weights, bias);
    let mut operand = Operand::new(isa, linear.format());
    let mut found = vec![f32::NAN; x.len() / inputs * bias.len()];
    linear.apply(operand.rows(x, inputs), None, &mut found);
    found
}

#[test]
fn linear_layers_of_floats_agree() {
    let mut rng = rng();
    for round in 0..ROUNDS {
        let (rows, inputs, outputs) = shape(&mut rng, round);
        let scale = SCALES[round % 4];
        let x = normal(&mut rng, rows * inputs, scale);
        let w = normal(&mut rng, outputs * inputs, 1.0);
        let bias = normal(&mut rng, outputs, scale);
        let expected = plain::linear(&wide(&x), &wide(&w), &bias);
        for isa in Isa::available() {
            let found = applied(isa, Weights::F32(&w), &bias, &x);
            let tolerance = of_scale(scale, false) * (inputs as f64).sqrt();
            let what = format!("{} {rows}×{inputs}×{outputs} of {scale:e}", isa.name());
            check(&what, &found, &expected, tolerance);
        }
    }
}

/// The factors are rounded as the kernel is to do it; what is summed of them is not.
#[test]
fn linear_layers_of_bf16_agree() {
    let mut rng = rng();
    for round in 0..ROUNDS {
        let (rows, inputs, outputs) = shape(&mut rng, round);
        let scale = SCALES[round % 4];
        let x = normal(&mut rng, rows * inputs, scale);
        let w = normal(&mut rng, outputs * inputs, 1.0);
        let bias = normal(&mut rng, outputs, scale);
        let expected = plain::linear(&plain::bf16(&x), &plain::bf16(&w), &bias);
        for isa in Isa::available() {
            let found = applied(isa, Weights::Bf16(&w), &bias, &x);
            let tolerance = of_scale(scale, true) * (inputs as f64).sqrt();
            let what = format!("{} {rows}×{inputs}×{outputs} of {scale:e}", isa.name());
            check(&what, &found, &expected, tolerance);
        }
    }
}

#[test]
fn linear_layers_of_bytes_agree() {
    let mut rng = rng();
    for round in 0..ROUNDS {
        let (rows, inputs, outputs) = shape(&mut rng, round);
        let scale = SCALES[round % 4];
        let mut x = normal(&mut rng, rows * inputs, scale);
        // A row of zeros, and some of positive numbers alone.
        x[..inputs].fill(0.0);
        for row in x.chunks_exact_mut(inputs).step_by(2) {
            row.iter_mut().for_each(|x| *x = x.abs());
        }
        let values: Vec<i8> = (0..outputs * inputs).map(|_| rng.i8(-128..=127)).collect();
        let scales: Vec<f32> = (0..outputs).map(|_| rng.f32() * 0.01).collect();
        let bias = normal(&mut rng, outputs, scale);
        let w: Vec<f64> = values
            .iter()
            .enumerate()
            .map(|(at, value)| f64::from(*value) * f64::from(scales[at / inputs]))
            .collect();
        // Each row's own rounding, as the kernel is to do it.
        let rounded: Vec<f64> = x.chunks_exact(inputs).flat_map(quantised).collect();
        let expected = plain::linear(&rounded, &w, &bias);
        for isa in Isa::available() {
            let weights = Weights::Int8 { values: &values, scales: &scales };
            let found = applied(isa, weights, &bias, &x);
            // A number that lies between two bytes may become either.
            let largest = x.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
            let tolerance =
                f64::from(largest) * (2.0 / 255.0) * 1.28 * 1.01 + of_scale(scale, false);
            let what = format!("{} {rows}×{inputs}×{outputs} of {scale:e}", isa.name());
            check(&what, &found, &expected, tolerance);
        }
    }
}

/// As if they were not in the row: what is left of the range is for the others.
#[test]
fn outliers_cost_the_other_numbers_of_a_row_nothing() {
    let mut rng = rng();
    for _ in 0..ROUNDS {
        let (rows, inputs, outputs) = (size(&mut rng), size(&mut rng) + 2, size(&mut rng));
        let mut x = normal(&mut rng, rows * inputs, 1.0);
        for row in x.chunks_exact_mut(inputs) {
            let far = 1e4 * (1.0 + rng.f32());
            let (above, below) = (rng.usize(..inputs), rng.usize(..inputs));
            row[below] = -far;
            row[above] = far;
        }
        let values: Vec<i8> = (0..outputs * inputs).map(|_| rng.i8(..)).collect();
        let (scales, bias) = (vec![0.01; outputs], normal(&mut rng, outputs, 1.0));
        let w: Vec<f64> = values.iter().map(|value| f64::from(*value) * 0.01).collect();
        let expected = plain::linear(&wide(&x), &w, &bias);
        for isa in Isa::available() {
            let weights = Weights::Int8 { values: &values, scales: &scales };
            let found = applied(isa, weights, &bias, &x);
            // Half a step of at most 8 / 255 for each number; and that floats of 1e4 have.
            let tolerance = 4.0 / 255.0 * 1.28 * inputs as f64 + 0.02;
            let what = format!("{} {rows}×{inputs}×{outputs}", isa.name());
            check(&what, &found, &expected, tolerance);
        }
    }
}

/// A row as it is to be rounded: all but its outliers to bytes.
fn quantised(row: &[f32]) -> Vec<f64> {
    let mut ordered = row.to_vec();
    ordered.sort_unstable_by(f32::total_cmp);
    let nth = |from_above: usize| ordered.iter().rev().nth(from_above).map_or(0.0, |x| x.max(0.0));
    let nth_least = |from_below: usize| ordered.get(from_below).map_or(0.0, |x| x.min(0.0));
    let worth = 0.1 * (nth(0) - nth_least(0));
    let outliers = [(nth(0), nth(1)), (nth_least(0), nth_least(1))];
    let outliers = outliers.map(|(most, next)| ((most - next).abs() > worth).then_some(most));
    let largest = if outliers[0].is_some() { nth(1) } else { nth(0) };
    let least = if outliers[1].is_some() { nth_least(1) } else { nth_least(0) };
    let scale = f64::from((largest - least).max(1e-30)) / 255.0;
    let zero = (-f64::from(least) / scale).round_ties_even();
    let byte = |x: f32| (f64::from(x) / scale + zero).round_ties_even().clamp(0.0, 255.0);
    row.iter()
        .map(|x| match outliers.contains(&Some(*x)) {
            true => f64::from(*x),
            false => (byte(*x) - zero) * scale,
        })
        .collect()
}

/// Whatever shares the batch, and however many rows a tile has.
#[test]
fn a_rows_products_do_not_depend_on_other_rows() {
    let mut rng = rng();
    let (rows, inputs, outputs) = if cfg!(miri) { (7, 5, 18) } else { (29, 50, 70) };
    let x = normal(&mut rng, rows * inputs, 1.0);
    let w = normal(&mut rng, outputs * inputs, 1.0);
    let values: Vec<i8> = w.iter().map(|w| (w * 40.0) as i8).collect();
    let (bias, scales) = (normal(&mut rng, outputs, 1.0), vec![0.01; outputs]);
    for isa in Isa::available() {
        let int8 = Weights::Int8 { values: &values, scales: &scales };
        for weights in [Weights::F32(&w), Weights::Bf16(&w), int8] {
            let linear = Linear::new(isa, inputs, weights, &bias);
            let mut operand = Operand::new(isa, linear.format());
            let mut together = vec![f32::NAN; rows * outputs];
            linear.apply(operand.rows(&x, inputs), Some(Activation::Gelu), &mut together);
            for _ in 0..ROUNDS {
                let from = rng.usize(..rows);
                let count = rng.usize(1..=rows - from);
                let some = &x[from * inputs..][..count * inputs];
                let mut found = vec![f32::NAN; count * outputs];
                linear.apply(operand.rows(some, inputs), Some(Activation::Gelu), &mut found);
                assert_eq!(found, together[from * outputs..][..count * outputs], "{}", isa.name());
            }
        }
    }
}

#[test]
fn no_rows_are_no_products() {
    let [queries, keys, values] = Columns::parts(&[], 6);
    let int8 = Weights::Int8 { values: &[1; 6], scales: &[1.0; 2] };
    for isa in Isa::available() {
        for weights in [Weights::F32(&[1.0; 6]), Weights::Bf16(&[1.0; 6]), int8] {
            assert!(applied(isa, weights, &[0.0; 2], &[]).is_empty());
        }
        let norm = Norm::new(isa, &[1.0; 3], &[0.0; 3], 1e-12);
        norm.apply(&mut []);
        Embedding::new(Words::Floats(vec![1.0; 3]), vec![1.0; 3], norm).apply(&[], &[], &mut []);
        for format in [Format::F32, Format::Bf16] {
            for asking in [Asking::Tokens, Asking::Rows(2)] {
                let none = Sequences { lengths: &[], asking, queries, keys, values };
                Attention::new(isa, format, 2, 3).apply(none, &mut []);
            }
        }
    }
}

#[test]
fn activations_agree() {
    // The range where they are not trivial, and every magnitude that there is.
    let stride = if cfg!(miri) { 4999 } else { 1 };
    let steps = (-120_000..=120_000).step_by(stride);
    let mut x: Vec<f32> = steps.map(|step| step as f32 / 10_000.0).collect();
    let denormals = (0..23).map(|bit| f32::from_bits(1 << bit));
    let others = (0..255).map(|power| f32::from_bits(power << 23));
    let magnitudes = denormals.chain(others).step_by(if cfg!(miri) { 8 } else { 1 });
    x.extend(magnitudes.flat_map(|magnitude| [magnitude, -magnitude]));
    x.retain(|x| x.abs() < 1e30);
    let w = [1.0];
    let rounded: Vec<f32> = plain::bf16(&x).iter().map(|x| *x as f32).collect();
    for isa in Isa::available() {
        // Plain Rust rounds a product before it is added to.
        let of_f32 = if isa.has_vectors() { 1e-6 } else { 1.4e-6 };
        for (weights, x, tolerance) in
            [(Weights::F32(&w), &x, of_f32), (Weights::Bf16(&w), &rounded, 1e-4)]
        {
            let linear = Linear::new(isa, 1, weights, &[0.0]);
            let mut operand = Operand::new(isa, linear.format());
            for activation in ACTIVATIONS {
                let mut found = vec![f32::NAN; x.len()];
                linear.apply(operand.rows(x, 1), Some(activation), &mut found);
                for (x, found) in x.iter().zip(found) {
                    let expected = plain::activate(activation, f64::from(*x));
                    let far = (f64::from(found) - expected).abs();
                    // Large numbers have no such digits.
                    let large = if activation == Activation::Gelu { 8.0 } else { 1.0 };
                    let tolerance = tolerance * f64::from(x.abs() / large).max(1.0);
                    assert!(far < tolerance, "{} {activation:?}({x}) is {found}", isa.name());
                }
            }
        }
    }
}

#[test]
fn norms_agree() {
    let mut rng = rng();
    for round in 0..ROUNDS {
        let (rows, width) = (rng.usize(1..5), size(&mut rng));
        let (scale, eps) = [(1.0, 1e-12), (1e-39, 1e-12), (1e12, 1e-12), (1e-12, 1e-30)][round % 4];
        let x = normal(&mut rng, rows * width, scale);
        let added = normal(&mut rng, rows * width, scale);
        let (weight, bias) = (normal(&mut rng, width, 1.0), normal(&mut rng, width, 1.0));
        let sums: Vec<f32> = x.iter().zip(&added).map(|(x, added)| x + added).collect();
        for isa in Isa::available() {
            let norm = Norm::new(isa, &weight, &bias, eps);
            for (input, added) in [(&x, None), (&x, Some(&added))] {
                let mut found = input.clone();
                match added {
                    None => norm.apply(&mut found),
                    Some(added) => norm.apply_sum(&mut found, added),
                }
                let rows = if added.is_some() { &sums } else { &x };
                let expected: Vec<f64> = rows
                    .chunks_exact(width)
                    .flat_map(|row| plain::norm(row, &weight, &bias, eps))
                    .collect();
                // With two numbers, a difference is divided by itself.
                let tolerance = if width < 8 { 2e-3 } else { 2e-5 };
                let what = format!("{} {width} of {scale:e}", isa.name());
                check(&what, &found, &expected, tolerance);
            }
        }
    }
}

#[test]
fn what_is_no_number_is_seen_wherever_it_is() {
    let mut rng = rng();
    for isa in Isa::available() {
        assert!(all_finite(isa, &[]));
        for count in SIZES {
            let mut numbers = vec![f32::MAX; *count];
            assert!(all_finite(isa, &numbers), "{} {count}", isa.name());
            let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][rng.usize(..3)];
            numbers[rng.usize(..*count)] = bad;
            assert!(!all_finite(isa, &numbers), "{} {count} {bad}", isa.name());
        }
    }
}

#[test]
fn embeddings_agree() {
    let mut rng = rng();
    let (words, places, width) = (7, 5, 19);
    let values: Vec<i8> = (0..words * width).map(|_| rng.i8(..)).collect();
    let scales: Vec<f32> = (0..words).map(|_| rng.f32()).collect();
    let floats: Vec<f32> = values
        .iter()
        .enumerate()
        .map(|(at, value)| f32::from(*value) * scales[at / width])
        .collect();
    let table = normal(&mut rng, places * width, 1.0);
    let (weight, bias) = (normal(&mut rng, width, 1.0), normal(&mut rng, width, 1.0));
    let tokens: Vec<(u32, u32)> = (0..20).map(|_| (rng.u32(..7), rng.u32(..5))).collect();
    let (ids, at): (Vec<u32>, Vec<u32>) = tokens.iter().copied().unzip();
    let expected: Vec<f64> = tokens
        .iter()
        .flat_map(|(word, place)| {
            let word = &floats[*word as usize * width..][..width];
            let place = &table[*place as usize * width..][..width];
            let sum: Vec<f32> = word.iter().zip(place).map(|(a, b)| a + b).collect();
            plain::norm(&sum, &weight, &bias, 1e-12)
        })
        .collect();
    for isa in Isa::available() {
        let int8 = Words::Int8 { values: values.clone(), scales: scales.clone() };
        for words in [Words::Floats(floats.clone()), int8] {
            let norm = Norm::new(isa, &weight, &bias, 1e-12);
            let mut found = vec![f32::NAN; ids.len() * width];
            Embedding::new(words, table.clone(), norm).apply(&ids, &at, &mut found);
            check(isa.name(), &found, &expected, 1e-4);
        }
    }
}

#[test]
fn attention_agrees() {
    let mut rng = rng();
    for round in 0..ROUNDS {
        let shape = (rng.usize(1..4), [1, 7, 16, 31, 32, 64, 65][round % 7]);
        let lengths: Vec<usize> = (0..rng.usize(1..4)).map(|_| size(&mut rng)).collect();
        // Ordinary scores, such that one takes all, and such that all are alike.
        let of_scores = [1.0, 60.0, 1e-20, 1e-39][round % 4];
        attention_agrees_at(&mut rng, shape, &lengths, of_scores, SCALES[(round + round / 4) % 4]);
    }
}

/// Miri would take hours.
#[cfg(not(miri))]
#[test]
fn attention_of_long_sequences_agrees() {
    let mut rng = rng();
    for head in [32, 64, 65] {
        attention_agrees_at(&mut rng, (1, head), &[LONGEST, 1], 1.0, 1.0);
    }
}

/// For both who may ask, in both formats: a few heads of some numbers each, over sequences of
/// these lengths.
fn attention_agrees_at(
    rng: &mut Rng,
    (heads, head): (usize, usize),
    lengths: &[usize],
    of_scores: f32,
    of_values: f32,
) {
    let (tokens, width) = (lengths.iter().sum::<usize>(), heads * head);
    let mut keys_values = normal(rng, tokens * 2 * width, 1.0);
    for row in keys_values.chunks_exact_mut(2 * width) {
        row[width..].iter_mut().for_each(|value| *value *= of_values);
    }
    for (asking, rows) in [(Asking::Tokens, tokens), (Asking::Rows(3), 3 * lengths.len())] {
        // Beside columns of something else, as in an engine.
        let queries = normal(rng, rows * 2 * width, of_scores / (head as f32).sqrt());
        let ([_, asked], [keys, values]) =
            (Columns::parts(&queries, width), Columns::parts(&keys_values, width));
        let sequences = Sequences { lengths, asking, queries: asked, keys, values };
        let expected = plain::attention((heads, head), sequences);
        // What is rounded before it is multiplied moves scores far where they are
        // large; the shares are rounded later.
        let rounded = {
            let [queries, keys_values] = [&queries, &keys_values]
                .map(|x| plain::bf16(x).iter().map(|x| *x as f32).collect::<Vec<_>>());
            let ([_, queries], [keys, values]) =
                (Columns::parts(&queries, width), Columns::parts(&keys_values, width));
            let rounded = Sequences { queries, keys, values, ..sequences };
            plain::attention((heads, head), rounded)
        };
        let formats = [(Format::F32, &expected, 1e-5), (Format::Bf16, &rounded, 5e-3)];
        let each = Isa::available().flat_map(|isa| formats.map(|format| (isa, format)));
        for (isa, (format, expected, tolerance)) in each {
            let mut attention = Attention::new(isa, format, heads, head);
            let mut found = vec![f32::NAN; rows * width];
            attention.apply(sequences, &mut found);
            let what = format!(
                "{} {format:?} {lengths:?} {heads}×{head} {asking:?} of {of_scores:e} and {of_values:e}",
                isa.name()
            );
            let flushed = format == Format::Bf16 && of_values < f32::MIN_POSITIVE;
            let tolerance = if flushed { 4.0 } else { tolerance * f64::from(of_scores).max(4.0) };
            check(&what, &found, expected, tolerance * f64::from(of_values) + 1e-44);
            // The same memory again, and each sequence alone.
            let before = found.clone();
            attention.apply(sequences, &mut found);
            assert_eq!(found, before, "{what}");
            let (mut token, mut row) = (0, 0);
            for length in lengths {
                let rows = if asking == Asking::Tokens { *length } else { 3 };
                let mut alone = vec![f32::NAN; rows * width];
                let keys_values = &keys_values[token * 2 * width..][..length * 2 * width];
                let [keys, values] = Columns::parts(keys_values, width);
                let queries = &queries[row * 2 * width..][..rows * 2 * width];
                let [_, queries] = Columns::parts(queries, width);
                let sequence = Sequences { lengths: &[*length], asking, queries, keys, values };
                attention.apply(sequence, &mut alone);
                assert_eq!(alone, found[row * width..][..rows * width], "{what}");
                (token, row) = (token + length, row + rows);
            }
        }
    }
}
