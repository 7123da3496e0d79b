//! The kernels on random operands of many shapes: what every core must give the same numbers for.
//!
//! One hash a case; a host runs the same function and compares. The operands come from a generator, the
//! shapes include every remainder of four, and nothing here knows which kernels it runs on.

use tailtune::kernels::{
    AttentionScale, Context, HeadLayout, Linear, Norm, Panel, ROWS, Requantize, attend,
    attend_causal, exponentials, layer_norm_i16, layer_norm_panel, linear_add_i16, linear_i8,
    linear_i16, linear_keys, linear_panel, linear_row_i16, linear_values, requantize_panel,
};
use tailtune::quant::Scaling;

/// Most columns and channels of a case, and most tokens.
const K: usize = 72;
const N: usize = 40;
const T: usize = 19;

/// Columns and channels of the linear cases.
const SHAPES: &[(usize, usize)] = &[
    (1, 1),
    (2, 2),
    (3, 2),
    (4, 4),
    (5, 7),
    (6, 6),
    (8, 8),
    (12, 5),
    (16, 16),
    (20, 12),
    (31, 9),
    (32, 24),
    (33, 10),
    (34, 32),
    (40, 40),
    (64, 16),
    (66, 3),
    (70, 14),
    (72, 40),
];

/// Heads, columns of a head and tokens of the attention cases.
const HEADS: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (1, 2, 2),
    (2, 3, 5),
    (1, 8, 9),
    (2, 8, 8),
    (4, 4, 19),
    (1, 16, 18),
    (2, 16, 17),
    (1, 32, 11),
    (3, 5, 6),
    (1, 36, 16),
    (5, 2, 3),
];

/// Hashes what it is given (FNV-1a, 32 bits).
struct Hash(u32);

impl Hash {
    fn bytes(&mut self, bytes: impl Iterator<Item = u8>) {
        self.0 = bytes.fold(self.0, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    }

    fn int8(&mut self, values: &[i8]) {
        self.bytes(values.iter().map(|v| v.cast_unsigned()));
    }

    fn int16(&mut self, values: &[i16]) {
        self.bytes(values.iter().flat_map(|v| v.to_le_bytes()));
    }

    fn panel(&mut self, panel: &Panel<'_>) {
        for row in 0..panel.rows() {
            let row = (0..panel.columns()).map(|column| panel.get(row, column));
            self.bytes(row.map(i8::cast_unsigned));
        }
    }
}

struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// One in eight is an extreme.
    fn int8(&mut self) -> i8 {
        match self.next() >> 24 {
            0..=15 => i8::MIN,
            16..=31 => i8::MAX,
            _ => (self.next() >> 24) as i8,
        }
    }
}

/// Memory of a check: every array lies at a multiple of four.
#[repr(C)]
pub struct Operands {
    weight: [i8; K * N],
    epilogue: [[i32; 2]; K],
    rows: [i8; ROWS * K],
    table: [i8; 256],
    input: [u32; Panel::words(K)],
    panel: [u32; Panel::words(K)],
    int8: [i8; ROWS * K],
    int16: [i16; ROWS * K],
    keys: [i8; (T + 1) * N],
    values: [i8; (T + 1) * N],
    scores: [u32; ROWS * (T + 1)],
}

impl Operands {
    /// Returns zeros.
    pub const fn new() -> Self {
        Self {
            weight: [0; K * N],
            epilogue: [[0; 2]; K],
            rows: [0; ROWS * K],
            table: [0; 256],
            input: [0; Panel::words(K)],
            panel: [0; Panel::words(K)],
            int8: [0; ROWS * K],
            int16: [0; ROWS * K],
            keys: [0; (T + 1) * N],
            values: [0; (T + 1) * N],
            scores: [0; ROWS * (T + 1)],
        }
    }

    fn fill(&mut self, random: &mut Random) {
        let bytes = self
            .weight
            .iter_mut()
            .chain(&mut self.rows)
            .chain(&mut self.table);
        for x in bytes.chain(&mut self.keys).chain(&mut self.values) {
            *x = random.int8();
        }
        for pair in &mut self.epilogue {
            *pair = [
                random.next() as i16 as i32,
                random.next().cast_signed() >> 1,
            ];
        }
        for x in &mut self.int16 {
            *x = random.next() as i16;
        }
    }
}

