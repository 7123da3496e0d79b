//! Owners of the buffers that heads and methods work in, sized by const generics.
//!
//! They only own: all code works on the slices that they lend, so it exists once whatever the sizes.
//! Where sizes are known only at run time (on a host), slices of any other owner do as well.

use super::head::{ClassName, HeadBuffers};
use super::softmax::{Softmax, SoftmaxBuffers, Velocity};

/// Owns the buffers of a head for features up to `D` wide and up to `C` classes.
#[derive(Debug)]
pub struct HeadMemory<const D: usize, const C: usize> {
    weights: [[f32; D]; C],
    bias: [f32; C],
    names: [ClassName; C],
}

impl<const D: usize, const C: usize> HeadMemory<D, C> {
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            weights: [[0.0; D]; C],
            bias: [0.0; C],
            names: [const { ClassName::EMPTY }; C],
        }
    }

    /// Lends the buffers.
    pub const fn buffers(&mut self) -> HeadBuffers<'_> {
        HeadBuffers {
            weights: self.weights.as_flattened_mut(),
            bias: &mut self.bias,
            names: &mut self.names,
        }
    }
}

impl<const D: usize, const C: usize> Default for HeadMemory<D, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Owns what plain SGD needs beside the head.
#[derive(Debug)]
pub struct SoftmaxMemory<const D: usize, const C: usize> {
    features: [f32; D],
    logits: [f32; C],
}

impl<const D: usize, const C: usize> SoftmaxMemory<D, C> {
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            features: [0.0; D],
            logits: [0.0; C],
        }
    }

    /// Lends the buffers, for plain SGD.
    pub const fn buffers(&mut self) -> SoftmaxBuffers<'_> {
        SoftmaxBuffers {
            features: &mut self.features,
            logits: &mut self.logits,
            velocity: None,
        }
    }
}

impl<const D: usize, const C: usize> Default for SoftmaxMemory<D, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Owns what SGD with momentum needs beside the head.
#[derive(Debug)]
pub struct MomentumMemory<const D: usize, const C: usize> {
    plain: SoftmaxMemory<D, C>,
    weights: [[f32; D]; C],
    bias: [f32; C],
}

impl<const D: usize, const C: usize> MomentumMemory<D, C> {
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            plain: SoftmaxMemory::new(),
            weights: [[0.0; D]; C],
            bias: [0.0; C],
        }
    }

    /// Lends the buffers, velocities among them.
    pub const fn buffers(&mut self) -> SoftmaxBuffers<'_> {
        SoftmaxBuffers {
            features: &mut self.plain.features,
            logits: &mut self.plain.logits,
            velocity: Some(Velocity {
                weights: self.weights.as_flattened_mut(),
                bias: &mut self.bias,
            }),
        }
    }
}

impl<const D: usize, const C: usize> Default for MomentumMemory<D, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes that a head of `D` features and `C` classes takes in RAM when tuned by plain SGD.
pub const fn plain_bytes<const D: usize, const C: usize>() -> usize {
    size_of::<HeadMemory<D, C>>() + size_of::<SoftmaxMemory<D, C>>() + size_of::<Softmax<'_>>()
}

/// Bytes that a head of `D` features and `C` classes takes in RAM when tuned with momentum.
pub const fn momentum_bytes<const D: usize, const C: usize>() -> usize {
    size_of::<HeadMemory<D, C>>() + size_of::<MomentumMemory<D, C>>() + size_of::<Softmax<'_>>()
}
