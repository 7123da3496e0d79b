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

#[cfg(tailtune_kernels = "armv7em")]
use super::armv7em;
use super::linear::{Linear, linear_i8_at};
use super::panel::{Panel, ROWS};
use super::softmax::{ONE, exponentials};
use super::{isa, portable};
use crate::quant::{Scaling, saturate_i8};
use crate::rows::{pieces, rows};
use core::num::NonZeroUsize;

/// Queries that go together.
const QUERIES: usize = ROWS;

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
    head_dim: NonZeroUsize,
    capacity: usize,
}

impl HeadLayout {
    /// Returns the layout of `len` tokens; `head_dim` is at least 1.
    pub const fn new(head_dim: usize, len: usize) -> Self {
        let head_dim = match NonZeroUsize::new(head_dim) {
            Some(head_dim) => head_dim,
            None => NonZeroUsize::MIN,
        };
        Self {
            head_dim,
            capacity: len.next_multiple_of(2),
        }
    }

    /// Returns the columns of one head.
    pub const fn head_dim(&self) -> usize {
        self.head_dim.get()
    }

    /// Returns the tokens that there is room for: rounded up to an even number.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the place of a key's element.
    #[inline(always)]
    pub fn key(&self, token: usize, column: usize) -> usize {
        let (head, c) = (column / self.head_dim, column % self.head_dim);
        (head * self.capacity + (token & !1)) * self.head_dim() + 2 * c + (token & 1)
    }

    /// Returns the place of a value's element.
    #[inline(always)]
    pub fn value(&self, token: usize, column: usize) -> usize {
        let (head, c) = (column / self.head_dim, column % self.head_dim);
        let base = (head * self.head_dim() + (c & !1)) * self.capacity;
        if c & !1 == self.head_dim() - 1 {
            return base + token;
        }
        base + 2 * token + (c & 1)
    }

    /// Returns one head's part of keys or values.
    fn head<'v>(&self, values: &'v [i8], head: usize) -> &'v [i8] {
        let len = self.head_dim() * self.capacity;
        values.get(head * len..(head + 1) * len).unwrap_or(&[])
    }
}

/// Writes the keys of up to four tokens from `first` on, which is even.
pub fn linear_keys(
    linear: &Linear<'_>,
    input: &Panel<'_>,
    first: usize,
    layout: &HeadLayout,
    keys: &mut [i8],
) {
    #[cfg(tailtune_kernels = "armv7em")]
    {
        let h = layout.head_dim();
        let places = |channel| armv7em::Places {
            first: layout.key(first, channel),
            rows: [0, 1, 2 * h, 2 * h + 1],
            odd: 2,
            pair: 4,
        };
        if by_heads(linear, input, layout, keys, places) {
            return;
        }
    }
    linear_i8_at(linear, input, keys, |row, channel| {
        layout.key(first + row, channel)
    });
}

/// Writes the values of up to four tokens from `first` on, which is even.
pub fn linear_values(
    linear: &Linear<'_>,
    input: &Panel<'_>,
    first: usize,
    layout: &HeadLayout,
    values: &mut [i8],
) {
    #[cfg(tailtune_kernels = "armv7em")]
    {
        let places = |channel| armv7em::Places {
            first: layout.value(first, channel),
            rows: [0, 2, 4, 6],
            odd: 1,
            pair: 2 * layout.capacity,
        };
        if by_heads(linear, input, layout, values, places) {
            return;
        }
    }
    linear_i8_at(linear, input, values, |row, channel| {
        layout.value(first + row, channel)
    });
}

