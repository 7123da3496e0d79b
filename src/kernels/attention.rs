//! Scaled dot-product attention of up to four queries ("Attention Is All You Need", §3.2.1), one head.
//!
//! Keys and values are int8 and lie in the order in which the loops read them, see [`HeadLayout`].
//! Scores never exist as a matrix: four rows of `len` at a time. The softmax's division is folded into
//! the context's requantize: with `S = Σ e_j`, `k = bits(S) − 16` and `R = ⌊2^31 / (S / 2^k)⌋`,
//!
//! ```text
//! context = requantize(Σ e_j · v_j) by (mantissa · R / 2^16) / 2^(shift + 15 + k)
//! ```
//!
//! `R` has 16 significant bits, so the division costs at most 2^-14 of the result.

use super::Linear;
use super::linear::dot_pair;
use super::softmax::{ONE, exponentials};
use crate::quant::{Scaling, saturate_i8};

/// Queries that go together.
pub const QUERIES: usize = 4;

/// The two fixed-point factors of attention.
#[derive(Debug, Clone, Copy)]
pub struct AttentionScale {
    /// Shifts from a score difference to 1/256 of a binary exponent.
    pub softmax: Scaling,
    /// Its mantissa, `≥ 0`.
    pub softmax_mantissa: i32,
    /// Shift from the values' scale to the context's, `19..=38`.
    pub context_shift: u8,
    /// Its mantissa, `≥ 0`.
    pub context_mantissa: i32,
    /// The context's zero point.
    pub zero_point: i32,
}

/// Where the keys and values of a sequence lie. Of each head in turn, `head_dim · capacity` bytes:
///
/// ```text
/// keys    token pairs; of each, column by column, the even token's and the odd one's
/// values  channel pairs; of each, token pair by token pair, a₀ b₀ a₁ b₁ (channel, token);
///         a last odd channel stands alone, token by token
/// ```
///
/// So both products of attention read words of two columns of two rows, as linear layers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLayout {
    /// Columns of one head.
    pub head_dim: usize,
    /// Tokens, rounded up to an even number.
    pub capacity: usize,
}

impl HeadLayout {
    /// Returns the layout of `len` tokens.
    pub const fn new(head_dim: usize, len: usize) -> Self {
        Self {
            head_dim: if head_dim == 0 { 1 } else { head_dim },
            capacity: len.next_multiple_of(2),
        }
    }

    /// Returns the place of a key's element.
    #[inline(always)]
    pub const fn key(&self, token: usize, column: usize) -> usize {
        let (head, c) = (column / self.head_dim, column % self.head_dim);
        (head * self.capacity + (token & !1)) * self.head_dim + 2 * c + (token & 1)
    }

    /// Returns the place of a value's element.
    #[inline(always)]
    pub const fn value(&self, token: usize, column: usize) -> usize {
        let (head, c) = (column / self.head_dim, column % self.head_dim);
        let base = (head * self.head_dim + (c & !1)) * self.capacity;
        if c & !1 == self.head_dim - 1 {
            return base + token;
        }
        base + 2 * (token & !1) + 2 * (token & 1) + (c & 1)
    }

    /// Returns one head's part of keys or values.
    fn head<'v>(&self, values: &'v [i8], head: usize) -> &'v [i8] {
        let len = self.head_dim * self.capacity;
        values.get(head * len..(head + 1) * len).unwrap_or(&[])
    }
}

/// Writes the keys of up to four tokens from `first` on, which is even.
pub fn linear_keys(
    linear: &Linear<'_>,
    panel: &mut [u32],
    input: &[i8],
    first: usize,
    layout: &HeadLayout,
    keys: &mut [i8],
) {
    let h = layout.head_dim;
    #[cfg(tailtune_kernels = "armv7em")]
    {
        let places = super::armv7em::Places {
            channel: |channel| layout.key(first, channel),
            rows: [0, 1, 2 * h, 2 * h + 1],
            odd: 2,
        };
        if by_tiles(linear, panel, input, layout, keys, &places) {
            return;
        }
    }
    let _ = (h, panel);
    linear.each(input, |row, channel, value| {
        if let Some(key) = keys.get_mut(layout.key(first + row, channel)) {
            *key = saturate_i8(value);
        }
    });
}

