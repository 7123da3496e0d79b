//! Every kernel against an f64 reference written from its formula: shapes that are no multiple of
//! four among them, extremes, and the error bounds that the kernels' documentation states.

use proptest::collection::vec;
use proptest::prelude::*;
use tailtune::kernels::{
    AttentionScale, Context, HeadLayout, Linear, Norm, ONE, Panel, Requantize, attend,
    exponentials, inverse_sqrt, layer_norm_i16, layer_norm_panel, linear_add_i16, linear_i8,
    linear_i16, linear_keys, linear_panel, linear_row_i16, linear_values, mean_rows,
    requantize_panel, requantize_row,
};
use tailtune::quant::Scaling;

/// Returns mantissa and shifts of a real factor, as the host tool makes them.
fn fixed(factor: f64) -> (i32, Scaling) {
    let exponent = libm::frexp(factor).1;
    let pre = (exponent + 2).max(0);
    let shift = 31 - exponent + pre;
    let mantissa = (factor * libm::exp2(f64::from(shift - pre)))
        .round()
        .min(2_147_483_647.0);
    (
        mantissa as i32,
        Scaling::new(pre as u8, shift as u8).unwrap(),
    )
}

#[derive(Debug, Clone)]
struct LinearCase {
    rows: usize,
    in_features: usize,
    input: Vec<i8>,
    weight: Vec<i8>,
    biases: Vec<i32>,
    factors: Vec<f64>,
    zero_point: i32,
}

fn linear_case() -> impl Strategy<Value = LinearCase> {
    (1usize..=4, 1usize..=37, 1usize..=19).prop_flat_map(|(rows, k, n)| {
        // Extremes are as likely as the rest.
        let int8 = prop_oneof![3 => any::<i8>(), 1 => Just(-128i8), 1 => Just(127i8)];
        (
            vec(int8.clone(), rows * k),
            vec(int8, n * k),
            vec(-100_000i32..100_000, n),
            vec(1e-6f64..0.2, n),
            -128i32..=127,
        )
            .prop_map(
                move |(input, weight, biases, factors, zero_point)| LinearCase {
                    rows,
                    in_features: k,
                    input,
                    weight,
                    biases,
                    factors,
                    zero_point,
                },
            )
    })
}

/// Pairs of rows, interleaved, as an image holds them.
fn interleaved(rows: &[i8], cols: usize) -> Vec<i8> {
    let mut out = Vec::new();
    for pair in rows.chunks(2 * cols) {
        let (a, b) = pair.split_at(cols);
        if b.is_empty() {
            out.extend(a);
        }
        out.extend(a.iter().zip(b).flat_map(|(&a, &b)| [a, b]));
    }
    out
}

impl LinearCase {
    /// The layer's epilogue: all factors share the shifts of the largest.
    fn epilogue(&self) -> (Vec<[i32; 2]>, Scaling) {
        let max = self.factors.iter().copied().fold(0.0, f64::max);
        let (_, scaling) = fixed(max);
        let unit = libm::exp2(f64::from(scaling.shift) - f64::from(scaling.pre_shift));
        let pair =
            |(&bias, f): (&i32, &f64)| [bias, (f * unit).round().min(2_147_483_647.0) as i32];
        (
            self.biases.iter().zip(&self.factors).map(pair).collect(),
            scaling,
        )
    }

    /// The real outputs, before rounding.
    fn reference(&self) -> Vec<f64> {
        let mut out = Vec::new();
        for row in self.input.chunks_exact(self.in_features) {
            let channels = self.weight.chunks_exact(self.in_features);
            for ((weight, &bias), factor) in channels.zip(&self.biases).zip(&self.factors) {
                let dot: f64 = row
                    .iter()
                    .zip(weight)
                    .map(|(&x, &w)| f64::from(x) * f64::from(w))
                    .sum();
                out.push((dot + f64::from(bias)) * factor + f64::from(self.zero_point));
            }
        }
        out
    }
}

