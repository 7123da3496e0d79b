//! Linear layers and both products of attention: a pass of four rows over all pairs of channels.
//!
//! Four rows by two output channels a tile, its eight sums in registers. LDRD brings two columns of two
//! rows of the panel; a word of weights, `a₀ b₀ a₁ b₁`, becomes two columns of both channels by SXTB16
//! and SXTB16 ROR #8. 13 instructions for 16 multiply-accumulates, then one requantize an output (SMMLA
//! and ASR), saturation, and the store: all of it in one function, which jumps to the `finish` and the
//! `store` that the pass names.

use crate::kernels::linear::Linear;
use crate::kernels::panel::{Panel, ROWS};
use crate::quant::Scaling;
use core::arch::global_asm;
use core::ops::Range;
use core::ptr::null;

#[cfg(tailtune_mve)]
use crate::kernels::mve::{Groups, Narrow};

/// The same instruction on all eight sums: the register stands between the three texts, twice.
macro_rules! all {
    ($before:literal, $between:literal, $after:literal) => {
        concat!(
            $before, "r4", $between, "r4", $after, "\n", $before, "r5", $between, "r5", $after,
            "\n", $before, "r6", $between, "r6", $after, "\n", $before, "r7", $between, "r7",
            $after, "\n", $before, "r8", $between, "r8", $after, "\n", $before, "r9", $between,
            "r9", $after, "\n", $before, "r10", $between, "r10", $after, "\n", $before, "r11",
            $between, "r11", $after, "\n",
        )
    };
}

/// A label that Rust takes the address of.
macro_rules! entry {
    ($name:literal) => {
        concat!(
            ".global ",
            $name,
            "\n.type ",
            $name,
            ",%function\n.thumb_func\n",
            $name,
            ":\n"
        )
    };
}

/// Adds to and saturates one element of the residual stream.
macro_rules! add_to {
    ($sum:literal, $row:literal) => {
        concat!(
            "ldrsh   r1, [lr, ",
            $row,
            "]\n",
            "qadd    ",
            $sum,
            ", ",
            $sum,
            ", r1\n",
            "ssat    ",
            $sum,
            ", #16, ",
            $sum,
            "\n",
            "strh    ",
            $sum,
            ", [lr, ",
            $row,
            "]\n",
        )
    };
}

/// Requantizes both channels of one row by the row's own factor.
macro_rules! row_factor {
    ($even:literal, $odd:literal) => {
        concat!(
            "ldm     r2!, {{r3, r12, lr}}\n",
            "smmla   ",
            $even,
            ", ",
            $even,
            ", r3, r12\n",
            "smmla   ",
            $odd,
            ", ",
            $odd,
            ", r3, r12\n",
            "asr     ",
            $even,
            ", ",
            $even,
            ", lr\n",
            "asr     ",
            $odd,
            ", ",
            $odd,
            ", lr\n",
        )
    };
}

/// The outputs of one channel to where the four rows' offsets (r0, r2, r3, r12) say; the first row last,
/// so that rows which mean nothing may have its place.
macro_rules! store_four {
    ($store:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            $store,
            " ",
            $d,
            ", [lr, r12]\n",
            $store,
            " ",
            $c,
            ", [lr, r3]\n",
            $store,
            " ",
            $b,
            ", [lr, r2]\n",
            $store,
            " ",
            $a,
            ", [lr, r0]\n",
        )
    };
}