/// Writes the values of up to four tokens from `first` on, which is even.
pub fn linear_values(
    linear: &Linear<'_>,
    panel: &mut [u32],
    input: &[i8],
    first: usize,
    layout: &HeadLayout,
    values: &mut [i8],
) {
    #[cfg(tailtune_kernels = "armv7em")]
    {
        let places = super::armv7em::Places {
            channel: |channel| layout.value(first, channel),
            rows: [0, 2, 4, 6],
            odd: 1,
        };
        if by_tiles(linear, panel, input, layout, values, &places) {
            return;
        }
    }
    let _ = panel;
    linear.each(input, |row, channel, value| {
        if let Some(place) = values.get_mut(layout.value(first + row, channel)) {
            *place = saturate_i8(value);
        }
    });
}

/// Writes keys or values by the kernel for Cortex-M4, where a pair of channels is of one head.
#[cfg(tailtune_kernels = "armv7em")]
fn by_tiles(
    linear: &Linear<'_>,
    panel: &mut [u32],
    input: &[i8],
    layout: &HeadLayout,
    output: &mut [i8],
    places: &super::armv7em::Places<impl Fn(usize) -> usize>,
) -> bool {
    let k = linear.in_features.max(1);
    let rows = input.len() / k;
    if rows > QUERIES || !layout.head_dim.is_multiple_of(2) || !super::armv7em::takes(linear) {
        return false;
    }
    let Some(panel) = super::armv7em::Panel::widen(panel, input, k) else {
        return false;
    };
    panel.block(linear, rows, output, places, &|out, value| {
        *out = saturate_i8(value)
    });
    true
}

/// What attention reads.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// int8, as `layout` says.
    pub keys: &'a [i8],
    /// int8, as `layout` says.
    pub values: &'a [i8],
    /// Where what lies.
    pub layout: HeadLayout,
    /// Tokens, at most the layout's capacity.
    pub len: usize,
    /// The fixed-point factors.
    pub scale: AttentionScale,
}

/// Replaces head `head` of up to four queries, int8 `[n, d_model]`, by its context.
///
/// Scratch: `weights` `4 · capacity` words; `panel` `2 · head_dim` words, without which the portable
/// loops do all the work.
pub fn attend(
    context: &Context<'_>,
    queries: &mut [i8],
    d_model: usize,
    head: usize,
    weights: &mut [u32],
    panel: &mut [u32],
) {
    let Context { layout, len, .. } = *context;
    let h = layout.head_dim;
    let column = head * h;
    let pairs = len.min(layout.capacity).div_ceil(2);
    let Some(weights) = weights.get_mut(..8 * pairs) else {
        return;
    };
    let keys = layout.head(context.keys, head);
    scores(queries, d_model, column, h, keys, weights, panel);
    let totals = exponentials(
        weights,
        len,
        context.scale.softmax,
        context.scale.softmax_mantissa,
    );
    let normalizers = totals.map(|total| normalizer(total, &context.scale));
    let weights = weights.get(..4 * pairs).unwrap_or(&[]);
    let values = layout.head(context.values, head);
    let mut out = |row: usize, c: usize, sum: i32| {
        let place = queries.get_mut(row * d_model.max(1) + column + c);
        if let (Some(place), Some((scaling, mantissa))) = (place, normalizers.get(row)) {
            *place = saturate_i8(scaling.apply(sum, *mantissa, context.scale.zero_point));
        }
    };
    for (index, stream) in values.chunks(2 * layout.capacity.max(1)).enumerate() {
        let c = 2 * index;
        if c + 1 == h {
            for row in 0..QUERIES {
                out(row, c, single(weights, row, stream));
            }
            continue;
        }
        let [even, odd] = products(weights, stream.get(..4 * pairs).unwrap_or(&[]));
        for (row, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            out(row, c, even);
            out(row, c + 1, odd);
        }
    }
}