impl Default for Operands {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs every case; `report` gets its name, its numbers and its hash.
pub fn run(o: &mut Operands, report: &mut dyn FnMut(&str, [usize; 4], u32)) {
    let mut random = Random(0x2545_f491);
    for &(k, n) in SHAPES {
        for rows in 1..=ROWS {
            o.fill(&mut random);
            let hash = linear(o, &mut random, k, n, rows);
            report("linear", [k, n, rows, 0], hash);
            let hash = rows_of(o, &mut random, k, rows);
            report("rows", [k, rows, 0, 0], hash);
        }
    }
    for &(heads, head_dim, len) in HEADS {
        for rows in 1..=ROWS {
            o.fill(&mut random);
            let hash = attention(o, &mut random, heads, head_dim, len, rows);
            report("attention", [heads, head_dim, len, rows], hash);
        }
    }
    for len in 1..=T {
        for pre_shift in 0..2 {
            let scaling = Scaling {
                pre_shift,
                shift: 38 + random.next() as u8 % 9,
            };
            for score in &mut o.scores {
                *score = (random.next().cast_signed() >> 12).cast_unsigned();
            }
            let sums = exponentials(&mut o.scores, len, scaling, 0x5000_0000);
            let mut hash = Hash(0x811c_9dc5);
            hash.bytes(sums.into_iter().flat_map(i32::to_le_bytes));
            let words = o.scores.iter().take(4 * len.div_ceil(2));
            hash.bytes(words.flat_map(|w| w.to_le_bytes()));
            report("softmax", [len, pre_shift.into(), 0, 0], hash.0);
        }
    }
}

/// Every form of a linear layer.
fn linear(o: &mut Operands, random: &mut Random, k: usize, n: usize, rows: usize) -> u32 {
    let mut hash = Hash(0x811c_9dc5);
    let layer = Linear {
        weight: o.weight.get(..k * n).unwrap_or(&[]),
        epilogue: o.epilogue.get(..n).unwrap_or(&[]),
        in_features: k,
        scaling: Scaling {
            pre_shift: random.next() as u8 % 3,
            shift: 40 + random.next() as u8 % 8,
        },
        zero_point: random.int8().into(),
    };
    let mut input = Panel::new(&mut o.input, rows, k);
    input.fill(&o.rows);
    for table in [None, Some(&o.table)] {
        linear_i8(&layer, table, &input, &mut o.int8);
        hash.int8(o.int8.get(..rows * n).unwrap_or(&[]));
        let mut panel = Panel::new(&mut o.panel, rows, n);
        linear_panel(&layer, table, &input, &mut panel);
        hash.panel(&panel);
    }
    linear_add_i16(&layer, &input, &mut o.int16);
    hash.int16(o.int16.get(..rows * n).unwrap_or(&[]));
    linear_i16(&layer, &input, &mut o.int16);
    hash.int16(o.int16.get(..rows * n).unwrap_or(&[]));
    linear_row_i16(&layer, o.rows.get(..k).unwrap_or(&[]), &mut o.int16);
    hash.int16(o.int16.get(..n).unwrap_or(&[]));
    for head_dim in (1..=n).filter(|h| n.is_multiple_of(*h)) {
        let layout = HeadLayout::new(head_dim, 2 + rows);
        linear_keys(&layer, &input, 2, &layout, &mut o.keys);
        linear_values(&layer, &input, 2, &layout, &mut o.values);
        for (row, column) in (0..rows * n).map(|i| (2 + i / n, i % n)) {
            let key = o.keys.get(layout.key(row, column));
            let value = o.values.get(layout.value(row, column));
            hash.bytes(key.into_iter().chain(value).map(|v| v.cast_unsigned()));
        }
    }
    hash.0
}

/// LayerNorm and requantize of `rows` rows of `d` columns.
fn rows_of(o: &mut Operands, random: &mut Random, d: usize, rows: usize) -> u32 {
    let mut hash = Hash(0x811c_9dc5);
    let mut mantissas = [0i32; K];
    for (mantissa, [_, m]) in mantissas.iter_mut().zip(o.epilogue) {
        *mantissa = m;
    }
    let requantize = Requantize {
        mantissas: mantissas.get(..d).unwrap_or(&[]),
        scaling: Scaling {
            pre_shift: random.next() as u8 % 2,
            shift: 36 + random.next() as u8 % 8,
        },
        zero_point: random.int8().into(),
    };
    let amplitude = random.next() % 14;
    for x in &mut o.int16 {
        *x >>= amplitude;
    }
    let int16 = o.int16.get_mut(..rows * d).unwrap_or_default();
    let mut panel = Panel::new(&mut o.panel, rows, d);
    requantize_panel(&requantize, int16, &mut panel);
    hash.panel(&panel);
    let norm = Norm {
        params: o.epilogue.get(..d).unwrap_or(&[]),
        epsilon: u64::from(random.next()),
        shift: 12,
    };
    layer_norm_panel(&norm, int16, &mut panel);
    hash.panel(&panel);
    layer_norm_i16(&norm, int16);
    hash.int16(int16);
    hash.0
}

/// Attention of `rows` queries, head by head.
fn attention(
    o: &mut Operands,
    random: &mut Random,
    heads: usize,
    head_dim: usize,
    len: usize,
    rows: usize,
) -> u32 {
    let mut hash = Hash(0x811c_9dc5);
    let scale = AttentionScale {
        softmax: Scaling {
            pre_shift: random.next() as u8 % 2,
            shift: 36 + random.next() as u8 % 10,
        },
        softmax_mantissa: 0x6000_0000,
        context_shift: 29 + random.next() as u8 % 3,
        context_mantissa: 0x5555_5555,
        zero_point: random.int8().into(),
    };
    let context = Context {
        keys: &o.keys,
        values: &o.values,
        layout: HeadLayout::new(head_dim, len),
        len,
        scale,
    };
    let d = heads * head_dim;
    let mut queries = Panel::new(&mut o.input, rows, d);
    queries.fill(&o.rows);
    let masked = random.next() & 1 == 1;
    for head in 0..heads {
        match masked {
            true => attend_causal(&context, &mut queries, head, &mut o.scores),
            false => attend(&context, &mut queries, head, &mut o.scores),
        }
    }
    hash.panel(&queries);
    hash.0
}
