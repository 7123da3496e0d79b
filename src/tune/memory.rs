//! Owners of the buffers that heads and methods work in, sized by const generics.
//!
//! They only own: all code works on the slices that they lend, so it exists once whatever the sizes.
//! Where sizes are known only at run time (on a host), slices of any other owner do as well.

use super::head::{ClassName, HeadBuffers};
use super::ncm::{Ncm, NcmBuffers};
use super::ridge::{Ridge, RidgeBuffers};
use super::softmax::{AdamState, Softmax, SoftmaxBuffers, Velocity};

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
            adam: None,
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
            adam: None,
        }
    }
}

impl<const D: usize, const C: usize> Default for MomentumMemory<D, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Owns what Adam needs beside the head.
#[derive(Debug)]
pub struct AdamMemory<const D: usize, const C: usize> {
    momentum: MomentumMemory<D, C>,
    /// Gradient and second moments.
    weights: [[[f32; D]; C]; 2],
    bias: [[f32; C]; 2],
}

impl<const D: usize, const C: usize> AdamMemory<D, C> {
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            momentum: MomentumMemory::new(),
            weights: [[[0.0; D]; C]; 2],
            bias: [[0.0; C]; 2],
        }
    }

    /// Lends the buffers, all of them.
    pub const fn buffers(&mut self) -> SoftmaxBuffers<'_> {
        let [gradient, second] = &mut self.weights;
        let [gradient_bias, second_bias] = &mut self.bias;
        SoftmaxBuffers {
            adam: Some(AdamState::new(
                Velocity {
                    weights: gradient.as_flattened_mut(),
                    bias: gradient_bias,
                },
                Velocity {
                    weights: second.as_flattened_mut(),
                    bias: second_bias,
                },
            )),
            ..self.momentum.buffers()
        }
    }
}

impl<const D: usize, const C: usize> Default for AdamMemory<D, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Owns what nearest class mean needs beside the head.
#[derive(Debug)]
pub struct NcmMemory<const D: usize, const C: usize> {
    plain: SoftmaxMemory<D, C>,
    counts: [f32; C],
}

impl<const D: usize, const C: usize> NcmMemory<D, C> {
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            plain: SoftmaxMemory::new(),
            counts: [0.0; C],
        }
    }

    /// Lends the buffers.
    pub const fn buffers(&mut self) -> NcmBuffers<'_> {
        NcmBuffers {
            features: &mut self.plain.features,
            logits: &mut self.plain.logits,
            counts: &mut self.counts,
        }
    }
}

impl<const D: usize, const C: usize> Default for NcmMemory<D, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Owns what a ridge classifier needs beside the head; `F` is [`factor_len`](super::ridge::factor_len) of `D`.
#[derive(Debug)]
pub struct RidgeMemory<const D: usize, const C: usize, const F: usize> {
    /// Of rows one wider than `D`, which const generics do not add: one whole row more serves.
    features: [[f32; D]; 3],
    logits: [f32; C],
    factor: [f32; F],
}

impl<const D: usize, const C: usize, const F: usize> RidgeMemory<D, C, F> {
    /// Returns zeroed memory.
    pub const fn new() -> Self {
        Self {
            features: [[0.0; D]; 3],
            logits: [0.0; C],
            factor: [0.0; F],
        }
    }

    /// Lends the buffers.
    pub const fn buffers(&mut self) -> RidgeBuffers<'_> {
        RidgeBuffers {
            features: self.features.as_flattened_mut(),
            logits: &mut self.logits,
            factor: &mut self.factor,
        }
    }
}

impl<const D: usize, const C: usize, const F: usize> Default for RidgeMemory<D, C, F> {
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

/// Bytes that a head of `D` features and `C` classes takes in RAM when tuned by Adam.
pub const fn adam_bytes<const D: usize, const C: usize>() -> usize {
    size_of::<HeadMemory<D, C>>() + size_of::<AdamMemory<D, C>>() + size_of::<Softmax<'_>>()
}

/// Bytes that a head of `D` features and `C` classes takes in RAM as class means.
pub const fn ncm_bytes<const D: usize, const C: usize>() -> usize {
    size_of::<HeadMemory<D, C>>() + size_of::<NcmMemory<D, C>>() + size_of::<Ncm<'_>>()
}

/// Bytes that a head of `D` features and `C` classes takes in RAM as a ridge classifier.
pub const fn ridge_bytes<const D: usize, const C: usize, const F: usize>() -> usize {
    size_of::<HeadMemory<D, C>>() + size_of::<RidgeMemory<D, C, F>>() + size_of::<Ridge<'_>>()
}
