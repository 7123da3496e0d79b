//! From real factors to the mantissas and shifts that the device applies.

use tailtune::quant::{MAX_PRE_SHIFT, MAX_SHIFT, MIN_SHIFT, Scaling};

/// Returns one mantissa a factor, and the shifts that they share.
///
/// The largest factor gets a mantissa of 31 bits; the others lose as many bits as they are smaller.
/// `bound` is the largest absolute value that an accumulator takes: it must survive the pre-shift.
/// Returns none where it does not, or where a factor is not a finite number ≥ 0.
pub fn mantissas(factors: &[f64], bound: f64) -> Option<(Vec<i32>, Scaling)> {
    let max = factors.iter().copied().fold(0.0, f64::max);
    if factors.iter().any(|f| !f.is_finite() || *f < 0.0) {
        return None;
    }
    let exponent = if max > 0.0 { libm::frexp(max).1 } else { 0 };
    // max · 2^(shift − pre) in 2^30..2^31, i.e. exponent + shift − pre = 31, shift ≥ 33.
    let pre = (exponent + 2).max(0);
    let shift = (31 - exponent + pre).clamp(MIN_SHIFT.into(), MAX_SHIFT.into());
    if pre > MAX_PRE_SHIFT.into() || bound * libm::exp2(f64::from(pre)) >= 2_147_483_648.0 {
        return None;
    }
    let scaling = Scaling::new(pre as u8, shift as u8)?;
    let unit = libm::exp2(f64::from(shift - pre));
    let mantissas = factors
        .iter()
        .map(|f| (f * unit).round().min(2_147_483_647.0) as i32)
        .collect();
    Some((mantissas, scaling))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_cannot_be_said() {
        assert!(mantissas(&[f64::NAN], 1.0).is_none());
        assert!(mantissas(&[-1.0], 1.0).is_none());
        assert!(mantissas(&[1e9], 1.0).is_none());
        assert!(mantissas(&[8.0], 1e9).is_none());
    }

    proptest! {
        /// The scaled accumulator is the real product, rounded once.
        #[test]
        fn factor_times_accumulator(acc in -1_000_000i32..1_000_000, factor in 1e-7f64..0.02) {
            let (m, s) = mantissas(&[factor], 1e6).unwrap();
            let want = f64::from(acc) * factor;
            let found = f64::from(s.apply(acc, m[0], 0));
            prop_assert!((found - want).abs() <= 0.5001, "{found} {want}");
        }
    }
}