global_asm!(
    ".syntax unified",
    extension!(),
    ".section .text.tailtune_pass,\"ax\",%progbits",
    entry!("tailtune_pass"),
    sums!(),
    // Finish: one factor a channel, the sums shifted to the left first. r0 stays the pass.
    entry!("tailtune_finish_shifted"),
    "ldr     r12, [r0, #36]",
    all!("lsl ", ", ", ", r12"),
    // Finish: one factor a channel.
    entry!("tailtune_finish_channels"),
    "ldr     r12, [r0, #16]",
    "ldr     r2, [r12, #4]",
    "ldr     r3, [r12, #12]",
    "add     r12, #16",
    "str     r12, [r0, #16]",
    "ldrd    r12, lr, [r0, #28]",
    "smmla   r4, r4, r2, r12",
    "smmla   r5, r5, r2, r12",
    "smmla   r6, r6, r2, r12",
    "smmla   r7, r7, r2, r12",
    "smmla   r8, r8, r3, r12",
    "smmla   r9, r9, r3, r12",
    "smmla   r10, r10, r3, r12",
    "smmla   r11, r11, r3, r12",
    all!("asr ", ", ", ", lr"),
    "ldr     pc, [r0, #24]",
    // Finish: one factor a row.
    entry!("tailtune_finish_rows"),
    "ldr     r2, [r0, #72]",
    row_factor!("r4", "r8"),
    row_factor!("r5", "r9"),
    row_factor!("r6", "r10"),
    row_factor!("r7", "r11"),
    "ldr     pc, [r0, #24]",
    // Store: int8 through a table.
    entry!("tailtune_store_int8_table"),
    all!("ssat ", ", #8, ", ""),
    "ldr     r2, [r0, #68]",
    all!("ldrsb ", ", [r2, ", "]"),
    "b       7f",
    // Store: int8.
    entry!("tailtune_store_int8"),
    all!("ssat ", ", #8, ", ""),
    "7:",
    "ldr     lr, [r0, #40]",
    "add     r2, r0, #52",
    "ldm     r2, {{r0, r2, r3, r12}}",
    store_four!("strb", "r4", "r5", "r6", "r7"),
    "ldr     r4, [sp]",
    "ldrd    r5, r6, [r4, #44]",
    "add     r6, lr",
    "str     r6, [r4, #40]",
    "add     lr, r5",
    store_four!("strb", "r8", "r9", "r10", "r11"),
    "mov     r0, r4",
    "b       9f",
    // Store: int16.
    entry!("tailtune_store_int16"),
    all!("ssat ", ", #16, ", ""),
    "ldr     lr, [r0, #40]",
    "add     r2, r0, #52",
    "ldm     r2, {{r0, r2, r3, r12}}",
    store_four!("strh", "r4", "r5", "r6", "r7"),
    "add     lr, #2",
    store_four!("strh", "r8", "r9", "r10", "r11"),
    "add     lr, #2",
    "ldr     r0, [sp]",
    "str     lr, [r0, #40]",
    "b       9f",
    // Store: added to int16. r1 is free here: it is reckoned anew from [sp, #8].
    entry!("tailtune_store_add"),
    "ldr     lr, [r0, #40]",
    "add     r2, r0, #52",
    "ldm     r2, {{r0, r2, r3, r12}}",
    add_to!("r4", "r0"),
    add_to!("r5", "r2"),
    add_to!("r6", "r3"),
    add_to!("r7", "r12"),
    "add     lr, #2",
    add_to!("r8", "r0"),
    add_to!("r9", "r2"),
    add_to!("r10", "r3"),
    add_to!("r11", "r12"),
    "add     lr, #2",
    "ldr     r0, [sp]",
    "ldr     r1, [sp, #8]",
    "str     lr, [r0, #40]",
    "b       9f",
    // Store: a panel, through a table.
    entry!("tailtune_store_panel_table"),
    all!("ssat ", ", #8, ", ""),
    "ldr     r2, [r0, #68]",
    all!("ldrsb ", ", [r2, ", "]"),
    "b       8f",
    // Store: a panel.
    entry!("tailtune_store_panel"),
    all!("ssat ", ", #8, ", ""),
    "8:",
    "ldr     lr, [r0, #40]",
    "pkhbt   r4, r4, r8, lsl #16",
    "pkhbt   r5, r5, r9, lsl #16",
    "pkhbt   r6, r6, r10, lsl #16",
    "pkhbt   r7, r7, r11, lsl #16",
    "stm     lr!, {{r4, r5, r6, r7}}",
    "str     lr, [r0, #40]",
    "b       9f",
    // Store: eight words.
    entry!("tailtune_store_words"),
    "ldr     lr, [r0, #40]",
    "stm     lr!, {{r4-r11}}",
    "str     lr, [r0, #40]",
    "9:",
    "ldr     r2, [r0, #76]",
    "cmp     r1, r2",
    "bne     1b",
    "add     sp, #12",
    "pop     {{r4-r11, pc}}",
    ".size tailtune_pass, . - tailtune_pass",
);