/// Writes keys or values head by head, where every head has an even number of channels.
#[cfg(tailtune_kernels = "armv7em")]
fn by_heads(
    linear: &Linear<'_>,
    input: &Panel<'_>,
    layout: &HeadLayout,
    output: &mut [i8],
    places: impl Fn(usize) -> armv7em::Places,
) -> bool {
    let h = layout.head_dim();
    if !h.is_multiple_of(2) || !linear.epilogue.len().is_multiple_of(h) {
        return false;
    }
    let heads = rows(linear.weight, h * linear.in_features);
    let heads = heads.zip(rows(linear.epilogue, h)).enumerate();
    heads.fold(true, |done, (head, (weight, epilogue))| {
        let linear = Linear {
            weight,
            epilogue,
            ..*linear
        };
        let store = armv7em::Store::Int8 {
            output,
            table: None,
            places: places(head * h),
        };
        done && armv7em::linear(&linear, input, store)
    })
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

/// Replaces head `head` of up to four queries, a panel of `[n, d_model]`, by its context.
///
/// Scratch: `weights`, `4 · capacity` words.
pub fn attend(context: &Context<'_>, queries: &mut Panel<'_>, head: usize, weights: &mut [u32]) {
    attend_masked::<false>(context, queries, head, weights);
}

/// As [`attend`], of queries that are the last tokens of the sequence, none of which sees a later one.
pub fn attend_causal(
    context: &Context<'_>,
    queries: &mut Panel<'_>,
    head: usize,
    weights: &mut [u32],
) {
    attend_masked::<true>(context, queries, head, weights);
}

fn attend_masked<const CAUSAL: bool>(
    context: &Context<'_>,
    queries: &mut Panel<'_>,
    head: usize,
    weights: &mut [u32],
) {
    let Context {
        layout, len, scale, ..
    } = *context;
    let h = layout.head_dim();
    let first = head * h;
    let pairs = len.min(layout.capacity).div_ceil(2);
    let Some(weights) = weights.get_mut(..8 * pairs) else {
        return;
    };
    scores(queries, first, h, layout.head(context.keys, head), weights);
    if CAUSAL {
        later_keys(queries.rows(), len, |row, key| {
            // A key that the row sees does not change its maximum.
            let first = weights.get(row).copied();
            if let (Some(score), Some(first)) =
                (weights.get_mut(8 * (key / 2) + 4 * (key % 2) + row), first)
            {
                *score = first;
            }
        });
    }
    let mut totals = exponentials(weights, len, scale.softmax, scale.softmax_mantissa);
    if CAUSAL {
        later_keys(queries.rows(), len, |row, key| {
            let place = weights.get_mut(4 * (key / 2) + row);
            if let (Some(word), Some(total)) = (place, totals.get_mut(row)) {
                let bits = 16 * (key % 2) as u32;
                *total = total.wrapping_sub((*word >> bits & 0xffff).cast_signed());
                *word &= !(0xffff << bits);
            }
        });
    }
    let normalizers = totals.map(|total| normalizer(total, &scale));
    let weights = weights.get(..4 * pairs).unwrap_or(&[]);
    let values = layout.head(context.values, head);
    #[cfg(tailtune_kernels = "armv7em")]
    if armv7em::contexts(
        weights,
        values,
        queries,
        first..first + h,
        &normalizers,
        scale.zero_point,
    ) {
        return;
    }
    let mut out = |column: usize, sums: [i32; QUERIES]| {
        let rows = sums.into_iter().zip(normalizers);
        for (row, (sum, (scaling, mantissa))) in rows.enumerate() {
            let value = saturate_i8(scaling.apply(sum, mantissa, scale.zero_point));
            queries.set(row, first + column, value);
        }
    };
    for (index, stream) in pieces(values, 2 * layout.capacity).enumerate() {
        let c = 2 * index;
        if c + 1 == h {
            out(c, portable::single(weights, portable::halves, stream));
            continue;
        }
        let [even, odd] = isa::weighted(weights, stream.get(..4 * pairs).unwrap_or(&[]));
        out(c, even);
        out(c + 1, odd);
    }
}

/// Calls `each(row, key)` for every key that comes after the token of a row, the rows being the last of
/// `len` tokens.
fn later_keys(rows: usize, len: usize, mut each: impl FnMut(usize, usize)) {
    let first = len.saturating_sub(rows);
    for row in 0..rows {
        for key in first + row + 1..len {
            each(row, key);
        }
    }
}

/// Writes `q · k_j` for token pair after token pair: four queries with the even key, then with the odd.
fn scores(queries: &Panel<'_>, first: usize, h: usize, keys: &[i8], weights: &mut [u32]) {
    if !h.is_multiple_of(2) {
        // The heads' columns do not begin where words do.
        for (key, scores) in rows(keys, 2 * h).zip(weights.as_chunks_mut::<8>().0) {
            for (row, column) in (0..2 * QUERIES).map(|i| (i % QUERIES, i / QUERIES)) {
                let elements = key.iter().skip(column).step_by(2).enumerate();
                let sum = elements.fold(0i32, |sum, (c, &k)| {
                    sum.wrapping_add(i32::from(queries.get(row, first + c)) * i32::from(k))
                });
                if let Some(place) = scores.get_mut(column * QUERIES + row) {
                    *place = sum.cast_unsigned();
                }
            }
        }
        return;
    }
    let words = queries.part(first, h);
    #[cfg(tailtune_kernels = "armv7em")]
    if armv7em::scores(words, keys, weights) {
        return;
    }
    for (key, scores) in rows(keys, 2 * h).zip(weights.as_chunks_mut::<8>().0) {
        for (place, sum) in scores.iter_mut().zip(isa::tile(words, key).as_flattened()) {
            *place = sum.cast_unsigned();
        }
    }
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
