//! exp, ln and square root for training: one software implementation on every target.
//!
//! `libm` is the exact path (errors below one unit in the last place), `micromath` the fast one
//! (errors: exp 0.25 % and square root 6.1 % of the value, ln 0.12). Which one trained a tail is
//! stored in the tail. On a Cortex-M4 with FPU the fast path is no faster (an exponential: 67
//! instructions exact, about 100 fast). No function here panics, whatever its argument.

use micromath::F32;

/// Which implementation computes exp, ln and square root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Math {
    /// `libm`: exact to the last place or nearly so.
    #[default]
    Exact,
    /// `micromath`: approximations.
    Fast,
}

impl Math {
    /// Returns the number under which a tail stores this choice.
    pub const fn id(self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Fast => 1,
        }
    }

    /// Returns the choice that has this number.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Exact),
            1 => Some(Self::Fast),
            _ => None,
        }
    }
}

/// Returns e to the power of `x`.
#[inline]
pub fn exp(math: Math, x: f32) -> f32 {
    match math {
        Math::Exact => libm::expf(x),
        // Outside of this range micromath's exponent field would leave its bits.
        Math::Fast if x.is_nan() => x,
        Math::Fast if x < -87.0 => 0.0,
        Math::Fast if x > 88.0 => f32::INFINITY,
        Math::Fast => F32(x).exp().0,
    }
}

/// Returns the natural logarithm of `x`: −∞ of zero, NaN of a negative number.
#[inline]
pub fn ln(math: Math, x: f32) -> f32 {
    let ordinary = (f32::MIN_POSITIVE..=f32::MAX).contains(&x);
    match math {
        Math::Fast if ordinary => F32(x).ln().0,
        _ => libm::logf(x),
    }
}

/// Returns the square root of `x`: NaN of a negative number.
#[inline]
pub fn sqrt(math: Math, x: f32) -> f32 {
    let ordinary = (f32::MIN_POSITIVE..=f32::MAX).contains(&x);
    match math {
        Math::Fast if ordinary => F32(x).sqrt().0,
        _ => libm::sqrtf(x),
    }
}

/// Returns cos(π·x) for x in 0..=1, to 4e-7: sin of what is left to a quarter turn, by its series. A general
/// cosine would bring its reduction of large arguments along.
pub(super) fn cos_half_turn(x: f32) -> f32 {
    let y = core::f32::consts::PI * (0.5 - x);
    let z = y * y;
    // 1/3!, 1/5!, … up to y^11.
    let series = 1.0 / 6.0
        - z * (1.0 / 120.0 - z * (1.0 / 5040.0 - z * (1.0 / 362_880.0 - z / 39_916_800.0)));
    y - y * z * series
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Math; 2] = [Math::Exact, Math::Fast];

    #[test]
    fn ids_round_trip() {
        for math in BOTH {
            assert_eq!(Math::from_id(math.id()), Some(math));
        }
        assert_eq!(Math::from_id(2), None);
    }

    #[test]
    fn special_values() {
        for math in BOTH {
            assert_eq!(exp(math, 0.0), 1.0);
            assert_eq!(exp(math, f32::NEG_INFINITY), 0.0);
            assert_eq!(exp(math, f32::INFINITY), f32::INFINITY);
            assert!(exp(math, f32::NAN).is_nan());
            assert_eq!(ln(math, 1.0), 0.0);
            assert_eq!(ln(math, 0.0), f32::NEG_INFINITY);
            assert!(ln(math, -1.0).is_nan() && ln(math, f32::NAN).is_nan());
            assert_eq!(sqrt(math, 0.0), 0.0);
            assert!(sqrt(math, -1.0).is_nan() && sqrt(math, f32::NAN).is_nan());
        }
    }

    proptest! {
        #[test]
        fn half_a_cosine(x in 0.0f32..=1.0) {
            let want = (std::f64::consts::PI * f64::from(x)).cos();
            prop_assert!((f64::from(cos_half_turn(x)) - want).abs() < 4e-7);
        }

        /// Every bit pattern is an argument.
        #[test]
        fn total(bits: u32) {
            let x = f32::from_bits(bits);
            for math in BOTH {
                let _ = (exp(math, x), ln(math, x), sqrt(math, x));
            }
        }

        /// The stated error bounds, against f64.
        #[test]
        fn close_to_f64(x in -80.0f32..80.0, bits in 0x0080_0000u32..0x7f80_0000) {
            let want = f64::from(x).exp();
            prop_assert!((f64::from(exp(Math::Exact, x)) - want).abs() <= want * 2e-7);
            prop_assert!((f64::from(exp(Math::Fast, x)) - want).abs() <= want * 2.5e-3);
            let y = f32::from_bits(bits);
            let want = f64::from(y).ln();
            prop_assert!((f64::from(ln(Math::Exact, y)) - want).abs() <= want.abs() * 2e-7 + 1e-9);
            prop_assert!((f64::from(ln(Math::Fast, y)) - want).abs() <= 0.12);
            let want = f64::from(y).sqrt();
            prop_assert!((f64::from(sqrt(Math::Exact, y)) - want).abs() <= want * 2e-7);
            prop_assert!((f64::from(sqrt(Math::Fast, y)) - want).abs() <= want * 0.061);
        }
    }
}
