//! What an encoder gives: one pooled int8 vector.

/// A pooled feature: `real = (values − zero_point) · scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Features<'f> {
    /// int8 `[d_model]`.
    pub values: &'f [i8],
    /// Real value of one step.
    pub scale: f32,
    /// The int8 value that stands for zero.
    pub zero_point: i8,
}