unsafe extern "C" {
    /// Computes `pass.tiles` tiles, at least one. What it reads and writes: the pass's fields say.
    fn tailtune_pass(pass: *mut Pass);
    static tailtune_finish_shifted: u8;
    static tailtune_finish_channels: u8;
    static tailtune_finish_rows: u8;
    static tailtune_store_int8_table: u8;
    static tailtune_store_int8: u8;
    static tailtune_store_int16: u8;
    static tailtune_store_add: u8;
    static tailtune_store_panel_table: u8;
    static tailtune_store_panel: u8;
    static tailtune_store_words: u8;
}

/// One pass, as the assembly reads it. Offsets in bytes stand beside the fields.
#[repr(C)]
struct Pass {
    /// 0: `[pairs of columns][4]` words.
    panel: *const u32,
    /// 4: for each tile, `all` bytes.
    weights: *const i8,
    /// 8: bytes of a pair of channels that are taken sixteen pairs of columns at a time.
    unrolled: usize,
    /// 12: bytes of a pair of channels.
    all: usize,
    /// 16: two `(bias, mantissa)` pairs a tile; without a factor a channel the same for all.
    epilogue: *const [i32; 2],
    /// 20: what happens to the sums.
    finish: *const u8,
    /// 24: where the results go.
    store: *const u8,
    /// 28, 32: rounding and zero point, and the shift to the right.
    offset: i32,
    right: u32,
    /// 36: the shift of the sums to the left.
    pre_shift: u32,
    /// 40: the first tile's place.
    out: *mut u8,
    /// 44: bytes from the even to the odd channel; 48: from one pair to the next. Of int8 only.
    odd: usize,
    pair: usize,
    /// 52: bytes from the place to that of each row.
    rows: [usize; ROWS],
    /// 68: the middle of a table, that of 0.
    table: *const i8,
    /// 72: of each row mantissa, offset and shift to the right.
    factors: *const [i32; 3],
    /// 76: the end of the weights.
    end: *const i8,
    #[cfg(tailtune_mve)]
    groups: Groups,
}

impl Pass {
    /// Returns a pass over `tiles` streams of weights that does nothing to the sums and has nowhere to
    /// put them; none unless every operand is as long as it has to be, and weights lie at a multiple of
    /// four.
    fn new(words: &[u32], weights: &[i8], tiles: usize) -> Option<Self> {
        let pairs = words.len() / ROWS;
        let fits = tiles > 0
            && pairs > 0
            && words.len() == pairs * ROWS
            && weights.len() == 4 * pairs * tiles
            && weights.as_ptr().addr().is_multiple_of(4);
        fits.then_some(Self {
            panel: words.as_ptr(),
            weights: weights.as_ptr(),
            unrolled: 4 * (pairs & !15),
            all: 4 * pairs,
            epilogue: NOTHING.as_ptr(),
            finish: null(),
            store: null(),
            offset: 0,
            right: 0,
            pre_shift: 0,
            out: core::ptr::null_mut(),
            odd: 0,
            pair: 0,
            rows: [0; ROWS],
            table: null(),
            factors: null(),
            end: weights.as_ptr_range().end,
            #[cfg(tailtune_mve)]
            groups: Groups::none(words),
        })
    }

    /// Requantizes with one factor a channel.
    fn scaled(mut self, linear: &Linear<'_>) -> Option<Self> {
        self.epilogue = linear.epilogue.as_ptr();
        self.offset = linear.scaling.offset(linear.zero_point);
        (self.right, self.pre_shift) = (linear.scaling.right(), linear.scaling.pre_shift.into());
        self.finish = match self.pre_shift {
            0 => &raw const tailtune_finish_channels,
            _ => &raw const tailtune_finish_shifted,
        };
        (self.pre_shift < 32).then_some(self)
    }
}

