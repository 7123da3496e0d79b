//! Fixed-point scaling: the one place where rounding is defined.
//!
//! An integer accumulator becomes a narrower integer by a real factor that is known when the image
//! is made. The factor is stored as a 32-bit mantissa and a shift, and applied with a single
//! rounding (round half up), as in gemmlowp and CMSIS-NN but with one rounding instead of two:
//!
//! ```text
//! requantize(acc) = ((acc << pre_shift) · mantissa + 2^(shift − 1)) >> shift
//! ```
//!
//! `acc << pre_shift` is a wrapping 32-bit shift, the product has 64 bits, `33 ≤ shift ≤ 62`. With
//! such a shift the low word of the product cannot influence the result, so it equals
//! `(hi32(acc · mantissa) + 2^(shift − 33)) >> (shift − 32)`: SMMUL, ADD, ASR on a Cortex-M4.

/// The real factor of a requantization, `mantissa / 2^shift · 2^pre_shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Scaling {
    /// Bits by which the accumulator is shifted left first (wrapping), `0..=16`.
    pub pre_shift: u8,
    /// Bits by which the 64-bit product is shifted right, `33..=62`.
    pub shift: u8,
}

/// The smallest legal [`Scaling::shift`].
pub const MIN_SHIFT: u8 = 33;
/// The largest legal [`Scaling::shift`].
pub const MAX_SHIFT: u8 = 62;
/// The largest legal [`Scaling::pre_shift`].
pub const MAX_PRE_SHIFT: u8 = 16;

impl Scaling {
    /// Returns the scaling if both shifts are in range.
    pub const fn new(pre_shift: u8, shift: u8) -> Option<Self> {
        if pre_shift > MAX_PRE_SHIFT || shift < MIN_SHIFT || shift > MAX_SHIFT {
            return None;
        }
        Some(Self { pre_shift, shift })
    }

    /// Returns `acc` scaled by `mantissa / 2^shift · 2^pre_shift`, plus `zero_point`.
    ///
    /// Total: every operation wraps, whatever the operands. The result is exact (one rounding)
    /// whenever `acc << pre_shift` and the sum fit 32 bits.
    #[inline(always)]
    pub const fn apply(self, acc: i32, mantissa: i32, zero_point: i32) -> i32 {
        let acc = acc.wrapping_shl(self.pre_shift as u32);
        let high = mul_high(acc, mantissa);
        high.wrapping_add(self.offset(zero_point)) >> self.right()
    }

    /// Returns what the product's high word is shifted right by, `1..=30` where [`Self::new`] made this.
    #[inline(always)]
    pub const fn right(self) -> u32 {
        (self.shift as u32).wrapping_sub(32) & 31
    }

    /// Returns the constant that folds the rounding and the zero point: the one addition between
    /// the product's high word and the final shift.
    #[inline(always)]
    pub const fn offset(self, zero_point: i32) -> i32 {
        let right = self.right();
        let half = 1i32.wrapping_shl(right.wrapping_sub(1));
        zero_point.wrapping_shl(right).wrapping_add(half)
    }
}

/// Returns the high word of the signed 64-bit product (SMMUL).
#[inline(always)]
pub const fn mul_high(a: i32, b: i32) -> i32 {
    ((a as i64 * b as i64) >> 32) as i32
}

/// Returns `value` saturated to int8.
#[inline(always)]
pub const fn saturate_i8(value: i32) -> i8 {
    if value > i8::MAX as i32 {
        i8::MAX
    } else if value < i8::MIN as i32 {
        i8::MIN
    } else {
        value as i8
    }
}

/// Returns `value` saturated to int16.
#[inline(always)]
pub const fn saturate_i16(value: i32) -> i16 {
    if value > i16::MAX as i32 {
        i16::MAX
    } else if value < i16::MIN as i32 {
        i16::MIN
    } else {
        value as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scaling_refuses_shifts_out_of_range() {
        assert_eq!(Scaling::new(0, 32), None);
        assert_eq!(Scaling::new(0, 63), None);
        assert_eq!(Scaling::new(17, 40), None);
        assert!(Scaling::new(16, 33).is_some());
    }

    proptest! {
        /// The three-instruction form equals the definition in 128-bit arithmetic.
        #[test]
        fn apply_is_the_definition(
            acc in -(1i32 << 24)..(1i32 << 24),
            mantissa in any::<i32>(),
            pre in 0u8..=6,
            shift in MIN_SHIFT..=MAX_SHIFT,
            zero_point in -128i32..=127,
        ) {
            let s = Scaling::new(pre, shift).unwrap();
            let product = (i128::from(acc) << pre) * i128::from(mantissa);
            let want = ((product + (1i128 << (shift - 1))) >> shift) + i128::from(zero_point);
            // The sum before the shift must fit 32 bits, as the documentation demands.
            let sum = (product >> 32) + (i128::from(zero_point) << (shift - 32)) + (1i128 << (shift - 33));
            prop_assume!(i32::try_from(sum).is_ok());
            prop_assert_eq!(i128::from(s.apply(acc, mantissa, zero_point)), want);
        }

        /// Hostile operands neither panic nor leave the type.
        #[test]
        fn apply_is_total(acc: i32, mantissa: i32, zero_point: i32, pre in 0u8..=16, shift in 33u8..=62) {
            let _ = Scaling::new(pre, shift).unwrap().apply(acc, mantissa, zero_point);
        }
    }
}
