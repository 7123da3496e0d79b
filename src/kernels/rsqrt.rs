//! Integer reciprocal square root: a table and three Newton steps.

/// First guesses: `2^33 / √(i + 16.5)` in units of 2^16, for the top six bits `i + 16` of the operand.
static GUESS: [u16; 48] = {
    let mut table = [0u16; 48];
    let mut i = 0;
    while i < 48 {
        let x = i as f64 + 16.5;
        // Newton's iteration for √x in double precision: 16.5 to 63.5 from 6 converges in 6 steps.
        let (mut root, mut step) = (6.0, 0);
        while step < 8 {
            root = (root + x / root) / 2.0;
            step += 1;
        }
        table[i] = (131_072.0 / root + 0.5) as u16;
        i += 1;
    }
    table
};

/// Returns `(r, p)` with `1/√value ≈ r · 2^(−46 − p)`, `2^30 ≤ r < 2^31`; zero is taken as one.
///
/// Relative error below 2^-27 (tested over the whole range of exponents).
pub fn inverse_sqrt(value: u64) -> (i32, i32) {
    let value = value.max(1);
    let bits = 64 - value.leading_zeros() as i32;
    // value = v · 4^p with 2^30 ≤ v < 2^32.
    let p = (bits - 31) >> 1;
    let v = if p >= 0 {
        value >> (2 * p)
    } else {
        value << (-2 * p)
    };
    let index = ((v >> 26) as usize).wrapping_sub(16);
    // √v = 2^13 · √(v / 2^26), so 2^46 / √v = 2^33 / √(v / 2^26).
    let guess = GUESS.get(index).copied().unwrap_or(u16::MAX);
    let mut y = u64::from(guess) << 16;
    for _ in 0..3 {
        // y ← y (3 − v y² / 2^92) / 2
        let square = (y * y) >> 32;
        let factor = (3u64 << 60).wrapping_sub(v.wrapping_mul(square)) >> 30;
        y = (y * factor) >> 31;
    }
    (y.clamp(1 << 30, (1 << 31) - 1) as i32, p)
}