/// No bias.
static NOTHING: [[i32; 2]; 2] = [[0; 2]; 2];

/// Where the outputs of a tile go: that of row `r` of the first pair's even channel to `first +
/// rows[r]`, that of its odd one `odd` places further, those of the next pair `pair` places further.
pub(in crate::kernels) struct Places {
    pub first: usize,
    pub rows: [usize; ROWS],
    pub odd: usize,
    pub pair: usize,
}

impl Places {
    /// Gives all but the first `rows` rows the first one's place.
    fn only(mut self, rows: usize) -> Self {
        let [first, ..] = self.rows;
        for place in self.rows.iter_mut().skip(rows) {
            *place = first;
        }
        self
    }

    /// Returns the places of rows of `n` channels.
    pub const fn of_rows(n: usize) -> Self {
        Self {
            first: 0,
            rows: [0, n, 2 * n, 3 * n],
            odd: 1,
            pair: 2,
        }
    }

    /// Returns whether `tiles` tiles stay inside of `len` elements.
    fn fit(&self, tiles: usize, len: usize) -> bool {
        let far = self.rows.into_iter().max().and_then(|row| {
            let last = tiles.checked_sub(1)?.checked_mul(self.pair)?;
            self.first
                .checked_add(row)?
                .checked_add(self.odd)?
                .checked_add(last)
        });
        far.is_some_and(|far| far < len)
    }
}