/// Writes `q · k_j` for token pair after token pair: four queries with the even key, then with the odd.
#[inline(always)]
fn scores(
    queries: &[i8],
    d_model: usize,
    column: usize,
    h: usize,
    keys: &[i8],
    weights: &mut [u32],
    panel: &mut [u32],
) {
    let rows = || queries.chunks_exact(d_model.max(1)).take(QUERIES);
    #[cfg(tailtune_kernels = "armv7em")]
    {
        let parts = rows().map(|row| row.get(column..column + h).unwrap_or(&[]));
        if let Some(panel) = super::armv7em::Panel::widen_rows(panel, parts, h)
            && keys.as_ptr().addr().is_multiple_of(4)
        {
            let pairs = keys.chunks_exact(2 * h).zip(weights.chunks_exact_mut(8));
            for (key, scores) in pairs {
                let Some([even, odd]) = panel.sums(key) else {
                    continue;
                };
                for (place, sum) in scores.iter_mut().zip(even.into_iter().chain(odd)) {
                    *place = sum.cast_unsigned();
                }
            }
            return;
        }
    }
    #[cfg(not(tailtune_kernels = "armv7em"))]
    let _ = panel;
    for (i, row) in rows().enumerate() {
        let query = row.get(column..column + h).unwrap_or(&[]);
        let pairs = keys
            .chunks_exact(2 * h.max(1))
            .zip(weights.chunks_exact_mut(8));
        for (key, scores) in pairs {
            let [even, odd] = dot_pair(query, key, [0; 2]);
            if let Some(place) = scores.get_mut(i) {
                *place = even.cast_unsigned();
            }
            if let Some(place) = scores.get_mut(4 + i) {
                *place = odd.cast_unsigned();
            }
        }
    }
}

/// Returns `Σ e_j · v_j` of four queries with a pair of channels.
#[inline(always)]
fn products(weights: &[u32], stream: &[i8]) -> [[i32; 4]; 2] {
    #[cfg(tailtune_kernels = "armv7em")]
    if let Some(sums) =
        super::armv7em::Panel::of(weights, stream.len() / 2).and_then(|panel| panel.sums(stream))
    {
        return sums;
    }
    let mut sums = [[0i32; 4]; 2];
    let (weights, _) = weights.as_chunks::<4>();
    let (stream, _) = stream.as_chunks::<4>();
    let [even, odd] = &mut sums;
    for (four, &[a0, b0, a1, b1]) in weights.iter().zip(stream) {
        for ((even, odd), &word) in even.iter_mut().zip(odd.iter_mut()).zip(four) {
            let (e0, e1) = (i32::from(word as u16), (word >> 16) as i32);
            let a = e0 * i32::from(a0) + e1 * i32::from(a1);
            let b = e0 * i32::from(b0) + e1 * i32::from(b1);
            (*even, *odd) = (even.wrapping_add(a), odd.wrapping_add(b));
        }
    }
    sums
}

/// Returns `Σ e_j · v_j` of query `row` with one channel.
fn single(weights: &[u32], row: usize, stream: &[i8]) -> i32 {
    let (pairs, _) = stream.as_chunks::<2>();
    let words = weights.iter().skip(row).step_by(QUERIES);
    words.zip(pairs).fold(0i32, |sum, (&word, &[v0, v1])| {
        let (e0, e1) = (i32::from(word as u16), (word >> 16) as i32);
        sum.wrapping_add(e0 * i32::from(v0) + e1 * i32::from(v1))
    })
}

/// Returns the requantize that divides by `total` and goes to the context's scale.
fn normalizer(total: i32, scale: &AttentionScale) -> (Scaling, i32) {
    let total = total.max(ONE) as u32;
    let bits = 32 - total.leading_zeros();
    // 16 significant bits of the total; it has at least 15.
    let top = if bits >= 16 {
        total >> (bits - 16)
    } else {
        total << (16 - bits)
    };
    let reciprocal = (1u32 << 31) / top.max(1);
    let mantissa = (i64::from(scale.context_mantissa) * i64::from(reciprocal)) >> 16;
    // bits − 16 lies in −1..=9 and the context's shift in 19..=38: the sum in 33..=62.
    let shift = u32::from(scale.context_shift) + bits - 1;
    (
        Scaling {
            pre_shift: 0,
            shift: shift as u8,
        },
        mantissa as i32,
    )
}