proptest! {
    /// Linear: half a step of rounding, and 1/100 of a step for mantissas that are rounded to the
    /// largest one's unit.
    #[test]
    fn linear_is_the_formula(case in linear_case()) {
        let (epilogue, scaling) = case.epilogue();
        let weight = interleaved(&case.weight, case.in_features);
        let mut words = vec![0x1234_5678; Panel::words(case.in_features)];
        let mut input = Panel::new(&mut words, case.rows, case.in_features);
        input.fill(&case.input);
        let linear = Linear {
            weight: &weight,
            epilogue: &epilogue,
            in_features: case.in_features,
            scaling,
            zero_point: case.zero_point,
        };
        let n = epilogue.len();
        let want = case.reference();
        let mut wide = vec![0i16; case.rows * n];
        linear_i16(&linear, &input, &mut wide);
        let mut narrow = vec![0i8; case.rows * n];
        linear_i8(&linear, None, &input, &mut narrow);
        let mut table = [0i8; 256];
        for (i, entry) in table.iter_mut().enumerate() {
            *entry = (i as i32 / 2 - 100) as i8;
        }
        let mut mapped = vec![0i8; case.rows * n];
        linear_i8(&linear, Some(&table), &input, &mut mapped);
        let mut words = vec![0x8765_4321; Panel::words(n)];
        let mut hidden = Panel::new(&mut words, case.rows, n);
        linear_panel(&linear, Some(&table), &input, &mut hidden);
        let mut row = vec![0i16; n];
        linear_row_i16(&linear, &case.input[..case.in_features], &mut row);
        prop_assert_eq!(&row, &wide[..n]);
        // Keys and values of the tokens 2 and on: heads of one, of all and of every size between.
        for head_dim in (1..=n).filter(|h| n.is_multiple_of(*h)) {
            let layout = HeadLayout::new(head_dim, 2 + case.rows);
            let mut laid = vec![0; n * layout.capacity()];
            linear_keys(&linear, &input, 2, &layout, &mut laid);
            for (i, &value) in narrow.iter().enumerate() {
                prop_assert_eq!(laid[layout.key(2 + i / n, i % n)], value);
            }
            linear_values(&linear, &input, 2, &layout, &mut laid);
            for (i, &value) in narrow.iter().enumerate() {
                prop_assert_eq!(laid[layout.value(2 + i / n, i % n)], value);
            }
        }
        let before: Vec<i16> = (0..case.rows * n).map(|i| (i as i16).wrapping_mul(997)).collect();
        let mut sum = before.clone();
        linear_add_i16(&linear, &input, &mut sum);
        for (i, &want) in want.iter().enumerate() {
            let clamped = want.clamp(-32768.0, 32767.0);
            prop_assert!((f64::from(wide[i]) - clamped).abs() <= 0.51, "{} {clamped}", wide[i]);
            let clamped = want.clamp(-128.0, 127.0);
            prop_assert!((f64::from(narrow[i]) - clamped).abs() <= 0.51);
            prop_assert_eq!(mapped[i], table[(i32::from(narrow[i]) + 128) as usize]);
            prop_assert_eq!(hidden.get(i / n, i % n), mapped[i]);
            let clamped = (f64::from(before[i]) + want).clamp(-32768.0, 32767.0);
            prop_assert!((f64::from(sum[i]) - clamped).abs() <= 0.51);
        }
    }

    /// The exponential: 0.14 % for the rounded exponent, one and a half units of Q14 for table and
    /// shift (each truncates or rounds once).
    #[test]
    fn exponentials_are_the_formula(
        scores in vec(-2_000_000i32..2_000_000, 1..200),
        unit in 1e-6f64..1e-2,
    ) {
        let (mantissa, scaling) = fixed(unit * std::f64::consts::LOG2_E * 256.0);
        // The same scores for all four queries.
        let mut weights: Vec<u32> = scores
            .chunks(2)
            .flat_map(|pair| {
                let odd = pair.get(1).copied().unwrap_or(i32::MAX);
                [[pair[0].cast_unsigned(); 4], [odd.cast_unsigned(); 4]].concat()
            })
            .collect();
        let totals = exponentials(&mut weights, scores.len(), scaling, mantissa);
        prop_assert_eq!(totals, [totals[0]; 4]);
        let total = totals[0];
        let halves = |four: &[u32]| [(four[3] & 0xffff) as i32, (four[3] >> 16) as i32];
        let found: Vec<i32> = weights.chunks(4).flat_map(halves).take(scores.len()).collect();
        let max = scores.iter().copied().max().unwrap();
        prop_assert_eq!(total, found.iter().sum::<i32>());
        for (&score, &e) in scores.iter().zip(&found) {
            let want = f64::from(ONE) * libm::exp(-f64::from(max - score) * unit);
            prop_assert!((f64::from(e) - want).abs() <= want * 0.001_4 + 1.5, "{e} {want}");
        }
    }

    /// Attention of one query against exact softmax: half a step of rounding, half a step for the
    /// weights' Q14 and 0.14 % of the largest value each way for their exponents.
    #[test]
    fn attention_is_the_formula(
        (len, head_dim, heads, data) in (1usize..70, 1usize..20, 1usize..4).prop_flat_map(|(t, h, n)| {
            (Just(t), Just(h), Just(n), vec(any::<i8>(), n * h + 2 * t * n * h))
        }),
        unit in 1e-5f64..2e-3,
        ratio in 0.5f64..4.0,
    ) {
        let d = heads * head_dim;
        let (query, rest) = data.split_at(d);
        let (keys, values) = rest.split_at(len * d);
        let (softmax_mantissa, softmax) = fixed(unit * std::f64::consts::LOG2_E * 256.0);
        let exponent = libm::frexp(ratio).1;
        let scale = AttentionScale {
            softmax,
            softmax_mantissa,
            context_shift: (31 - exponent) as u8,
            context_mantissa: (ratio * libm::exp2(f64::from(31 - exponent))).round() as i32,
            zero_point: 0,
        };
        let layout = HeadLayout::new(head_dim, len);
        let size = d * layout.capacity();
        let (mut laid_keys, mut laid_values) = (vec![0; size], vec![0; size]);
        for t in 0..len {
            for c in 0..d {
                laid_keys[layout.key(t, c)] = keys[t * d + c];
                laid_values[layout.value(t, c)] = values[t * d + c];
            }
        }
        let context = Context { keys: &laid_keys, values: &laid_values, layout, len, scale };
        // The query stands in the last of three rows; its heads are replaced one after the other.
        let mut words = vec![0; Panel::words(d)];
        let mut rows = Panel::new(&mut words, 3, d);
        rows.fill(&[query, query, query].concat());
        for head in 0..heads {
            let column = head * head_dim;
            let mut weights = vec![0; 4 * layout.capacity()];
            attend(&context, &mut rows, head, &mut weights);
            let context: Vec<i8> = (0..head_dim).map(|c| rows.get(2, column + c)).collect();
            let dot = |t: usize| -> f64 {
                (0..head_dim).map(|c| f64::from(query[column + c]) * f64::from(keys[t * d + column + c])).sum()
            };
            let scores: Vec<f64> = (0..len).map(|t| dot(t) * unit).collect();
            let max = scores.iter().copied().fold(f64::MIN, f64::max);
            let e: Vec<f64> = scores.iter().map(|s| libm::exp(s - max)).collect();
            let total: f64 = e.iter().sum();
            for (c, &found) in context.iter().enumerate() {
                let want: f64 = (0..len).map(|t| e[t] / total * f64::from(values[t * d + column + c])).sum();
                let want = (want * ratio).clamp(-128.0, 127.0);
                let bound = 0.5 + ratio * (128.0 * 0.002_8 + 128.0 * 1.5 * len as f64 / f64::from(ONE));
                prop_assert!((f64::from(found) - want).abs() <= bound, "{found} {want} bound {bound}");
            }
        }
    }

    /// The reciprocal square root over the whole range of 64-bit operands.
    #[test]
    fn inverse_sqrt_is_the_formula(mantissa in any::<u64>(), shift in 0u32..64) {
        let value = (mantissa >> shift).max(1);
        let (r, p) = inverse_sqrt(value);
        let found = f64::from(r) * libm::exp2(f64::from(-46 - p));
        let want = 1.0 / libm::sqrt(value as f64);
        prop_assert!((found / want - 1.0).abs() < 1.0 / f64::from(1 << 27), "{value}: {found} {want}");
    }

    /// LayerNorm: half a step of rounding, half a step for the truncated products, and the rounding of
    /// epsilon, which shows in rows of two or three columns that hardly differ.
    #[test]
    fn layer_norm_is_the_formula(
        (row, gains, biases) in (1usize..300).prop_flat_map(|d| {
            (vec(any::<i16>(), d), vec(-2.0f64..2.0, d), vec(-1.0f64..1.0, d))
        }),
        amplitude in prop_oneof![Just(1.0), Just(0.01), Just(0.0005), Just(0.0)],
        offset in -3000i16..3000,
    ) {
        let d = row.len();
        let row: Vec<i16> = row.iter().map(|&x| (f64::from(x) * 0.9 * amplitude) as i16 + offset).collect();
        let (input_scale, eps) = (1.0 / 4096.0, 1e-6);
        for (output_scale, int8) in [(1.0 / 2048.0, false), (1.0 / 16.0, true)] {
            let shift = if int8 { 12 } else { 8 };
            let unit = f64::from(1 << shift);
            let params: Vec<[i32; 2]> = gains.iter().zip(&biases).map(|(g, b)| {
                [
                    (g / output_scale * 1024.0 * unit).round() as i32,
                    (b / output_scale * unit).round() as i32 + (1 << (shift - 1)),
                ]
            }).collect();
            let epsilon = (eps * libm::pow(d as f64 / input_scale, 2.0)).round() as u64;
            let norm = Norm { params: &params, epsilon, shift: shift as u8 };
            let (mut wide, mut words) = (row.clone(), vec![0; Panel::words(d)]);
            layer_norm_i16(&norm, &mut wide);
            let mut narrow = Panel::new(&mut words, 1, d);
            layer_norm_panel(&norm, &row, &mut narrow);
            let x: Vec<f64> = row.iter().map(|&x| f64::from(x) * input_scale).collect();
            let mean = x.iter().sum::<f64>() / d as f64;
            let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / d as f64;
            for i in 0..d {
                let y = (x[i] - mean) / libm::sqrt(variance + eps) * gains[i] + biases[i];
                let y = y / output_scale;
                if int8 {
                    let want = y.clamp(-128.0, 127.0);
                    prop_assert!((f64::from(narrow.get(0, i)) - want).abs() <= 0.51);
                } else {
                    let want = y.clamp(-32768.0, 32767.0);
                    // An epsilon that is rounded to a whole number moves the square root, and with it
                    // the normalised value, by up to half of 0.5 / (spread + epsilon).
                    let spread = variance * libm::pow(d as f64 / input_scale, 2.0);
                    let rounded = 0.25 / (spread + epsilon as f64) * (y - biases[i] / output_scale).abs();
                    let error = (f64::from(wide[i]) - want).abs();
                    prop_assert!(error <= 1.0 + rounded, "{} {want}", wide[i]);
                }
            }
        }
    }

    /// From the residual stream to int8: half a step.
    #[test]
    fn requantize_rows_is_the_formula(
        (rows, factors) in (1usize..40, 1usize..5).prop_flat_map(|(d, n)| {
            (vec(any::<i16>(), d * n), vec(1e-4f64..0.02, d))
        }),
        zero_point in -128i32..=127,
    ) {
        let max = factors.iter().copied().fold(0.0, f64::max);
        let (_, scaling) = fixed(max);
        let unit = libm::exp2(f64::from(scaling.shift) - f64::from(scaling.pre_shift));
        let mantissas: Vec<i32> = factors.iter().map(|f| (f * unit).round() as i32).collect();
        let requantize = Requantize { mantissas: &mantissas, scaling, zero_point };
        let d = factors.len();
        let mut words = vec![0; Panel::words(d)];
        let mut found = Panel::new(&mut words, rows.len() / d, d);
        requantize_panel(&requantize, &rows, &mut found);
        let mut first = vec![0i8; d];
        requantize_row(&requantize, &rows, &mut first);
        for (i, &x) in rows.iter().enumerate() {
            let want = f64::from(x) * factors[i % d] + f64::from(zero_point);
            let found = found.get(i / d, i % d);
            prop_assert!((f64::from(found) - want.clamp(-128.0, 127.0)).abs() <= 0.51);
            prop_assert!(i >= d || found == first[i]);
        }
    }

    /// The mean over rows: exact, rounded half up.
    #[test]
    fn mean_rows_is_the_formula((d, rows) in (1usize..20, 1usize..30).prop_flat_map(|(d, n)| {
        (Just(d), vec(any::<i16>(), d * n))
    })) {
        let mut found = rows.clone();
        mean_rows(&mut found, d);
        let n = rows.len() / d;
        for (c, &found) in found[..d].iter().enumerate() {
            let sum: i64 = rows.iter().skip(c).step_by(d).map(|&x| i64::from(x)).sum();
            let want = libm::floor(sum as f64 / n as f64 + 0.5);
            prop_assert_eq!(f64::from(found), want);
        }
    }

    /// Nothing panics whatever the numbers and however the shapes disagree.
    #[test]
    fn hostile_parameters_complete(
        bytes in vec(any::<i8>(), 0..200),
        pairs in vec(any::<[i32; 2]>(), 0..20),
        words in vec(any::<i16>(), 0..60),
        k in 0usize..50,
        shift in 33u8..=62,
        epsilon: u64,
        mantissa: i32,
        context_shift in 19u8..=38,
    ) {
        let scaling = Scaling::new(3, shift).unwrap();
        let mut words_in = vec![0x7fff_8000; shift as usize];
        let input = Panel::new(&mut words_in, 5, k);
        let linear = Linear { weight: &bytes, epilogue: &pairs, in_features: k, scaling, zero_point: mantissa };
        let mut out = vec![0i16; 33];
        linear_i16(&linear, &input, &mut out);
        linear_add_i16(&linear, &input, &mut out);
        linear_row_i16(&linear, &bytes, &mut out);
        let mut out = vec![0i8; 33];
        linear_i8(&linear, None, &input, &mut out);
        let mut words_out = vec![0; 40];
        let mut output = Panel::new(&mut words_out, 3, 19);
        linear_panel(&linear, None, &input, &mut output);
        let norm = Norm { params: &pairs, epsilon, shift: (shift & 15).max(1) };
        let mut rows = words.clone();
        layer_norm_i16(&norm, &mut rows);
        layer_norm_panel(&norm, &words, &mut output);
        let scale = AttentionScale {
            softmax: scaling,
            softmax_mantissa: mantissa & i32::MAX,
            context_shift,
            context_mantissa: mantissa & i32::MAX,
            zero_point: 0,
        };
        let mut weights = vec![0; 4 * usize::from(shift)];
        let layout = HeadLayout::new(k, shift.into());
        let context = Context { keys: &bytes, values: &bytes, layout, len: bytes.len(), scale };
        attend(&context, &mut output, 1, &mut weights);
        linear_keys(&linear, &input, 2, &layout, &mut out);
        linear_values(&linear, &input, 2, &layout, &mut out);
        mean_rows(&mut rows, k);
    }
}