/// Where the outputs of a layer go.
pub(in crate::kernels) enum Store<'s, 'p> {
    /// To int8, through a table where there is one.
    Int8 {
        output: &'s mut [i8],
        table: Option<&'s [i8; 256]>,
        places: Places,
    },
    /// To a panel, through a table where there is one.
    Panel {
        output: &'s mut Panel<'p>,
        table: Option<&'s [i8; 256]>,
    },
    /// To int16 `[rows, out_features]`.
    Int16(&'s mut [i16]),
    /// Added to int16 `[4, out_features]`.
    Add(&'s mut [i16]),
}

/// Computes a layer; false, and nothing done, if it is not one for this kernel.
pub(in crate::kernels) fn linear(
    linear: &Linear<'_>,
    input: &Panel<'_>,
    store: Store<'_, '_>,
) -> bool {
    let (k, n) = (linear.in_features, linear.epilogue.len());
    let rows = input.rows();
    if rows == 0 || !k.is_multiple_of(2) || !n.is_multiple_of(2) {
        return false;
    }
    let pass = Pass::new(input.part(0, k), linear.weight, n / 2);
    let Some(mut pass) = pass.and_then(|pass| pass.scaled(linear)) else {
        return false;
    };
    let middle = |table: Option<&[i8; 256]>| table.map_or(null(), |t| t.as_ptr().wrapping_add(128));
    let fits = match store {
        Store::Int8 {
            output,
            table,
            places,
        } => {
            let places = places.only(rows);
            pass.out = output.as_mut_ptr().wrapping_add(places.first).cast();
            (pass.odd, pass.pair, pass.rows) = (places.odd, places.pair, places.rows);
            pass.table = middle(table);
            pass.store = match table {
                Some(_) => &raw const tailtune_store_int8_table,
                None => &raw const tailtune_store_int8,
            };
            places.fit(n / 2, output.len())
        }
        Store::Panel { output, table } => {
            let words = output.part_mut(0, n);
            pass.out = words.as_mut_ptr().cast();
            pass.table = middle(table);
            pass.store = match table {
                Some(_) => &raw const tailtune_store_panel_table,
                None => &raw const tailtune_store_panel,
            };
            words.len() == Panel::words(n)
        }
        Store::Int16(output) => {
            pass.out = output.as_mut_ptr().cast();
            pass.rows = Places::of_rows(2 * n).only(rows).rows;
            pass.store = &raw const tailtune_store_int16;
            output.len() >= rows * n
        }
        Store::Add(output) => {
            pass.out = output.as_mut_ptr().cast();
            pass.rows = [0, 2 * n, 4 * n, 6 * n];
            pass.store = &raw const tailtune_store_add;
            rows == ROWS && output.len() >= ROWS * n
        }
    };
    #[cfg(tailtune_mve)]
    let mut narrow = Narrow::new();
    #[cfg(tailtune_mve)]
    {
        pass.groups = narrow.take(input.part(0, k));
    }
    if fits {
        // SAFETY: `Pass::new` has seen that the panel has `all / 4` times four words and the weights
        // `all` bytes a tile, both aligned; `scaled` that there are two epilogues a tile; the match
        // above that every place a tile writes lies inside of the output, which is borrowed mutably.
        // A table's 256 entries lie from 128 before its middle on. The function keeps the registers
        // that the calling convention wants kept.
        unsafe { tailtune_pass(&raw mut pass) };
    }
    fits
}

/// Writes the sums of four rows with pairs of channels (a panel's words, `stream`s one after the
/// other), eight words each; false, and nothing done, if they are not for this kernel.
fn words(words: &[u32], streams: &[i8], output: &mut [u32], _int8: bool) -> bool {
    let tiles = streams.len().checked_div(words.len()).unwrap_or(0);
    let Some(mut pass) = Pass::new(words, streams, tiles).filter(|_| output.len() >= 8 * tiles)
    else {
        return false;
    };
    pass.out = output.as_mut_ptr().cast();
    pass.finish = &raw const tailtune_store_words;
    #[cfg(tailtune_mve)]
    let mut narrow = Narrow::new();
    #[cfg(tailtune_mve)]
    if _int8 {
        pass.groups = narrow.take(words);
    }
    // SAFETY: as in `linear`; a tile writes eight words, for which there is room.
    unsafe { tailtune_pass(&raw mut pass) };
    true
}

/// Returns the sums of four rows with a pair of channels, as the portable loop does.
pub(in crate::kernels) fn tile(panel: &[u32], stream: &[i8]) -> [[i32; ROWS]; 2] {
    let mut out = [0u32; 2 * ROWS];
    if words(panel, stream, &mut out, false) {
        let [a, b, c, d, e, f, g, h] = out.map(u32::cast_signed);
        return [[a, b, c, d], [e, f, g, h]];
    }
    crate::kernels::portable::tile(panel, stream)
}

/// Writes the scores of four queries with pairs of keys.
pub(in crate::kernels) fn scores(queries: &[u32], keys: &[i8], scores: &mut [u32]) -> bool {
    let keys = keys.get(..scores.len() / 8 * queries.len());
    keys.is_some_and(|keys| words(queries, keys, scores, true))
}

/// Replaces columns `head` of four queries by their contexts: `weights` are the exponentials of all
/// keys, `values` the head's values, `factors` one requantize a row.
pub(in crate::kernels) fn contexts(
    weights: &[u32],
    values: &[i8],
    queries: &mut Panel<'_>,
    head: Range<usize>,
    factors: &[(Scaling, i32); ROWS],
    zero_point: i32,
) -> bool {
    let h = head.len();
    if !h.is_multiple_of(2) || !head.start.is_multiple_of(2) {
        return false;
    }
    let factors = factors.map(|(scaling, mantissa)| {
        let right = scaling.right().cast_signed();
        [mantissa, scaling.offset(zero_point), right]
    });
    let output = queries.part_mut(head.start, h);
    let pass = Pass::new(weights, values, h / 2);
    let Some(mut pass) = pass.filter(|_| output.len() == Panel::words(h)) else {
        return false;
    };
    pass.out = output.as_mut_ptr().cast();
    pass.factors = factors.as_ptr();
    pass.finish = &raw const tailtune_finish_rows;
    pass.store = &raw const tailtune_store_panel;
    // SAFETY: as in `linear`; there are four factors, and room for `h / 2` times four words.
    unsafe { tailtune_pass(&raw mut pass) };
    true
}
