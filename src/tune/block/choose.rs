//! Which of the block's tensors a tail holds.

use super::affine::is_affine;
use super::view::{BlockView, Projection};
use crate::image::{Image, TensorSpec};

/// A set of projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Projections(u8);

impl Projections {
    /// Queries and values: the paper's choice.
    pub const QUERY_VALUE: Self = Self::NONE.with(Projection::Query).with(Projection::Value);
    /// All six.
    pub const ALL: Self = Self(0b11_1111);
    /// None.
    pub const NONE: Self = Self(0);

    /// Returns the set as bits, [`Projection`] 0 the lowest.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Returns the set that has these bits; none if one stands for no projection.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits & !Self::ALL.0 {
            0 => Some(Self(bits)),
            _ => None,
        }
    }

    /// Returns the set with one more.
    pub const fn with(self, projection: Projection) -> Self {
        Self(self.0 | 1 << projection as u8)
    }

    /// Returns whether a projection is in the set.
    pub const fn has(self, projection: Projection) -> bool {
        self.0 >> projection as u8 & 1 == 1
    }
}

/// Returns whether a tensor is one of those that a method changes: weights and epilogues of projections, and
/// those of norms and biases where it is `affine`; or one that an earlier tail has changed.
pub fn chosen<'c>(
    image: &'c Image<'_>,
    view: &'c BlockView<'_>,
    projections: Projections,
    affine: bool,
) -> impl Fn(&TensorSpec) -> bool + 'c {
    move |spec| {
        let of_layer = |p: Projection| {
            let (weight, epilogue) = p.kinds();
            projections.has(p) && (spec.kind == weight || spec.kind == epilogue)
        };
        spec.layer == view.layer && Projection::ALL.into_iter().any(of_layer)
            || affine && is_affine(view, spec.kind, spec.layer)
            || image.is_patched(spec.kind, spec.layer)
    }
}
